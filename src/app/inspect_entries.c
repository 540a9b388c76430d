/*
 * Entries to be shown: a second walk over batches that the first one found right, and how an entry
 * reads. An entry that a later batch replaced is in the log no more.
 */
#include "app/inspect.h"

#include "cli/words.h"
#include "kv/command.h"
#include "wire/membership.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { KEY_SHOWN_MAX = 200, VALUE_SHOWN_MAX = 100 };

/* ---- the second walk ---- */

struct selection {
    const struct inspection *inspection;
    uint64_t from;
    uint64_t to;
    uint64_t left;
    entry_fn each;
    void *context;
};

/* The first index that a batch behind `sequence` replaced. */
static uint64_t replaced_from(const struct inspection *inspection, uint64_t sequence)
{
    for (size_t i = 0; i < inspection->replacement_count; i++) {
        if (inspection->replacements[i].sequence > sequence) {
            return inspection->replacements[i].first_index;
        }
    }
    return UINT64_MAX;
}

static void select_from_batch(struct selection *selection, const struct batch *batch,
                              struct slice entries)
{
    uint64_t end = replaced_from(selection->inspection, batch->sequence);
    struct entry entry;
    size_t size;
    while (selection->left > 0 && entries.size > 0 && entry_decode(entries, &entry, &size) == 0) {
        if (entry.index >= selection->from && entry.index <= selection->to && entry.index < end) {
            selection->each(selection->context, &entry);
            selection->left--;
        }
        entries = slice_of(entries.data + size, entries.size - size);
    }
}

static void select_from_segment(struct selection *selection, const struct log_segment *segment,
                                struct pieces *pieces)
{
    uint64_t position = SECTOR_SIZE;
    while (position < segment->end && selection->left > 0) {
        const uint8_t *at = pieces_at(pieces, position, SECTOR_SIZE);
        struct batch batch;
        struct batch_place place = {.salt = segment->header.salt, .offset = position};
        if (at == NULL) {
            return;
        }
        bool whole = batch_decode(at, place, &batch) == 0 &&
                     batch_disk_size(&batch) <= segment->end - position;
        at = whole ? pieces_at(pieces, position, (size_t)batch_disk_size(&batch)) : NULL;
        struct slice entries = {0};
        if (at != NULL) {
            entries = slice_of(at + BATCH_HEADER_SIZE, batch.size);
        }
        if (at == NULL || batch_check(&batch, entries) != 0) {
            position += SECTOR_SIZE;
            continue;
        }
        select_from_batch(selection, &batch, entries);
        position += batch_disk_size(&batch);
    }
}

void inspection_entries(const struct inspection *inspection, uint64_t from, uint64_t to,
                        uint64_t limit, entry_fn each, void *context)
{
    struct selection selection = {
        .inspection = inspection,
        .from = from,
        .to = to,
        .left = limit,
        .each = each,
        .context = context,
    };
    struct pieces pieces = {.file = -1};
    for (size_t i = 0; i < inspection->segment_count && selection.left > 0; i++) {
        const struct log_segment *segment = &inspection->segments[i];
        char name[SEGMENT_NAME_SIZE];
        segment_name(segment->number, name);
        if (segment->entries > 0 && segment->last_index >= from &&
            pieces_open(&pieces, inspection, name) == 0) {
            select_from_segment(&selection, segment, &pieces);
            pieces_close(&pieces);
        }
    }
    pieces_done(&pieces);
}

/* ---- how an entry reads ---- */

/* As the shell would read it: in quotes when it is no plain word; a long one is cut. */
static void append_word(struct buf *out, struct slice bytes, size_t size_max)
{
    struct buf escaped = {0};
    bool cut = bytes.size > size_max;
    text_escape(slice_of(bytes.data, cut ? size_max : bytes.size), &escaped);
    bool plain = escaped.size > 0;
    for (size_t i = 0; i < escaped.size; i++) {
        uint8_t byte = escaped.data[i];
        plain = plain && byte != ' ' && byte != '"' && byte != '\'' && byte != '\\';
    }
    buf_print(out, plain ? " " : " \"");
    for (size_t i = 0; i < escaped.size; i++) {
        if (escaped.data[i] == '"') {
            buf_put_u8(out, '\\');
        }
        buf_put_u8(out, escaped.data[i]);
    }
    buf_print(out, plain ? "" : "\"");
    if (cut) {
        buf_print(out, "... (%zu bytes)", bytes.size);
    }
    buf_done(&escaped);
}

static void describe_command(const struct command *command, struct buf *out)
{
    buf_print(out, "%s", operation_name(command->operation));
    bool range = command->operation == OPERATION_DELETE_RANGE;
    if (command->key.size > 0) {
        buf_print(out, "%s", range ? " from" : "");
        append_word(out, command->key, KEY_SHOWN_MAX);
    }
    if (command->operation == OPERATION_PUT) {
        append_word(out, command->value, VALUE_SHOWN_MAX);
    }
    if (command->end.size > 0) {
        buf_print(out, " to");
        append_word(out, command->end, KEY_SHOWN_MAX);
    }
    if (command->prefix.size > 0) {
        buf_print(out, " prefix");
        append_word(out, command->prefix, KEY_SHOWN_MAX);
    }
    if (command->has_expected) {
        buf_print(out, " if at revision %" PRIu64, command->expected_revision);
    }
    if (command->operation == OPERATION_CLOSE_SESSION) {
        buf_print(out, " %" PRIu64, command->session);
    } else if (command->session != 0) {
        buf_print(out, " (session %" PRIu64 ", sequence %" PRIu64 ")", command->session,
                  command->sequence);
    }
}

/* What a member is but a voter, and its incarnation, if that is known. */
static void describe_member(const struct raft_member *member, bool joint, struct buf *out)
{
    const char *role = member->voter       ? (joint && !member->voter_old ? "joins the voters" : "")
                       : member->voter_old ? (member->keep_learner ? "becomes a learner" : "leaves")
                       : member->keep_learner ? "learner that stays one"
                                              : "learner";
    buf_print(out, "%" PRIu64 "=", member->id);
    text_escape(slice_of_string(member->address), out);
    bool known = member->incarnation != 0;
    if (role[0] == '\0' && !known) {
        return;
    }
    buf_print(out, " (%s%s", role, role[0] != '\0' && known ? ", " : "");
    if (known) {
        buf_print(out, "incarnation %016" PRIx64, member->incarnation);
    }
    buf_print(out, ")");
}

void membership_describe(struct slice encoded, struct buf *out)
{
    struct raft_membership membership;
    if (membership_decode(encoded, &membership) != 0) {
        buf_print(out, "in an encoding that this version does not know (%zu bytes)", encoded.size);
        return;
    }
    buf_print(out, membership.joint ? "of two sets " : "");
    for (size_t i = 0; i < membership.count; i++) {
        buf_print(out, i == 0 ? "" : ", ");
        describe_member(&membership.members[i], membership.joint, out);
    }
}

void entry_describe(const struct entry *entry, struct buf *out)
{
    struct command command;
    if (entry->kind == ENTRY_NOOP) {
        buf_print(out, "no-op of a new leader");
    } else if (entry->kind == ENTRY_MEMBERSHIP) {
        buf_print(out, "members ");
        membership_describe(entry->payload, out);
    } else if (command_decode(entry->payload, &command) != 0) {
        buf_print(out, "a command that this version does not know (%zu bytes)",
                  entry->payload.size);
    } else {
        describe_command(&command, out);
    }
}
