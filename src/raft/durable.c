#include "raft/durable.h"

#include "base/assert.h"

void durable_init(struct durable *durable, uint64_t last_index)
{
    *durable = (struct durable){.index = last_index};
}

const struct durable_waiting *durable_waiting(const struct durable *durable, size_t i)
{
    CHECK(i < durable->count);
    return &durable->ring[(durable->head + i) % DURABLE_WAITING_MAX];
}

uint64_t durable_ask(struct durable *durable, uint64_t last_index, bool vote, uint64_t now_ms)
{
    CHECK(durable->index <= last_index);
    durable->ticket_asked++;
    if (vote) {
        durable->ticket_vote = durable->ticket_asked;
    }
    if (durable->count < DURABLE_WAITING_MAX) {
        durable->count++;
    }
    size_t newest = (durable->head + durable->count - 1) % DURABLE_WAITING_MAX;
    durable->ring[newest] = (struct durable_waiting){
        .ticket = durable->ticket_asked, .last_index = last_index, .asked_ms = now_ms};
    return durable->ticket_asked;
}

void durable_stored(struct durable *durable, uint64_t ticket)
{
    CHECK(ticket <= durable->ticket_asked);
    if (ticket <= durable->ticket_stored) {
        return;
    }
    durable->ticket_stored = ticket;
    while (durable->count > 0 && durable->ring[durable->head].ticket <= ticket) {
        CHECK(durable->index <= durable->ring[durable->head].last_index);
        durable->index = durable->ring[durable->head].last_index;
        durable->head = (durable->head + 1) % DURABLE_WAITING_MAX;
        durable->count--;
    }
}

void durable_truncate(struct durable *durable, uint64_t from)
{
    CHECK(from > 0);
    if (durable->index >= from) {
        durable->index = from - 1;
    }
    for (size_t i = 0; i < durable->count; i++) {
        struct durable_waiting *waiting = &durable->ring[(durable->head + i) % DURABLE_WAITING_MAX];
        if (waiting->last_index >= from) {
            waiting->last_index = from - 1;
        }
    }
}

void durable_raise(struct durable *durable, uint64_t index)
{
    if (durable->index < index) {
        durable->index = index;
    }
    for (size_t i = 0; i < durable->count; i++) {
        struct durable_waiting *waiting = &durable->ring[(durable->head + i) % DURABLE_WAITING_MAX];
        if (waiting->last_index < index) {
            waiting->last_index = index;
        }
    }
}
