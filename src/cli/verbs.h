/*
 * The commands of kvapp client, in the shell and outside: one table, from which the dispatch, the
 * help, the usage sentences and the completion come.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"

/* What commands work with. */
struct cli {
    struct kvapp_client *client;
    struct output output;
    uint32_t timeout_ms;
    bool verbose;              /* after each command, who answered and how long it took */
    FILE *remarks;             /* where that goes */
    bool (*interrupted)(void); /* asked between the pages of a list; NULL: never */
    verify_backup_fn verify_backup;
    bool quit; /* set by the commands that end the shell */
};

struct verb;

/* One command as it was given. */
struct verb_call {
    const struct verb *verb;
    const struct slice *words; /* what follows the verb */
    size_t count;
    const struct options *options; /* NULL: none may be given */
};

struct verb {
    const char *name;
    const char *other_name; /* NULL: none */
    const char *arguments;  /* as in "Usage: name arguments" */
    const char *help;
    size_t words_min;
    size_t words_max;
    enum option_owner options; /* whose options it has, such as OWNER_RANGE; 0: none */
    enum exit_status (*run)(struct cli *cli, const struct verb_call *call);
};

/* The last one has no name. */
extern const struct verb verb_table[];

/* NULL when there is none of that name. */
const struct verb *verb_find(struct slice name);

/*
 * Carries out one command, prints its reply and returns its exit status. `options` are those of a
 * command line that was parsed already; NULL in the shell, where a verb that has options parses
 * them from the words.
 */
enum exit_status verb_run(struct cli *cli, const struct slice *words, size_t count,
                          const struct options *options);

/* The list of commands. */
void verbs_print_help(FILE *out);

/* "Usage: ..." of the verb. */
void cli_show_usage(struct cli *cli, const struct verb *verb);

typedef void (*show_reply_fn)(struct output *output, struct slice key,
                              const struct kvapp_reply *reply);

/* Prints what a call gave: by `show` when it succeeded. */
enum exit_status cli_show_reply(struct cli *cli, struct slice key, const struct kvapp_reply *reply,
                                show_reply_fn show);

/* A number that a command names, such as a revision, with the option table's idea of one. False:
 * it is none, and that was said; `what` begins the sentence. */
bool cli_parse_number(struct cli *cli, const char *what, struct slice word, uint64_t *ret_number);

/* Asks all members; returns whether any one answered. */
bool cli_ask_status(struct cli *cli, struct kvapp_member *members, size_t *ret_count);

#endif
