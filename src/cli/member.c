/*
 * `member`, `leader` and `snapshot`: words into calls of the client library.
 *
 * A replacement takes several steps, each of which looks first whether it is done already, so that
 * the same command goes on where it was:
 *
 *     the new one joins as a kept learner ─► catches up ─► votes, and the old one is gone, at once
 */
#include "cli/member.h"

#include "base/assert.h"
#include "base/members.h"
#include "cli/clock.h"
#include "cli/peers.h"

#include <stdio.h>

enum {
    LOOK_MS = 200,             /* between two looks at one that catches up */
    NEWS_NS = 1000 * 1000000L, /* between two lines about it */
};

static const struct slice no_key = {.data = NULL, .size = 0};

/* ---- words ---- */

static bool is_word(struct slice word, const char *text)
{
    return slice_equal(word, slice_of_string(text));
}

static bool parse_id(struct cli *cli, struct slice word, uint64_t *ret_id)
{
    static const struct option id = {.type = OPTION_U64, .min = 1, .max = INT64_MAX};
    char sentence[OPTIONS_ERROR_SIZE];
    if (option_check(&id, "Error: the id", word, ret_id, sentence, sizeof sentence) != 0) {
        output_usage(&cli->output, sentence);
        return false;
    }
    return true;
}

/* "4=host:port" */
static bool parse_member(struct cli *cli, struct slice word, struct member *ret_member)
{
    char error[256];
    char sentence[sizeof error + 16];
    struct members members;
    bool named = memchr(word.data, '=', word.size) != NULL;
    int err = members_parse((const char *)word.data, &members, error, sizeof error);
    if (err == 0 && named && members.count == 1) {
        *ret_member = members.at[0];
        return true;
    }
    (void)snprintf(sentence, sizeof sentence, "Error: %s",
                   err != 0 ? error : "one member is needed, as ID=HOST:PORT");
    output_usage(&cli->output, sentence);
    return false;
}

static bool has_flag(const struct verb_call *call, enum option_id id)
{
    return call->options != NULL && options_number(call->options, id) != 0;
}

/* ---- what failed ---- */

static enum exit_status show_failure(struct cli *cli, int status)
{
    const struct kvapp_reply reply = {.status = status};
    output_failure(&cli->output, no_key, &reply, kvapp_client_error(cli->client));
    return output_exit_status(status);
}

/* ---- changes ---- */

/* One change, and what it came to. */
static enum exit_status change(struct cli *cli, const struct verb_call *call,
                               const struct kvapp_edit *edits, size_t count)
{
    const struct kvapp_change change = {
        .edits = edits,
        .edit_count = count,
        .dry_run = has_flag(call, OPTION_DRY_RUN),
        .force = has_flag(call, OPTION_FORCE),
    };
    struct kvapp_change_result result;
    int status = kvapp_change(cli->client, &change, &result);
    bool shows_plan = result.has_plan && (status == 0 || !cli->output.json);
    if (shows_plan) {
        peers_print_plan(&cli->output, &result);
    }
    if (status != 0) {
        return show_failure(cli, status);
    }
    if (!shows_plan) {
        peers_print_changed(&cli->output, &result.peers);
    }
    return EXIT_DONE;
}

/* A member that is not there yet is to be started. */
static void say_how_to_start(struct cli *cli, const struct member *member)
{
    struct kvapp_peers peers;
    if (cli->output.json || kvapp_members(cli->client, &peers) != 0) {
        return;
    }
    const struct kvapp_peer *there = peers_find(&peers, peers.leader);
    const struct kvapp_peer *new = peers_find(&peers, member->id);
    if (there != NULL && new != NULL && !new->connected) {
        (void)fprintf(cli->output.out,
                      "node %llu is not there yet; start it with an empty directory:\n"
                      "    kvapp server --node-id %llu --bind %s --join %s --data-dir DIR\n",
                      (unsigned long long)member->id, (unsigned long long)member->id,
                      member->address, there->address);
    }
}

static enum exit_status run_add(struct cli *cli, const struct verb_call *call)
{
    struct member member;
    if (!parse_member(cli, call->words[1], &member)) {
        return EXIT_USAGE;
    }
    const struct kvapp_edit edit = {
        .kind = has_flag(call, OPTION_LEARNER) ? KVAPP_ADD_KEPT : KVAPP_ADD_LEARNER,
        .id = member.id,
        .address = member.address,
    };
    enum exit_status exit_status = change(cli, call, &edit, 1);
    if (exit_status == EXIT_DONE && !has_flag(call, OPTION_DRY_RUN)) {
        say_how_to_start(cli, &member);
    }
    return exit_status;
}

static enum exit_status run_one(struct cli *cli, const struct verb_call *call,
                                enum kvapp_edit_kind kind)
{
    struct kvapp_edit edit = {.kind = kind};
    if (!parse_id(cli, call->words[1], &edit.id)) {
        return EXIT_USAGE;
    }
    return change(cli, call, &edit, 1);
}

static enum exit_status run_remove(struct cli *cli, const struct verb_call *call)
{
    return run_one(cli, call, KVAPP_REMOVE);
}

static enum exit_status run_promote(struct cli *cli, const struct verb_call *call)
{
    return run_one(cli, call, KVAPP_PROMOTE);
}

static enum exit_status run_move(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_edit edit = {.kind = KVAPP_MOVE, .address = (const char *)call->words[2].data};
    if (!parse_id(cli, call->words[1], &edit.id)) {
        return EXIT_USAGE;
    }
    return change(cli, call, &edit, 1);
}

static enum exit_status run_list(struct cli *cli, const struct verb_call *call)
{
    (void)call;
    struct kvapp_peers peers;
    int status = kvapp_members(cli->client, &peers);
    if (status != 0) {
        return show_failure(cli, status);
    }
    peers_print(&cli->output, &peers);
    return EXIT_DONE;
}

/* ---- replacing ---- */

/* How far the new one is, as it was seen last. */
struct pursuit {
    uint64_t match;       /* of the new one */
    uint64_t leader;      /* of the leader, at the look before */
    uint64_t progress_ns; /* when it grew last, or was seen first */
    uint64_t news_ns;     /* when a line was printed last */
};

static void print_progress(struct cli *cli, struct pursuit *pursuit, uint64_t id, uint64_t whole)
{
    uint64_t now_ns = clock_now_ns();
    if (cli->output.json || now_ns - pursuit->news_ns < (uint64_t)NEWS_NS) {
        return;
    }
    pursuit->news_ns = now_ns;
    (void)fprintf(cli->output.out, "node %llu has stored %llu of %llu entries\n",
                  (unsigned long long)id, (unsigned long long)pursuit->match,
                  (unsigned long long)whole);
    (void)fflush(cli->output.out);
}

/* Whether it has what the leader had at the look before; else the time of its last progress. */
static bool has_caught_up(struct cli *cli, struct pursuit *pursuit, const struct kvapp_peers *peers,
                          uint64_t id)
{
    const struct kvapp_peer *leader = peers_find(peers, peers->leader);
    const struct kvapp_peer *peer = peers_find(peers, id);
    if (leader == NULL || peer == NULL || peers->answered != peers->leader) {
        return false;
    }
    if (peer->match > pursuit->match) {
        pursuit->match = peer->match;
        pursuit->progress_ns = clock_now_ns();
    }
    bool caught_up = peer->connected && pursuit->leader != 0 && peer->match >= pursuit->leader;
    pursuit->leader = leader->match;
    if (!caught_up) {
        print_progress(cli, pursuit, id, leader->match);
    }
    return caught_up;
}

/* Until it has caught up; gives up when it stores nothing new for the time of one request. */
static enum exit_status wait_for(struct cli *cli, const struct member *member)
{
    struct pursuit pursuit = {.progress_ns = clock_now_ns()};
    uint64_t patience_ns = (uint64_t)cli->timeout_ms * 1000000;
    for (;;) {
        struct kvapp_peers peers;
        int status = kvapp_members(cli->client, &peers);
        if (status != 0) {
            return show_failure(cli, status);
        }
        if (has_caught_up(cli, &pursuit, &peers, member->id)) {
            return EXIT_DONE;
        }
        bool interrupted = cli->interrupted != NULL && cli->interrupted();
        if (interrupted || clock_now_ns() - pursuit.progress_ns > patience_ns) {
            say_how_to_start(cli, member);
            char sentence[160];
            (void)snprintf(sentence, sizeof sentence,
                           "Error: node %llu has not caught up; the same command goes on from here",
                           (unsigned long long)member->id);
            output_usage(&cli->output, sentence);
            return EXIT_NO_ANSWER;
        }
        (void)kvapp_client_run(cli->client, LOOK_MS);
    }
}

/* The edits that are left of a replacement: 0, 1 or 2. */
static size_t edits_left(const struct kvapp_peers *peers, uint64_t old, uint64_t new,
                         struct kvapp_edit edits[2])
{
    size_t count = 0;
    const struct kvapp_peer *peer = peers_find(peers, new);
    if (peer == NULL || !peer->voter) {
        edits[count++] = (struct kvapp_edit){.kind = KVAPP_PROMOTE, .id = new};
    }
    if (peers_find(peers, old) != NULL) {
        edits[count++] = (struct kvapp_edit){.kind = KVAPP_REMOVE, .id = old};
    }
    return count;
}

/* What it comes to in the end; force, for the new one is not there yet. */
static enum exit_status plan_replacement(struct cli *cli, const struct kvapp_peers *peers,
                                         uint64_t old, const struct member *new)
{
    struct kvapp_edit edits[3] = {{.kind = KVAPP_ADD_KEPT, .id = new->id, .address = new->address}};
    size_t count = peers_find(peers, new->id) == NULL ? 1 : 0;
    count += edits_left(peers, old, new->id, edits + count);
    const struct kvapp_change change = {
        .edits = edits, .edit_count = count, .dry_run = true, .force = true};
    struct kvapp_change_result result;
    int status = kvapp_change(cli->client, &change, &result);
    if (status != 0) {
        return show_failure(cli, status);
    }
    peers_print_plan(&cli->output, &result);
    return EXIT_DONE;
}

static enum exit_status join(struct cli *cli, const struct member *new)
{
    const struct kvapp_edit edit = {.kind = KVAPP_ADD_KEPT, .id = new->id, .address = new->address};
    const struct kvapp_change change = {.edits = &edit, .edit_count = 1};
    struct kvapp_change_result result;
    int status = kvapp_change(cli->client, &change, &result);
    if (status != 0) {
        return show_failure(cli, status);
    }
    say_how_to_start(cli, new);
    return EXIT_DONE;
}

static enum exit_status replace(struct cli *cli, const struct verb_call *call, uint64_t old,
                                const struct member *new)
{
    struct kvapp_peers peers;
    int status = kvapp_members(cli->client, &peers);
    if (status != 0) {
        return show_failure(cli, status);
    }
    const struct kvapp_peer *there = peers_find(&peers, new->id);
    if (there != NULL && strcmp(there->address, new->address) != 0) {
        char sentence[ADDRESS_SIZE_MAX + 64];
        (void)snprintf(sentence, sizeof sentence, "Error: node %llu is a member already, at %s",
                       (unsigned long long)new->id, there->address);
        output_usage(&cli->output, sentence);
        return EXIT_USAGE;
    }
    struct kvapp_edit edits[2];
    if (there != NULL && edits_left(&peers, old, new->id, edits) == 0) {
        peers_print_changed(&cli->output, &peers);
        return EXIT_DONE;
    }
    if (has_flag(call, OPTION_DRY_RUN)) {
        return plan_replacement(cli, &peers, old, new);
    }
    enum exit_status exit_status = EXIT_DONE;
    if (there == NULL) {
        exit_status = join(cli, new);
    }
    if (exit_status == EXIT_DONE && !has_flag(call, OPTION_FORCE)) {
        exit_status = wait_for(cli, new);
    }
    if (exit_status != EXIT_DONE) {
        return exit_status;
    }
    size_t count = edits_left(&peers, old, new->id, edits);
    return change(cli, call, edits, count);
}

static enum exit_status run_replace(struct cli *cli, const struct verb_call *call)
{
    uint64_t old = 0;
    struct member new;
    if (!parse_id(cli, call->words[1], &old) || !parse_member(cli, call->words[2], &new)) {
        return EXIT_USAGE;
    }
    if (old == new.id) {
        output_usage(&cli->output, "Error: the new member needs an id of its own");
        return EXIT_USAGE;
    }
    return replace(cli, call, old, &new);
}

/* ---- the verbs ---- */

struct part {
    const char *name;
    const char *arguments;
    const char *help;
    size_t words; /* the name among them */
    bool changes; /* has --dry-run and --force */
    enum exit_status (*run)(struct cli *cli, const struct verb_call *call);
};

static const struct part parts[] = {
    {
        .name = "list",
        .arguments = "",
        .help = "Who takes part, who leads, and how far each has stored the log",
        .words = 1,
        .run = run_list,
    },
    {
        .name = "add",
        .arguments = " ID=HOST:PORT",
        .help = "A learner joins, and votes once it has caught up; with --learner, never",
        .words = 2,
        .changes = true,
        .run = run_add,
    },
    {
        .name = "promote",
        .arguments = " ID",
        .help = "A learner votes from now on",
        .words = 2,
        .changes = true,
        .run = run_promote,
    },
    {
        .name = "remove",
        .arguments = " ID",
        .help = "A member is one no more; it may be the leader",
        .words = 2,
        .changes = true,
        .run = run_remove,
    },
    {
        .name = "replace",
        .arguments = " ID NEW=HOST:PORT",
        .help = "A new one catches up, then takes the place of the other in one change",
        .words = 3,
        .changes = true,
        .run = run_replace,
    },
    {
        .name = "move",
        .arguments = " ID HOST:PORT",
        .help = "A member is at another address",
        .words = 3,
        .changes = true,
        .run = run_move,
    },
};

enum { PART_COUNT = sizeof parts / sizeof parts[0] };

static bool has_misplaced_flag(const struct part *part, const struct verb_call *call)
{
    bool of_changes = has_flag(call, OPTION_DRY_RUN) || has_flag(call, OPTION_FORCE);
    return (of_changes && !part->changes) ||
           (has_flag(call, OPTION_LEARNER) && part->run != run_add);
}

static enum exit_status show_part_usage(struct cli *cli, const struct part *part)
{
    char sentence[128];
    (void)snprintf(sentence, sizeof sentence, "Usage: member %s%s%s%s", part->name, part->arguments,
                   part->run == run_add ? " [--learner]" : "",
                   part->changes ? " [--dry-run] [--force]" : "");
    output_usage(&cli->output, sentence);
    return EXIT_USAGE;
}

void member_print_help(FILE *out)
{
    for (size_t i = 0; i < PART_COUNT; i++) {
        char usage[64];
        (void)snprintf(usage, sizeof usage, "member %s%s", parts[i].name, parts[i].arguments);
        (void)fprintf(out, "  %-32s %s\n", usage, parts[i].help);
    }
}

enum exit_status member_run(struct cli *cli, const struct verb_call *call)
{
    for (size_t i = 0; i < PART_COUNT; i++) {
        const struct part *part = &parts[i];
        if (!is_word(call->words[0], part->name)) {
            continue;
        }
        if (call->count != part->words || has_misplaced_flag(part, call)) {
            return show_part_usage(cli, part);
        }
        return part->run(cli, call);
    }
    cli_show_usage(cli, call->verb);
    return EXIT_USAGE;
}

enum exit_status member_run_leader(struct cli *cli, const struct verb_call *call)
{
    uint64_t to = 0;
    uint64_t leader = 0;
    if (!is_word(call->words[0], "transfer")) {
        cli_show_usage(cli, call->verb);
        return EXIT_USAGE;
    }
    if (call->count == 2 && !parse_id(cli, call->words[1], &to)) {
        return EXIT_USAGE;
    }
    int status = kvapp_transfer(cli->client, to, &leader);
    if (status != 0) {
        return show_failure(cli, status);
    }
    if (cli->output.json) {
        output_json(&cli->output, json_pack("{s:b, s:I}", "ok", 1, "leader", (json_int_t)leader));
    } else {
        (void)fprintf(cli->output.out, "OK, node %llu leads\n", (unsigned long long)leader);
    }
    return EXIT_DONE;
}

/* One line, or one element, for one member. */
static int snap(struct cli *cli, const struct kvapp_peer *peer, json_t *array)
{
    uint64_t index = 0;
    int status = kvapp_snapshot(cli->client, peer->address, &index);
    json_int_t id = (json_int_t)peer->id;
    if (cli->output.json && status == 0) {
        CHECK(json_array_append_new(
                  array, json_pack("{s:I, s:I}", "id", id, "index", (json_int_t)index)) == 0);
    } else if (cli->output.json) {
        CHECK(json_array_append_new(array, json_pack("{s:I, s:s}", "id", id, "error",
                                                     kvapp_client_error(cli->client))) == 0);
    } else if (status == 0 && index == 0) {
        (void)fprintf(cli->output.out,
                      "node %llu: no snapshot, for it has just started and applied nothing yet\n",
                      (unsigned long long)peer->id);
    } else if (status == 0) {
        (void)fprintf(cli->output.out, "node %llu: a snapshot up to entry %llu is on the disk\n",
                      (unsigned long long)peer->id, (unsigned long long)index);
    } else {
        (void)fprintf(cli->output.complaints, "Error: node %llu took none: %s\n",
                      (unsigned long long)peer->id, kvapp_client_error(cli->client));
    }
    return status;
}

enum exit_status member_run_snapshot(struct cli *cli, const struct verb_call *call)
{
    (void)call;
    struct kvapp_peers peers;
    int status = kvapp_members(cli->client, &peers);
    if (status != 0) {
        return show_failure(cli, status);
    }
    json_t *array = json_array();
    enum exit_status exit_status = EXIT_DONE;
    for (size_t i = 0; i < peers.count; i++) {
        enum exit_status one = output_exit_status(snap(cli, &peers.at[i], array));
        exit_status = one > exit_status ? one : exit_status;
    }
    if (cli->output.json) {
        output_json(&cli->output,
                    json_pack("{s:b, s:O}", "ok", exit_status == EXIT_DONE, "snapshots", array));
    }
    json_decref(array);
    return exit_status;
}
