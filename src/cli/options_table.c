/* The tables of options and subcommands. Defaults and ranges stand here and nowhere else. */
#include "cli/options.h"

#define MS_MAX 3600000 /* an hour */
#define KIB 1024ULL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* Every subcommand, and kvapp itself. */
enum {
    OWNERS_ALL = OWNER_SERVER | OWNER_CLIENT | OWNER_BENCH | OWNER_SIM | OWNER_INSPECT |
                 OWNER_VERIFY | OWNER_RESTORE | OWNER_RECOVER | OWNER_PROGRAM,
};

/* The flag of a timing mode; its name follows. */
#define SHORT_FORM(mode)                                                                           \
    .type = OPTION_SHORT_FORM, .owners = OWNER_SERVER, .means = OPTION_TIMING_MODE,                \
    .choices = mode, .help = "Short for --timing-mode " mode "."

/* A flag that stands on the command line only. */
#define FLAG(who, called, sentence)                                                                \
    {                                                                                              \
        .type = OPTION_FLAG, .owners = (who), .name = (called), .help = (sentence),                \
    }

const struct option option_table[OPTION_COUNT] = {
    [OPTION_NODE_ID] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SERVER | OWNER_RESTORE,
            .name = "node-id",
            .value_name = "N",
            .min = 1,
            .max = INT64_MAX / 100,
            .environment = "KVAPP_NODE_ID",
            .help =
                "Which member of the cluster this server is. May be left out where --bind names "
                "a member.",
        },
    [OPTION_BIND] =
        {
            .type = OPTION_ADDRESS,
            .owners = OWNER_SERVER | OWNER_RESTORE | OWNER_RECOVER,
            .name = "bind",
            .value_name = "HOST:PORT",
            .environment = "KVAPP_BIND",
            .help = "The address for the other members. Without it, the one that --cluster has for "
                    "--node-id; without both, 127.0.0.1:8080.",
        },
    [OPTION_CLUSTER] =
        {
            .type = OPTION_MEMBERS,
            .owners = OWNER_SERVER | OWNER_CLIENT | OWNER_BENCH | OWNER_RESTORE,
            .name = "cluster",
            .value_name = "LIST",
            .environment = "KVAPP_CLUSTER",
            .help = "All members: a,b,c are numbered from 1 in this order, 1=a,2=b,3=c are named. "
                    "Without it, a server is a cluster of one, and a client asks 127.0.0.1:8080.",
        },
    [OPTION_JOIN] =
        {
            .type = OPTION_ADDRESS,
            .owners = OWNER_SERVER,
            .name = "join",
            .value_name = "HOST:PORT",
            .environment = "KVAPP_JOIN",
            .help = "Makes a new server for the cluster of the member at this raft address, in "
                    "place of --cluster; with --node-id and --bind. Say `client member add` too.",
        },
    [OPTION_DATA_DIR] =
        {
            .type = OPTION_TEXT,
            .owners = OWNER_SERVER | OWNER_RESTORE | OWNER_RECOVER,
            .gathered = OWNER_RECOVER,
            .name = "data-dir",
            .value_name = "PATH",
            .initial = "./data",
            .environment = "KVAPP_DATA_DIR",
            .help = "Where the server keeps its log, its term and its vote.",
        },
    [OPTION_TIMING_MODE] =
        {
            .type = OPTION_ENUM,
            .owners = OWNER_SERVER,
            .name = "timing-mode",
            .value_name = "MODE",
            .initial = "fast",
            .choices = "fast|debug|demo",
            .environment = "KVAPP_TIMING_MODE",
            .help = "fast, debug or demo: loop 10, 100, 1000 ms; heartbeat 50, 500, 2000 ms; "
                    "election 150-300, 1500-3000, 5000-10000 ms; network delay 0, 50, 500 ms; "
                    "client delay 0, 25, 200 ms. The options below override single numbers. debug "
                    "and demo turn --verbose on.",
        },
    [OPTION_FAST_MODE] = {SHORT_FORM("fast"), .name = "fast-mode"},
    [OPTION_DEBUG_MODE] = {SHORT_FORM("debug"), .name = "debug-mode"},
    [OPTION_DEMO_MODE] = {SHORT_FORM("demo"), .name = "demo-mode"},
    [OPTION_EVENT_LOOP_DELAY] =
        {
            .type = OPTION_MS,
            .owners = OWNER_SERVER,
            .name = "event-loop-delay",
            .value_name = "MS",
            .min = 1,
            .max = MS_MAX,
            .environment = "KVAPP_EVENT_LOOP_DELAY",
            .help = "In fast mode the resolution of timers; in debug and demo mode the pace of the "
                    "server.",
        },
    [OPTION_HEARTBEAT_INTERVAL] =
        {
            .type = OPTION_MS,
            .owners = OWNER_SERVER,
            .name = "heartbeat-interval",
            .value_name = "MS",
            .min = 1,
            .max = MS_MAX,
            .environment = "KVAPP_HEARTBEAT_INTERVAL",
            .help = "How often a leader says that it is there. Less than --election-timeout-min.",
        },
    [OPTION_ELECTION_TIMEOUT_MIN] =
        {
            .type = OPTION_MS,
            .owners = OWNER_SERVER,
            .name = "election-timeout-min",
            .value_name = "MS",
            .min = 1,
            .max = MS_MAX,
            .environment = "KVAPP_ELECTION_TIMEOUT_MIN",
            .help = "A follower that hears no leader for this long may ask for votes. Less than "
                    "--election-timeout-max.",
        },
    [OPTION_ELECTION_TIMEOUT_MAX] =
        {
            .type = OPTION_MS,
            .owners = OWNER_SERVER,
            .name = "election-timeout-max",
            .value_name = "MS",
            .min = 1,
            .max = MS_MAX,
            .environment = "KVAPP_ELECTION_TIMEOUT_MAX",
            .help = "Each follower draws its timeout between the minimum and this.",
        },
    [OPTION_NETWORK_DELAY] =
        {
            .type = OPTION_MS,
            .owners = OWNER_SERVER,
            .name = "network-delay",
            .value_name = "MS",
            .max = MS_MAX,
            .environment = "KVAPP_NETWORK_DELAY",
            .help = "Added to every message to another member.",
        },
    [OPTION_CLIENT_DELAY] =
        {
            .type = OPTION_MS,
            .owners = OWNER_SERVER,
            .name = "client-delay",
            .value_name = "MS",
            .max = MS_MAX,
            .environment = "KVAPP_CLIENT_DELAY",
            .help = "Added to every reply to a client.",
        },
    [OPTION_CLIENT_PORT_OFFSET] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SERVER | OWNER_CLIENT | OWNER_BENCH | OWNER_RESTORE,
            .name = "client-port-offset",
            .value_name = "N",
            .min = 1,
            .max = 65534,
            .initial = "1000",
            .environment = "KVAPP_CLIENT_PORT_OFFSET",
            .help = "Clients are served at the member's port plus this.",
        },
    [OPTION_IO] =
        {
            .type = OPTION_ENUM,
            .owners = OWNER_SERVER | OWNER_CLIENT | OWNER_BENCH,
            .name = "io",
            .value_name = "KIND",
            .initial = "auto",
            .choices = "auto|uring|portable",
            .environment = "KVAPP_IO",
            .help = "How to talk to the system: io_uring, or portable where io_uring is forbidden; "
                    "auto tries.",
        },
    [OPTION_READS] =
        {
            .type = OPTION_ENUM,
            .owners = OWNER_SERVER | OWNER_CLIENT | OWNER_BENCH,
            .name = "reads",
            .value_name = "HOW",
            .initial = "default",
            .choices = "default|leader|linearizable|lease|stale",
            .environment = "KVAPP_READS",
            .help =
                "How reads are answered: by the leader, which asks a majority whether it still "
                "leads (leader); by any server, which has the leader ask (linearizable); by the "
                "leader at once, relying on clocks (lease); by any server at once, perhaps from "
                "an old state (stale). By default a client leaves it to the server, and a server "
                "does leader. A server that does lease also promises what leases rest on, so "
                "give it to all. Stale is for clients.",
        },
    [OPTION_REDIS_WRITES] =
        {
            .type = OPTION_ENUM,
            .owners = OWNER_SERVER,
            .name = "redis-writes",
            .value_name = "HOW",
            .initial = "forward",
            .choices = "forward|moved|refuse",
            .environment = "KVAPP_REDIS_WRITES",
            .help = "What a server that does not lead does with the writes of Redis clients: hands "
                    "them to the leader (forward), or answers MOVED or READONLY (refuse).",
        },
    [OPTION_SEGMENT_SIZE] =
        {
            .type = OPTION_BYTES,
            .owners = OWNER_SERVER,
            .name = "segment-size",
            .value_name = "BYTES",
            .min = 4 * MIB,
            .max = 4 * GIB,
            .initial = "16M",
            .environment = "KVAPP_SEGMENT_SIZE",
            .help = "The size of one file of the log.",
        },
    [OPTION_CACHE_SIZE] =
        {
            .type = OPTION_BYTES,
            .owners = OWNER_SERVER,
            .name = "cache-size",
            .value_name = "BYTES",
            .min = 1 * MIB,
            .max = 64 * GIB,
            .initial = "8M",
            .environment = "KVAPP_CACHE_SIZE",
            .help = "How much of the log's end is kept in memory.",
        },
    [OPTION_SNAPSHOT_ENTRIES] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SERVER,
            .name = "snapshot-entries",
            .value_name = "N",
            .min = 1,
            .max = INT64_MAX,
            .initial = "2000000",
            .environment = "KVAPP_SNAPSHOT_ENTRIES",
            .help = "A snapshot is taken, and the log trimmed, after so many entries.",
        },
    [OPTION_SNAPSHOT_BYTES] =
        {
            .type = OPTION_BYTES,
            .owners = OWNER_SERVER,
            .name = "snapshot-bytes",
            .value_name = "BYTES",
            .min = 1,
            .max = 1024 * GIB,
            .initial = "64M",
            .environment = "KVAPP_SNAPSHOT_BYTES",
            .help = "And after so many bytes of entries, but not before these are as many as the "
                    "state has.",
        },
    [OPTION_SNAPSHOT_RATE] =
        {
            .type = OPTION_BYTES,
            .owners = OWNER_SERVER,
            .name = "snapshot-rate",
            .value_name = "BYTES",
            .min = 64 * 1024,
            .max = 64 * GIB,
            .initial = "64M",
            .environment = "KVAPP_SNAPSHOT_RATE",
            .help = "Bytes a second at which a snapshot is sent to a member that needs one.",
        },
    [OPTION_PRIORITY] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SERVER,
            .name = "priority",
            .value_name = "N",
            .max = 100,
            .initial = "1",
            .environment = "KVAPP_PRIORITY",
            .help = "A leader hands over to a voter with a higher priority, once that has caught "
                    "up. 0: leads only when nobody else can.",
        },
    [OPTION_TIMEOUT] =
        {
            .type = OPTION_MS,
            .owners = OWNER_CLIENT | OWNER_BENCH,
            .name = "timeout",
            .value_name = "MS",
            .min = 1,
            .max = MS_MAX,
            .initial = "5000",
            .environment = "KVAPP_TIMEOUT",
            .help = "How long to try before a request has no answer.",
        },
    [OPTION_JSON] =
        {
            .type = OPTION_FLAG,
            .owners = OWNER_CLIENT | OWNER_BENCH | OWNER_INSPECT,
            .name = "json",
            .environment = "KVAPP_JSON",
            .help = "Print one JSON object for each reply; of a data directory one in all.",
        },
    [OPTION_RAW] = FLAG(OWNER_CLIENT, "raw", "Print keys and values as they are, without escapes."),
    [OPTION_LIMIT] =
        {
            .type = OPTION_U64,
            .owners = OWNER_RANGE | OWNER_INSPECT,
            .name = "limit",
            .value_name = "N",
            .min = 1,
            .max = INT64_MAX,
            .help = "At most so many keys (list, scan) or entries (inspect).",
        },
    [OPTION_START] =
        {
            .type = OPTION_TEXT,
            .owners = OWNER_RANGE,
            .name = "start",
            .value_name = "KEY",
            .help = "Only this key and those after it.",
        },
    [OPTION_END] =
        {
            .type = OPTION_TEXT,
            .owners = OWNER_RANGE,
            .name = "end",
            .value_name = "KEY",
            .help = "Only keys before this one.",
        },
    [OPTION_VALUES] = FLAG(OWNER_RANGE, "values", "With the values (list): the same as scan."),
    [OPTION_TTL] =
        {
            .type = OPTION_MS,
            .owners = OWNER_PUT | OWNER_PUT_IF,
            .name = "ttl",
            .value_name = "MS",
            .min = 1,
            .max = INT64_MAX,
            .help = "The key goes after so long. Without it, it stays.",
        },
    [OPTION_IF_ABSENT] = FLAG(OWNER_PUT, "if-absent", "Only if the key is not there."),
    [OPTION_DRY_RUN] =
        FLAG(OWNER_MEMBER, "dry-run", "Say what the change would mean, and do nothing."),
    [OPTION_FORCE] =
        FLAG(OWNER_MEMBER | OWNER_BACKUP, "force",
             "Member: change the members even if it costs the quorum. Backup: replace a "
             "file that is there already."),
    [OPTION_LEARNER] =
        FLAG(OWNER_MEMBER, "learner", "The new member never becomes a voter by itself."),
    [OPTION_YES] = FLAG(OWNER_RECOVER, "yes", "Carries out what would be done."),
    [OPTION_CLIENTS] =
        {
            .type = OPTION_U64,
            .owners = OWNER_BENCH,
            .name = "clients",
            .value_name = "N",
            .min = 1,
            .max = 10000,
            .initial = "50",
            .help = "Clients at work, each with connections and a session of its own.",
        },
    [OPTION_REQUESTS] =
        {
            .type = OPTION_U64,
            .owners = OWNER_BENCH,
            .name = "requests",
            .value_name = "N",
            .min = 1,
            .max = 1000000000000,
            .initial = "100000",
            .help = "Requests in all.",
        },
    [OPTION_KEY_SPACE] =
        {
            .type = OPTION_U64,
            .owners = OWNER_BENCH,
            .name = "key-space",
            .value_name = "N",
            .min = 1,
            .max = 100000000,
            .initial = "10000",
            .help = "How many different keys there are; each is as likely as any other.",
        },
    [OPTION_VALUE_SIZE] =
        {
            .type = OPTION_BYTES,
            .owners = OWNER_BENCH,
            .name = "value-size",
            .value_name = "BYTES",
            .max = MIB,
            .initial = "100",
            .help = "The size of each value.",
        },
    [OPTION_PIPELINE] =
        {
            .type = OPTION_U64,
            .owners = OWNER_BENCH,
            .name = "pipeline",
            .value_name = "N",
            .min = 1,
            .max = 4096,
            .initial = "1",
            .help = "Requests that each client keeps in flight.",
        },
    [OPTION_SEED] =
        {
            .type = OPTION_U64,
            .owners = OWNER_BENCH | OWNER_SIM,
            .name = "seed",
            .value_name = "N",
            .max = INT64_MAX,
            .initial = "1",
            .help =
                "The same seed gives the same keys in the same order (bench), the same run (sim).",
        },
    [OPTION_SEEDS] =
        {
            .type = OPTION_TEXT,
            .owners = OWNER_SIM,
            .name = "seeds",
            .value_name = "A..B",
            .help = "Runs all seeds from A to B.",
        },
    [OPTION_FOR] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SIM,
            .name = "for",
            .value_name = "SECONDS",
            .min = 1,
            .max = 10000000,
            .help = "Runs random seeds, or those from the first of --seeds on, for this long.",
        },
    [OPTION_NODES] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SIM,
            .name = "nodes",
            .value_name = "N",
            .min = 1,
            .max = 5,
            .help = "Servers of the cluster. Without it, each seed draws 1, 3 or 5.",
        },
    [OPTION_DURATION] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SIM,
            .name = "duration",
            .value_name = "SECONDS",
            .min = 1,
            .max = 100000,
            .initial = "60",
            .help = "Virtual time under faults; the healing comes on top.",
        },
    [OPTION_FAULTS] =
        {
            .type = OPTION_TEXT,
            .owners = OWNER_SIM,
            .name = "faults",
            .value_name = "LIST",
            .initial = "all",
            .help = "The kinds of faults that a seed may draw: all, none, or some of power, kill, "
                    "stop, pause, partition, cut-off, link, reset, accept, slow-disk, stall, "
                    "io-error, full-disk, rot, clock, jump, client.",
        },
    [OPTION_BEYOND] =
        FLAG(OWNER_SIM, "beyond",
             "Lets any number of disks fail or rot, not only a minority. Then a cluster may "
             "stop; what it answers must still be right."),
    [OPTION_CRASH_POINT] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SIM,
            .name = "crash-point",
            .value_name = "N",
            .min = 1,
            .max = INT64_MAX,
            .help = "One server loses power at one point: N counts through the servers at each "
                    "event of the run.",
        },
    [OPTION_CRASH_POINTS] =
        FLAG(OWNER_SIM, "crash-points",
             "Runs the seed once for each of its crash points. Best with a short --duration "
             "and --faults none."),
    [OPTION_TRACE] =
        FLAG(OWNER_SIM, "trace", "Tells the whole story of one seed on standard output."),
    [OPTION_JOBS] =
        {
            .type = OPTION_U64,
            .owners = OWNER_SIM,
            .name = "jobs",
            .value_name = "N",
            .min = 1,
            .max = 64,
            .help = "Processes at work. Without it, one for each processor.",
        },
    [OPTION_SHRINK] =
        FLAG(OWNER_SIM, "shrink",
             "When a seed fails, looks for the fewest faults and the shortest duration with "
             "which it still does."),
    [OPTION_ENTRIES] =
        FLAG(OWNER_INSPECT, "entries",
             "Show all entries of the log. Without it, and without --from and --to, the "
             "last five, or as many as --limit says."),
    [OPTION_FROM] =
        {
            .type = OPTION_U64,
            .owners = OWNER_INSPECT,
            .name = "from",
            .value_name = "INDEX",
            .min = 1,
            .max = INT64_MAX,
            .help = "Show entries from this index on.",
        },
    [OPTION_TO] =
        {
            .type = OPTION_U64,
            .owners = OWNER_INSPECT,
            .name = "to",
            .value_name = "INDEX",
            .min = 1,
            .max = INT64_MAX,
            .help = "Show entries up to this index.",
        },
    [OPTION_VERBOSE] =
        {
            .type = OPTION_FLAG,
            .owners = OWNER_SERVER | OWNER_CLIENT,
            .name = "verbose",
            .letter = 'v',
            .at_run_time = true,
            .environment = "KVAPP_VERBOSE",
            .help = "Say more: a server logs what Raft decides, a client who answered and when.",
        },
    [OPTION_HELP] =
        {
            .type = OPTION_FLAG,
            .owners = OWNERS_ALL,
            .name = "help",
            .letter = 'h',
            .help = "Print this help.",
        },
    [OPTION_VERSION] = FLAG(OWNERS_ALL, "version", "Print the version."),
};
