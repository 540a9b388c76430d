#include "sim/model.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct key_history {
    struct slice key;
    struct version *versions; /* by index, rising */
    size_t count;
    size_t capacity;
};

struct kept_reply {
    uint64_t sequence;
    struct model_reply reply;
};

struct model_session {
    uint64_t id;
    bool open;
    uint64_t floor; /* every sequence up to it was acknowledged */
    struct kept_reply *kept;
    size_t count;
    size_t capacity;
};

struct model {
    struct key_history *keys; /* in order */
    size_t key_count;
    size_t key_capacity;
    struct model_session *sessions; /* by id, rising */
    size_t session_count;
    size_t session_capacity;
    uint64_t time_ms;              /* the largest of an entry so far */
    struct model_expired *expired; /* by the newest entry */
    size_t expired_count;
    size_t expired_capacity;
    uint8_t **made; /* values that are in no entry as they are */
    size_t made_count;
    size_t made_capacity;
    struct buf replies; /* of the newest batch */
};

struct model *model_new(void)
{
    return memory_new(1, sizeof(struct model));
}

void model_free(struct model *model)
{
    if (model == NULL) {
        return;
    }
    for (size_t i = 0; i < model->key_count; i++) {
        free(model->keys[i].versions);
    }
    for (size_t i = 0; i < model->session_count; i++) {
        free(model->sessions[i].kept);
    }
    free(model->keys);
    free(model->sessions);
    for (size_t i = 0; i < model->made_count; i++) {
        free(model->made[i]);
    }
    free(model->made);
    free(model->expired);
    buf_done(&model->replies);
    free(model);
}

/* Room for one more element in an array that doubles. */
static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    return memory_grow(array, *capacity * size);
}

/* ---- keys ---- */

/* The place of the first key that is not below. */
static size_t key_place(const struct model *model, struct slice key)
{
    size_t low = 0;
    size_t high = model->key_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(model->keys[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct key_history *key_find(const struct model *model, struct slice key)
{
    size_t place = key_place(model, key);
    bool found = place < model->key_count && slice_equal(model->keys[place].key, key);
    return found ? &model->keys[place] : NULL;
}

static struct key_history *key_make(struct model *model, struct slice key)
{
    size_t place = key_place(model, key);
    if (place < model->key_count && slice_equal(model->keys[place].key, key)) {
        return &model->keys[place];
    }
    model->keys = grow(model->keys, model->key_count, &model->key_capacity, sizeof *model->keys);
    memmove(model->keys + place + 1, model->keys + place,
            (model->key_count - place) * sizeof *model->keys);
    model->key_count++;
    model->keys[place] = (struct key_history){.key = key};
    return &model->keys[place];
}

static const struct version *newest(const struct key_history *history)
{
    return history == NULL || history->count == 0 ? NULL : &history->versions[history->count - 1];
}

/* The state after an entry is what counts: of one that changes a key twice, the last. */
static void add_version(struct key_history *history, const struct version *version)
{
    struct version *before = history->count == 0 ? NULL : history->versions + history->count - 1;
    CHECK(before == NULL || before->index <= version->index);
    if (before != NULL && before->index == version->index) {
        *before = *version;
        return;
    }
    history->versions =
        grow(history->versions, history->count, &history->capacity, sizeof *history->versions);
    history->versions[history->count++] = *version;
}

static void remove_key(struct key_history *history, uint64_t index, bool expired)
{
    const struct version gone = {.index = index, .expired = expired, .expires_ms = MODEL_NEVER};
    add_version(history, &gone);
}

/* Keys go whose time has come. */
static void advance(struct model *model, uint64_t index, uint64_t time_ms)
{
    model->time_ms = time_ms > model->time_ms ? time_ms : model->time_ms;
    model->expired_count = 0;
    for (size_t i = 0; i < model->key_count; i++) {
        struct key_history *history = &model->keys[i];
        const struct version *version = newest(history);
        if (version->present && version->expires_ms <= model->time_ms) {
            model->expired = grow(model->expired, model->expired_count, &model->expired_capacity,
                                  sizeof *model->expired);
            model->expired[model->expired_count++] =
                (struct model_expired){.key = history->key, .before = *version};
            remove_key(history, index, true);
        }
    }
}

size_t model_expired(const struct model *model, const struct model_expired **ret_expired)
{
    *ret_expired = model->expired;
    return model->expired_count;
}

const struct version *model_at(const struct model *model, struct slice key, uint64_t index,
                               uint64_t *ret_until)
{
    const struct key_history *history = key_find(model, key);
    *ret_until = UINT64_MAX;
    if (history == NULL) {
        return NULL;
    }
    size_t low = 0; /* versions at or before `index` */
    size_t high = history->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (history->versions[middle].index <= index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < history->count) {
        *ret_until = history->versions[low].index - 1;
    }
    return low == 0 ? NULL : &history->versions[low - 1];
}

size_t model_key_count(const struct model *model)
{
    return model->key_count;
}

struct slice model_key(const struct model *model, size_t i)
{
    return model->keys[i].key;
}

/* ---- sessions ---- */

static struct model_session *session_find(const struct model *model, uint64_t id)
{
    for (size_t i = model->session_count; i > 0; i--) {
        if (model->sessions[i - 1].id == id && model->sessions[i - 1].open) {
            return &model->sessions[i - 1];
        }
    }
    return NULL;
}

static void session_open(struct model *model, uint64_t id)
{
    model->sessions = grow(model->sessions, model->session_count, &model->session_capacity,
                           sizeof *model->sessions);
    model->sessions[model->session_count++] = (struct model_session){.id = id, .open = true};
}

/* True: the write is answered by what is known of it. */
static bool session_knows(struct model_session *session, const struct command *command,
                          struct model_reply *reply)
{
    if (command->acknowledged > session->floor) {
        session->floor = command->acknowledged;
        size_t left = 0;
        for (size_t i = 0; i < session->count; i++) {
            if (session->kept[i].sequence > session->floor) {
                session->kept[left++] = session->kept[i];
            }
        }
        session->count = left;
    }
    if (command->sequence <= session->floor) {
        *reply = (struct model_reply){.status = KV_ERR_SEQUENCE_STALE, .repeated = true};
        return true;
    }
    for (size_t i = 0; i < session->count; i++) {
        if (session->kept[i].sequence == command->sequence) {
            *reply = session->kept[i].reply;
            reply->repeated = true;
            return true;
        }
    }
    return false;
}

static void session_keep(struct model_session *session, uint64_t sequence,
                         const struct model_reply *reply)
{
    session->kept = grow(session->kept, session->count, &session->capacity, sizeof *session->kept);
    session->kept[session->count++] = (struct kept_reply){.sequence = sequence, .reply = *reply};
}

/* ---- commands ---- */

static bool in_range(const struct command *command, struct slice key)
{
    return slice_compare(key, command->key) >= 0 &&
           (command->end.size == 0 || slice_compare(key, command->end) < 0) &&
           slice_has_prefix(key, command->prefix);
}

static struct model_reply delete_range(struct model *model, uint64_t index,
                                       const struct command *command)
{
    struct model_reply reply = {.revision = index};
    for (size_t i = 0; i < model->key_count; i++) {
        struct key_history *history = &model->keys[i];
        if (newest(history)->present && in_range(command, history->key)) {
            remove_key(history, index, false);
            reply.count++;
        }
    }
    return reply;
}

/* What there is now of a key; NULL: it is not there. */
static const struct version *present(const struct model *model, struct slice key)
{
    const struct version *version = newest(key_find(model, key));
    return version != NULL && version->present ? version : NULL;
}

static bool holds(const struct command *command, const struct version *version,
                  struct model_reply *reply)
{
    uint64_t revision = version == NULL ? 0 : version->index;
    if ((command->has_expected && command->expected_revision != revision) ||
        ((command->options & OPTION_ABSENT) != 0 && version != NULL) ||
        ((command->options & OPTION_PRESENT) != 0 && version == NULL)) {
        *reply = (struct model_reply){.status = KV_ERR_CONDITION, .revision = revision};
        return false;
    }
    return true;
}

static uint64_t expiry_of(const struct model *model, const struct expiry *expiry,
                          const struct version *version)
{
    switch (expiry->kind) {
    case EXPIRY_AFTER:
        return model->time_ms + (uint64_t)expiry->ms;
    case EXPIRY_AT:
        return (uint64_t)expiry->ms;
    case EXPIRY_KEEP:
        return version == NULL ? MODEL_NEVER : version->expires_ms;
    default:
        return MODEL_NEVER;
    }
}

/* A key with this value; or none, when its time is over already. */
static void write_value(struct model *model, struct slice key, const struct version *version)
{
    if (version->expires_ms > model->time_ms) {
        add_version(key_make(model, key), version);
    } else if (present(model, key) != NULL) {
        remove_key(key_find(model, key), version->index, false);
    }
}

static struct model_reply put(struct model *model, uint64_t index, const struct command *command)
{
    const struct version *version = present(model, command->key);
    struct model_reply reply = {.revision = index};
    if (!holds(command, version, &reply)) {
        return reply;
    }
    const struct version written = {
        .index = index,
        .present = true,
        .value = command->value,
        .expires_ms = expiry_of(model, &command->expiry, version),
    };
    write_value(model, command->key, &written);
    return reply;
}

static struct model_reply delete_key(struct model *model, uint64_t index,
                                     const struct command *command)
{
    const struct version *version = present(model, command->key);
    struct model_reply reply = {.revision = index};
    if (!holds(command, version, &reply)) {
        return reply;
    }
    if (version == NULL) {
        reply.status = KV_ERR_NOT_FOUND;
        return reply;
    }
    remove_key(key_find(model, command->key), index, false);
    reply.count = 1;
    return reply;
}

static struct model_reply expire(struct model *model, uint64_t index, const struct command *command)
{
    const struct version *version = present(model, command->key);
    if (version == NULL) {
        return (struct model_reply){.status = KV_ERR_NOT_FOUND, .revision = index};
    }
    struct version written = *version;
    written.index = index;
    written.expires_ms = expiry_of(model, &command->expiry, version);
    if (written.expires_ms == MODEL_NEVER && version->expires_ms == MODEL_NEVER) {
        return (struct model_reply){.revision = index};
    }
    write_value(model, command->key, &written);
    return (struct model_reply){.revision = index, .count = 1};
}

/* ---- values made from the one before, which keep its expiry ---- */

static void make_value(struct model *model, uint64_t index, struct slice key, struct slice front,
                       struct slice back)
{
    const struct version *version = present(model, key);
    uint8_t *value = memory_new(1, front.size + back.size + 1);
    memcpy(value, front.size == 0 ? (const void *)"" : front.data, front.size);
    memcpy(value + front.size, back.size == 0 ? (const void *)"" : back.data, back.size);
    model->made = grow(model->made, model->made_count, &model->made_capacity, sizeof *model->made);
    model->made[model->made_count++] = value;
    const struct version written = {
        .index = index,
        .present = true,
        .value = slice_of(value, front.size + back.size),
        .expires_ms = version == NULL ? MODEL_NEVER : version->expires_ms,
    };
    write_value(model, key, &written);
}

static bool parse_integer(struct slice text, int64_t *ret_value)
{
    char digits[24];
    char again[24];
    if (text.size == 0 || text.size >= sizeof digits) {
        return false;
    }
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    *ret_value = strtoll(digits, NULL, 10);
    (void)snprintf(again, sizeof again, "%lld", (long long)*ret_value);
    return strcmp(digits, again) == 0; /* As one writes it, and in range. */
}

static struct model_reply add(struct model *model, uint64_t index, const struct command *command)
{
    const struct version *version = present(model, command->key);
    int64_t value = 0;
    if (version != NULL && !parse_integer(version->value, &value)) {
        return (struct model_reply){.status = KV_ERR_NOT_INTEGER};
    }
    bool above = command->number > 0 && value > INT64_MAX - command->number;
    bool below = command->number < 0 && value < INT64_MIN - command->number;
    if (above || below) {
        return (struct model_reply){.status = KV_ERR_OVERFLOW};
    }
    char text[24];
    value += command->number;
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    make_value(model, index, command->key, slice_of_string(text), slice_of(NULL, 0));
    return (struct model_reply){.revision = index, .count = (uint64_t)value};
}

static struct model_reply append(struct model *model, uint64_t index, const struct command *command)
{
    const struct version *version = present(model, command->key);
    struct slice before = version == NULL ? slice_of(NULL, 0) : version->value;
    if (before.size + command->value.size > VALUE_SIZE_MAX) {
        return (struct model_reply){.status = KV_ERR_VALUE_TOO_LARGE};
    }
    make_value(model, index, command->key, before, command->value);
    return (struct model_reply){.revision = index, .count = before.size + command->value.size};
}

static struct model_reply apply_write(struct model *model, uint64_t index,
                                      const struct command *command)
{
    switch (command->operation) {
    case OPERATION_PUT:
        return put(model, index, command);
    case OPERATION_DELETE:
        return delete_key(model, index, command);
    case OPERATION_DELETE_RANGE:
        return delete_range(model, index, command);
    case OPERATION_EXPIRE:
        return expire(model, index, command);
    case OPERATION_ADD:
        return add(model, index, command);
    case OPERATION_APPEND:
        return append(model, index, command);
    case OPERATION_PURGE:
        return (struct model_reply){.revision = index, .count = model->expired_count};
    default:
        return (struct model_reply){.status = KV_ERR_COMMAND_UNKNOWN};
    }
}

/* ---- batches ---- */

static struct model_reply get(const struct model *model, uint64_t index,
                              const struct command *command)
{
    const struct version *version = present(model, command->key);
    if (version == NULL) {
        return (struct model_reply){.status = KV_ERR_NOT_FOUND, .revision = index};
    }
    return (struct model_reply){.revision = version->index, .data = version->value};
}

static struct model_reply guard(const struct model *model, const struct command *command)
{
    const struct version *version = present(model, command->key);
    struct model_reply reply = {.revision = version == NULL ? 0 : version->index};
    (void)holds(command, version, &reply);
    return reply;
}

/* Of a session nothing is answered but how many commands there were. */
static struct model_reply batch(struct model *model, uint64_t index, const struct command *batch)
{
    struct model_reply all = {.revision = index};
    struct reader commands = reader_of(batch->commands);
    int64_t skipped = 0;
    buf_clear(&model->replies);
    for (; commands.left > 0; all.count++) {
        struct command command;
        struct model_reply one = {.status = KV_ERR_CONDITION};
        CHECK(command_decode(reader_sized(&commands), &command) == 0);
        if (skipped > 0) {
            skipped--;
        } else if (command.operation == OPERATION_GUARD) {
            one = guard(model, &command);
            skipped = one.status == 0 ? 0 : command.number;
        } else {
            one = command.operation == OPERATION_GET ? get(model, index, &command)
                                                     : apply_write(model, index, &command);
        }
        const struct reply reply = {
            .status = one.status,
            .revision = one.revision,
            .count = one.count,
            .data = one.data,
        };
        struct buf bytes = {0};
        reply_encode(&reply, &bytes);
        buf_put_sized(&model->replies, buf_slice(&bytes));
        buf_done(&bytes);
    }
    if (batch->session == 0) {
        all.data = buf_slice(&model->replies);
    }
    return all;
}

static struct model_reply apply_any(struct model *model, uint64_t index,
                                    const struct command *command)
{
    return command->operation == OPERATION_BATCH ? batch(model, index, command)
                                                 : apply_write(model, index, command);
}

static struct model_reply apply_in_session(struct model *model, uint64_t index,
                                           const struct command *command)
{
    struct model_session *session = session_find(model, command->session);
    struct model_reply reply = {.status = KV_ERR_SESSION_UNKNOWN};
    if (session == NULL || session_knows(session, command, &reply)) {
        return reply;
    }
    reply = apply_any(model, index, command);
    session_keep(session, command->sequence, &reply);
    return reply;
}

static struct model_reply close_session(struct model *model, uint64_t id)
{
    struct model_session *session = session_find(model, id);
    if (session == NULL) {
        return (struct model_reply){.status = KV_ERR_SESSION_UNKNOWN};
    }
    session->open = false;
    return (struct model_reply){0};
}

void model_apply(struct model *model, uint64_t index, uint64_t time_ms, struct slice bytes,
                 struct model_reply *ret_reply)
{
    *ret_reply = (struct model_reply){0};
    advance(model, index, time_ms);
    if (bytes.size == 0) {
        return;
    }
    struct command command;
    int err = command_decode(bytes, &command);
    if (err != 0) {
        ret_reply->status = err;
        return;
    }
    switch (command.operation) {
    case OPERATION_OPEN_SESSION:
        session_open(model, index);
        ret_reply->revision = index;
        break;
    case OPERATION_CLOSE_SESSION:
        *ret_reply = close_session(model, command.session);
        break;
    default:
        *ret_reply = command.session == 0 ? apply_any(model, index, &command)
                                          : apply_in_session(model, index, &command);
        break;
    }
}
