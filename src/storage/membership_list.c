#include "storage/membership_list.h"

#include "base/memory.h"

#include <stdlib.h>

static void release(const struct storage_membership *membership)
{
    free((void *)(uintptr_t)membership->payload.data);
}

void membership_list_done(struct membership_list *list)
{
    membership_list_truncate(list, 0);
    free(list->at);
    *list = (struct membership_list){0};
}

void membership_list_add(struct membership_list *list, uint64_t index, struct slice payload)
{
    CHECK(list->count == 0 || list->at[list->count - 1].index < index);
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 8 : list->capacity * 2;
        list->at = memory_grow(list->at, list->capacity * sizeof list->at[0]);
    }
    uint8_t *copy = memory_new(1, payload.size);
    memcpy(copy, payload.data, payload.size);
    list->at[list->count++] = (struct storage_membership){
        .index = index,
        .payload = slice_of(copy, payload.size),
    };
}

void membership_list_truncate(struct membership_list *list, uint64_t from)
{
    while (list->count > 0 && list->at[list->count - 1].index >= from) {
        release(&list->at[--list->count]);
    }
}

void membership_list_trim(struct membership_list *list, uint64_t index)
{
    size_t gone = 0;
    while (gone < list->count && list->at[gone].index <= index) {
        release(&list->at[gone++]);
    }
    list->count -= gone;
    for (size_t i = 0; i < list->count; i++) {
        list->at[i] = list->at[i + gone];
    }
}
