/*
 * The writes: each looks at what is there, decides, and changes the map once or twice.
 *
 * A write that is refused for its value or for the size of its reply answers nothing but the
 * status. Whether it is refused is known before anything changes.
 */
#include "base/limits.h"
#include "base/number.h"
#include "kv/operations.h"

/* Later than any other time. */
static const uint64_t never_ms = UINT64_MAX;

/* ---- conditions, values before ---- */

bool condition_holds(const struct command *command, const struct item *item, struct reply *reply)
{
    uint64_t revision = item == NULL ? 0 : item->facts.modify;
    bool expected = !command->has_expected || command->expected_revision == revision;
    uint32_t unwanted = item == NULL ? OPTION_PRESENT : OPTION_ABSENT;
    if (expected && (command->options & unwanted) == 0) {
        return true;
    }
    reply->status = KV_ERR_CONDITION;
    reply->revision = revision;
    return false;
}

/* Puts the value before into the reply, if the command asks for it. False: it does not fit. */
static bool return_value(struct kv *kv, const struct command *command, const struct item *item,
                         struct reply *reply)
{
    if ((command->options & OPTION_RETURN) == 0 || item == NULL) {
        return true;
    }
    if (item->value_size > kv->room) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
        return false;
    }
    /* A copy, since the item changes. */
    buf_clear(&kv->page);
    buf_append_slice(&kv->page, item_value(item));
    reply->data = buf_slice(&kv->page);
    reply->count = 1;
    return true;
}

/* ---- expiries ---- */

/* When a key goes, or did not yet exist. */
static uint64_t item_expiry(const struct item *item)
{
    return item == NULL || item->facts.expires_ms == 0 ? never_ms : item->facts.expires_ms;
}

/* When the key is to go, by the log's time; item: what is there now. */
static uint64_t new_expiry(const struct kv *kv, const struct expiry *expiry,
                           const struct item *item)
{
    uint64_t ms = (uint64_t)expiry->ms;
    switch (expiry->kind) {
    case EXPIRY_AT:
        return ms;
    case EXPIRY_AFTER:
        /* No later than what AT can say. */
        if (kv->time_ms >= INT64_MAX || ms >= INT64_MAX - kv->time_ms) {
            return INT64_MAX;
        }
        return kv->time_ms + ms;
    case EXPIRY_KEEP:
        return item_expiry(item);
    case EXPIRY_NEVER:
    default:
        return never_ms;
    }
}

/* Puts the value, or, when the expiry is over, deletes what is there. */
static void put_until(struct kv *kv, struct tree_place *place, struct slice key, struct slice value,
                      uint64_t expiry_ms)
{
    if (expiry_ms == never_ms) {
        map_put(kv, place, key, value, 0);
        return;
    }
    if (expiry_ms > kv->time_ms) {
        map_put(kv, place, key, value, expiry_ms);
        return;
    }
    const struct item *item = map_find(kv, key);
    if (item != NULL) {
        map_delete(kv, item);
    }
}

/* Redis's NX, XX, GT and LT. */
static bool options_allow(uint32_t options, uint64_t before_ms, uint64_t after_ms)
{
    bool limited = before_ms != never_ms;
    bool refused = (options & OPTION_UNLIMITED) != 0 && limited;
    refused = refused || ((options & OPTION_LIMITED) != 0 && !limited);
    refused = refused || ((options & OPTION_LATER) != 0 && after_ms <= before_ms);
    refused = refused || ((options & OPTION_EARLIER) != 0 && after_ms >= before_ms);
    return !refused;
}

static void apply_expire(struct kv *kv, const struct command *command, struct reply *reply)
{
    struct tree_place place;
    const struct item *item = map_locate(kv, command->key, &place);
    if (!return_value(kv, command, item, reply)) {
        return;
    }
    reply->revision = kv->applied;
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        return;
    }
    uint64_t before_ms = item_expiry(item);
    uint64_t after_ms = new_expiry(kv, &command->expiry, item);
    bool changes = before_ms != never_ms || after_ms != never_ms;
    if (changes && options_allow(command->options, before_ms, after_ms)) {
        put_until(kv, &place, command->key, item_value(item), after_ms);
        reply->count = 1;
    }
}

/* ---- put, delete ---- */

static void apply_put(struct kv *kv, const struct command *command, struct reply *reply)
{
    struct tree_place place;
    const struct item *item = map_locate(kv, command->key, &place);
    if (!return_value(kv, command, item, reply) || !condition_holds(command, item, reply)) {
        return;
    }
    put_until(kv, &place, command->key, command->value, new_expiry(kv, &command->expiry, item));
    reply->revision = kv->applied;
}

static void apply_delete(struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    if (!return_value(kv, command, item, reply) || !condition_holds(command, item, reply)) {
        return;
    }
    reply->revision = kv->applied;
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        return;
    }
    map_delete(kv, item);
    reply->count = 1;
}

/* What has expired in the range goes too, and counts for the limit but not as deleted. */
static void apply_delete_range(struct kv *kv, const struct command *command, struct reply *reply)
{
    for (unsigned removed = 0;; removed++) {
        struct tree_cursor cursor;
        map_seek_range(kv, command, &cursor);
        const struct item *item = map_range_item(command, &cursor);
        if (item == NULL) {
            break;
        }
        if (removed == DELETE_LIMIT_MAX) {
            reply->more = true;
            break;
        }
        reply->count += map_is_over(kv, item) ? 0 : 1;
        map_delete(kv, item);
    }
    reply->revision = kv->applied;
}

/* ---- values made from the one before ---- */

/* Writes kv->value; the expiry stays as it is. */
static void put_made(struct kv *kv, const struct command *command, struct tree_place *place,
                     const struct item *item, struct reply *reply)
{
    map_put(kv, place, command->key, buf_slice(&kv->value),
            item == NULL ? 0 : item->facts.expires_ms);
    reply->revision = kv->applied;
}

static void apply_add(struct kv *kv, const struct command *command, struct reply *reply)
{
    struct tree_place place;
    const struct item *item = map_locate(kv, command->key, &place);
    int64_t value = 0;
    if (item != NULL && !number_parse(item_value(item), &value)) {
        reply->status = KV_ERR_NOT_INTEGER;
        return;
    }
    if (__builtin_add_overflow(value, command->number, &value)) {
        reply->status = KV_ERR_OVERFLOW;
        return;
    }
    buf_clear(&kv->value);
    number_format(value, &kv->value);
    put_made(kv, command, &place, item, reply);
    reply->count = (uint64_t)value;
}

static void apply_add_float(struct kv *kv, const struct command *command, struct reply *reply)
{
    struct tree_place place;
    const struct item *item = map_locate(kv, command->key, &place);
    long double value = 0;
    long double increment = 0;
    if ((item != NULL && !number_parse_float(item_value(item), &value)) ||
        !number_parse_float(command->value, &increment)) {
        reply->status = KV_ERR_NOT_FLOAT;
        return;
    }
    buf_clear(&kv->value);
    if (!number_format_float(value + increment, &kv->value)) {
        reply->status = KV_ERR_OVERFLOW;
        return;
    }
    if (kv->value.size > kv->room) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
        return;
    }
    put_made(kv, command, &place, item, reply);
    reply->data = buf_slice(&kv->value);
}

/* Writes the bytes over the value, or what is there of it, from `offset` on. */
static void overlay(struct kv *kv, const struct command *command, uint64_t offset,
                    struct reply *reply)
{
    struct tree_place place;
    const struct item *item = map_locate(kv, command->key, &place);
    struct slice before = item == NULL ? slice_of(NULL, 0) : item_value(item);
    if (offset > VALUE_SIZE_MAX - command->value.size) {
        reply->status = KV_ERR_VALUE_TOO_LARGE;
        return;
    }
    size_t end = (size_t)offset + command->value.size;
    buf_clear(&kv->value);
    buf_append_slice(&kv->value, before);
    if (end > before.size) {
        memset(buf_extend(&kv->value, end - before.size), 0, end - before.size);
    }
    if (command->value.size > 0) {
        memcpy(kv->value.data + offset, command->value.data, command->value.size);
    }
    put_made(kv, command, &place, item, reply);
    reply->count = kv->value.size;
}

static void apply_append(struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    overlay(kv, command, item == NULL ? 0 : item->value_size, reply);
}

static void apply_set_range(struct kv *kv, const struct command *command, struct reply *reply)
{
    if (command->value.size > 0) {
        overlay(kv, command, (uint64_t)command->number, reply);
        return;
    }
    const struct item *item = map_find(kv, command->key);
    reply->revision = kv->applied;
    reply->count = item == NULL ? 0 : item->value_size;
}

/* ---- from one key to another ---- */

/*
 * Writes the key's value and expiry to the target, unless that is there and may not be. Onto itself
 * it changes nothing. False: it was refused.
 */
static bool transfer(struct kv *kv, const struct command *command, bool may_replace,
                     struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        reply->revision = kv->applied;
        return false;
    }
    struct tree_place place;
    const struct item *target = map_locate(kv, command->target, &place);
    if (target != NULL && !may_replace) {
        reply->status = KV_ERR_CONDITION;
        reply->revision = target->facts.modify;
        return false;
    }
    if (target != item) {
        map_put(kv, &place, command->target, item_value(item), item->facts.expires_ms);
    }
    reply->revision = kv->applied;
    reply->count = 1;
    return true;
}

static void apply_rename(struct kv *kv, const struct command *command, struct reply *reply)
{
    bool may_replace = (command->options & OPTION_ABSENT) == 0;
    if (transfer(kv, command, may_replace, reply) && !slice_equal(command->key, command->target)) {
        map_delete(kv, map_find(kv, command->key));
    }
}

static void apply_copy(struct kv *kv, const struct command *command, struct reply *reply)
{
    (void)transfer(kv, command, (command->options & OPTION_REPLACE) != 0, reply);
}

/* ---- all of them ---- */

static void apply_clear(struct kv *kv, struct reply *reply)
{
    reply->count = map_clear(kv);
    reply->revision = kv->applied;
}

void write_apply(struct kv *kv, const struct command *command, struct reply *reply)
{
    switch (command->operation) {
    case OPERATION_PUT:
        apply_put(kv, command, reply);
        break;
    case OPERATION_DELETE:
        apply_delete(kv, command, reply);
        break;
    case OPERATION_DELETE_RANGE:
        apply_delete_range(kv, command, reply);
        break;
    case OPERATION_ADD:
        apply_add(kv, command, reply);
        break;
    case OPERATION_ADD_FLOAT:
        apply_add_float(kv, command, reply);
        break;
    case OPERATION_APPEND:
        apply_append(kv, command, reply);
        break;
    case OPERATION_SET_RANGE:
        apply_set_range(kv, command, reply);
        break;
    case OPERATION_EXPIRE:
        apply_expire(kv, command, reply);
        break;
    case OPERATION_RENAME:
        apply_rename(kv, command, reply);
        break;
    case OPERATION_COPY:
        apply_copy(kv, command, reply);
        break;
    case OPERATION_CLEAR:
        apply_clear(kv, reply);
        break;
    default:
        UNREACHABLE();
    }
}
