/*
 * Every option of kvapp, in one table: its name, type, range, default and environment variable, who
 * has it, whether it may change while a server runs, and the sentence that explains it. Flags,
 * environment and help all come from this table, and so do the sentences of what is wrong.
 *
 * A value comes from the command line, else from the environment, else from the default. The last
 * of several on the command line wins.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/bytes.h"
#include "kvapp/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { OPTIONS_ERROR_SIZE = 1024 }; /* room that the calls below need for a sentence */

enum option_type {
    OPTION_U64,
    OPTION_MS,      /* milliseconds */
    OPTION_BYTES,   /* a size; K, M and G after the number multiply by 1024, ... */
    OPTION_ADDRESS, /* host:port */
    OPTION_MEMBERS, /* a list of members, as base/members.h has it */
    OPTION_TEXT,
    OPTION_ENUM,       /* one of `choices`; the number is its place */
    OPTION_FLAG,       /* there or not; takes no value */
    OPTION_SHORT_FORM, /* a flag that stands for `means` with the value `choices` */
};

/* Who has an option: a set, and with one bit, the subcommand that is being parsed for. */
enum option_owner {
    OWNER_NOBODY = 0,
    OWNER_SERVER = 1 << 0,
    OWNER_CLIENT = 1 << 1,
    OWNER_BENCH = 1 << 2,
    OWNER_RANGE = 1 << 3,   /* list, scan and delete-range, in the shell too */
    OWNER_PROGRAM = 1 << 4, /* kvapp itself, without a subcommand */
    OWNER_SIM = 1 << 5,
    OWNER_INSPECT = 1 << 6,
    OWNER_VERIFY = 1 << 7,
    OWNER_MEMBER = 1 << 8, /* the client's member, in the shell too */
    OWNER_BACKUP = 1 << 9, /* and its backup */
    OWNER_RESTORE = 1 << 10,
    OWNER_RECOVER = 1 << 11,
    OWNER_PUT = 1 << 12, /* the client's put */
    OWNER_PUT_IF = 1 << 13,
    /* The commands of kvapp client that have options of their own. */
    OWNERS_OF_COMMANDS = OWNER_RANGE | OWNER_MEMBER | OWNER_BACKUP | OWNER_PUT | OWNER_PUT_IF,
};

enum option_id {
    OPTION_NODE_ID,
    OPTION_BIND,
    OPTION_CLUSTER,
    OPTION_JOIN,
    OPTION_DATA_DIR,
    OPTION_TIMING_MODE,
    OPTION_FAST_MODE,
    OPTION_DEBUG_MODE,
    OPTION_DEMO_MODE,
    OPTION_EVENT_LOOP_DELAY,
    OPTION_HEARTBEAT_INTERVAL,
    OPTION_ELECTION_TIMEOUT_MIN,
    OPTION_ELECTION_TIMEOUT_MAX,
    OPTION_NETWORK_DELAY,
    OPTION_CLIENT_DELAY,
    OPTION_CLIENT_PORT_OFFSET,
    OPTION_IO,
    OPTION_READS,
    OPTION_REDIS_WRITES,
    OPTION_SEGMENT_SIZE,
    OPTION_CACHE_SIZE,
    OPTION_SNAPSHOT_ENTRIES,
    OPTION_SNAPSHOT_BYTES,
    OPTION_SNAPSHOT_RATE,
    OPTION_PRIORITY,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_RAW,
    OPTION_LIMIT,
    OPTION_START,
    OPTION_END,
    OPTION_VALUES,
    OPTION_TTL,
    OPTION_IF_ABSENT,
    OPTION_DRY_RUN,
    OPTION_FORCE,
    OPTION_LEARNER,
    OPTION_YES,
    OPTION_CLIENTS,
    OPTION_REQUESTS,
    OPTION_KEY_SPACE,
    OPTION_VALUE_SIZE,
    OPTION_PIPELINE,
    OPTION_SEED,
    OPTION_SEEDS,
    OPTION_FOR,
    OPTION_NODES,
    OPTION_DURATION,
    OPTION_FAULTS,
    OPTION_BEYOND,
    OPTION_CRASH_POINT,
    OPTION_CRASH_POINTS,
    OPTION_TRACE,
    OPTION_JOBS,
    OPTION_SHRINK,
    OPTION_ENTRIES,
    OPTION_FROM,
    OPTION_TO,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_COUNT,
};

/* The places of --reads' choices are enum kvapp_reads; these are the places of --io's. */
enum option_io { OPTION_IO_AUTO, OPTION_IO_URING, OPTION_IO_PORTABLE };

/* An option's id is its place in the table. */
struct option {
    const char *name;       /* without the dashes */
    const char *value_name; /* as help shows it; NULL for flags */
    uint64_t min;           /* of numbers */
    uint64_t max;
    const char *initial;     /* the default, as it would be written; NULL: none */
    const char *choices;     /* "a|b|c" */
    const char *environment; /* NULL: none */
    const char *help;        /* sentences */
    enum option_type type;
    unsigned owners;      /* enum option_owner */
    unsigned gathered;    /* for these owners it may stand several times: its values are words */
    enum option_id means; /* of a short form */
    char letter;          /* -v; 0: none */
    bool at_run_time;     /* may change while a server runs */
};

extern const struct option option_table[OPTION_COUNT];

struct subcommand {
    const char *name;
    const char *usage;   /* what follows the options in "kvapp name [options] ..." */
    const char *summary; /* one clause for the overview */
    const char *about;   /* paragraphs of its help */
    enum option_owner owner;
    bool takes_words;
};

/* The subcommands; the last one has no name. */
extern const struct subcommand subcommand_table[];

/* NULL when there is none of that name. */
const struct subcommand *subcommand_find(struct slice name);

enum option_source {
    OPTION_NOT_GIVEN, /* the default, if there is one */
    OPTION_FROM_ENVIRONMENT,
    OPTION_FROM_COMMAND_LINE,
};

struct option_value {
    enum option_source source;
    struct slice text; /* borrowed, a zero byte follows it; data is NULL when there is no value */
    uint64_t number;   /* of numbers, choices and flags */
};

struct options {
    const struct subcommand *subcommand; /* NULL: the first word names none */
    struct option_value values[OPTION_COUNT];
    struct slice *words; /* what is no option; the subcommand is not among them */
    size_t word_count;
};

/* Looks up an environment variable; NULL when it is not set. */
typedef const char *(*environment_fn)(void *context, const char *name);

/* The subcommand that the first word which is no option names; NULL: none. */
const struct subcommand *options_subcommand(const struct slice *words, size_t count);

/*
 * Parses the words after the program's name: options, in any place, up to a word "--", and the
 * subcommand, which is the first other word. A zero byte must follow each word. Without a known
 * subcommand it returns 0 with `subcommand` NULL and only OPTION_HELP and OPTION_VERSION set.
 *
 * Returns 0; or KV_ERR_INVALID with a sentence for the user in `error` and nothing to release: then
 * options_subcommand is not NULL.
 */
int options_parse(const struct slice *words, size_t count, environment_fn environment,
                  void *context, struct options *ret_options, char *error, size_t error_size);

/* The same for the words that follow a command in the shell: only `owner`'s options, without
 * subcommand and environment. */
int options_parse_words(enum option_owner owner, const struct slice *words, size_t count,
                        struct options *ret_options, char *error, size_t error_size);

void options_done(struct options *options);

static inline bool options_given(const struct options *options, enum option_id id)
{
    return options->values[id].source != OPTION_NOT_GIVEN;
}

static inline uint64_t options_number(const struct options *options, enum option_id id)
{
    return options->values[id].number;
}

/* NULL when there is no value. */
static inline const char *options_string(const struct options *options, enum option_id id)
{
    return (const char *)options->values[id].text.data;
}

/*
 * Checks `text` as a value of the option; `name` is what the sentence calls it. A flag takes
 * yes/no, true/false, on/off, 1/0. Returns 0 or KV_ERR_INVALID with a sentence in `error`.
 */
int option_check(const struct option *option, const char *name, struct slice text,
                 uint64_t *ret_number, char *error, size_t error_size);

/* ---- help (options_help.c) ---- */

/* The overview of the program. */
void options_print_overview(FILE *out);

/* The help of one subcommand. */
void options_print_help(FILE *out, const struct subcommand *subcommand);

/* The options of `owner`, a line or more each. */
void options_print_list(FILE *out, enum option_owner owner);

#endif
