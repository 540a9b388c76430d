#include "node/tracker.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

void tracker_init(struct tracker *tracker, uint64_t capacity)
{
    CHECK((capacity & (capacity - 1)) == 0);
    *tracker = (struct tracker){.capacity = capacity};
    tracker->ring = memory_new(capacity, sizeof *tracker->ring);
}

void tracker_done(struct tracker *tracker)
{
    free(tracker->ring);
    *tracker = (struct tracker){0};
}

static struct waiter *slot_of(const struct tracker *tracker, uint64_t index)
{
    return &tracker->ring[index & (tracker->capacity - 1)];
}

static bool slot_used(const struct waiter *slot)
{
    return slot->client != NULL || slot->proposal != NULL || slot->from != 0;
}

/* Moves `oldest` past the slots that have been emptied. */
static void advance(struct tracker *tracker)
{
    while (tracker->oldest < tracker->end && !slot_used(slot_of(tracker, tracker->oldest))) {
        tracker->oldest++;
    }
}

uint64_t tracker_room(const struct tracker *tracker, uint64_t next_index)
{
    if (tracker_empty(tracker)) {
        return tracker->capacity;
    }
    uint64_t span = next_index - tracker->oldest;
    return span >= tracker->capacity ? 0 : tracker->capacity - span;
}

void tracker_add(struct tracker *tracker, uint64_t index, const struct waiter *waiter)
{
    CHECK(slot_used(waiter));
    if (tracker_empty(tracker)) {
        tracker->oldest = index;
        tracker->end = index;
    }
    CHECK(index >= tracker->end);
    CHECK(index - tracker->oldest < tracker->capacity);
    struct waiter *slot = slot_of(tracker, index);
    CHECK(!slot_used(slot));
    *slot = *waiter;
    tracker->end = index + 1;
}

bool tracker_take(struct tracker *tracker, uint64_t index, struct waiter *ret_waiter)
{
    if (index < tracker->oldest || index >= tracker->end) {
        return false;
    }
    struct waiter *slot = slot_of(tracker, index);
    if (!slot_used(slot)) {
        return false;
    }
    *ret_waiter = *slot;
    *slot = (struct waiter){0};
    advance(tracker);
    return true;
}

bool tracker_take_overdue(struct tracker *tracker, uint64_t now_ms, struct waiter *ret_waiter)
{
    if (tracker_empty(tracker) || slot_of(tracker, tracker->oldest)->deadline_ms > now_ms) {
        return false;
    }
    return tracker_take(tracker, tracker->oldest, ret_waiter);
}

bool tracker_empty(const struct tracker *tracker)
{
    return tracker->oldest == tracker->end;
}
