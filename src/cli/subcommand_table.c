/* The subcommands: what each is for, as its help says it. Their options: options_table.c. */
#include "cli/options.h"

const struct subcommand subcommand_table[] = {
    {
        .owner = OWNER_SERVER,
        .name = "server",
        .usage = "",
        .summary = "run one server of a cluster",
        .about =
            "Runs one server of a cluster until SIGTERM or SIGINT, and logs to standard error.\n"
            "Exit status: 0 after a clean end, 1 after a failure, 2 when an option is wrong.\n",
    },
    {
        .owner = OWNER_CLIENT,
        .name = "client",
        .usage = " [command ...]",
        .summary = "read and write keys, once or in an interactive shell",
        .about =
            "Carries out one command; without a command, reads commands from a shell.\n"
            "Exit status: 0 done, 1 key not found, condition not met or value no number, 2 wrong\n"
            "usage, 3 no answer\n"
            "(of a shell that reads a file or a pipe: the highest of its commands).\n"
            "\n"
            "What is not printable UTF-8 is shown as \\xNN, and a backslash as \\\\. In the shell "
            "a\n"
            "word may stand in quotes: \"a b\" with the escapes \\xNN \\n \\r \\t \\\\ \\\", or "
            "'raw'.\n"
            "With --json a key or value that is no UTF-8 is named key_base64 or value_base64.\n",
        .takes_words = true,
    },
    {
        .owner = OWNER_BENCH,
        .name = "bench",
        .usage = " put|get|mixed",
        .summary = "measure what a cluster can do",
        .about =
            "Keeps a number of requests in flight until all are done, checks every reply, and\n"
            "reports speed and latency. Keys are named key-... and are overwritten.\n"
            "Exit status: 0 done, 1 when a reply was wrong or missing, 2 wrong usage, 3 no "
            "answer.\n",
        .takes_words = true,
    },
    {
        .owner = OWNER_SIM,
        .name = "sim",
        .usage = "",
        .summary = "run whole clusters in virtual time under drawn faults, and judge them",
        .about =
            "Runs a cluster with its clients in one thread, on simulated machines, disks, clocks\n"
            "and networks, under faults that the seed draws, and checks after every step that\n"
            "nothing acknowledged is lost and nothing answered is wrong. Without --seed, --seeds\n"
            "and --for: random seeds for ten seconds. See docs/SIMULATOR.md.\n"
            "Exit status: 0 all is well, 1 a property was broken, 2 wrong usage.\n",
    },
    {
        .owner = OWNER_INSPECT,
        .name = "inspect",
        .usage = " DIR",
        .summary = "show what a server's data directory holds, offline",
        .about =
            "Shows whose directory it is, its term and vote, snapshots, the log's segments and\n"
            "entries, and whether the checksums are right. Reads only, so a server may be "
            "running.\n"
            "Exit status: 0 all that was read is right, 1 something is wrong, 2 wrong usage or no\n"
            "data directory.\n",
        .takes_words = true,
    },
    {
        .owner = OWNER_VERIFY,
        .name = "verify",
        .usage = " DIR",
        .summary = "check every byte of a server's data directory, offline",
        .about =
            "Reads all files of a data directory, checks every checksum and what must follow "
            "what,\n"
            "and names each place that is wrong, with what a server that starts there does about\n"
            "it. Reads only, so a server may be running.\n"
            "Exit status: 0 all is right, 1 something is wrong, a torn tail included, 2 wrong "
            "usage\n"
            "or no data directory.\n",
        .takes_words = true,
    },
    {
        .owner = OWNER_RESTORE,
        .name = "restore",
        .usage = " FILE",
        .summary = "make a server's data directory out of a backup, offline",
        .about =
            "Makes the data directory of one server of a new cluster out of a file that\n"
            "\"kvapp client backup\" has written. Restore every member so, each with its own\n"
            "--node-id, from the same file and with the same --cluster; then start them with the\n"
            "same options. The new cluster has nothing to do with the old one, even at the same\n"
            "addresses. The directory must be empty; after an interruption, call again.\n"
            "Exit status: 0 done, 1 not done, 2 wrong usage.\n",
        .takes_words = true,
    },
    {
        .owner = OWNER_RECOVER,
        .name = "recover",
        .usage = " DIR...",
        .summary = "make a new cluster of what is left after a majority was lost, offline",
        .about =
            "For when a majority of the servers is gone for ever. Shows what each data directory\n"
            "holds, and which of them to go on with. With --yes, one directory becomes a cluster\n"
            "of one server, of which everything in its log counts as committed; what only the "
            "lost\n"
            "servers had is lost. Then start it, and add other servers, with empty directories, "
            "as\n"
            "new members. The old files are kept in DIR/before-recovery; after an interruption,\n"
            "call again.\n"
            "Exit status: 0 done, 1 a directory cannot be used, 2 wrong usage.\n",
        .takes_words = true,
    },
    {0},
};

const struct subcommand *subcommand_find(struct slice name)
{
    for (const struct subcommand *at = subcommand_table; at->name != NULL; at++) {
        if (slice_equal(name, slice_of_string(at->name))) {
            return at;
        }
    }
    return NULL;
}
