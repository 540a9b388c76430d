/* The text of a script's trace: one line each for the story, a store, a message, a read. */
#include "script.h"

#include "base/assert.h"
#include "raft/membership.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void show(struct stage *stage, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof line);
    buf_append_slice(stage->out, slice_of_string("    "));
    buf_append(stage->out, line, (size_t)size);
    buf_put_u8(stage->out, '\n');
}

void show_trace(void *context, struct server *server, enum trace_level level, const char *line)
{
    struct stage *stage = context;
    if (stage->quiet && level > TRACE_INFO) {
        return;
    }
    if (stage->timed) {
        show(stage, "after %" PRIu64 " ms, %" PRIu64 ": %s",
             stage->cluster.now_ms - stage->time_base_ms, server->id, line);
    } else {
        show(stage, "%" PRIu64 ": %s", server->id, line);
    }
}

static void show_store(struct stage *stage, uint64_t id, const struct raft_store *store)
{
    char text[256 + MEMBERSHIP_TEXT_SIZE];
    int at = snprintf(text, sizeof text, "%" PRIu64 " stores #%" PRIu64 ":", id, store->ticket);
    const char *comma = "";
    if ((store->flags & RAFT_STORE_VOTE) != 0) {
        at += snprintf(text + at, sizeof text - (size_t)at, " term %" PRIu64, store->term);
        if (store->voted_for != 0) {
            at += snprintf(text + at, sizeof text - (size_t)at, " with a vote for %" PRIu64,
                           store->voted_for);
        }
        comma = ",";
    }
    if ((store->flags & RAFT_STORE_RESET) != 0) {
        (void)snprintf(text + at, sizeof text - (size_t)at,
                       "%s the log begins anew after %" PRIu64 ":%" PRIu64, comma,
                       store->reset_index, store->reset_term);
    }
    if ((store->flags & RAFT_STORE_TRUNCATE) != 0) {
        at += snprintf(text + at, sizeof text - (size_t)at, "%s truncate from %" PRIu64, comma,
                       store->truncate_from);
        comma = ",";
    }
    if ((store->flags & RAFT_STORE_NOOP) != 0) {
        (void)snprintf(text + at, sizeof text - (size_t)at, "%s no-op %" PRIu64, comma,
                       store->append_first);
    } else if ((store->flags & RAFT_STORE_MEMBERSHIP) != 0) {
        char members[MEMBERSHIP_TEXT_SIZE];
        (void)snprintf(text + at, sizeof text - (size_t)at, "%s membership %" PRIu64 " (%s)", comma,
                       store->append_first, membership_text(&store->membership, members));
    } else if ((store->flags & RAFT_STORE_ENTRIES) != 0) {
        (void)snprintf(text + at, sizeof text - (size_t)at, "%s entries %" PRIu64 "..%" PRIu64,
                       comma, store->append_first, store->append_first + store->append_count - 1);
    }
    show(stage, "%s", text);
}

void show_effects(void *context, struct server *server, const struct raft_effects *effects)
{
    struct stage *stage = context;
    if (stage->quiet) {
        return;
    }
    if (effects->store.flags != 0) {
        show_store(stage, server->id, &effects->store);
    }
    if (effects->read_tag != 0) {
        show(stage, "%" PRIu64 " serves reads up to tag %" PRIu64 " at index %" PRIu64, server->id,
             effects->read_tag, effects->read_index);
    }
    if (effects->membership_changed && effects->removed) {
        show(stage, "%" PRIu64 " is told that it was removed", server->id);
    }
}

static void describe_append(const struct raft_append_request *append, char *text, size_t size)
{
    int at = 0;
    if (append->entry_count == 0) {
        at = snprintf(text, size, "nothing");
    } else {
        at = snprintf(text, size, "%" PRIu64 "..%" PRIu64, append->prev_index + 1,
                      append->prev_index + append->entry_count);
    }
    at += snprintf(text + at, size - (size_t)at, " after %" PRIu64 ":%" PRIu64 ", commit %" PRIu64,
                   append->prev_index, append->prev_term, append->commit_index);
    if (append->read_round != 0) {
        (void)snprintf(text + at, size - (size_t)at, ", round %" PRIu64, append->read_round);
    }
}

static void describe_response(const struct raft_append_response *response, char *text, size_t size)
{
    int at = 0;
    if (response->success) {
        at = snprintf(text, size, "success, match %" PRIu64, response->match_index);
    } else if (response->prev_index == 0) {
        at = snprintf(text, size, "refused, the term is over");
    } else {
        at = snprintf(text, size, "refused after %" PRIu64 ", hint %" PRIu64 ":%" PRIu64,
                      response->prev_index, response->hint_index, response->hint_term);
    }
    if (response->read_round != 0) {
        at += snprintf(text + at, size - (size_t)at, ", round %" PRIu64, response->read_round);
    }
    if (response->lost) {
        at += snprintf(text + at, size - (size_t)at, ", log lost");
    }
    if (response->lease) {
        (void)snprintf(text + at, size - (size_t)at, ", lease");
    }
}

void show_message(struct stage *stage, const char *remark, const struct parcel *parcel)
{
    if (stage->quiet) {
        return;
    }
    const struct raft_message *message = &parcel->message;
    char text[256] = "";
    const char *name = "";
    switch (message->type) {
    case RAFT_VOTE_REQUEST:
        name = message->vote_request.pre ? "pre-vote request" : "vote request";
        (void)snprintf(text, sizeof text, "log ends at %" PRIu64 ":%" PRIu64 "%s",
                       message->vote_request.last_index, message->vote_request.last_term,
                       message->vote_request.transfer ? ", a transfer" : "");
        break;
    case RAFT_VOTE_RESPONSE:
        name = message->vote_response.pre ? "pre-vote response" : "vote response";
        (void)snprintf(text, sizeof text, "%s",
                       message->vote_response.granted ? "granted" : "refused");
        break;
    case RAFT_APPEND_REQUEST:
        name = message->append_request.entry_count == 0 ? "heartbeat" : "append";
        describe_append(&message->append_request, text, sizeof text);
        break;
    case RAFT_APPEND_RESPONSE:
        name = "append response";
        describe_response(&message->append_response, text, sizeof text);
        break;
    case RAFT_SNAPSHOT_REQUEST:
        name = "snapshot request";
        (void)snprintf(text, sizeof text, "up to %" PRIu64 ":%" PRIu64,
                       message->snapshot_request.index, message->snapshot_request.term);
        break;
    case RAFT_TIMEOUT_NOW:
        name = "timeout now";
        break;
    }
    show(stage, "%" PRIu64 " -> %" PRIu64 "%s: %s, term %" PRIu64 "%s%s", message->from,
         message->to, remark, name, message->term, text[0] == '\0' ? "" : ", ", text);
}

void show_state(struct stage *stage)
{
    for (size_t i = 0; i < stage->cluster.count; i++) {
        const struct server *server = &stage->cluster.servers[i];
        if (server->raft == NULL) {
            show(stage, "%" PRIu64 " is down", server->id);
            continue;
        }
        show(stage,
             "%" PRIu64 " is %s in term %" PRIu64 ", leader %" PRIu64 ", commit %" PRIu64
             ", durable %" PRIu64 ", last %" PRIu64 ":%" PRIu64,
             server->id, raft_role_name(raft_role(server->raft)), raft_term(server->raft),
             raft_leader(server->raft), raft_commit_index(server->raft),
             raft_durable_index(server->raft), raft_last_index(server->raft),
             raft_term_at(server->raft, raft_last_index(server->raft)));
    }
}

void show_logs(struct stage *stage)
{
    for (size_t i = 0; i < stage->cluster.count; i++) {
        const struct server *server = &stage->cluster.servers[i];
        bool up = server->raft != NULL;
        const struct entry_log *log = up ? &server->log : &server->disk.log;
        char text[512];
        int at = snprintf(text, sizeof text, "%" PRIu64 "%s:", server->id, up ? "" : " (disk)");
        if (log->base > 0) {
            at += snprintf(text + at, sizeof text - (size_t)at, " (%" PRIu64 " gone)", log->base);
        }
        for (uint64_t j = log->base; j < log->last && at < 480; j++) {
            bool edge = up && j == raft_commit_index(server->raft);
            at += snprintf(text + at, sizeof text - (size_t)at, "%s %" PRIu64, edge ? " |" : "",
                           log->at[j].term);
        }
        bool all = up && raft_commit_index(server->raft) == log->last;
        show(stage, "%s%s", text, all ? " |" : "");
    }
}

void show_members(struct stage *stage)
{
    for (size_t i = 0; i < stage->cluster.count; i++) {
        const struct server *server = &stage->cluster.servers[i];
        if (server->raft == NULL) {
            show(stage, "%" PRIu64 " is down", server->id);
            continue;
        }
        const struct raft_logged_membership *newest = raft_membership(server->raft);
        char text[MEMBERSHIP_TEXT_SIZE];
        show(stage, "%" PRIu64 ": membership %" PRIu64 "%s: %s", server->id, newest->index,
             newest->index > raft_commit_index(server->raft) ? " (not committed)" : "",
             membership_text(&newest->membership, text));
    }
}
