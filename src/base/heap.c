#include "base/heap.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

void heap_done(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key < b->key || (a->key == b->key && a->order < b->order);
}

static void place(struct heap *heap, size_t position, struct heap_node *node)
{
    heap->nodes[position - 1] = node;
    node->position = position;
}

static void sift_up(struct heap *heap, struct heap_node *node)
{
    size_t position = node->position;
    while (position > 1 && before(node, heap->nodes[position / 2 - 1])) {
        place(heap, position, heap->nodes[position / 2 - 1]);
        position /= 2;
    }
    place(heap, position, node);
}

static void sift_down(struct heap *heap, struct heap_node *node)
{
    size_t position = node->position;
    for (;;) {
        size_t child = position * 2;
        if (child > heap->count) {
            break;
        }
        if (child < heap->count && before(heap->nodes[child], heap->nodes[child - 1])) {
            child++;
        }
        if (!before(heap->nodes[child - 1], node)) {
            break;
        }
        place(heap, position, heap->nodes[child - 1]);
        position = child;
    }
    place(heap, position, node);
}

void heap_push(struct heap *heap, struct heap_node *node, uint64_t key)
{
    CHECK(!heap_holds(node));
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity == 0 ? 16 : heap->capacity * 2;
        heap->nodes = memory_grow(heap->nodes, heap->capacity * sizeof(struct heap_node *));
    }
    node->key = key;
    node->order = heap->pushes++;
    heap->count++;
    place(heap, heap->count, node);
    sift_up(heap, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (!heap_holds(node)) {
        return;
    }
    size_t position = node->position;
    CHECK(heap->nodes[position - 1] == node);
    struct heap_node *last = heap->nodes[heap->count - 1];
    heap->count--;
    node->position = 0;
    if (last != node) {
        place(heap, position, last);
        sift_up(heap, last);
        sift_down(heap, last);
    }
}

struct heap_node *heap_top(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}
