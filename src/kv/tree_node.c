/*
 * One node: searching it, and moving slots within it and between neighbours. What a slot refers to
 * moves with it; references are only made and given back where the header says so. Which slots go
 * where is decided in tree.c.
 */
#include "kv/tree_node.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

#include <stdlib.h>

STATIC_CHECK(NODE_SLOTS_MERGED < NODE_SLOTS, "a merged node has room");
STATIC_CHECK(NODE_SLOTS_MERGED >= 2 * NODE_SLOTS_MIN - 1, "halves of what is not merged are full");
STATIC_CHECK(NODE_SLOTS / 2 >= NODE_SLOTS_MIN, "halves of a split node are full enough");
STATIC_CHECK(TREE_KEY_SIZE_MAX <= UINT16_MAX, "a skip fits its field");

static size_t node_size(unsigned level)
{
    size_t children = level == 0 ? 0 : NODE_SLOTS * sizeof(struct node *);
    return sizeof(struct node) + children;
}

size_t node_footprint(unsigned level)
{
    return allocation_footprint(node_size(level));
}

struct node *node_new(unsigned level)
{
    CHECK(level < TREE_DEPTH_MAX);
    struct node *node = memory_grow(NULL, node_size(level));
    node->references = 1;
    node->count = 0;
    node->skip = 0;
    node->level = (uint16_t)level;
    return node;
}

struct node *node_copy(const struct node *node)
{
    struct node *copy = node_new(node->level);
    copy->count = node->count;
    copy->skip = node->skip;
    memcpy(copy->heads, node->heads, node->count * sizeof node->heads[0]);
    for (unsigned slot = 0; slot < node->count; slot++) {
        copy->items[slot] = item_ref(node->items[slot]);
    }
    if (node->level > 0) {
        for (unsigned slot = 0; slot < node->count; slot++) {
            copy->children[slot] = node->children[slot];
            copy->children[slot]->references++;
        }
    }
    return copy;
}

/* Gives back the items of a node that nobody refers to any more, and its memory. */
static void node_free(struct node *node)
{
    CHECK(node->references == 0);
    for (unsigned slot = 0; slot < node->count; slot++) {
        item_unref(node->items[slot]);
    }
    free(node);
}

/* True when that was the last reference. */
static bool node_drop(struct node *node)
{
    CHECK(node->references > 0);
    node->references--;
    return node->references == 0;
}

/* Gives back the reference to a child of the last node of the path, or to the root. */
static void release_enter(struct node_release *release, struct node *node)
{
    if (node_drop(node)) {
        CHECK(release->depth < TREE_DEPTH_MAX);
        release->nodes[release->depth] = node;
        release->next[release->depth] = 0;
        release->depth++;
    }
}

void node_release_begin(struct node_release *release, struct node *node)
{
    CHECK(release->depth == 0);
    release_enter(release, node);
}

bool node_release_step(struct node_release *release, size_t *count)
{
    while (release->depth > 0 && *count > 0) {
        struct node *last = release->nodes[release->depth - 1];
        unsigned *next = &release->next[release->depth - 1];
        if (last->level > 0 && *next < last->count) {
            (*next)++;
            release_enter(release, last->children[*next - 1]);
        } else {
            node_free(last);
            release->depth--;
            (*count)--;
        }
    }
    return release->depth == 0;
}

void node_unref(struct node *node)
{
    struct node_release release;
    release.depth = 0;
    node_release_begin(&release, node);
    size_t count = SIZE_MAX;
    bool done = node_release_step(&release, &count);
    CHECK(done);
}

size_t common_prefix_size(struct slice a, struct slice b)
{
    size_t limit = a.size < b.size ? a.size : b.size;
    size_t size = 0;
    while (size < limit && a.data[size] == b.data[size]) {
        size++;
    }
    return size;
}

uint64_t key_head(struct slice key, size_t skip)
{
    CHECK(key.size >= skip);
    size_t left = key.size - skip;
    uint64_t head = 0;
    if (left >= 8) {
        const uint8_t *at = key.data + skip;
        for (unsigned i = 0; i < 8; i++) {
            head = head << 8 | at[i];
        }
        return head;
    }
    for (size_t i = 0; i < 8; i++) {
        head = head << 8 | (i < left ? key.data[skip + i] : 0);
    }
    return head;
}

/* All heads there is room for, so that nothing of the node has to be read to know how many. */
void node_prefetch(const struct node *node)
{
    const char *at = (const char *)node;
    const char *end = (const char *)&node->heads[NODE_SLOTS];
    for (; at < end; at += CACHE_LINE) {
        __builtin_prefetch(at);
    }
}

/* How many of the ascending heads are below `head`. Without a branch that could be mispredicted. */
static unsigned heads_below(const uint64_t *heads, unsigned count, uint64_t head)
{
    unsigned base = 0;
    while (count > 1) {
        unsigned half = count / 2;
        base += heads[base + half - 1] < head ? half : 0;
        count -= half;
    }
    return base + (count == 1 && heads[base] < head ? 1 : 0);
}

unsigned node_search_heads(const struct node *node, struct slice key)
{
    return heads_below(node->heads, node->count, key_head(key, node->skip));
}

unsigned node_search(const struct node *node, struct slice key, bool *ret_equal)
{
    node_prefetch(node); /* A bisection would wait for one miss after the other. */
    uint64_t head = key_head(key, node->skip);
    unsigned low = heads_below(node->heads, node->count, head);
    unsigned high = low;
    if (low < node->count && node->heads[low] == head) {
        high = low + 1;
        if (high < node->count && node->heads[high] == head) {
            high =
                head == UINT64_MAX ? node->count : heads_below(node->heads, node->count, head + 1);
        }
    }
    *ret_equal = false;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int order = slice_compare(item_key(node->items[middle]), key);
        if (order == 0) {
            *ret_equal = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

unsigned node_search_child(const struct node *node, struct slice key)
{
    CHECK(node->level > 0);
    bool equal;
    unsigned slot = node_search(node, key, &equal);
    CHECK(equal || slot > 0);
    return equal ? slot : slot - 1;
}

/* Copies slots to another node, or within one, without counting them. */
static void node_move(const struct node *from, unsigned from_slot, struct node *to,
                      unsigned to_slot, unsigned count)
{
    CHECK(from->level == to->level);
    CHECK(from->skip == to->skip);
    CHECK(to_slot + count <= NODE_SLOTS);
    memmove(&to->heads[to_slot], &from->heads[from_slot], count * sizeof(uint64_t));
    memmove(&to->items[to_slot], &from->items[from_slot], count * sizeof(struct item *));
    if (to->level > 0) {
        memmove(&to->children[to_slot], &from->children[from_slot], count * sizeof(struct node *));
    }
}

void node_insert(struct node *node, unsigned slot, struct item *item, struct node *child)
{
    CHECK(node->count < NODE_SLOTS);
    CHECK(slot <= node->count);
    CHECK((child != NULL) == (node->level > 0));
    node_move(node, slot, node, slot + 1, node->count - slot);
    node->heads[slot] = key_head(item_key(item), node->skip);
    node->items[slot] = item;
    if (child != NULL) {
        node->children[slot] = child;
    }
    node->count++;
}

void node_remove(struct node *node, unsigned slot)
{
    CHECK(slot < node->count);
    node->count--;
    node_move(node, slot + 1, node, slot, node->count - slot);
}

void node_replace(struct node *node, unsigned slot, struct item *item)
{
    CHECK(slot < node->count);
    struct item *before = node->items[slot];
    node->items[slot] = item;
    node->heads[slot] = key_head(item_key(item), node->skip);
    item_unref(before);
}

void node_split(struct node *node, unsigned from, struct node *right)
{
    CHECK(from < node->count);
    CHECK(right->count == 0);
    right->skip = node->skip;
    right->count = (uint16_t)(node->count - from);
    node_move(node, from, right, 0, right->count);
    node->count = (uint16_t)from;
}

void node_balance(struct node *left, struct node *right, unsigned left_count)
{
    unsigned total = (unsigned)left->count + right->count;
    CHECK(left_count <= total);
    CHECK(left_count <= NODE_SLOTS && total - left_count <= NODE_SLOTS);
    if (left_count > left->count) {
        unsigned moved = left_count - left->count;
        node_move(right, 0, left, left->count, moved);
        node_move(right, moved, right, 0, right->count - moved);
    } else {
        unsigned moved = left->count - left_count;
        node_move(right, 0, right, moved, right->count);
        node_move(left, left_count, right, 0, moved);
    }
    left->count = (uint16_t)left_count;
    right->count = (uint16_t)(total - left_count);
}

void node_set_skip(struct node *node, size_t skip)
{
    CHECK(skip <= TREE_KEY_SIZE_MAX);
    if (node->skip == skip) {
        return;
    }
    node->skip = (uint16_t)skip;
    for (unsigned slot = 0; slot < node->count; slot++) {
        node->heads[slot] = key_head(item_key(node->items[slot]), skip);
    }
}
