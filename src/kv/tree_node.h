/*
 * A node of the tree (tree.c): an ordered array of items and, in an inner node, of the children
 * that begin at these items. Nodes are shared between trees by counting references; only a node
 * with one reference, reached through nodes with one reference, may be changed.
 *
 *     leaf    item 0 < item 1 < ...           the keys and values
 *     inner   item i <= every key of child i < item i + 1
 *
 * Item 0 of an inner node is the lower bound of the whole node: the very item that its parent
 * holds for it, or the tree's bottom along the left edge: the prefix that all keys have in common.
 * So a node splits and merges the same way on every level. Between leaves, the separating item has
 * the shortest key that separates.
 *
 * A node lies between two bounds, so every key that may be in it begins with what the bounds have
 * in common, or along the right edge with the tree's prefix: `skip` is the size of that. Only keys
 * that begin with the tree's prefix are searched for in nodes. A slot's head is the eight bytes
 * after it, as a big-endian number, shorter keys filled with zeros. Different heads order their
 * keys, so a search mostly reads nothing but the array of heads; equal heads say nothing.
 */
#ifndef KV_TREE_NODE_H
#define KV_TREE_NODE_H

#include "kv/item.h"

enum {
    NODE_SLOTS = 62,        /* a leaf is then 1008 bytes: within glibc's per-thread cache */
    NODE_SLOTS_MIN = 16,    /* in every node but the root */
    NODE_SLOTS_MERGED = 46, /* siblings are merged up to here, so that a merged node has room */
    TREE_DEPTH_MAX = 12,    /* 2 * 16^11 keys at least */
};

struct node {
    uint32_t references;
    uint16_t count;
    uint16_t skip;
    uint16_t level; /* 0: a leaf */
    uint64_t heads[NODE_SLOTS];
    struct item *items[NODE_SLOTS];
    struct node *children[]; /* of an inner node: NODE_SLOTS of them */
};

/* An empty node with one reference. */
struct node *node_new(unsigned level);

/* A copy with one reference, for a writer: the items and children get one more each. */
struct node *node_copy(const struct node *node);

/* Gives one reference back; with the last, frees the node and gives back what it refers to. */
void node_unref(struct node *node);

/*
 * The same in steps: the nodes from the root of what is being freed down to the next one to go,
 * with the next child of each. Nobody else refers to these any more. Zeroed: there is nothing.
 */
struct node_release {
    struct node *nodes[TREE_DEPTH_MAX];
    unsigned next[TREE_DEPTH_MAX];
    unsigned depth;
};

/* Gives back the reference; what is to be freed then is left to the steps. */
void node_release_begin(struct node_release *release, struct node *node);

/* Frees up to `*count` nodes and reduces it by as many; true: nothing is left. */
bool node_release_step(struct node_release *release, size_t *count);

/* The memory of a node of that level. */
size_t node_footprint(unsigned level);

/* Asks for the cache lines of all heads, and does not wait for them. */
void node_prefetch(const struct node *node);

/* The first slot whose head is not below that of `key`, which is the key's own unless others have
 * the same head. Reads nothing but heads. */
unsigned node_search_heads(const struct node *node, struct slice key);

/* The first slot whose key is not below `key`; `ret_equal`: it is the key itself. */
unsigned node_search(const struct node *node, struct slice key, bool *ret_equal);

/* The slot of the child of an inner node that `key` belongs to. */
unsigned node_search_child(const struct node *node, struct slice key);

/* Makes room at `slot` and puts the item there, taking over the references. No child: a leaf. */
void node_insert(struct node *node, unsigned slot, struct item *item, struct node *child);

/* Takes the slot out. The references it had are the caller's now. */
void node_remove(struct node *node, unsigned slot);

/* Puts another item into the slot and gives back the reference to the one before. */
void node_replace(struct node *node, unsigned slot, struct item *item);

/* Moves the slots of `right` from `from` on to a node that is its new, empty right neighbour. */
void node_split(struct node *node, unsigned from, struct node *right);

/*
 * Moves slots between neighbours of the same level and skip until the left one has left_count;
 * with all of them in the left one, `right` is left empty.
 */
void node_balance(struct node *left, struct node *right, unsigned left_count);

/* Sets the skip and, when it is another one, makes the heads anew. */
void node_set_skip(struct node *node, size_t skip);

/* The head of a key that begins with the node's common prefix. */
uint64_t key_head(struct slice key, size_t skip);

size_t common_prefix_size(struct slice a, struct slice b);

#endif
