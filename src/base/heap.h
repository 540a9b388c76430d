/*
 * An intrusive binary min-heap of 64-bit keys: the timers of an io, the events of a simulated
 * world. Nodes live in their owners; the heap owns one array of pointers. Equal keys come out in
 * the order in which they were pushed, so that a run is repeatable.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key;
    uint64_t order;
    size_t position; /* 1-based; 0: in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
    uint64_t pushes;
};

void heap_done(struct heap *heap);

static inline bool heap_holds(const struct heap_node *node)
{
    return node->position != 0;
}

/* Adds a node that is in no heap. */
void heap_push(struct heap *heap, struct heap_node *node, uint64_t key);

/* Removes a node; one that is in no heap is left alone. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The node with the smallest key, or NULL. */
struct heap_node *heap_top(const struct heap *heap);

#endif
