/*
 * The inspection as one JSON document. The entries, of which there may be any number, are written
 * one by one; the rest is small and made whole.
 *
 *     {"directory":..., "server_running":..., "identity":{...}, "votes":[...], "snapshots":[...],
 *      "segments":[...], "findings":[...], "notes":[...], "entries":[...]}
 */
#include "app/inspect.h"

#include "cli/output.h"
#include "cli/words.h"
#include "kv/command.h"
#include "wire/membership.h"

#include <inttypes.h>
#include <stdio.h>

static void set(json_t *object, const char *name, json_t *value)
{
    CHECK(json_object_set_new(object, name, value) == 0);
}

static void set_number(json_t *object, const char *name, uint64_t number)
{
    set(object, name, json_integer((json_int_t)number));
}

/* More digits than a number of JSON is sure to keep. */
static void set_hexadecimal(json_t *object, const char *name, uint64_t number)
{
    char text[20];
    (void)snprintf(text, sizeof text, "%016" PRIx64, number);
    set(object, name, json_string(text));
}

static json_t *member_json(const struct raft_member *member)
{
    struct buf address = {0};
    text_escape(slice_of_string(member->address), &address);
    json_t *object = json_object();
    set_number(object, "id", member->id);
    set(object, "address", json_stringn((const char *)address.data, address.size));
    set_hexadecimal(object, "incarnation", member->incarnation);
    set(object, "voter", json_boolean(member->voter));
    set(object, "voter_old", json_boolean(member->voter_old));
    set(object, "keep_learner", json_boolean(member->keep_learner));
    buf_done(&address);
    return object;
}

/* Null when it cannot be decoded. */
static json_t *membership_json(struct slice encoded)
{
    struct raft_membership membership;
    if (membership_decode(encoded, &membership) != 0) {
        return json_null();
    }
    json_t *members = json_array();
    for (size_t i = 0; i < membership.count; i++) {
        CHECK(json_array_append_new(members, member_json(&membership.members[i])) == 0);
    }
    json_t *object = json_object();
    set(object, "joint", json_boolean(membership.joint));
    set(object, "members", members);
    return object;
}

static json_t *identity_json(const struct inspection *inspection)
{
    if (!inspection->has_identity || inspection->identity_err != 0) {
        return json_null();
    }
    json_t *object = json_object();
    set_hexadecimal(object, "cluster", inspection->identity.cluster_id);
    set_number(object, "node", inspection->identity.node_id);
    set_hexadecimal(object, "incarnation", inspection->identity.incarnation);
    if (inspection->founders.size > 0) {
        set(object, "founders", membership_json(buf_slice(&inspection->founders)));
    }
    return object;
}

static json_t *votes_json(const struct inspection *inspection)
{
    json_t *votes = json_array();
    for (unsigned slot = 0; slot < 2 && inspection->has_vote; slot++) {
        const struct vote *vote = &inspection->slots[slot];
        bool right = inspection->slot_errs[slot] == 0;
        json_t *object = json_object();
        set_number(object, "offset", (uint64_t)slot * VOTE_SLOT_SPACING);
        set(object, "checksum_right", json_boolean(right));
        set(object, "counts", json_boolean((int)slot == inspection->vote_slot));
        if (right) {
            set_number(object, "term", vote->term);
            set_number(object, "voted_for", vote->voted_for);
            set_number(object, "record", vote->sequence);
            set_number(object, "synced_batch", vote->synced_sequence);
            set_number(object, "first_segment", vote->first_segment);
            bool bounded = vote->lost_until != UINT64_MAX;
            set(object, "lost_until",
                bounded ? json_integer((json_int_t)vote->lost_until) : json_null());
            set_number(object, "lost_term", vote->lost_term);
            set_number(object, "aside", vote->aside);
            set(object, "outdated", json_boolean(vote->outdated));
        }
        CHECK(json_array_append_new(votes, object) == 0);
    }
    return votes;
}

static json_t *segments_json(const struct inspection *inspection)
{
    json_t *segments = json_array();
    for (size_t i = 0; i < inspection->segment_count; i++) {
        const struct log_segment *segment = &inspection->segments[i];
        char name[SEGMENT_NAME_SIZE];
        segment_name(segment->number, name);
        json_t *object = json_object();
        set(object, "file", json_string(name));
        set_number(object, "number", segment->number);
        set_number(object, "size", segment->file_size);
        set(object, "header_right", json_boolean(segment->readable));
        set_number(object, "batches", segment->batches);
        set_number(object, "entries", segment->entries);
        if (segment->entries > 0) {
            set_number(object, "first_index", segment->first_index);
            set_number(object, "last_index", segment->last_index);
        }
        if (segment->readable) {
            set_number(object, "free", segment->header.size - segment->end);
            set(object, "recycled", json_boolean(segment->header.recycled));
        }
        CHECK(json_array_append_new(segments, object) == 0);
    }
    return segments;
}

static json_t *snapshots_json(const struct inspection *inspection)
{
    json_t *snapshots = json_array();
    for (size_t i = 0; i < inspection->snapshot_count; i++) {
        const struct snapshot_file *snapshot = &inspection->snapshots[i];
        char text[SNAPSHOT_NAME_SIZE];
        snapshot_name(snapshot->index, text);
        json_t *object = json_object();
        set(object, "file", json_string(text));
        set_number(object, "index", snapshot->index);
        set_number(object, "size", snapshot->size);
        set(object, "checksums_right", json_boolean(snapshot->err == 0));
        set(object, "counts", json_boolean(i + 1 == inspection->snapshot_chosen));
        if (snapshot->readable) {
            set_number(object, "term", snapshot->header.term);
            set_hexadecimal(object, "digest", snapshot->header.digest);
            set_number(object, "chunks", snapshot->chunks);
            set_number(object, "uncompressed", snapshot->raw_size);
            set(object, "membership", membership_json(buf_slice(&snapshot->membership)));
        }
        CHECK(json_array_append_new(snapshots, object) == 0);
    }
    return snapshots;
}

static json_t *findings_json(const struct inspection *inspection)
{
    json_t *findings = json_array();
    for (size_t i = 0; i < inspection->finding_count && i < FINDINGS_MAX; i++) {
        const struct finding *finding = &inspection->findings[i];
        json_t *object = json_object();
        set(object, "file", json_string(finding->file));
        if (finding->has_offset) {
            set_number(object, "offset", finding->offset);
        }
        set(object, "what", json_string(finding->what));
        set(object, "verdict", json_string(verdict_name(finding->verdict)));
        CHECK(json_array_append_new(findings, object) == 0);
    }
    return findings;
}

static json_t *notes_json(const struct inspection *inspection)
{
    json_t *notes = json_array();
    const char *text = (const char *)inspection->notes.data;
    for (size_t at = 0; at < inspection->notes.size; at += strlen(text + at) + 1) {
        CHECK(json_array_append_new(notes, json_string(text + at)) == 0);
    }
    return notes;
}

/* ---- entries ---- */

struct entry_list {
    struct output output;
    uint64_t count;
};

static void set_command(struct output *output, json_t *object, const struct command *command)
{
    set(object, "command", json_string(operation_name(command->operation)));
    if (command->key.size > 0) {
        output_set_bytes(output, object, "key", command->key);
    }
    if (command->operation == OPERATION_PUT) {
        output_set_bytes(output, object, "value", command->value);
    }
    if (command->end.size > 0) {
        output_set_bytes(output, object, "end", command->end);
    }
    if (command->prefix.size > 0) {
        output_set_bytes(output, object, "prefix", command->prefix);
    }
    if (command->has_expected) {
        set_number(object, "expected_revision", command->expected_revision);
    }
    if (command->session != 0) {
        set_number(object, "session", command->session);
        set_number(object, "sequence", command->sequence);
    }
}

static void print_entry(void *context, const struct entry *entry)
{
    struct entry_list *list = context;
    json_t *object = json_object();
    set_number(object, "index", entry->index);
    set_number(object, "term", entry->term);
    set_number(object, "time_ms", entry->time_ms);
    struct command command;
    if (entry->kind == ENTRY_NOOP) {
        set(object, "command", json_string("no-op"));
    } else if (entry->kind == ENTRY_MEMBERSHIP) {
        set(object, "command", json_string("membership"));
        set(object, "membership", membership_json(entry->payload));
    } else if (command_decode(entry->payload, &command) == 0) {
        set_command(&list->output, object, &command);
    } else {
        output_set_bytes(&list->output, object, "payload", entry->payload);
    }
    (void)fputs(list->count == 0 ? "" : ",", stdout);
    CHECK(json_dumpf(object, stdout, JSON_COMPACT) == 0 || ferror(stdout));
    json_decref(object);
    list->count++;
}

void inspection_print_json(const struct inspection *inspection, uint64_t from, uint64_t to,
                           uint64_t limit)
{
    json_t *object = json_object();
    json_t *path = json_string(inspection->path);
    set(object, "directory", path == NULL ? json_null() : path);
    set(object, "server_running", json_boolean(inspection->server_running));
    set(object, "identity", identity_json(inspection));
    set(object, "votes", votes_json(inspection));
    set(object, "snapshots", snapshots_json(inspection));
    set(object, "segments", segments_json(inspection));
    set_number(object, "batches", inspection->batches);
    set_number(object, "first_index", inspection->first_index);
    set_number(object, "last_index", inspection->last_index);
    set_number(object, "last_term", inspection->last_term);
    set(object, "findings", findings_json(inspection));
    set_number(object, "finding_count", inspection->finding_count);
    set(object, "notes", notes_json(inspection));
    (void)fputs("{", stdout);
    CHECK(json_dumpf(object, stdout, JSON_COMPACT | JSON_EMBED) == 0 || ferror(stdout));
    json_decref(object);
    (void)fputs(",\"entries\":[", stdout);
    struct entry_list list = {.output = {.out = stdout, .complaints = stderr, .json = true}};
    inspection_entries(inspection, from, to, limit, print_entry, &list);
    output_done(&list.output);
    (void)fputs("]}\n", stdout);
}
