#include "client/pending.h"

#include "base/memory.h"

#include <stdlib.h>

enum { CHUNK_COUNT = 64 };

struct pool_chunk {
    struct pool_chunk *next;
    struct pending at[CHUNK_COUNT];
};

STATIC_CHECK(IN_FLIGHT_MAX <= UINT16_MAX, "a slot's number fits the stack of free slots");

void pool_init(struct pool *pool)
{
    *pool = (struct pool){.free_slot_count = IN_FLIGHT_MAX};
    list_init(&pool->free);
    list_init(&pool->all);
    for (size_t lane = 0; lane < LANES; lane++) {
        list_init(&pool->fresh[lane]);
        list_init(&pool->again[lane]);
    }
    pool->slots = memory_new(IN_FLIGHT_MAX, sizeof *pool->slots);
    pool->free_slots = memory_new(IN_FLIGHT_MAX, sizeof *pool->free_slots);
    for (size_t i = 0; i < IN_FLIGHT_MAX; i++) {
        pool->free_slots[i] = (uint16_t)(IN_FLIGHT_MAX - 1 - i); /* so that low slots go first */
    }
}

void pool_done(struct pool *pool)
{
    CHECK(list_empty(&pool->all));
    while (pool->chunks != NULL) {
        struct pool_chunk *chunk = pool->chunks;
        pool->chunks = chunk->next;
        free(chunk);
    }
    free(pool->slots);
    free(pool->free_slots);
}

static void grow(struct pool *pool)
{
    struct pool_chunk *chunk = memory_new(1, sizeof *chunk);
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    for (size_t i = 0; i < CHUNK_COUNT; i++) {
        list_init(&chunk->at[i].age);
        list_init(&chunk->at[i].queue);
        list_push(&pool->free, &chunk->at[i].queue);
    }
}

struct pending *pool_take(struct pool *pool, const struct command *command, enum kvapp_reads reads,
                          pending_done_fn done, void *context)
{
    if (list_empty(&pool->free)) {
        grow(pool);
    }
    struct pending *pending = CONTAINER_OF(list_pop(&pool->free), struct pending, queue);
    pool->orders++;
    *pending = (struct pending){
        .order = pool->orders,
        .lane = reads == KVAPP_READS_LINEARIZABLE || reads == KVAPP_READS_STALE ? LANE_ANY
                                                                                : LANE_LEADER,
        .reads = reads,
        .command = *command,
        .done = done,
        .context = context,
    };
    list_init(&pending->age);
    list_init(&pending->queue);
    session_write_init(&pending->write);
    list_push(&pool->all, &pending->age);
    list_push(&pool->fresh[pending->lane], &pending->queue);
    return pending;
}

static void leave_slot(struct pool *pool, struct pending *pending)
{
    if (pending->request_id == 0) {
        return;
    }
    uint16_t slot = (uint16_t)(pending->request_id % IN_FLIGHT_MAX);
    CHECK(pool->slots[slot] == pending);
    CHECK(pool->free_slot_count < IN_FLIGHT_MAX);
    pool->slots[slot] = NULL;
    pool->free_slots[pool->free_slot_count] = slot;
    pool->free_slot_count++;
    pending->request_id = 0;
    pending->sent_to = NULL;
}

void pool_give(struct pool *pool, struct pending *pending)
{
    leave_slot(pool, pending);
    session_release(&pending->write);
    list_remove(&pending->age);
    list_remove(&pending->queue);
    list_push(pool->free.next, &pending->queue); /* in front: its memory is still warm */
}

struct pending *pool_next(const struct pool *pool, enum lane lane)
{
    const struct list *queue =
        list_empty(&pool->again[lane]) ? &pool->fresh[lane] : &pool->again[lane];
    return list_empty(queue) ? NULL : CONTAINER_OF(queue->next, struct pending, queue);
}

struct pending *pool_oldest(const struct pool *pool)
{
    return list_empty(&pool->all) ? NULL : CONTAINER_OF(pool->all.next, struct pending, age);
}

void pool_send(struct pool *pool, struct pending *pending, struct contact *to, struct list *sent)
{
    CHECK(pool_has_slot(pool));
    CHECK(pending->request_id == 0);
    pool->free_slot_count--;
    uint16_t slot = pool->free_slots[pool->free_slot_count];
    CHECK(pool->slots[slot] == NULL);
    pool->slots[slot] = pending;
    pool->sendings++;
    pending->request_id = pool->sendings * IN_FLIGHT_MAX + slot;
    pending->sent_to = to;
    list_remove(&pending->queue);
    list_push(sent, &pending->queue);
}

void pool_return(struct pool *pool, struct pending *pending)
{
    CHECK(pending->request_id != 0);
    leave_slot(pool, pending);
    list_remove(&pending->queue);
    /* They come back mostly in order, so its place is mostly the end. */
    struct list *again = &pool->again[pending->lane];
    struct list *before = again->prev;
    while (before != again && CONTAINER_OF(before, struct pending, queue)->order > pending->order) {
        before = before->prev;
    }
    list_push(before->next, &pending->queue); /* in front of what follows `before` */
}

struct pending *pool_find(const struct pool *pool, uint64_t request_id)
{
    struct pending *pending = pool->slots[request_id % IN_FLIGHT_MAX];
    return pending != NULL && pending->request_id == request_id ? pending : NULL;
}

bool pending_is_user_write(const struct pending *pending)
{
    if (pending->admin != NULL) {
        return pending->admin->verb == ADMIN_TRANSFER ||
               (pending->admin->verb == ADMIN_CHANGE && !pending->admin->dry_run);
    }
    if (pending->command.session != 0) {
        return false;
    }
    switch (pending->command.operation) {
    case OPERATION_PUT:
    case OPERATION_DELETE:
    case OPERATION_DELETE_RANGE:
    case OPERATION_ADD:
    case OPERATION_APPEND:
    case OPERATION_EXPIRE:
    case OPERATION_BATCH:
        return true;
    default:
        return false;
    }
}
