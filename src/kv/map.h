/*
 * The map: keys that go when their time has come, and the digest of them all.
 *
 *     tree        key                  ──► item        what snapshots have
 *     expiries    expires_ms │ key     ──► nothing     every key of the tree that expires, in the
 *                 8 bytes, big-endian                  order of when; made anew from the tree
 *
 * A key whose time has come is not there any more, from the very entry whose time that is; its
 * item is removed later, a few with each entry (map_purge). Whoever looks for a key does so with
 * map_find, and whoever walks through the tree asks map_is_over of each item.
 */
#ifndef KV_MAP_H
#define KV_MAP_H

#include "kv/state.h"

uint64_t map_item_digest(struct slice key, struct slice value, const struct item_facts *facts);

/* The sum of the items' digests, computed from nothing. */
uint64_t map_digest(const struct kv *kv);

/* Whether the item's time has come: it is stored, but not there. */
static inline bool map_is_over(const struct kv *kv, const struct item *item)
{
    return item->facts.expires_ms != 0 && item->facts.expires_ms <= kv->time_ms;
}

/* The item of a key that is there, borrowed until the next write to the map; else NULL. */
const struct item *map_find(const struct kv *kv, struct slice key);

/* The same for a map_put of the key, which is then the next write. */
const struct item *map_locate(const struct kv *kv, struct slice key, struct tree_place *ret_place);

/*
 * Writes the key that the place was found with, by the entry that is being applied: its revisions
 * and version follow. expires_ms is 0 or still to come. The slices may be an item's, the whole
 * value.
 */
void map_put(struct kv *kv, struct tree_place *place, struct slice key, struct slice value,
             uint64_t expires_ms);

/* Deletes the key of an item that is stored. */
void map_delete(struct kv *kv, const struct item *item);

/* Deletes everything and returns how many keys that were. The memory comes back by map_tidy. */
uint64_t map_clear(struct kv *kv);

/* Removes up to `count_max` keys whose time has come, the earliest first; returns how many. */
uint64_t map_purge(struct kv *kv, uint64_t count_max);

/* When the earliest expiry that is still stored is; UINT64_MAX: there is none. */
uint64_t map_next_expiry(const struct kv *kv);

/* Puts an item with all of its facts, for a restore: a key that is not stored yet. */
void map_restore(struct kv *kv, struct slice key, struct slice value,
                 const struct item_facts *facts);

/* Has a tree given back by map_tidy. */
void map_retire(struct kv *kv, struct tree *tree);

/* Gives back up to `nodes` nodes of trees that are not used any more; true: nothing is left. */
bool map_tidy(struct kv *kv, size_t nodes);

/* Points at the first item of the command's range, or at the first behind it. */
void map_seek_range(const struct kv *kv, const struct command *command, struct tree_cursor *cursor);

/* The item at the cursor while it is in the range, over or not; NULL from the first that is not. */
const struct item *map_range_item(const struct command *command, const struct tree_cursor *cursor);

/* Asserts every invariant of both trees, and that they say the same. */
void map_check(const struct kv *kv);

#endif
