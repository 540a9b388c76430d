#include "cli/verbs.h"

#include "cli/backup.h"
#include "cli/clock.h"
#include "cli/member.h"
#include "cli/status.h"
#include "cli/words.h"
#include "cli/write.h"

#include "base/assert.h"
#include "base/limits.h"

#include <stdio.h>

enum {
    PAGE_SIZE = 1000,      /* keys that a list asks for at once */
    HELP_COLUMN = 28,      /* where the explanations begin */
    STATUS_WAIT_MS = 1000, /* a member that says nothing for so long is not reachable */
};

/* ---- single keys ---- */

enum exit_status cli_show_reply(struct cli *cli, struct slice key, const struct kvapp_reply *reply,
                                show_reply_fn show)
{
    if (reply->status == 0) {
        show(&cli->output, key, reply);
    } else {
        output_failure(&cli->output, key, reply, kvapp_client_error(cli->client));
    }
    output_age(&cli->output, reply);
    return output_exit_status(reply->status);
}

static enum exit_status run_get(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    reply.status = kvapp_get(cli->client, key.data, key.size, &reply);
    return cli_show_reply(cli, key, &reply, output_value);
}

static enum exit_status run_delete(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    reply.status = kvapp_delete(cli->client, key.data, key.size, &reply);
    return cli_show_reply(cli, key, &reply, output_ok);
}

void cli_show_usage(struct cli *cli, const struct verb *verb)
{
    char sentence[512];
    (void)snprintf(sentence, sizeof sentence, "Usage: %s%s%s", verb->name,
                   verb->arguments[0] == '\0' ? "" : " ", verb->arguments);
    output_usage(&cli->output, sentence);
}

bool cli_parse_number(struct cli *cli, const char *what, struct slice word, uint64_t *ret_number)
{
    static const struct option number = {.type = OPTION_U64, .max = INT64_MAX};
    char sentence[OPTIONS_ERROR_SIZE];
    if (option_check(&number, what, word, ret_number, sentence, sizeof sentence) != 0) {
        output_usage(&cli->output, sentence);
        return false;
    }
    return true;
}

static enum exit_status run_delete_if(struct cli *cli, const struct verb_call *call)
{
    uint64_t expected;
    if (!cli_parse_number(cli, "Error: the revision", call->words[1], &expected)) {
        return EXIT_USAGE;
    }
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    reply.status = kvapp_delete_if(cli->client, key.data, key.size, expected, &reply);
    return cli_show_reply(cli, key, &reply, output_ok);
}

/* ---- writes of unknown outcome ---- */

static enum exit_status ask_outcome(struct cli *cli, const struct verb_call *call,
                                    int (*ask)(struct kvapp_client *client, uint64_t session,
                                               uint64_t sequence, struct kvapp_reply *ret_reply))
{
    uint64_t session;
    uint64_t sequence;
    if (!cli_parse_number(cli, "Error: the session", call->words[0], &session) ||
        !cli_parse_number(cli, "Error: the sequence", call->words[1], &sequence)) {
        return EXIT_USAGE;
    }
    struct kvapp_reply reply = {0};
    reply.status = ask(cli->client, session, sequence, &reply);
    return output_outcome(&cli->output, &reply, kvapp_client_error(cli->client));
}

static enum exit_status run_outcome(struct cli *cli, const struct verb_call *call)
{
    return ask_outcome(cli, call, kvapp_outcome);
}

static enum exit_status run_cancel(struct cli *cli, const struct verb_call *call)
{
    return ask_outcome(cli, call, kvapp_cancel);
}

/* ---- ranges ---- */

static struct kvapp_range range_of(const struct verb_call *call)
{
    struct slice start = call->options->values[OPTION_START].text;
    struct slice end = call->options->values[OPTION_END].text;
    struct slice prefix = call->count == 0 ? slice_of(NULL, 0) : call->words[0];
    return (struct kvapp_range){
        .start = start.data,
        .start_size = start.size,
        .end = end.data,
        .end_size = end.size,
        .prefix = prefix.data,
        .prefix_size = prefix.size,
    };
}

/* Prints a page and keeps its last key, with the zero byte that makes it the next page's start. */
static uint64_t show_page(struct output_list *list, const struct kvapp_reply *reply,
                          struct buf *next_start)
{
    struct kvapp_item item;
    size_t cursor = 0;
    uint64_t count = 0;
    struct slice last = {0};
    while (kvapp_reply_next(reply, list->values, &cursor, &item)) {
        output_list_item(list, &item);
        last = slice_of(item.key, item.key_size);
        count++;
    }
    buf_clear(next_start);
    buf_append_slice(next_start, last);
    buf_put_u8(next_start, 0);
    return count;
}

/* Page after page, so that the memory it takes does not depend on how many keys there are. */
static enum exit_status list_range(struct cli *cli, const struct verb_call *call, bool values)
{
    struct kvapp_range range = range_of(call);
    range.values = values;
    uint64_t left = options_given(call->options, OPTION_LIMIT)
                        ? options_number(call->options, OPTION_LIMIT)
                        : UINT64_MAX;
    struct buf start = {0};
    struct output_list list;
    output_list_begin(&list, &cli->output, values);
    int status = 0;
    bool interrupted = false;
    for (bool more = true; more && status == 0 && !interrupted;) {
        struct kvapp_reply reply = {0};
        range.limit = left < PAGE_SIZE ? (uint32_t)left : PAGE_SIZE;
        status = kvapp_list(cli->client, &range, &reply);
        if (status == 0) {
            output_list_age(&list, &reply);
            uint64_t count = show_page(&list, &reply, &start);
            left -= count < left ? count : left;
            more = reply.more && left > 0 && !ferror(cli->output.out);
            range.start = start.data;
            range.start_size = start.size;
            interrupted = more && cli->interrupted != NULL && cli->interrupted();
            if (more && count == 0) {
                status = KV_ERR_MALFORMED;
            }
        }
    }
    output_list_end(&list, status, kvapp_client_error(cli->client));
    if (interrupted) {
        (void)fputs("Interrupted\n", cli->output.complaints);
    }
    buf_done(&start);
    return output_exit_status(status);
}

static enum exit_status run_list(struct cli *cli, const struct verb_call *call)
{
    return list_range(cli, call, options_number(call->options, OPTION_VALUES) != 0);
}

static enum exit_status run_scan(struct cli *cli, const struct verb_call *call)
{
    return list_range(cli, call, true);
}

static enum exit_status run_delete_range(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_range range = range_of(call);
    bool unlimited = range.prefix_size + range.start_size + range.end_size == 0;
    if (unlimited || options_given(call->options, OPTION_LIMIT) ||
        options_given(call->options, OPTION_VALUES)) {
        cli_show_usage(cli, call->verb);
        return EXIT_USAGE;
    }
    struct kvapp_reply reply = {0};
    reply.status = kvapp_delete_range(cli->client, &range, &reply);
    if (reply.status == 0) {
        output_deleted(&cli->output, reply.count);
    } else {
        output_failure(&cli->output, slice_of(NULL, 0), &reply, kvapp_client_error(cli->client));
    }
    return output_exit_status(reply.status);
}

/* ---- about the cluster and the shell ---- */

bool cli_ask_status(struct cli *cli, struct kvapp_member *members, size_t *ret_count)
{
    uint32_t wait_ms = cli->timeout_ms < STATUS_WAIT_MS ? cli->timeout_ms : STATUS_WAIT_MS;
    size_t count = 0;
    if (kvapp_status(cli->client, wait_ms, members, &count) != 0) {
        return false;
    }
    CHECK(count <= MEMBERS_MAX);
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        any = any || members[i].reachable;
    }
    *ret_count = count;
    return any;
}

static enum exit_status run_status(struct cli *cli, const struct verb_call *call)
{
    (void)call;
    struct kvapp_member members[MEMBERS_MAX] = {0};
    size_t count = 0;
    bool any = cli_ask_status(cli, members, &count);
    status_print(&cli->output, members, count);
    return any ? EXIT_DONE : EXIT_NO_ANSWER;
}

static enum exit_status run_help(struct cli *cli, const struct verb_call *call)
{
    (void)call;
    if (!cli->output.json) {
        verbs_print_help(cli->output.out);
        return EXIT_DONE;
    }
    json_t *object = json_object();
    json_t *commands = json_array();
    for (const struct verb *verb = verb_table; verb->name != NULL; verb++) {
        CHECK(json_array_append_new(commands, json_string(verb->name)) == 0);
    }
    CHECK(json_object_set_new(object, "commands", commands) == 0);
    output_json(&cli->output, object);
    return EXIT_DONE;
}

static enum exit_status run_quit(struct cli *cli, const struct verb_call *call)
{
    (void)call;
    cli->quit = true;
    if (!cli->output.json) {
        (void)fputs("Goodbye!\n", cli->output.out);
    }
    return EXIT_DONE;
}

const struct verb verb_table[] = {
    {
        .name = "get",
        .arguments = "<key>",
        .help = "Print the value of a key",
        .words_min = 1,
        .words_max = 1,
        .run = run_get,
    },
    {
        .name = "put",
        .arguments = "<key> <value> [--ttl MS] [--if-absent]",
        .help = "Store a value; several words are joined by one space",
        .words_min = 2,
        .words_max = SIZE_MAX,
        .options = OWNER_PUT,
        .run = write_run_put,
    },
    {
        .name = "delete",
        .arguments = "<key>",
        .help = "Remove a key",
        .words_min = 1,
        .words_max = 1,
        .run = run_delete,
    },
    {
        .name = "list",
        .arguments = "[prefix] [--limit N] [--start KEY] [--end KEY] [--values]",
        .help = "Print keys in order",
        .words_max = 1,
        .options = OWNER_RANGE,
        .run = run_list,
    },
    {
        .name = "scan",
        .arguments = "[prefix] [--limit N] [--start KEY] [--end KEY]",
        .help = "Print keys and values in order, with a tab between them",
        .words_max = 1,
        .options = OWNER_RANGE,
        .run = run_scan,
    },
    {
        .name = "delete-range",
        .arguments = "[prefix] [--start KEY] [--end KEY]",
        .help = "Remove all keys of a range; it must have a limit on some side",
        .words_max = 1,
        .options = OWNER_RANGE,
        .run = run_delete_range,
    },
    {
        .name = "put-if",
        .other_name = "cas",
        .arguments = "<key> <revision> <value> [--ttl MS]",
        .help = "Store a value if the key is at this revision; 0: if it is not there",
        .words_min = 3,
        .words_max = SIZE_MAX,
        .options = OWNER_PUT_IF,
        .run = write_run_put_if,
    },
    {
        .name = "delete-if",
        .arguments = "<key> <revision>",
        .help = "Remove a key if it is at this revision",
        .words_min = 2,
        .words_max = 2,
        .run = run_delete_if,
    },
    {
        .name = "incr",
        .arguments = "<key> [number]",
        .help = "Add 1, or this number, to the number at a key, and print it",
        .words_min = 1,
        .words_max = 2,
        .run = write_run_incr,
    },
    {
        .name = "append",
        .arguments = "<key> <value>",
        .help = "Put a value behind the one that is there",
        .words_min = 2,
        .words_max = SIZE_MAX,
        .run = write_run_append,
    },
    {
        .name = "expire",
        .arguments = "<key> <ms>",
        .help = "Let a key go after so many milliseconds; 0: never",
        .words_min = 2,
        .words_max = 2,
        .run = write_run_expire,
    },
    {
        .name = "ttl",
        .arguments = "<key>",
        .help = "Print in how many milliseconds a key goes, or never",
        .words_min = 1,
        .words_max = 1,
        .run = write_run_ttl,
    },
    {
        .name = "outcome",
        .arguments = "<session> <sequence>",
        .help = "Tell what became of a write whose outcome was unknown",
        .words_min = 2,
        .words_max = 2,
        .run = run_outcome,
    },
    {
        .name = "cancel",
        .arguments = "<session> <sequence>",
        .help = "The same, and a write that was not applied never will be",
        .words_min = 2,
        .words_max = 2,
        .run = run_cancel,
    },
    {
        .name = "backup",
        .arguments = "<file> [--force]",
        .help = "Save all that was acknowledged so far to a file",
        .options = OWNER_BACKUP,
        .words_min = 1,
        .words_max = 1,
        .run = backup_run,
    },
    {
        .name = "status",
        .arguments = "",
        .help = "Show the members of the cluster",
        .run = run_status,
    },
    {
        .name = "member",
        .arguments = "list|add|promote|remove|replace|move ...",
        .help = "Show or change who takes part; --dry-run says what a change would mean",
        .words_min = 1,
        .words_max = 3,
        .options = OWNER_MEMBER,
        .run = member_run,
    },
    {
        .name = "leader",
        .arguments = "transfer [ID]",
        .help = "Let another voter lead: this one, or the most up to date",
        .words_min = 1,
        .words_max = 2,
        .run = member_run_leader,
    },
    {
        .name = "snapshot",
        .arguments = "",
        .help = "Let every member take a snapshot of its state now",
        .run = member_run_snapshot,
    },
    {
        .name = "help",
        .arguments = "",
        .help = "Show this help",
        .run = run_help,
    },
    {
        .name = "quit",
        .other_name = "exit",
        .arguments = "",
        .help = "Leave the shell",
        .run = run_quit,
    },
    {0},
};

const struct verb *verb_find(struct slice name)
{
    for (const struct verb *verb = verb_table; verb->name != NULL; verb++) {
        if (slice_equal(name, slice_of_string(verb->name)) ||
            (verb->other_name != NULL && slice_equal(name, slice_of_string(verb->other_name)))) {
            return verb;
        }
    }
    return NULL;
}

void verbs_print_help(FILE *out)
{
    (void)fputs("Available commands:\n", out);
    for (const struct verb *verb = verb_table; verb->name != NULL; verb++) {
        char usage[256];
        (void)snprintf(usage, sizeof usage, "%s%s%s %s", verb->name,
                       verb->other_name == NULL ? "" : "|",
                       verb->other_name == NULL ? "" : verb->other_name, verb->arguments);
        bool fits = strlen(usage) <= HELP_COLUMN;
        (void)fprintf(out, "  %-*s %s%*s%s\n", HELP_COLUMN, usage, fits ? "" : "\n",
                      fits ? 0 : HELP_COLUMN + 3, "", verb->help);
    }
}

static enum exit_status refuse_unknown(struct cli *cli, struct slice name)
{
    struct buf sentence = {0};
    buf_append_slice(&sentence, slice_of_string("Unknown command: "));
    text_escape(name, &sentence);
    buf_append_slice(&sentence, slice_of_string(". Type 'help' for available commands."));
    buf_put_u8(&sentence, 0);
    output_usage(&cli->output, (const char *)sentence.data);
    buf_done(&sentence);
    return EXIT_USAGE;
}

/* The options of commands belong to those that have them. */
static const char *misplaced_option(const struct verb *verb, const struct options *options)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        unsigned owners = option_table[i].owners & OWNERS_OF_COMMANDS;
        if (owners != 0 && (owners & verb->options) == 0 &&
            options_given(options, (enum option_id)i)) {
            return option_table[i].name;
        }
    }
    return NULL;
}

static enum exit_status run_checked(struct cli *cli, const struct verb_call *call)
{
    const char *misplaced =
        call->options == NULL ? NULL : misplaced_option(call->verb, call->options);
    if (misplaced != NULL) {
        char sentence[128];
        (void)snprintf(sentence, sizeof sentence, "Error: %s has no option --%s", call->verb->name,
                       misplaced);
        output_usage(&cli->output, sentence);
        return EXIT_USAGE;
    }
    if (call->count < call->verb->words_min || call->count > call->verb->words_max) {
        cli_show_usage(cli, call->verb);
        return EXIT_USAGE;
    }
    uint64_t start_ns = clock_now_ns();
    enum exit_status exit_status = call->verb->run(cli, call);
    if (cli->verbose) {
        (void)fflush(cli->output.out);
        (void)fprintf(cli->remarks, "(leader %llu, %.3f ms)\n",
                      (unsigned long long)kvapp_client_leader(cli->client),
                      (double)(clock_now_ns() - start_ns) / 1e6);
    }
    return exit_status;
}

enum exit_status verb_run(struct cli *cli, const struct slice *words, size_t count,
                          const struct options *options)
{
    if (count == 0) {
        return EXIT_DONE;
    }
    const struct verb *verb = verb_find(words[0]);
    if (verb == NULL) {
        return refuse_unknown(cli, words[0]);
    }
    struct verb_call call = {
        .verb = verb, .words = words + 1, .count = count - 1, .options = options};
    if (verb->options == 0 || options != NULL) {
        return run_checked(cli, &call);
    }
    struct options parsed;
    char sentence[16 + OPTIONS_ERROR_SIZE] = "Error: ";
    size_t used = strlen(sentence);
    if (options_parse_words(verb->options, call.words, call.count, &parsed, sentence + used,
                            sizeof sentence - used) != 0) {
        output_usage(&cli->output, sentence);
        return EXIT_USAGE;
    }
    call.words = parsed.words;
    call.count = parsed.word_count;
    call.options = &parsed;
    enum exit_status exit_status = run_checked(cli, &call);
    options_done(&parsed);
    return exit_status;
}
