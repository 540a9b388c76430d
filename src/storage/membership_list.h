/* The memberships that recovery finds in the log, kept in step with the entries it takes. */
#ifndef STORAGE_MEMBERSHIP_LIST_H
#define STORAGE_MEMBERSHIP_LIST_H

#include "storage/storage.h"

struct membership_list {
    struct storage_membership *at; /* indexes rise; the payloads are the list's */
    size_t count;
    size_t capacity;
};

void membership_list_done(struct membership_list *list);

/* Adds that of an entry behind all that are there; the payload is copied. */
void membership_list_add(struct membership_list *list, uint64_t index, struct slice payload);

/* Forgets those of the entries from `from` on. */
void membership_list_truncate(struct membership_list *list, uint64_t from);

/* Forgets those of the entries up to `index`. */
void membership_list_trim(struct membership_list *list, uint64_t index);

#endif
