#include "cli/status.h"

#include "cli/table.h"

#include "base/assert.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

enum { COLUMN_COUNT = 12 };

static const char *const titles[COLUMN_COUNT] = {
    "ID",         "ADDRESS", "REACHABLE", "ROLE", "TERM", "LEADER",
    "LAST INDEX", "COMMIT",  "APPLIED",   "KEYS", "IO",   "DIGEST",
};

static const bool is_number[COLUMN_COUNT] = {true, false, false, false, true,  true,
                                             true, true,  true,  true,  false, false};

uint64_t status_leader(const struct kvapp_member *members, size_t count)
{
    uint64_t leader = 0;
    uint64_t term = 0;
    for (size_t i = 0; i < count; i++) {
        const struct kvapp_member *member = &members[i];
        if (member->reachable && member->leader != 0 && member->term >= term) {
            leader = member->leader;
            term = member->term;
        }
    }
    return leader;
}

static void add_row(struct table *table, const struct kvapp_member *member)
{
    size_t row = table_row(table);
    table_set_number(table, row, 0, member->id);
    table_set_text(table, row, 1, member->address);
    table_set_text(table, row, 2, member->reachable ? "yes" : "no");
    if (!member->reachable) {
        for (size_t column = 3; column < COLUMN_COUNT; column++) {
            table_set_text(table, row, column, "-");
        }
        return;
    }
    table_set_text(table, row, 3, member->role);
    table_set_number(table, row, 4, member->term);
    if (member->leader == 0) {
        table_set_text(table, row, 5, "-");
    } else {
        table_set_number(table, row, 5, member->leader);
    }
    table_set_number(table, row, 6, member->last_index);
    table_set_number(table, row, 7, member->commit_index);
    table_set_number(table, row, 8, member->applied_index);
    table_set_number(table, row, 9, member->key_count);
    table_set_text(table, row, 10, member->io_backend);
    char digest[20];
    (void)snprintf(digest, sizeof digest, "%016llx", (unsigned long long)member->digest);
    table_set_text(table, row, 11, digest);
}

static void print_table(FILE *out, const struct kvapp_member *members, size_t count)
{
    struct table table;
    table_init(&table, titles, is_number, COLUMN_COUNT);
    for (size_t i = 0; i < count; i++) {
        add_row(&table, &members[i]);
    }
    table_print(&table, out);
}

/* NULL (as JSON) for what an unreachable member did not say. */
static void set(json_t *object, const char *name, json_t *value)
{
    CHECK(json_object_set_new(object, name, value == NULL ? json_null() : value) == 0);
}

static json_t *number_of(const struct kvapp_member *member, uint64_t number)
{
    return member->reachable ? json_integer((json_int_t)number) : NULL;
}

static json_t *text_of(const struct kvapp_member *member, const char *text)
{
    return member->reachable ? json_string(text) : NULL;
}

/* 64-bit hashes are text, since JSON's readers keep 53 bits of a number. */
static json_t *hash_of(const struct kvapp_member *member, uint64_t hash)
{
    char text[20];
    (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return text_of(member, text);
}

static json_t *member_object(const struct kvapp_member *member)
{
    json_t *object = json_object();
    set(object, "id", json_integer((json_int_t)member->id));
    set(object, "address", json_string(member->address));
    set(object, "reachable", json_boolean(member->reachable));
    set(object, "role", text_of(member, member->role));
    set(object, "term", number_of(member, member->term));
    set(object, "leader", member->leader == 0 ? NULL : number_of(member, member->leader));
    set(object, "commit", number_of(member, member->commit_index));
    set(object, "applied", number_of(member, member->applied_index));
    set(object, "last_index", number_of(member, member->last_index));
    set(object, "digest", hash_of(member, member->digest));
    set(object, "keys", number_of(member, member->key_count));
    set(object, "io", text_of(member, member->io_backend));
    set(object, "version", text_of(member, member->version));
    set(object, "cluster_id", hash_of(member, member->cluster_id));
    set(object, "uptime_ms", number_of(member, member->uptime_ms));
    set(object, "log_writes", number_of(member, member->log_writes));
    set(object, "log_syncs", number_of(member, member->log_syncs));
    set(object, "log_entries", number_of(member, member->log_entries));
    set(object, "log_bytes", number_of(member, member->log_bytes));
    return object;
}

static void print_json(struct output *output, const struct kvapp_member *members, size_t count)
{
    json_t *object = json_object();
    uint64_t leader = status_leader(members, count);
    set(object, "leader", leader == 0 ? NULL : json_integer((json_int_t)leader));
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        CHECK(json_array_append_new(array, member_object(&members[i])) == 0);
    }
    set(object, "members", array);
    output_json(output, object);
}

void status_print(struct output *output, const struct kvapp_member *members, size_t count)
{
    CHECK(count <= MEMBERS_MAX);
    if (output->json) {
        print_json(output, members, count);
    } else {
        print_table(output->out, members, count);
    }
}
