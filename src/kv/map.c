/* The tree of items, the tree of expiries and the digest, changed together. */
#include "kv/map.h"

#include "base/hash.h"
#include "base/limits.h"

enum {
    /* Bytes of the time in a key of the expiries. */
    TIME_SIZE = 8,
    /* What a clear gives back at once, of each tree: so small ones need no list, and a batch that
     * makes and clears them over and over leaves none. */
    CLEAR_NODES_MAX = 64,
};

/* A seed that keeps the digests of different things apart. */
static const uint64_t seed_item = 0x6974656d00000000;

/* Key and value are hashed one after the other, each seeding the next, so their border counts. */
uint64_t map_item_digest(struct slice key, struct slice value, const struct item_facts *facts)
{
    uint8_t bytes[32];
    put_u64(bytes, facts->create);
    put_u64(bytes + 8, facts->modify);
    put_u64(bytes + 16, facts->version);
    put_u64(bytes + 24, facts->expires_ms);
    uint64_t digest = hash_bytes_seeded(bytes, sizeof bytes, seed_item);
    digest = hash_bytes_seeded(key.data, key.size, digest);
    return hash_bytes_seeded(value.data, value.size, digest);
}

static uint64_t digest_of(const struct item *item)
{
    return map_item_digest(item_key(item), item_value(item), &item->facts);
}

uint64_t map_digest(const struct kv *kv)
{
    uint64_t digest = 0;
    struct tree_cursor cursor;
    tree_seek(kv->tree, slice_of(NULL, 0), &cursor);
    for (const struct item *item = tree_cursor_item(&cursor); item != NULL;
         item = tree_cursor_item(&cursor)) {
        digest += digest_of(item);
        tree_cursor_next(&cursor);
    }
    return digest;
}

/* ---- expiries ---- */

/* The key of the expiries for a key that goes at that time. */
static struct slice expiry_key(uint64_t expires_ms, struct slice key,
                               uint8_t room[TREE_KEY_SIZE_MAX])
{
    CHECK(key.size <= KEY_SIZE_MAX);
    for (unsigned i = 0; i < TIME_SIZE; i++) {
        room[i] = (uint8_t)(expires_ms >> (8 * (TIME_SIZE - 1 - i)));
    }
    memcpy(room + TIME_SIZE, key.data, key.size);
    return slice_of(room, TIME_SIZE + key.size);
}

static uint64_t expiry_time(const struct item *expiry)
{
    uint64_t expires_ms = 0;
    for (unsigned i = 0; i < TIME_SIZE; i++) {
        expires_ms = expires_ms << 8 | expiry->bytes[i];
    }
    return expires_ms;
}

static struct slice expiry_of_key(const struct item *expiry)
{
    return slice_of(expiry->bytes + TIME_SIZE, (size_t)expiry->key_size - TIME_SIZE);
}

static void add_expiry(struct kv *kv, uint64_t expires_ms, struct slice key)
{
    static const struct item_facts no_facts;
    uint8_t room[TREE_KEY_SIZE_MAX];
    if (expires_ms != 0) {
        tree_put(kv->expiries, expiry_key(expires_ms, key, room), slice_of(NULL, 0), &no_facts);
    }
}

static void remove_expiry(struct kv *kv, uint64_t expires_ms, struct slice key)
{
    uint8_t room[TREE_KEY_SIZE_MAX];
    if (expires_ms != 0) {
        bool deleted = tree_delete(kv->expiries, expiry_key(expires_ms, key, room));
        CHECK(deleted);
    }
}

static const struct item *first_expiry(const struct kv *kv)
{
    struct tree_cursor cursor;
    tree_seek(kv->expiries, slice_of(NULL, 0), &cursor);
    return tree_cursor_item(&cursor);
}

uint64_t map_next_expiry(const struct kv *kv)
{
    const struct item *expiry = first_expiry(kv);
    return expiry == NULL ? UINT64_MAX : expiry_time(expiry);
}

/* ---- keys ---- */

const struct item *map_find(const struct kv *kv, struct slice key)
{
    const struct item *item = tree_get(kv->tree, key);
    return item == NULL || map_is_over(kv, item) ? NULL : item;
}

const struct item *map_locate(const struct kv *kv, struct slice key, struct tree_place *ret_place)
{
    const struct item *item = tree_find(kv->tree, key, ret_place);
    return item == NULL || map_is_over(kv, item) ? NULL : item;
}

static void note_size(struct kv *kv, struct slice value)
{
    kv->value_size_max = value.size > kv->value_size_max ? value.size : kv->value_size_max;
}

void map_put(struct kv *kv, struct tree_place *place, struct slice key, struct slice value,
             uint64_t expires_ms)
{
    CHECK(expires_ms == 0 || expires_ms > kv->time_ms);
    struct item_facts facts = {
        .create = kv->applied, .modify = kv->applied, .version = 1, .expires_ms = expires_ms};
    uint64_t expired_ms = 0;
    const struct item *before = tree_place_item(place);
    if (before != NULL) {
        kv->items_digest -= digest_of(before);
        expired_ms = before->facts.expires_ms;
        if (!map_is_over(kv, before)) {
            facts.create = before->facts.create;
            facts.version = before->facts.version + 1;
        }
    }
    kv->items_digest += map_item_digest(key, value, &facts);
    if (expired_ms != expires_ms) {
        remove_expiry(kv, expired_ms, key);
        add_expiry(kv, expires_ms, key);
    }
    note_size(kv, value);
    tree_put_at(kv->tree, place, key, value, &facts);
}

void map_delete(struct kv *kv, const struct item *item)
{
    kv->items_digest -= digest_of(item);
    remove_expiry(kv, item->facts.expires_ms, item_key(item));
    bool deleted = tree_delete(kv->tree, item_key(item));
    CHECK(deleted);
}

uint64_t map_purge(struct kv *kv, uint64_t count_max)
{
    uint64_t count = 0;
    while (count < count_max) {
        const struct item *expiry = first_expiry(kv);
        if (expiry == NULL || expiry_time(expiry) > kv->time_ms) {
            break;
        }
        const struct item *item = tree_get(kv->tree, expiry_of_key(expiry));
        CHECK(item != NULL);
        map_delete(kv, item);
        count++;
    }
    return count;
}

void map_restore(struct kv *kv, struct slice key, struct slice value,
                 const struct item_facts *facts)
{
    kv->items_digest += map_item_digest(key, value, facts);
    add_expiry(kv, facts->expires_ms, key);
    note_size(kv, value);
    tree_put(kv->tree, key, value, facts);
}

/* ---- trees that are not used any more ---- */

void map_retire(struct kv *kv, struct tree *tree)
{
    CHECK(tree->next == NULL);
    tree->next = kv->retired;
    kv->retired = tree;
}

uint64_t map_clear(struct kv *kv)
{
    uint64_t count = tree_count(kv->tree);
    struct tree *old[2] = {kv->tree, kv->expiries};
    for (size_t i = 0; i < 2; i++) {
        size_t nodes = CLEAR_NODES_MAX;
        if (!tree_release(old[i], &nodes)) {
            map_retire(kv, old[i]);
        }
    }
    kv->tree = tree_new();
    kv->expiries = tree_new();
    kv->items_digest = 0;
    kv->value_size_max = 0;
    return count;
}

bool map_tidy(struct kv *kv, size_t nodes)
{
    while (kv->retired != NULL) {
        struct tree *next = kv->retired->next;
        if (!tree_release(kv->retired, &nodes)) {
            return false;
        }
        kv->retired = next;
    }
    return true;
}

/* ---- ranges ---- */

void map_seek_range(const struct kv *kv, const struct command *command, struct tree_cursor *cursor)
{
    bool from_prefix = slice_compare(command->prefix, command->key) > 0;
    tree_seek(kv->tree, from_prefix ? command->prefix : command->key, cursor);
}

const struct item *map_range_item(const struct command *command, const struct tree_cursor *cursor)
{
    const struct item *item = tree_cursor_item(cursor);
    if (item == NULL) {
        return NULL;
    }
    struct slice key = item_key(item);
    bool before_end = command->end.size == 0 || slice_compare(key, command->end) < 0;
    return before_end && slice_has_prefix(key, command->prefix) ? item : NULL;
}

/* ---- checks ---- */

void map_check(const struct kv *kv)
{
    tree_check(kv->tree);
    tree_check(kv->expiries);
    uint64_t count = 0;
    struct tree_cursor cursor;
    tree_seek(kv->tree, slice_of(NULL, 0), &cursor);
    for (const struct item *item = tree_cursor_item(&cursor); item != NULL;
         item = tree_cursor_item(&cursor)) {
        uint64_t expires_ms = item->facts.expires_ms;
        if (expires_ms != 0) {
            uint8_t room[TREE_KEY_SIZE_MAX];
            CHECK(tree_get(kv->expiries, expiry_key(expires_ms, item_key(item), room)) != NULL);
            count++;
        }
        tree_cursor_next(&cursor);
    }
    CHECK(count == tree_count(kv->expiries));
    CHECK(kv->items_digest == map_digest(kv));
}
