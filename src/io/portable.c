/*
 * The portable backend: libuv, for where io_uring is forbidden. Here are its life, its turn,
 * signals and files; its sockets are in portable_stream.c and portable_listen.c.
 *
 * A turn is one uv_run(UV_RUN_ONCE), whose wait one timer limits; with nothing to wait for it is
 * UV_RUN_NOWAIT. libuv counts milliseconds, so a wait may end up to one late. File operations are
 * whole system calls (file.h) on libuv's thread pool.
 */
#include "io/portable.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/system.h"
#include "kvapp/err.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* With nothing to wait for, io_run still waits; it may return early, but not at once. */
enum { WAIT_MS_MAX = 60 * 1000 };

/* ---- the turn ---- */

void portable_turn(struct portable *portable)
{
    if (!portable->turned) {
        portable->turned = true;
        portable->io.now_us = system_now_us();
    }
}

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
}

/* Milliseconds of libuv's clock, rounded up, from now to until_us. */
static uint64_t wait_ms(struct portable *portable, uint64_t until_us)
{
    uv_update_time(&portable->loop);
    uint64_t now_ms = uv_now(&portable->loop);
    uint64_t until_ms = until_us / 1000 + (until_us % 1000 != 0);
    if (until_us <= system_now_us() || until_ms <= now_ms) {
        return 0;
    }
    uint64_t wait = until_ms - now_ms;
    return wait < WAIT_MS_MAX ? wait : WAIT_MS_MAX;
}

static int portable_run(struct io *io, uint64_t until_us)
{
    struct portable *portable = portable_of(io);
    portable->turned = false;
    uint64_t wait = until_us == 0 ? 0 : wait_ms(portable, until_us);
    if (wait > 0) {
        int err = uv_timer_start(&portable->deadline, on_deadline, wait, 0);
        CHECK(err == 0);
    }
    (void)uv_run(&portable->loop, wait > 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    (void)uv_timer_stop(&portable->deadline);
    portable_turn(portable);
    return 0;
}

/* ---- signals ---- */

struct portable_signal {
    struct portable *portable;
    struct io_signal *signal; /* NULL once stopped */
    uv_signal_t handles[2];   /* SIGTERM, SIGINT */
    int open;
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct portable_signal *own = handle->data;
    portable_turn(own->portable);
    if (own->signal != NULL) {
        own->signal->done(own->signal, number);
    }
}

static void on_signal_closed(uv_handle_t *handle)
{
    struct portable_signal *own = handle->data;
    own->open--;
    if (own->open == 0) {
        free(own);
    }
}

static void portable_signal_stop(struct io *io, struct io_signal *signal)
{
    (void)io;
    struct portable_signal *own = signal->backend;
    signal->backend = NULL;
    own->signal = NULL;
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&own->handles[i], on_signal_closed);
    }
}

static int portable_signal_start(struct io *io, struct io_signal *signal)
{
    static const int numbers[2] = {SIGTERM, SIGINT};
    struct portable *portable = portable_of(io);
    struct portable_signal *own = memory_new(1, sizeof *own);
    *own = (struct portable_signal){.portable = portable, .signal = signal, .open = 2};
    signal->backend = own;
    int result = 0;
    for (int i = 0; i < 2; i++) {
        int err = uv_signal_init(&portable->loop, &own->handles[i]);
        CHECK(err == 0);
        own->handles[i].data = own;
        err = uv_signal_start(&own->handles[i], on_signal, numbers[i]);
        result = result == 0 ? err : result;
    }
    if (result != 0) {
        portable_signal_stop(io, signal);
    }
    return result;
}

/* ---- files ---- */

struct portable_work {
    struct portable_work *next_idle; /* in portable.idle_works */
    uv_work_t work;
    struct portable *portable;
    struct io_file_op *op;
    struct file_task task;
};

static void on_work(uv_work_t *work)
{
    struct portable_work *own = CONTAINER_OF(work, struct portable_work, work);
    file_task_run(&own->task);
}

static void on_work_done(uv_work_t *work, int status)
{
    struct portable_work *own = CONTAINER_OF(work, struct portable_work, work);
    CHECK(status == 0);
    portable_turn(own->portable);
    struct io_file_op *op = own->op;
    int64_t result = file_task_finish(&own->task, op);
    own->next_idle = own->portable->idle_works;
    own->portable->idle_works = own;
    op->backend = NULL;
    op->done(op, result);
}

static struct portable_work *work_new(struct portable *portable)
{
    struct portable_work *own = portable->idle_works;
    if (own == NULL) {
        own = memory_new(1, sizeof *own);
    } else {
        portable->idle_works = own->next_idle;
    }
    *own = (struct portable_work){.portable = portable};
    return own;
}

static void portable_file_start(struct io *io, struct io_file_op *op,
                                const struct io_file_request *request)
{
    struct portable *portable = portable_of(io);
    struct portable_work *own = work_new(portable);
    own->op = op;
    file_task_init(&own->task, request);
    op->backend = own;
    int err = uv_queue_work(&portable->loop, &own->work, on_work, on_work_done);
    CHECK(err == 0);
}

/* ---- life ---- */

static void portable_free(struct io *io)
{
    struct portable *portable = portable_of(io);
    uv_close((uv_handle_t *)&portable->deadline, NULL);
    /* What is still closing, such as a signal that was just stopped, closes without waiting. */
    (void)uv_run(&portable->loop, UV_RUN_NOWAIT);
    int err = uv_loop_close(&portable->loop);
    CHECK(err == 0);
    free(portable->receive_buffer);
    while (portable->idle_works != NULL) {
        struct portable_work *own = portable->idle_works;
        portable->idle_works = own->next_idle;
        free(own);
    }
    io_base_done(&portable->io);
    free(portable);
}

static const struct io_calls portable_calls = {
    .name = "portable",
    .free = portable_free,
    .run = portable_run,
    .clock_us = system_clock_us,
    .wall_ms = system_wall_ms,
    .random = system_random,
    .signal_start = portable_signal_start,
    .signal_stop = portable_signal_stop,
    .resolve = system_resolve,
    .listen = portable_listen,
    .listener_close = portable_listener_close,
    .connect_start = portable_connect_start,
    .connect_cancel = portable_connect_cancel,
    .receive_start = portable_receive_start,
    .receive_pause = portable_receive_pause,
    .send_start = portable_send_start,
    .stream_close = portable_stream_close,
    .file_start = portable_file_start,
    .lock = file_lock,
    .forget = file_forget,
    .file_close = file_close,
};

int portable_new(char *reason, size_t reason_size, struct io **ret_io)
{
    struct portable *portable = memory_new(1, sizeof *portable);
    int err = uv_loop_init(&portable->loop);
    if (err != 0) {
        (void)snprintf(reason, reason_size, "uv_loop_init: %s", io_error_sentence(err));
        free(portable);
        return KV_ERR_IO;
    }
    err = uv_timer_init(&portable->loop, &portable->deadline);
    CHECK(err == 0);
    system_ignore_broken_pipe();
    io_base_init(&portable->io, &portable_calls, system_now_us());
    portable->receive_buffer = memory_grow(NULL, PORTABLE_RECEIVE_SIZE);
    *ret_io = &portable->io;
    return 0;
}
