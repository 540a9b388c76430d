/*
 * The invariants of a tree, stated once more and independently of the code that keeps them. The
 * walk carries the bounds of each node down with it.
 */
#include "kv/tree.h"

#include "base/assert.h"

/* A node being visited, and what its keys must lie between. */
struct visit {
    const struct node *node;
    const struct item *lower;
    const struct item *upper; /* NULL: no bound */
    unsigned next;            /* the child to visit next */
};

static void check_order(const struct visit *visit)
{
    const struct node *node = visit->node;
    for (unsigned slot = 0; slot < node->count; slot++) {
        struct slice key = item_key(node->items[slot]);
        CHECK(node->items[slot]->references > 0);
        CHECK(node->heads[slot] == key_head(key, node->skip));
        if (slot > 0) {
            CHECK(slice_compare(item_key(node->items[slot - 1]), key) < 0);
            CHECK(node->heads[slot - 1] <= node->heads[slot]);
        }
    }
    if (node->count > 0) {
        struct slice first = item_key(node->items[0]);
        struct slice last = item_key(node->items[node->count - 1]);
        CHECK(slice_compare(item_key(visit->lower), first) <= 0);
        CHECK(visit->upper == NULL || slice_compare(last, item_key(visit->upper)) < 0);
    }
}

static void check_node(const struct tree *tree, const struct visit *visit)
{
    const struct node *node = visit->node;
    bool is_root = node == tree->root;
    CHECK(node->references > 0);
    CHECK(node->count <= NODE_SLOTS);
    CHECK(is_root || node->count >= NODE_SLOTS_MIN);
    CHECK(node->level == 0 || node->count >= 2);
    size_t skip = tree->bottom->key_size;
    if (visit->upper != NULL) {
        skip = common_prefix_size(item_key(visit->lower), item_key(visit->upper));
    }
    CHECK(node->skip == skip);
    check_order(visit);
    if (node->level > 0) {
        CHECK(node->items[0] == visit->lower);
    } else {
        for (unsigned slot = 0; slot < node->count; slot++) {
            const struct item_facts *facts = &node->items[slot]->facts;
            CHECK(node->items[slot]->key_size > 0);
            CHECK(slice_has_prefix(item_key(node->items[slot]), item_key(tree->bottom)));
            CHECK(facts->create <= facts->modify);
        }
    }
}

/* What the node itself takes. Each separator between leaves is in exactly one node of level 1. */
static uint64_t memory_of(const struct node *node)
{
    uint64_t memory = node_footprint(node->level);
    if (node->level <= 1) {
        for (unsigned slot = 0; slot < node->count; slot++) {
            const struct item *item = node->items[slot];
            memory += item_footprint(item->key_size, item->value_size);
        }
    }
    return memory;
}

void tree_check(const struct tree *tree)
{
    struct visit path[TREE_DEPTH_MAX];
    unsigned depth = 1;
    path[0] = (struct visit){.node = tree->root, .lower = tree->bottom};
    uint64_t count = 0;
    uint64_t memory = tree->root->level == 0 ? item_footprint(tree->bottom->key_size, 0) : 0;
    while (depth > 0) {
        struct visit *visit = &path[depth - 1];
        const struct node *node = visit->node;
        if (visit->next == 0) {
            check_node(tree, visit);
            memory += memory_of(node);
            count += node->level == 0 ? node->count : 0u;
        }
        if (node->level == 0 || visit->next == node->count) {
            depth--;
            continue;
        }
        CHECK(depth < TREE_DEPTH_MAX);
        unsigned slot = visit->next;
        struct visit *child = &path[depth];
        child->node = node->children[slot];
        child->lower = node->items[slot];
        child->upper = slot + 1 < node->count ? node->items[slot + 1] : visit->upper;
        child->next = 0;
        CHECK(child->node->level + 1 == node->level);
        visit->next++;
        depth++;
    }
    CHECK(count == tree->count);
    CHECK(memory == tree->memory);
}
