/*
 * The part of the seam that is the same in every world: choosing a backend, the turn of io_run,
 * timers, and the dispatch of each operation to the backend.
 *
 * Invariants: nothing here knows of a kernel; completions are called only while `running`; a timer
 * that is set while timers fire never fires in the same turn, so a turn always ends.
 */
#include "io/io.h"

#include "base/assert.h"
#include "io/backend.h"
#include "io/system.h"
#include "kvapp/err.h"

#include <stdio.h>

/* ---- life ---- */

int io_new(enum io_backend backend, char *reason, size_t reason_size, struct io **ret_io)
{
    char why[160] = "";
    if (backend != IO_BACKEND_PORTABLE) {
        int err = uring_new(why, sizeof why, ret_io);
        if (err == 0 || backend == IO_BACKEND_URING) {
            (void)snprintf(reason, reason_size, "io_uring%s%s", err == 0 ? "" : ": ", why);
            return err;
        }
    }
    char failure[160] = "";
    int err = portable_new(failure, sizeof failure, ret_io);
    const char *cause = err == 0 ? why : failure;
    (void)snprintf(reason, reason_size, "portable (libuv)%s%s", cause[0] == 0 ? "" : ": ", cause);
    return err;
}

void io_free(struct io *io)
{
    if (io != NULL) {
        CHECK(!io->running);
        io->calls->free(io);
    }
}

const char *io_backend_name(const struct io *io)
{
    return io->calls->name;
}

void io_base_init(struct io *io, const struct io_calls *calls, uint64_t now_us)
{
    *io = (struct io){.calls = calls, .now_us = now_us};
    list_init(&io->ready);
}

/* ---- the turn ---- */

void io_ready_push(struct io *io, struct io_ready *ready, void (*run)(struct io_ready *ready))
{
    list_init(&ready->node);
    ready->run = run;
    list_push(&io->ready, &ready->node);
}

/* Runs what is ready now; what becomes ready meanwhile waits for the next turn. */
static void ready_run(struct io *io)
{
    struct list batch;
    list_init(&batch);
    for (struct list *node = list_pop(&io->ready); node != NULL; node = list_pop(&io->ready)) {
        list_push(&batch, node);
    }
    for (struct list *node = list_pop(&batch); node != NULL; node = list_pop(&batch)) {
        struct io_ready *ready = CONTAINER_OF(node, struct io_ready, node);
        ready->run(ready);
    }
}

void io_base_done(struct io *io)
{
    /* Closings that nobody waits for. */
    ready_run(io);
    CHECK(list_empty(&io->ready));
    heap_done(&io->timers);
}

/*
 * Fires what is due. io_timer_set lets no timer be set before the present in a turn, and equal keys
 * come out in the order of setting, so the first timer set during the firing ends it.
 */
static void timers_fire(struct io *io)
{
    uint64_t first_new = io->timers.pushes;
    for (;;) {
        struct heap_node *node = heap_top(&io->timers);
        if (node == NULL || node->key > io->now_us || node->order >= first_new) {
            return;
        }
        heap_remove(&io->timers, node);
        struct io_timer *timer = CONTAINER_OF(node, struct io_timer, node);
        timer->done(timer);
    }
}

void io_submit(struct io *io)
{
    CHECK(!io->running);
    if (io->calls->submit != NULL) {
        io->calls->submit(io);
    }
}

int io_run(struct io *io, uint64_t deadline_us)
{
    CHECK(!io->running);
    io->running = true;
    uint64_t until_us = deadline_us;
    const struct heap_node *next = heap_top(&io->timers);
    if (next != NULL && next->key < until_us) {
        until_us = next->key;
    }
    if (!list_empty(&io->ready)) {
        until_us = 0;
    }
    int err = io->calls->run(io, until_us);
    if (err == 0) {
        ready_run(io);
        timers_fire(io);
        io->now_us = io->calls->clock_us(io);
    }
    io->running = false;
    return err;
}

/* ---- time ---- */

uint64_t io_now_us(const struct io *io)
{
    return io->now_us;
}

uint64_t io_wall_ms(const struct io *io)
{
    return io->calls->wall_ms(io);
}

uint64_t io_random(struct io *io)
{
    return io->calls->random(io);
}

void io_timer_set(struct io *io, struct io_timer *timer, uint64_t at_us)
{
    CHECK(timer->done != NULL);
    heap_remove(&io->timers, &timer->node);
    /* See timers_fire. Outside a turn the past keeps its order. */
    bool past = io->running && at_us < io->now_us;
    heap_push(&io->timers, &timer->node, past ? io->now_us : at_us);
}

void io_timer_cancel(struct io *io, struct io_timer *timer)
{
    heap_remove(&io->timers, &timer->node);
}

/* ---- signals ---- */

int io_signal_start(struct io *io, struct io_signal *signal)
{
    CHECK(signal->done != NULL);
    return io->calls->signal_start(io, signal);
}

void io_signal_stop(struct io *io, struct io_signal *signal)
{
    io->calls->signal_stop(io, signal);
}

/* ---- sockets ---- */

int io_resolve(struct io *io, const char *host_port, struct io_address *ret_address)
{
    return io->calls->resolve(io, host_port, ret_address);
}

int io_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
              struct io_listener **ret_listener)
{
    CHECK(accept->done != NULL);
    return io->calls->listen(io, address, accept, ret_listener);
}

uint16_t io_listener_port(const struct io_listener *listener)
{
    return listener->port;
}

void io_listener_close(struct io *io, struct io_listener *listener)
{
    io->calls->listener_close(io, listener);
}

void io_connect_start(struct io *io, struct io_connect *connect, const struct io_address *address)
{
    CHECK(connect->done != NULL);
    io->calls->connect_start(io, connect, address);
}

void io_connect_cancel(struct io *io, struct io_connect *connect)
{
    io->calls->connect_cancel(io, connect);
}

void io_receive_start(struct io *io, struct io_stream *stream, struct io_receive *receive)
{
    CHECK(receive->done != NULL);
    io->calls->receive_start(io, stream, receive);
}

void io_receive_pause(struct io *io, struct io_stream *stream)
{
    io->calls->receive_pause(io, stream);
}

void io_send_start(struct io *io, struct io_stream *stream, struct io_send *send)
{
    CHECK(send->done != NULL);
    CHECK(send->part_count <= IO_SEND_PARTS_MAX);
    io->calls->send_start(io, stream, send);
}

void io_stream_close(struct io *io, struct io_stream *stream, struct io_close *close)
{
    io->calls->stream_close(io, stream, close);
}

void io_stream_peer(const struct io_stream *stream, char ret_text[ADDRESS_SIZE_MAX])
{
    address_text(&stream->peer, ret_text);
}

/* ---- files ---- */

static void file_start(struct io *io, struct io_file_op *op, struct io_file_request request)
{
    CHECK(op->done != NULL);
    op->backend = NULL;
    op->file = request.file;
    op->parts = request.parts;
    op->part_count = request.part_count;
    io->calls->file_start(io, op, &request);
}

void io_open(struct io *io, struct io_file_op *op, const char *path, unsigned flags)
{
    file_start(io, op,
               (struct io_file_request){.kind = IO_FILE_OPEN, .path = path, .flags = flags});
}

void io_read(struct io *io, struct io_file_op *op, struct io_file *file, uint64_t offset,
             void *bytes, size_t size)
{
    file_start(
        io, op,
        (struct io_file_request){
            .kind = IO_FILE_READ, .file = file, .offset = offset, .bytes = bytes, .size = size});
}

void io_write(struct io *io, struct io_file_op *op, struct io_file *file, uint64_t offset,
              struct iovec *parts, size_t count, unsigned flags)
{
    file_start(io, op,
               (struct io_file_request){.kind = IO_FILE_WRITE,
                                        .file = file,
                                        .flags = flags,
                                        .offset = offset,
                                        .parts = parts,
                                        .part_count = count});
}

void io_sync(struct io *io, struct io_file_op *op, struct io_file *file)
{
    file_start(io, op, (struct io_file_request){.kind = IO_FILE_SYNC, .file = file});
}

void io_size(struct io *io, struct io_file_op *op, struct io_file *file)
{
    file_start(io, op, (struct io_file_request){.kind = IO_FILE_SIZE, .file = file});
}

void io_rename(struct io *io, struct io_file_op *op, const char *from, const char *to)
{
    file_start(io, op,
               (struct io_file_request){.kind = IO_FILE_RENAME, .path = from, .path_to = to});
}

void io_unlink(struct io *io, struct io_file_op *op, const char *path)
{
    file_start(io, op, (struct io_file_request){.kind = IO_FILE_UNLINK, .path = path});
}

void io_make_directory(struct io *io, struct io_file_op *op, const char *path)
{
    file_start(io, op, (struct io_file_request){.kind = IO_FILE_MAKE_DIRECTORY, .path = path});
}

void io_list(struct io *io, struct io_file_op *op, const char *path, struct buf *names)
{
    op->names = names;
    file_start(io, op, (struct io_file_request){.kind = IO_FILE_LIST, .path = path});
}

int io_lock(struct io *io, struct io_file *file)
{
    return io->calls->lock(io, file);
}

void io_forget(struct io *io, struct io_file *file)
{
    io->calls->forget(io, file);
}

void io_file_close(struct io *io, struct io_file *file)
{
    if (file != NULL) {
        io->calls->file_close(io, file);
    }
}
