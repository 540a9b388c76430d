/*
 * An intrusive doubly linked list. The head is a node; an empty list points to itself. A node that
 * is in no list points to itself after list_init or list_remove, so removing twice is harmless.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/assert.h"

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Adds a node that is in no list at the end. */
static inline void list_push(struct list *list, struct list *node)
{
    CHECK(list_empty(node));
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

/* Moves all nodes to the end of `to`. */
static inline void list_move(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    to->prev->next = from->next;
    from->next->prev = to->prev;
    to->prev = from->prev;
    from->prev->next = to;
    list_init(from);
}

/* Removes and returns the first node, or NULL. */
static inline struct list *list_pop(struct list *list)
{
    struct list *first = list->next;
    if (first == list) {
        return NULL;
    }
    list_remove(first);
    return first;
}

#endif
