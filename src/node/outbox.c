#include "node/outbox.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

/* A buffer larger than this is given back when it is empty: an idle connection owns little. */
enum { KEPT_CAPACITY = 16 * 1024 };

static void send_done(struct io_send *send, int64_t result)
{
    struct outbox *outbox = CONTAINER_OF(send, struct outbox, send);
    CHECK(outbox->sending);
    outbox->sending = false;
    buf_clear(&outbox->flight);
    buf_shrink(&outbox->flight, KEPT_CAPACITY);
    outbox->sent(outbox, result < 0 ? result : 0);
}

void outbox_init(struct outbox *outbox, struct io *io, uint64_t delay_us,
                 void (*sent)(struct outbox *outbox, int64_t error))
{
    *outbox = (struct outbox){.io = io, .delay_us = delay_us, .sent = sent};
    outbox->send.done = send_done;
}

void outbox_done(struct outbox *outbox)
{
    CHECK(!outbox->sending);
    buf_done(&outbox->flight);
    buf_done(&outbox->ready);
    buf_done(&outbox->line);
    free(outbox->marks);
    outbox->marks = NULL;
}

void outbox_drop(struct outbox *outbox)
{
    buf_clear(&outbox->ready);
    buf_clear(&outbox->line);
    buf_shrink(&outbox->ready, KEPT_CAPACITY);
    buf_shrink(&outbox->line, KEPT_CAPACITY);
    outbox->mark_first = 0;
    outbox->mark_count = 0;
}

struct buf *outbox_begin(struct outbox *outbox)
{
    return outbox->delay_us == 0 ? &outbox->ready : &outbox->line;
}

void outbox_end(struct outbox *outbox)
{
    if (outbox->delay_us == 0) {
        return;
    }
    if (outbox->mark_first + outbox->mark_count == outbox->mark_capacity) {
        if (outbox->mark_first > 0) {
            memmove(outbox->marks, outbox->marks + outbox->mark_first,
                    outbox->mark_count * sizeof *outbox->marks);
            outbox->mark_first = 0;
        } else {
            outbox->mark_capacity = outbox->mark_capacity == 0 ? 16 : outbox->mark_capacity * 2;
            outbox->marks =
                memory_grow(outbox->marks, outbox->mark_capacity * sizeof *outbox->marks);
        }
    }
    outbox->marks[outbox->mark_first + outbox->mark_count] = (struct outbox_mark){
        .due_us = io_now_us(outbox->io) + outbox->delay_us,
        .end = outbox->line.size,
    };
    outbox->mark_count++;
}

/* Moves the delayed frames that are due to `ready`. */
static void take_due(struct outbox *outbox)
{
    uint64_t now_us = io_now_us(outbox->io);
    size_t end = 0;
    while (outbox->mark_count > 0 && outbox->marks[outbox->mark_first].due_us <= now_us) {
        end = outbox->marks[outbox->mark_first].end;
        outbox->mark_first++;
        outbox->mark_count--;
    }
    if (end == 0) {
        return;
    }
    buf_append(&outbox->ready, outbox->line.data, end);
    buf_consume(&outbox->line, end);
    for (size_t i = 0; i < outbox->mark_count; i++) {
        outbox->marks[outbox->mark_first + i].end -= end;
    }
}

void outbox_flush(struct outbox *outbox)
{
    if (outbox->mark_count > 0) {
        take_due(outbox);
    }
    if (outbox->sending || outbox->stream == NULL || outbox->ready.size == 0) {
        return;
    }
    CHECK(outbox->flight.size == 0);
    struct buf empty = outbox->flight;
    outbox->flight = outbox->ready;
    outbox->ready = empty;
    outbox->sending = true;
    outbox->send.part_count = 1;
    outbox->send.parts[0] = (struct iovec){
        .iov_base = outbox->flight.data,
        .iov_len = outbox->flight.size,
    };
    io_send_start(outbox->io, outbox->stream, &outbox->send);
}

size_t outbox_size(const struct outbox *outbox)
{
    return outbox->ready.size + outbox->line.size + outbox->flight.size;
}

uint64_t outbox_due_us(const struct outbox *outbox)
{
    return outbox->mark_count == 0 ? UINT64_MAX : outbox->marks[outbox->mark_first].due_us;
}
