/* The model: see kv_model.h. Only numbers as texts are shared with what it is compared to. */
#include "kv_model.h"

#include "base/memory.h"
#include "base/number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t never_ms = UINT64_MAX;

struct model *model_new(void)
{
    struct model *model = memory_new(1, sizeof *model);
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        (void)snprintf(model->entries[i].name, sizeof model->entries[i].name, "k-%02u", i);
    }
    return model;
}

void model_free(struct model *model)
{
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        buf_done(&model->entries[i].value);
    }
    buf_done(&model->data);
    free(model);
}

bool model_has(const struct model *model, const struct model_entry *entry)
{
    uint64_t expires_ms = entry->facts.expires_ms;
    return entry->stored && (expires_ms == 0 || expires_ms > model->time_ms);
}

struct model_entry *model_entry(struct model *model, struct slice key)
{
    assert_int_equal(key.size, 4);
    return &model->entries[(key.data[2] - '0') * 10 + (key.data[3] - '0')];
}

uint64_t model_count_stored(const struct model *model)
{
    uint64_t count = 0;
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        count += model->entries[i].stored;
    }
    return count;
}

struct model_entry *model_first_to_go(struct model *model)
{
    struct model_entry *first = NULL;
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        struct model_entry *entry = &model->entries[i];
        if (entry->stored && entry->facts.expires_ms != 0 &&
            (first == NULL || entry->facts.expires_ms < first->facts.expires_ms)) {
            first = entry;
        }
    }
    return first;
}

uint64_t model_purge(struct model *model, uint64_t count_max)
{
    uint64_t count = 0;
    for (;;) {
        struct model_entry *first = model_first_to_go(model);
        if (count == count_max || first == NULL || model_has(model, first)) {
            return count;
        }
        first->stored = false;
        count++;
    }
}

static void model_put(struct model *model, struct model_entry *entry, struct slice value,
                      uint64_t expires_ms)
{
    if (!model_has(model, entry)) {
        entry->facts.create = model->index;
        entry->facts.version = 0;
    }
    entry->stored = true;
    entry->facts.modify = model->index;
    entry->facts.version++;
    entry->facts.expires_ms = expires_ms;
    if (value.data != entry->value.data) {
        buf_clear(&entry->value);
        buf_append_slice(&entry->value, value);
    }
}

static uint64_t when(const struct model *model, const struct expiry *expiry,
                     const struct model_entry *entry)
{
    if (expiry->kind == EXPIRY_AT) {
        return (uint64_t)expiry->ms;
    }
    if (expiry->kind == EXPIRY_AFTER) {
        return model->time_ms + (uint64_t)expiry->ms;
    }
    bool keeps = expiry->kind == EXPIRY_KEEP && model_has(model, entry);
    return keeps && entry->facts.expires_ms != 0 ? entry->facts.expires_ms : never_ms;
}

static void put_until(struct model *model, struct model_entry *entry, struct slice value,
                      uint64_t ms)
{
    if (ms > model->time_ms) {
        model_put(model, entry, value, ms == never_ms ? 0 : ms);
    } else if (model_has(model, entry)) {
        entry->stored = false;
    }
}

/* ---- its writes ---- */

static void return_value(struct model *model, const struct command *command, struct reply *reply)
{
    const struct model_entry *entry = model_entry(model, command->key);
    if ((command->options & OPTION_RETURN) != 0 && model_has(model, entry)) {
        buf_append_slice(&model->data, buf_slice(&entry->value));
        reply->count = 1;
    }
}

static bool condition_holds(struct model *model, const struct command *command, struct reply *reply)
{
    const struct model_entry *entry = model_entry(model, command->key);
    bool there = model_has(model, entry);
    uint64_t revision = there ? entry->facts.modify : 0;
    bool holds = !command->has_expected || command->expected_revision == revision;
    holds = holds && (there || (command->options & OPTION_PRESENT) == 0);
    holds = holds && (!there || (command->options & OPTION_ABSENT) == 0);
    reply->status = holds ? 0 : KV_ERR_CONDITION;
    reply->revision = holds ? model->index : revision;
    return holds;
}

static void model_expire(struct model *model, const struct command *command, struct reply *reply)
{
    struct model_entry *entry = model_entry(model, command->key);
    if (!model_has(model, entry)) {
        reply->status = KV_ERR_NOT_FOUND;
        return;
    }
    uint64_t to = when(model, &command->expiry, entry);
    uint64_t from = entry->facts.expires_ms == 0 ? never_ms : entry->facts.expires_ms;
    uint32_t options = command->options;
    if ((to == never_ms && from == never_ms) ||
        ((options & OPTION_UNLIMITED) != 0 && from != never_ms) ||
        ((options & OPTION_LIMITED) != 0 && from == never_ms) ||
        ((options & OPTION_LATER) != 0 && to <= from) ||
        ((options & OPTION_EARLIER) != 0 && to >= from)) {
        return;
    }
    put_until(model, entry, buf_slice(&entry->value), to);
    reply->count = 1;
}

static void model_number(struct model *model, const struct command *command, struct reply *reply)
{
    struct model_entry *entry = model_entry(model, command->key);
    bool there = model_has(model, entry);
    struct buf made = {0};
    if (command->operation == OPERATION_ADD) {
        int64_t value = 0;
        if (there && !number_parse(buf_slice(&entry->value), &value)) {
            *reply = (struct reply){.status = KV_ERR_NOT_INTEGER};
        } else if (__builtin_add_overflow(value, command->number, &value)) {
            *reply = (struct reply){.status = KV_ERR_OVERFLOW};
        } else {
            number_format(value, &made);
            reply->count = (uint64_t)value;
        }
    } else {
        long double value = 0;
        long double increment = 0;
        if ((there && !number_parse_float(buf_slice(&entry->value), &value)) ||
            !number_parse_float(command->value, &increment)) {
            *reply = (struct reply){.status = KV_ERR_NOT_FLOAT};
        } else if (!number_format_float(value + increment, &made)) {
            *reply = (struct reply){.status = KV_ERR_OVERFLOW};
        }
        buf_append_slice(&model->data, buf_slice(&made));
    }
    if (reply->status == 0) {
        model_put(model, entry, buf_slice(&made), there ? entry->facts.expires_ms : 0);
    }
    buf_done(&made);
}

static void model_bytes(struct model *model, const struct command *command, struct reply *reply)
{
    struct model_entry *entry = model_entry(model, command->key);
    bool there = model_has(model, entry);
    struct buf made = {0};
    buf_append_slice(&made, there ? buf_slice(&entry->value) : slice_of(NULL, 0));
    bool appends = command->operation == OPERATION_APPEND;
    size_t offset = appends ? made.size : (size_t)command->number;
    if (appends || command->value.size > 0) {
        while (made.size < offset + command->value.size) {
            buf_put_u8(&made, 0);
        }
        for (size_t i = 0; i < command->value.size; i++) {
            made.data[offset + i] = command->value.data[i];
        }
        model_put(model, entry, buf_slice(&made), there ? entry->facts.expires_ms : 0);
    }
    reply->count = made.size;
    buf_done(&made);
}

static void model_transfer(struct model *model, const struct command *command, struct reply *reply)
{
    struct model_entry *from = model_entry(model, command->key);
    struct model_entry *to = model_entry(model, command->target);
    bool renames = command->operation == OPERATION_RENAME;
    bool free_only = renames ? (command->options & OPTION_ABSENT) != 0
                             : (command->options & OPTION_REPLACE) == 0;
    if (!model_has(model, from)) {
        reply->status = KV_ERR_NOT_FOUND;
    } else if (model_has(model, to) && free_only) {
        reply->status = KV_ERR_CONDITION;
        reply->revision = to->facts.modify;
    } else {
        reply->count = 1;
        if (from != to) {
            model_put(model, to, buf_slice(&from->value), from->facts.expires_ms);
            from->stored = !renames;
        }
    }
}

static void model_delete_range(struct model *model, const struct command *command,
                               struct reply *reply)
{
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        struct model_entry *entry = &model->entries[i];
        if (slice_has_prefix(slice_of(entry->name, 4), command->prefix)) {
            reply->count += model_has(model, entry);
            entry->stored = false;
        }
    }
}

/* ---- its reads ---- */

static void model_walk(struct model *model, const struct command *command, struct reply *reply)
{
    bool matches = command->operation == OPERATION_MATCH;
    struct slice prefix = matches ? command->pattern : command->prefix;
    prefix.size -= matches; /* the star at its end */
    struct slice last = {0};
    struct buf keys = {0};
    uint64_t steps = 0;
    for (size_t i = 0; i < MODEL_KEYS && !reply->more; i++) {
        const struct model_entry *entry = &model->entries[i];
        struct slice key = slice_of(entry->name, 4);
        bool fits = model_has(model, entry) && slice_has_prefix(key, prefix);
        if (slice_compare(key, command->key) < 0 || !(matches ? entry->stored : fits)) {
            continue;
        }
        if (command->limit != 0 && steps == command->limit) {
            reply->more = true;
            break;
        }
        steps++;
        last = key;
        if (fits) {
            buf_put_sized(&keys, key);
            reply->count++;
        }
        if (command->operation == OPERATION_SCAN) {
            buf_put_sized(&keys, buf_slice(&entry->value));
            buf_put_u64(&keys, entry->facts.modify);
        }
    }
    if (matches) {
        buf_put_sized(&model->data, last);
    }
    buf_append_slice(&model->data, buf_slice(&keys));
    buf_done(&keys);
}

static void model_read(struct model *model, const struct command *command, struct reply *reply)
{
    const struct model_entry *entry = model_entry(model, command->key);
    bool there = model_has(model, entry);
    reply->revision = there ? entry->facts.modify : model->index;
    if (command->operation == OPERATION_GET_RANGE) {
        /* Its corners are tested elsewhere; here it is asked for all or nothing. */
        if (there && command->number == 0) {
            buf_append_slice(&model->data, buf_slice(&entry->value));
        }
        return;
    }
    if (!there) {
        reply->status = KV_ERR_NOT_FOUND;
    } else if (command->operation == OPERATION_GET) {
        buf_append_slice(&model->data, buf_slice(&entry->value));
    } else {
        struct key_stat stat = {entry->facts.create, entry->facts.modify, entry->facts.version,
                                entry->facts.expires_ms, model->time_ms};
        key_stat_encode(&stat, &model->data);
        reply->count = entry->value.size;
    }
}

struct reply model_carry_out(struct model *model, const struct command *command)
{
    struct reply reply = {.revision = model->index};
    struct model_entry *entry = command->key.size == 4 ? model_entry(model, command->key) : NULL;
    buf_clear(&model->data);
    switch (command->operation) {
    case OPERATION_PUT:
        return_value(model, command, &reply);
        if (condition_holds(model, command, &reply)) {
            put_until(model, entry, command->value, when(model, &command->expiry, entry));
        }
        break;
    case OPERATION_DELETE:
        return_value(model, command, &reply);
        if (condition_holds(model, command, &reply)) {
            reply.count = model_has(model, entry);
            reply.status = model_has(model, entry) ? 0 : KV_ERR_NOT_FOUND;
            entry->stored = entry->stored && !model_has(model, entry);
        }
        break;
    case OPERATION_EXPIRE:
        return_value(model, command, &reply);
        model_expire(model, command, &reply);
        break;
    case OPERATION_GUARD:
        if (condition_holds(model, command, &reply)) {
            reply.revision = model_has(model, entry) ? entry->facts.modify : 0;
        }
        break;
    case OPERATION_DELETE_RANGE:
        model_delete_range(model, command, &reply);
        break;
    case OPERATION_ADD:
    case OPERATION_ADD_FLOAT:
        model_number(model, command, &reply);
        break;
    case OPERATION_APPEND:
    case OPERATION_SET_RANGE:
        model_bytes(model, command, &reply);
        break;
    case OPERATION_RENAME:
    case OPERATION_COPY:
        model_transfer(model, command, &reply);
        break;
    case OPERATION_CLEAR:
        reply.count = model_count_stored(model);
        for (size_t i = 0; i < MODEL_KEYS; i++) {
            model->entries[i].stored = false;
        }
        break;
    case OPERATION_COUNT:
        reply.count = model_count_stored(model);
        break;
    case OPERATION_LIST:
    case OPERATION_SCAN:
    case OPERATION_MATCH:
        model_walk(model, command, &reply);
        break;
    default:
        model_read(model, command, &reply);
        break;
    }
    reply.data = buf_slice(&model->data);
    return reply;
}
