#include "sim/model.h"

#include "base/assert.h"
#include "base/memory.h"

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

static void add_version(struct key_history *history, uint64_t index, bool present,
                        struct slice value)
{
    const struct version *before = newest(history);
    CHECK(before == NULL || before->index < index);
    history->versions =
        grow(history->versions, history->count, &history->capacity, sizeof *history->versions);
    history->versions[history->count++] =
        (struct version){.index = index, .present = present, .value = value};
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
        const struct version *version = newest(history);
        if (version->present && in_range(command, history->key)) {
            add_version(history, index, false, slice_of(NULL, 0));
            reply.count++;
        }
    }
    return reply;
}

static struct model_reply write_key(struct model *model, uint64_t index,
                                    const struct command *command)
{
    const struct version *version = newest(key_find(model, command->key));
    uint64_t revision = version != NULL && version->present ? version->index : 0;
    if (command->has_expected && command->expected_revision != revision) {
        return (struct model_reply){.status = KV_ERR_CONDITION, .revision = revision};
    }
    if (command->operation == OPERATION_PUT) {
        add_version(key_make(model, command->key), index, true, command->value);
        return (struct model_reply){.revision = index};
    }
    if (revision == 0) {
        return (struct model_reply){.status = KV_ERR_NOT_FOUND, .revision = index};
    }
    add_version(key_make(model, command->key), index, false, slice_of(NULL, 0));
    return (struct model_reply){.revision = index, .count = 1};
}

static struct model_reply apply_write(struct model *model, uint64_t index,
                                      const struct command *command)
{
    return command->operation == OPERATION_DELETE_RANGE ? delete_range(model, index, command)
                                                        : write_key(model, index, command);
}

static struct model_reply apply_in_session(struct model *model, uint64_t index,
                                           const struct command *command)
{
    struct model_session *session = session_find(model, command->session);
    struct model_reply reply = {.status = KV_ERR_SESSION_UNKNOWN};
    if (session == NULL || session_knows(session, command, &reply)) {
        return reply;
    }
    reply = apply_write(model, index, command);
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

void model_apply(struct model *model, uint64_t index, struct slice bytes,
                 struct model_reply *ret_reply)
{
    *ret_reply = (struct model_reply){0};
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
        *ret_reply = command.session == 0 ? apply_write(model, index, &command)
                                          : apply_in_session(model, index, &command);
        break;
    }
}
