/*
 * The ordered map: a copy-on-write B+tree from byte strings to items (see item.h). Freezing gives
 * a read-only tree with the present contents in constant time; afterwards a writer copies only the
 * nodes on its path that are still shared. One thread uses a tree and everything frozen from it.
 */
#ifndef KV_TREE_H
#define KV_TREE_H

#include "kv/tree_node.h"

struct tree; /* at the end, for tree_check */

struct tree *tree_new(void);

/* Also of a frozen tree: gives back its references. The other trees stay as they are. */
void tree_free(struct tree *tree);

/*
 * The same in steps of bounded work: frees up to `*nodes` nodes, with the items that nobody else
 * refers to, and reduces *nodes by as many. True: the tree is gone. After the first step only
 * further ones are allowed.
 */
bool tree_release(struct tree *tree, size_t *nodes);

/* The present contents, read-only, for the caller to free. O(1). */
struct tree *tree_freeze(struct tree *tree);

/* The item of that key, borrowed until the next write to this tree; NULL: not there. */
const struct item *tree_get(const struct tree *tree, struct slice key);

/*
 * Where a key is, or where it would be: what a lookup leaves for the write that follows it, so that
 * this need not search again. Valid until the next write to the tree.
 */
struct tree_place {
    struct node *nodes[TREE_DEPTH_MAX]; /* from the root to a leaf */
    unsigned slots[TREE_DEPTH_MAX];     /* of the next node, in the leaf of the item */
    unsigned leaf;                      /* the leaf's place in `nodes` */
    bool found;                         /* the key is there */
};

/* tree_get, which says where that is. The place is to be written to only in a tree not frozen. */
const struct item *tree_find(const struct tree *tree, struct slice key,
                             struct tree_place *ret_place);

/* The item at a place, borrowed until the next write; NULL: there is none yet. */
static inline const struct item *tree_place_item(const struct tree_place *place)
{
    return place->found ? place->nodes[place->leaf]->items[place->slots[place->leaf]] : NULL;
}

/* Keys whose cache lines, a dozen each, are about what a first-level cache has. */
enum { TREE_PREFETCH_MAX = 64 };

/*
 * Asks for the memory that tree_get and tree_put of these keys will read, and does not wait for it:
 * level by level for all of them, so that their cache misses overlap. Keys of any size but 0, at
 * most TREE_PREFETCH_MAX.
 */
void tree_prefetch(const struct tree *tree, const struct slice keys[], size_t count);

/*
 * Makes or replaces the item of a key of 1 to TREE_KEY_SIZE_MAX bytes. The tree is not frozen; the
 * slices are copied, and may be the whole key and the whole value of any item in it.
 */
void tree_put(struct tree *tree, struct slice key, struct slice value,
              const struct item_facts *facts);

/* The same of the key that the place was found with. The place is not valid afterwards. */
void tree_put_at(struct tree *tree, struct tree_place *place, struct slice key, struct slice value,
                 const struct item_facts *facts);

/*
 * An item that follows from `random` alone, borrowed like tree_get's; NULL: the tree is empty. With
 * random numbers every item is about as likely as any other: at most as much as the nodes on the
 * way to it are emptier than others.
 */
const struct item *tree_pick(const struct tree *tree, uint64_t random);

/* False when the key is not there. `key` may be the item's own. The tree is not frozen. */
bool tree_delete(struct tree *tree, struct slice key);

uint64_t tree_count(const struct tree *tree);

/*
 * Bytes of memory of all nodes and items that can be reached from this tree, with the overhead of
 * the allocator. What two trees share counts in both.
 */
uint64_t tree_memory(const struct tree *tree);

/* A place in a tree; valid until the next write to that tree. A frozen tree has none. */
struct tree_cursor {
    const struct node *nodes[TREE_DEPTH_MAX]; /* from the root to a leaf */
    unsigned slots[TREE_DEPTH_MAX];
    unsigned depth; /* nodes in the path; 0: past the last item */
};

/* Points the cursor at the first item whose key is not below `key`, which may be of any size. */
void tree_seek(const struct tree *tree, struct slice key, struct tree_cursor *cursor);

/* The item at the cursor, borrowed; NULL: past the last. */
const struct item *tree_cursor_item(const struct tree_cursor *cursor);

/* To the next item. The cursor is not past the last. */
void tree_cursor_next(struct tree_cursor *cursor);

/* Asserts every invariant of tree_node.h, the count and the memory. Visits everything. */
void tree_check(const struct tree *tree);

/* What tree.c and tree_check.c share. */
struct tree {
    struct node *root;   /* NULL: it is being released */
    struct item *bottom; /* what all keys begin with: the lower bound of the whole tree */
    uint64_t count;
    uint64_t memory;
    bool frozen;
    struct node_release release;
    struct tree *next; /* in a list of trees to be released, its owner's; else NULL */
};

#endif
