/*
 * The copy-on-write B+tree. The nodes and their invariants are in tree_node.h.
 *
 * A writer first copies every node on the way from the root to the leaf that has more than one
 * reference (own_path). From then on the path is its own, and it changes it in place:
 *
 *     put     leaf has room ──────────────────────────────► insert
 *             leaf is full ──► split_path: from the topmost of the full nodes above the leaf
 *                              downwards, each node into two, the new one entered into its
 *                              parent, which has room by then ──► insert
 *     delete  remove from the leaf ──► rebalance: from the leaf upwards, a node with less than
 *             NODE_SLOTS_MIN slots is merged with a neighbour or takes slots from it
 *                              ──► shrink: a root with one child gives way to it
 *
 * A put at the end of a node splits it unevenly, so keys that arrive in order fill nodes to three
 * quarters instead of half.
 */
#include "kv/tree.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

#include <stdlib.h>

static const struct item_facts no_facts;

struct tree *tree_new(void)
{
    struct tree *tree = memory_new(1, sizeof *tree);
    tree->root = node_new(0);
    tree->bottom = item_new(slice_of(NULL, 0), slice_of(NULL, 0), &no_facts);
    tree->memory = node_footprint(0) + item_footprint(0, 0);
    return tree;
}

void tree_free(struct tree *tree)
{
    if (tree != NULL) {
        size_t nodes = SIZE_MAX;
        bool gone = tree_release(tree, &nodes);
        CHECK(gone);
    }
}

bool tree_release(struct tree *tree, size_t *nodes)
{
    if (tree->root != NULL) {
        node_release_begin(&tree->release, tree->root);
        tree->root = NULL;
    }
    if (!node_release_step(&tree->release, nodes)) {
        return false;
    }
    item_unref(tree->bottom);
    free(tree);
    return true;
}

struct tree *tree_freeze(struct tree *tree)
{
    struct tree *frozen = memory_new(1, sizeof *frozen);
    *frozen = *tree;
    frozen->root->references++;
    (void)item_ref(frozen->bottom);
    frozen->frozen = true;
    return frozen;
}

uint64_t tree_count(const struct tree *tree)
{
    return tree->count;
}

uint64_t tree_memory(const struct tree *tree)
{
    return tree->memory;
}

static bool has_prefix(const struct tree *tree, struct slice key)
{
    return slice_has_prefix(key, item_key(tree->bottom));
}

const struct item *tree_get(const struct tree *tree, struct slice key)
{
    if (!has_prefix(tree, key)) {
        return NULL;
    }
    const struct node *node = tree->root;
    while (node->level > 0) {
        node = node->children[node_search_child(node, key)];
    }
    bool equal;
    unsigned slot = node_search(node, key, &equal);
    return equal ? node->items[slot] : NULL;
}

const struct item *tree_find(const struct tree *tree, struct slice key,
                             struct tree_place *ret_place)
{
    struct node *node = tree->root;
    unsigned depth = 0;
    if (!has_prefix(tree, key)) {
        ret_place->found = false; /* tree_put_at will look once more. */
        return NULL;
    }
    while (node->level > 0) {
        CHECK(depth + 1 < TREE_DEPTH_MAX);
        ret_place->nodes[depth] = node;
        ret_place->slots[depth] = node_search_child(node, key);
        node = node->children[ret_place->slots[depth]];
        depth++;
    }
    ret_place->nodes[depth] = node;
    ret_place->slots[depth] = node_search(node, key, &ret_place->found);
    ret_place->leaf = depth;
    return tree_place_item(ret_place);
}

void tree_prefetch(const struct tree *tree, const struct slice all_keys[], size_t all_count)
{
    CHECK(all_count <= TREE_PREFETCH_MAX);
    struct slice keys[TREE_PREFETCH_MAX];
    const struct node *nodes[TREE_PREFETCH_MAX];
    unsigned slots[TREE_PREFETCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < all_count; i++) {
        if (has_prefix(tree, all_keys[i])) {
            keys[count] = all_keys[i];
            nodes[count] = tree->root;
            count++;
        }
    }
    for (unsigned level = tree->root->level; level > 0; level--) {
        for (size_t i = 0; i < count; i++) {
            nodes[i] = nodes[i]->children[node_search_child(nodes[i], keys[i])];
            node_prefetch(nodes[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        slots[i] = node_search_heads(nodes[i], keys[i]);
        __builtin_prefetch(&nodes[i]->items[slots[i]]);
    }
    for (size_t i = 0; i < count; i++) {
        if (slots[i] < nodes[i]->count) {
            item_prefetch(nodes[i]->items[slots[i]]);
        }
    }
}

/* Takes a number below `count` out of a random one; what is left is as good for the next. */
static unsigned take_slot(uint64_t *random, unsigned count)
{
    CHECK(count > 0);
    unsigned slot = (unsigned)(*random % count);
    *random /= count;
    return slot;
}

const struct item *tree_pick(const struct tree *tree, uint64_t random)
{
    if (tree->count == 0) {
        return NULL;
    }
    const struct node *node = tree->root;
    while (node->level > 0) {
        node = node->children[take_slot(&random, node->count)];
    }
    return node->items[take_slot(&random, node->count)];
}

/* ---- the writer's path ---- */

/* Makes the node that hangs at `place` the writer's own. */
static struct node *own(struct node **place)
{
    struct node *node = *place;
    if (node->references > 1) {
        *place = node_copy(node);
        node->references--;
    }
    CHECK((*place)->references == 1);
    return *place;
}

static void own_path(struct tree *tree, struct tree_place *path)
{
    path->nodes[0] = own(&tree->root);
    for (unsigned depth = 0; depth < path->leaf; depth++) {
        path->nodes[depth + 1] = own(&path->nodes[depth]->children[path->slots[depth]]);
    }
}

/*
 * Has all keys begin with that prefix, which those in the tree do, and the present one with it. The
 * nodes along both edges are bounded by it: it is what they skip.
 */
static void set_prefix(struct tree *tree, struct slice prefix)
{
    struct item *bottom = item_new(prefix, slice_of(NULL, 0), &no_facts);
    tree->memory += item_footprint(bottom->key_size, 0);
    tree->memory -= item_footprint(tree->bottom->key_size, 0);
    for (unsigned edge = 0; edge < 2; edge++) {
        struct node *node = own(&tree->root);
        node_set_skip(node, prefix.size);
        while (node->level > 0) {
            if (edge == 0) {
                node_replace(node, 0, item_ref(bottom));
            }
            node = own(&node->children[edge == 0 ? 0 : node->count - 1]);
            node_set_skip(node, prefix.size);
        }
    }
    item_unref(tree->bottom);
    tree->bottom = bottom;
}

/* Sees to it that the key begins as all others do; true: the place of any key is another one. */
static bool admit(struct tree *tree, struct slice key)
{
    struct slice prefix = item_key(tree->bottom);
    size_t size = tree->count == 0 ? key.size : common_prefix_size(prefix, key);
    if (tree->count > 0 && size == prefix.size) {
        return false;
    }
    set_prefix(tree, slice_of(key.data, size));
    return true;
}

/* The upper bound of the child at `slot` of the node at `depth`; NULL: the tree's right edge. */
static const struct item *upper_bound(const struct tree_place *path, unsigned depth, unsigned slot)
{
    const struct node *node = path->nodes[depth];
    while (slot + 1 == node->count) {
        if (depth == 0) {
            return NULL;
        }
        depth--;
        node = path->nodes[depth];
        slot = path->slots[depth];
    }
    return node->items[slot + 1];
}

/* The skip of a node that spans the children `from` to `to` of the node at `depth`. */
static size_t skip_between(const struct tree *tree, const struct tree_place *path, unsigned depth,
                           unsigned from, unsigned to)
{
    const struct item *upper = upper_bound(path, depth, to);
    if (upper == NULL) {
        return tree->bottom->key_size;
    }
    return common_prefix_size(item_key(path->nodes[depth]->items[from]), item_key(upper));
}

/*
 * The item that separates two neighbours, with a reference for their parent: of inner nodes the
 * right one's lower bound, of leaves a new one with the shortest key that will do.
 */
static struct item *separator_new(struct tree *tree, const struct node *left,
                                  const struct node *right)
{
    CHECK(left->count > 0);
    CHECK(right->count > 0);
    if (right->level > 0) {
        return item_ref(right->items[0]);
    }
    struct slice key = item_key(right->items[0]);
    key.size = common_prefix_size(item_key(left->items[left->count - 1]), key) + 1;
    tree->memory += item_footprint(key.size, 0);
    return item_new(key, slice_of(NULL, 0), &no_facts);
}

/* A separator between children of that level leaves its parent. Only leaves have their own. */
static void separator_gone(struct tree *tree, const struct item *separator, unsigned level)
{
    if (level == 0) {
        tree->memory -= item_footprint(separator->key_size, 0);
    }
}

/* ---- put ---- */

/* Puts a new root above the present one, which is full. */
static void grow(struct tree *tree, struct tree_place *path)
{
    CHECK(path->leaf + 1 < TREE_DEPTH_MAX);
    struct node *root = node_new(tree->root->level + 1u);
    node_set_skip(root, tree->bottom->key_size);
    node_insert(root, 0, item_ref(tree->bottom), tree->root);
    tree->root = root;
    tree->memory += node_footprint(root->level);
    memmove(&path->nodes[1], &path->nodes[0], (path->leaf + 1) * sizeof(struct node *));
    memmove(&path->slots[1], &path->slots[0], (path->leaf + 1) * sizeof(unsigned));
    path->nodes[0] = root;
    path->slots[0] = 0;
    path->leaf++;
}

/* Splits the full node at `depth`, whose parent has room; the path goes on to where `key` is. */
static void split(struct tree *tree, struct tree_place *path, unsigned depth, struct slice key)
{
    struct node *parent = path->nodes[depth - 1];
    unsigned slot = path->slots[depth - 1];
    struct node *left = path->nodes[depth];
    CHECK(left->count == NODE_SLOTS);
    CHECK(parent->count < NODE_SLOTS);
    bool at_end = slice_compare(key, item_key(left->items[left->count - 1])) > 0;
    struct node *right = node_new(left->level);
    tree->memory += node_footprint(right->level);
    node_split(left, at_end ? NODE_SLOTS - NODE_SLOTS_MIN : NODE_SLOTS / 2, right);
    struct item *separator = separator_new(tree, left, right);
    node_insert(parent, slot + 1, separator, right);
    node_set_skip(left, skip_between(tree, path, depth - 1, slot, slot));
    node_set_skip(right, skip_between(tree, path, depth - 1, slot + 1, slot + 1));
    if (slice_compare(key, item_key(separator)) >= 0) {
        path->slots[depth - 1] = slot + 1;
        path->nodes[depth] = right;
        path->slots[depth] -= left->count;
    }
}

/* Makes room in the leaf: splits it and every full node above it, from the top. */
static void split_path(struct tree *tree, struct tree_place *path, struct slice key)
{
    unsigned top = path->leaf;
    while (top > 0 && path->nodes[top - 1]->count == NODE_SLOTS) {
        top--;
    }
    if (top == 0) {
        grow(tree, path);
        top = 1;
    }
    for (unsigned depth = top; depth <= path->leaf; depth++) {
        split(tree, path, depth, key);
    }
    CHECK(path->nodes[path->leaf]->count < NODE_SLOTS);
}

/* Gives the key at the slot of an own leaf another value: in place where nobody else sees it. */
static void overwrite(struct tree *tree, struct node *leaf, unsigned slot, struct slice value,
                      const struct item_facts *facts)
{
    struct item *item = leaf->items[slot];
    if (item->references == 1 && item->value_size == value.size) {
        item->facts = *facts;
        if (value.size > 0 && value.data != item_value(item).data) {
            memcpy(item->bytes + item->key_size, value.data, value.size);
        }
        return;
    }
    struct slice key = item_key(item);
    tree->memory += item_footprint(key.size, value.size);
    tree->memory -= item_footprint(key.size, item->value_size);
    node_replace(leaf, slot, item_new(key, value, facts));
}

void tree_put_at(struct tree *tree, struct tree_place *place, struct slice key, struct slice value,
                 const struct item_facts *facts)
{
    CHECK(!tree->frozen);
    CHECK(key.size >= 1);
    CHECK(key.size <= TREE_KEY_SIZE_MAX);
    if (admit(tree, key)) {
        (void)tree_find(tree, key, place);
    }
    own_path(tree, place);
    if (place->found) {
        overwrite(tree, place->nodes[place->leaf], place->slots[place->leaf], value, facts);
        return;
    }
    if (place->nodes[place->leaf]->count == NODE_SLOTS) {
        split_path(tree, place, key);
    }
    node_insert(place->nodes[place->leaf], place->slots[place->leaf], item_new(key, value, facts),
                NULL);
    tree->memory += item_footprint(key.size, value.size);
    tree->count++;
}

void tree_put(struct tree *tree, struct slice key, struct slice value,
              const struct item_facts *facts)
{
    struct tree_place place;
    (void)tree_find(tree, key, &place);
    tree_put_at(tree, &place, key, value, facts);
}

/* ---- delete ---- */

/* The neighbours that share the work when a node has become too small. */
struct pair {
    struct node *parent;
    struct node *left;
    struct node *right;
    unsigned slot; /* of the left one in the parent */
};

static void merge(struct tree *tree, const struct tree_place *path, unsigned depth,
                  struct pair *pair)
{
    struct item *separator = pair->parent->items[pair->slot + 1];
    node_balance(pair->left, pair->right, (unsigned)pair->left->count + pair->right->count);
    CHECK(pair->right->count == 0);
    node_remove(pair->parent, pair->slot + 1);
    separator_gone(tree, separator, pair->left->level);
    item_unref(separator);
    tree->memory -= node_footprint(pair->right->level);
    node_unref(pair->right);
    CHECK(pair->left->skip == skip_between(tree, path, depth - 1, pair->slot, pair->slot));
}

static void share(struct tree *tree, const struct tree_place *path, unsigned depth,
                  struct pair *pair)
{
    unsigned slot = pair->slot;
    node_balance(pair->left, pair->right, ((unsigned)pair->left->count + pair->right->count) / 2);
    CHECK(pair->left->count >= NODE_SLOTS_MIN);
    CHECK(pair->right->count >= NODE_SLOTS_MIN);
    separator_gone(tree, pair->parent->items[slot + 1], pair->left->level);
    node_replace(pair->parent, slot + 1, separator_new(tree, pair->left, pair->right));
    node_set_skip(pair->left, skip_between(tree, path, depth - 1, slot, slot));
    node_set_skip(pair->right, skip_between(tree, path, depth - 1, slot + 1, slot + 1));
}

/* Merges the too small node at `depth` with a neighbour, or evens the two out. */
static void rebalance(struct tree *tree, const struct tree_place *path, unsigned depth)
{
    struct node *parent = path->nodes[depth - 1];
    CHECK(parent->count >= 2);
    unsigned slot = path->slots[depth - 1];
    struct pair pair = {.parent = parent, .slot = slot + 1 < parent->count ? slot : slot - 1};
    pair.left = own(&parent->children[pair.slot]);
    pair.right = own(&parent->children[pair.slot + 1]);
    /* Heads can only be moved between nodes that skip the same. */
    size_t skip = skip_between(tree, path, depth - 1, pair.slot, pair.slot + 1);
    node_set_skip(pair.left, skip);
    node_set_skip(pair.right, skip);
    if ((unsigned)pair.left->count + pair.right->count <= NODE_SLOTS_MERGED) {
        merge(tree, path, depth, &pair);
    } else {
        share(tree, path, depth, &pair);
    }
}

/* A root with a single child gives way to it. */
static void shrink(struct tree *tree)
{
    while (tree->root->level > 0 && tree->root->count == 1) {
        struct node *root = tree->root;
        tree->root = root->children[0];
        tree->root->references++;
        tree->memory -= node_footprint(root->level);
        node_unref(root);
    }
}

bool tree_delete(struct tree *tree, struct slice key)
{
    CHECK(!tree->frozen);
    struct tree_place path;
    if (tree_find(tree, key, &path) == NULL) {
        return false;
    }
    own_path(tree, &path);
    struct node *leaf = path.nodes[path.leaf];
    unsigned slot = path.slots[path.leaf];
    struct item *item = leaf->items[slot];
    tree->memory -= item_footprint(item->key_size, item->value_size);
    node_remove(leaf, slot);
    item_unref(item);
    for (unsigned depth = path.leaf; depth > 0; depth--) {
        if (path.nodes[depth]->count >= NODE_SLOTS_MIN) {
            break;
        }
        rebalance(tree, &path, depth);
    }
    shrink(tree);
    CHECK(tree->count > 0);
    tree->count--;
    if (tree->count == 0) {
        set_prefix(tree, slice_of(NULL, 0));
    }
    return true;
}

/* ---- cursor ---- */

/* From the end of a leaf to the first item of the next one, or past the last. */
static void to_next_leaf(struct tree_cursor *cursor)
{
    do {
        cursor->depth--;
        if (cursor->depth == 0) {
            return;
        }
        cursor->slots[cursor->depth - 1]++;
    } while (cursor->slots[cursor->depth - 1] == cursor->nodes[cursor->depth - 1]->count);
    const struct node *node = cursor->nodes[cursor->depth - 1];
    while (node->level > 0) {
        node = node->children[cursor->slots[cursor->depth - 1]];
        CHECK(node->count > 0);
        cursor->nodes[cursor->depth] = node;
        cursor->slots[cursor->depth] = 0;
        cursor->depth++;
    }
}

void tree_seek(const struct tree *tree, struct slice key, struct tree_cursor *cursor)
{
    const struct node *node = tree->root;
    cursor->depth = 0;
    if (!has_prefix(tree, key)) {
        struct slice prefix = item_key(tree->bottom);
        if (slice_compare(key, prefix) > 0) {
            return; /* And above all that begins with it. */
        }
        key = prefix;
    }
    while (node->level > 0) {
        unsigned slot = node_search_child(node, key);
        cursor->nodes[cursor->depth] = node;
        cursor->slots[cursor->depth] = slot;
        cursor->depth++;
        node = node->children[slot];
    }
    bool equal;
    CHECK(cursor->depth < TREE_DEPTH_MAX);
    cursor->nodes[cursor->depth] = node;
    cursor->slots[cursor->depth] = node_search(node, key, &equal);
    cursor->depth++;
    if (cursor->slots[cursor->depth - 1] == node->count) {
        to_next_leaf(cursor);
    }
}

const struct item *tree_cursor_item(const struct tree_cursor *cursor)
{
    if (cursor->depth == 0) {
        return NULL;
    }
    return cursor->nodes[cursor->depth - 1]->items[cursor->slots[cursor->depth - 1]];
}

void tree_cursor_next(struct tree_cursor *cursor)
{
    CHECK(cursor->depth > 0);
    unsigned *slot = &cursor->slots[cursor->depth - 1];
    (*slot)++;
    if (*slot == cursor->nodes[cursor->depth - 1]->count) {
        to_next_leaf(cursor);
    }
}
