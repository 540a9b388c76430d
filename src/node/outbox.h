/*
 * What leaves on one connection: frames are encoded into it during a turn, and one send takes all
 * of them at the turn's end. While a send is in flight the next bytes gather behind it.
 *
 * In the timing modes for people every frame may be delayed: it then waits in line until it is
 * due. Without a delay the line is never touched.
 */
#ifndef NODE_OUTBOX_H
#define NODE_OUTBOX_H

#include "base/bytes.h"
#include "io/io.h"

struct outbox_mark {
    uint64_t due_us;
    size_t end; /* offset in `line` */
};

struct outbox {
    struct io *io;
    struct io_stream *stream; /* NULL: not connected */
    struct io_send send;
    uint64_t delay_us;
    /* Called from io_run when a send ended: 0, or a negative errno, after which nothing is sent. */
    void (*sent)(struct outbox *outbox, int64_t error);

    bool sending;
    struct buf flight; /* lent to the send */
    struct buf ready;
    struct buf line; /* delayed bytes, their ends and due times in `marks` */
    struct outbox_mark *marks;
    size_t mark_first;
    size_t mark_count;
    size_t mark_capacity;
};

void outbox_init(struct outbox *outbox, struct io *io, uint64_t delay_us,
                 void (*sent)(struct outbox *outbox, int64_t error));
/* No send may be in flight. */
void outbox_done(struct outbox *outbox);
/* Forgets all bytes that are not in flight: the connection is gone. */
void outbox_drop(struct outbox *outbox);

/* Where to encode the next frame; outbox_end closes it. */
struct buf *outbox_begin(struct outbox *outbox);
void outbox_end(struct outbox *outbox);

/* Starts a send of all that is due, unless one is in flight. */
void outbox_flush(struct outbox *outbox);

/* Bytes that wait or are in flight. */
size_t outbox_size(const struct outbox *outbox);
/* When the first delayed frame is due; UINT64_MAX: none waits. */
uint64_t outbox_due_us(const struct outbox *outbox);

#endif
