/*
 * The reads. None changes anything, so whether the reply fits is looked at last, in read_answer;
 * pages end before they get too large.
 */
#include "base/glob.h"
#include "base/limits.h"
#include "kv/lcs.h"
#include "kv/operations.h"

/* The largest item of a scan: sizes of key and value, both, the revision. */
STATIC_CHECK(FRAME_SIZE_MAX / 2 >= 4 + KEY_SIZE_MAX + 4 + VALUE_SIZE_MAX + 8,
             "every item fits a page, so that every page goes on");

enum {
    PAGE_SIZE_MAX = FRAME_SIZE_MAX / 2,
    /* Items that RANDOM looks at until it finds one that has not expired: some 10 µs. When there
     * are so many others side by side, their removal is far behind and will be done soon. */
    RANDOM_STEPS_MAX = 1000,
};

/* ---- one key ---- */

static void answer_get(const struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        reply->revision = kv->applied;
        return;
    }
    reply->revision = item->facts.modify;
    reply->data = item_value(item);
}

/* As Redis's GETRANGE, where an end far before the first byte still is the first byte. */
static struct slice part_of(struct slice value, int64_t first, int64_t last)
{
    int64_t size = (int64_t)value.size;
    if (first < 0 && last < 0 && first > last) {
        return slice_of(NULL, 0);
    }
    first = first < 0 ? first + size : first;
    last = last < 0 ? last + size : last;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= size ? size - 1 : last;
    if (first > last) {
        return slice_of(NULL, 0);
    }
    return slice_of(value.data + first, (size_t)(last - first + 1));
}

static void answer_get_range(const struct kv *kv, const struct command *command,
                             struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    reply->revision = kv->applied;
    if (item != NULL) {
        reply->revision = item->facts.modify;
        reply->data = part_of(item_value(item), command->number, command->last);
    }
}

static void answer_stat(struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    if (item == NULL) {
        reply->status = KV_ERR_NOT_FOUND;
        reply->revision = kv->applied;
        return;
    }
    struct key_stat stat = {.create = item->facts.create,
                            .modify = item->facts.modify,
                            .version = item->facts.version,
                            .expires_ms = item->facts.expires_ms,
                            .now_ms = kv->time_ms};
    key_stat_encode(&stat, &kv->page);
    reply->revision = item->facts.modify;
    reply->count = item->value_size;
    reply->data = buf_slice(&kv->page);
}

static void answer_random(const struct kv *kv, const struct command *command, struct reply *reply)
{
    reply->revision = kv->applied;
    const struct item *item = tree_pick(kv->tree, (uint64_t)command->number);
    struct tree_cursor cursor;
    tree_seek(kv->tree, item == NULL ? slice_of(NULL, 0) : item_key(item), &cursor);
    for (unsigned step = 0; step < RANDOM_STEPS_MAX && step < tree_count(kv->tree); step++) {
        item = tree_cursor_item(&cursor);
        if (item == NULL) {
            tree_seek(kv->tree, slice_of(NULL, 0), &cursor);
            item = tree_cursor_item(&cursor);
        }
        if (!map_is_over(kv, item)) {
            reply->data = item_key(item);
            return;
        }
        tree_cursor_next(&cursor);
    }
    reply->status = KV_ERR_NOT_FOUND;
}

/* A key that is not there is an empty value. */
static void answer_lcs(struct kv *kv, const struct command *command, struct reply *reply)
{
    struct slice values[2] = {{0}};
    const struct slice keys[2] = {command->key, command->target};
    for (size_t i = 0; i < 2; i++) {
        const struct item *item = map_find(kv, keys[i]);
        values[i] = item == NULL ? slice_of(NULL, 0) : item_value(item);
    }
    uint64_t cells = (uint64_t)(values[0].size + 1) * (values[1].size + 1);
    if (cells > kv->lcs_cells) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
        return;
    }
    kv->lcs_cells -= cells;
    bool with_matches = (command->options & OPTION_MATCHES) != 0;
    uint32_t size_min = command->number > UINT32_MAX ? UINT32_MAX : (uint32_t)command->number;
    reply->count = lcs_find(values[0], values[1], size_min, with_matches ? NULL : &kv->page,
                            with_matches ? &kv->page : NULL);
    reply->revision = kv->applied;
    reply->data = buf_slice(&kv->page);
}

/* ---- many keys ---- */

/* What a page may have: never more than the room, also when a single key then does not fit. */
static size_t page_size_max(const struct kv *kv)
{
    return kv->room < PAGE_SIZE_MAX ? kv->room : PAGE_SIZE_MAX;
}

/* The next item of the range that is there, at the cursor or after it. */
static const struct item *next_of_range(const struct kv *kv, const struct command *command,
                                        struct tree_cursor *cursor)
{
    const struct item *item = map_range_item(command, cursor);
    while (item != NULL && map_is_over(kv, item)) {
        tree_cursor_next(cursor);
        item = map_range_item(command, cursor);
    }
    return item;
}

/* The page's entry for an item, of a LIST or of a SCAN. */
static size_t entry_size(const struct item *item, bool with_value)
{
    size_t key = 4 + (size_t)item->key_size;
    return with_value ? key + 4 + item->value_size + 8 : key;
}

static void answer_range(struct kv *kv, const struct command *command, struct reply *reply)
{
    bool with_value = command->operation == OPERATION_SCAN;
    uint64_t limit = command->limit;
    if (limit == 0 || limit > LIST_LIMIT_MAX) {
        limit = LIST_LIMIT_MAX;
    }
    size_t size_max = page_size_max(kv);
    struct tree_cursor cursor;
    map_seek_range(kv, command, &cursor);
    for (;;) {
        const struct item *item = next_of_range(kv, command, &cursor);
        if (item == NULL) {
            break;
        }
        if (reply->count == limit || kv->page.size + entry_size(item, with_value) > size_max) {
            reply->more = true;
            break;
        }
        buf_put_sized(&kv->page, item_key(item));
        if (with_value) {
            buf_put_sized(&kv->page, item_value(item));
            buf_put_u64(&kv->page, item->facts.modify);
        }
        reply->count++;
        tree_cursor_next(&cursor);
    }
    reply->status = reply->more && reply->count == 0 ? KV_ERR_REPLY_TOO_LARGE : 0;
    reply->revision = kv->applied;
    reply->data = buf_slice(&kv->page);
}

/* Puts the key before the page. */
static void prepend_key(struct buf *page, struct slice key)
{
    size_t before = page->size;
    (void)buf_extend(page, 4 + key.size);
    if (before > 0) {
        memmove(page->data + 4 + key.size, page->data, before);
    }
    put_u32(page->data, (uint32_t)key.size);
    if (key.size > 0) {
        memcpy(page->data + 4, key.data, key.size);
    }
}

/* Keys that have expired are looked at, and count for the limit, but fit no pattern. */
static void answer_match(struct kv *kv, const struct command *command, struct reply *reply)
{
    uint64_t limit = command->limit == 0 ? UINT64_MAX : command->limit;
    size_t size_max = command->limit == 0 ? kv->room : page_size_max(kv);
    struct slice last = slice_of(NULL, 0);
    struct tree_cursor cursor;
    tree_seek(kv->tree, command->key, &cursor);
    uint64_t looked = 0;
    for (; tree_cursor_item(&cursor) != NULL && looked < kv->keys; looked++) {
        const struct item *item = tree_cursor_item(&cursor);
        struct slice key = item_key(item);
        bool matches = !map_is_over(kv, item) && glob_matches(command->pattern, key);
        /* With it, it is the last one itself. */
        size_t size = kv->page.size + 4 + key.size + (matches ? 4 + key.size : 0);
        reply->more = looked == limit || size > size_max;
        if (reply->more) {
            break;
        }
        if (matches) {
            buf_put_sized(&kv->page, key);
            reply->count++;
        }
        last = key;
        tree_cursor_next(&cursor);
    }
    bool too_many = looked == kv->keys && tree_cursor_item(&cursor) != NULL;
    kv->keys -= looked;
    if (too_many) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
        return;
    }
    if (reply->more && (command->limit == 0 || last.size == 0)) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
        return;
    }
    prepend_key(&kv->page, last);
    reply->revision = kv->applied;
    reply->data = buf_slice(&kv->page);
}

/* ---- all of them ---- */

static void answer(struct kv *kv, const struct command *command, struct reply *reply)
{
    switch (command->operation) {
    case OPERATION_GET:
        answer_get(kv, command, reply);
        break;
    case OPERATION_LIST:
    case OPERATION_SCAN:
        answer_range(kv, command, reply);
        break;
    case OPERATION_STAT:
        answer_stat(kv, command, reply);
        break;
    case OPERATION_GET_RANGE:
        answer_get_range(kv, command, reply);
        break;
    case OPERATION_COUNT:
        reply->count = tree_count(kv->tree);
        reply->revision = kv->applied;
        break;
    case OPERATION_RANDOM:
        answer_random(kv, command, reply);
        break;
    case OPERATION_MATCH:
        answer_match(kv, command, reply);
        break;
    case OPERATION_LCS:
        answer_lcs(kv, command, reply);
        break;
    default:
        UNREACHABLE();
    }
}

void read_answer(struct kv *kv, const struct command *command, struct reply *reply)
{
    buf_clear(&kv->page);
    buf_shrink(&kv->page, FRAME_SIZE_MAX);
    answer(kv, command, reply);
    if (reply->status == 0 && reply->data.size > kv->room) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
    }
    if (reply->status == KV_ERR_REPLY_TOO_LARGE) {
        *reply = (struct reply){.status = KV_ERR_REPLY_TOO_LARGE};
    }
}
