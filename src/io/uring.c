/*
 * The io_uring backend: its life and its turn. A turn is one io_uring_enter that submits
 * everything started since the last one and waits; io_submit is another one in between. The kernel
 * carries out what it can while it is handed over, one request after the other, and tells the disk
 * of writes only behind the last of them.
 *
 * Invariants:
 * - The ring has a single issuer, the thread of the first io_run: it is made disabled, and enabled
 *   there. The kernel does its deferred work only when that thread enters it.
 * - A turn handles the completions that were there when its wait ended, no more, so it ends.
 * - A buffer of the ring is lent for the length of one callback and then given back, so at the end
 *   of a turn the kernel has all of them.
 * - Sockets are blocking descriptors: io_uring itself waits until they are ready.
 */
#include "io/uring.h"

#include "base/memory.h"
#include "io/file.h"
#include "io/system.h"
#include "kvapp/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SUBMISSIONS = 512,
    COMPLETIONS = 4096,
    WORKERS_MAX = 4,   /* kernel threads for what blocks: writes that wait for the disk, open */
    WAIT_S_MAX = 3600, /* with nothing to wait for; io_run may return early, but not at once */
    END_TURNS_MAX = 500,
    END_TURN_US = 10000,
};

/* ---- requests ---- */

static bool submit_one(struct uring *uring, struct uring_request *request)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL && uring->enabled) {
        (void)io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    if (sqe == NULL) {
        return false;
    }
    request->prepare(request, sqe);
    io_uring_sqe_set_data(sqe, request);
    return true;
}

void uring_start(struct uring *uring, struct uring_request *request)
{
    CHECK(!request->in_flight);
    request->in_flight = true;
    uring->in_flight++;
    if (!list_empty(&uring->waiting) || !submit_one(uring, request)) {
        list_init(&request->node);
        list_push(&uring->waiting, &request->node);
    }
}

static void submit_waiting(struct uring *uring)
{
    while (!list_empty(&uring->waiting)) {
        struct list *node = uring->waiting.next;
        if (!submit_one(uring, CONTAINER_OF(node, struct uring_request, node))) {
            return;
        }
        list_remove(node);
    }
}

static void complete(struct uring *uring, struct uring_request *request, int result, unsigned flags)
{
    CHECK(request->in_flight);
    if ((flags & IORING_CQE_F_MORE) == 0) {
        CHECK(uring->in_flight > 0);
        request->in_flight = false;
        uring->in_flight--;
    }
    request->complete(request, result, flags);
}

/* ---- the turn ---- */

/* 0, or a negative errno of io_uring_enter that is not one of its ways to say "nothing yet". */
static int enter(struct uring *uring, uint64_t until_us)
{
    uint64_t now_us = until_us == 0 ? 0 : system_now_us();
    int result;
    if (until_us <= now_us) {
        result = io_uring_submit_and_get_events(&uring->ring);
    } else {
        uint64_t wait_us = until_us - now_us;
        struct __kernel_timespec wait = {.tv_sec = WAIT_S_MAX};
        if (wait_us < (uint64_t)WAIT_S_MAX * 1000000) {
            wait.tv_sec = (int64_t)(wait_us / 1000000);
            wait.tv_nsec = (int64_t)(wait_us % 1000000 * 1000);
        }
        struct io_uring_cqe *cqe = NULL;
        result = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &wait, NULL);
    }
    bool nothing = result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY;
    return result >= 0 || nothing ? 0 : result;
}

/* Makes the calling thread the one that drives the ring. */
static int enable(struct uring *uring)
{
    /* liburing 2.3 declares io_uring_enable_rings and does not export it. */
    if (syscall(SYS_io_uring_register, uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                0) != 0) {
        return -errno;
    }
    uring->enabled = true;
    /* Only a bound on threads; where it cannot be set, the kernel's own bound holds. */
    unsigned workers[2] = {WORKERS_MAX, WORKERS_MAX};
    (void)io_uring_register_iowq_max_workers(&uring->ring, workers);
    return 0;
}

static int uring_run(struct io *io, uint64_t until_us)
{
    struct uring *uring = uring_of(io);
    if (!uring->enabled && enable(uring) != 0) {
        return KV_ERR_IO;
    }
    submit_waiting(uring);
    /* With requests still waiting for room it must come back soon to submit them. */
    if (enter(uring, list_empty(&uring->waiting) ? until_us : 0) != 0) {
        return KV_ERR_IO;
    }
    io->now_us = system_now_us();
    for (unsigned left = io_uring_cq_ready(&uring->ring); left > 0; left--) {
        struct io_uring_cqe *cqe = NULL;
        int err = io_uring_peek_cqe(&uring->ring, &cqe);
        CHECK(err == 0);
        struct uring_request *request = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        unsigned flags = cqe->flags;
        /* Given back first: the callback may start requests that need the room. */
        io_uring_cqe_seen(&uring->ring, cqe);
        complete(uring, request, result, flags);
    }
    return 0;
}

/* Whatever cannot be handed over now, the next turn does, and it tells of errors. */
static void uring_submit(struct io *io)
{
    struct uring *uring = uring_of(io);
    if (uring->enabled && io_uring_sq_ready(&uring->ring) > 0) {
        (void)io_uring_submit(&uring->ring);
    }
}

/* ---- the receive buffers ---- */

static unsigned buffer_index(unsigned flags)
{
    CHECK((flags & IORING_CQE_F_BUFFER) != 0);
    unsigned index = flags >> IORING_CQE_BUFFER_SHIFT;
    CHECK(index < URING_BUFFERS);
    return index;
}

uint8_t *uring_buffer(struct uring *uring, unsigned flags)
{
    return uring->buffers + (size_t)buffer_index(flags) * URING_BUFFER_SIZE;
}

void uring_buffer_return(struct uring *uring, unsigned flags)
{
    io_uring_buf_ring_add(uring->buffer_ring, uring_buffer(uring, flags), URING_BUFFER_SIZE,
                          (unsigned short)buffer_index(flags),
                          io_uring_buf_ring_mask(URING_BUFFERS), 0);
    io_uring_buf_ring_advance(uring->buffer_ring, 1);
}

static const size_t buffer_ring_size = URING_BUFFERS * sizeof(struct io_uring_buf);
static const size_t buffers_size = (size_t)URING_BUFFERS * URING_BUFFER_SIZE;

/* Fresh pages, which take no memory until they are used. */
static void *pages_new(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

static void pages_free(void *pages, size_t size)
{
    if (pages != NULL) {
        int err = munmap(pages, size);
        CHECK(err == 0);
    }
}

/* ---- life ---- */

/* What must work for this backend to be chosen, beyond the ring itself. */
static const uint8_t needed[] = {
    IORING_OP_ACCEPT,
    IORING_OP_CONNECT,
    IORING_OP_RECV,
    IORING_OP_SENDMSG,
    IORING_OP_SEND,
    IORING_OP_READ,
    IORING_OP_WRITEV,
    IORING_OP_WRITE,
    IORING_OP_FSYNC,
    IORING_OP_OPENAT,
    IORING_OP_RENAMEAT,
    IORING_OP_UNLINKAT,
    IORING_OP_MKDIRAT,
    IORING_OP_POLL_ADD,
    IORING_OP_ASYNC_CANCEL,
    /* Came with Linux 6.0, as did receives that go on by themselves. */
    IORING_OP_SEND_ZC,
};

static int probe(struct uring *uring, const char **ret_failed)
{
    struct io_uring_probe *known = io_uring_get_probe_ring(&uring->ring);
    *ret_failed = "io_uring_register (probe)";
    if (known == NULL) {
        return -EOPNOTSUPP;
    }
    int err = (uring->ring.features & IORING_FEAT_EXT_ARG) != 0 ? 0 : -EOPNOTSUPP;
    for (size_t i = 0; i < sizeof needed; i++) {
        if (!io_uring_opcode_supported(known, needed[i])) {
            err = -EOPNOTSUPP;
        }
    }
    io_uring_free_probe(known);
    *ret_failed = "io_uring before Linux 6.0";
    return err;
}

static int ring_init(struct uring *uring)
{
    const unsigned always = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
    const unsigned wishes[] = {
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int err = -EINVAL;
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0] && err == -EINVAL; i++) {
        struct io_uring_params params = {.flags = always | wishes[i], .cq_entries = COMPLETIONS};
        err = io_uring_queue_init_params(SUBMISSIONS, &uring->ring, &params);
    }
    return err;
}

static int buffers_init(struct uring *uring)
{
    uring->buffer_ring = pages_new(buffer_ring_size);
    uring->buffers = pages_new(buffers_size);
    if (uring->buffer_ring == NULL || uring->buffers == NULL) {
        return -ENOMEM;
    }
    struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)uring->buffer_ring,
                                            .ring_entries = URING_BUFFERS,
                                            .bgid = URING_BUFFER_GROUP};
    int err = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (err != 0) {
        return err;
    }
    io_uring_buf_ring_init(uring->buffer_ring);
    for (unsigned i = 0; i < URING_BUFFERS; i++) {
        uring_buffer_return(uring, IORING_CQE_F_BUFFER | i << IORING_CQE_BUFFER_SHIFT);
    }
    return 0;
}

static void uring_release(struct uring *uring)
{
    io_uring_queue_exit(&uring->ring);
    pages_free(uring->buffer_ring, buffer_ring_size);
    pages_free(uring->buffers, buffers_size);
    free(uring);
}

/* Closings that nobody waits for are still in flight; whatever else is, is the caller's bug. */
static void uring_free(struct io *io)
{
    struct uring *uring = uring_of(io);
    for (int i = 0; i < END_TURNS_MAX && uring->in_flight > 0; i++) {
        int err = uring_run(io, system_now_us() + END_TURN_US);
        CHECK(err == 0);
    }
    CHECK(uring->in_flight == 0);
    io_base_done(io);
    uring_file_release(uring);
    uring_release(uring);
}

static const struct io_calls uring_calls = {
    .name = "io_uring",
    .free = uring_free,
    .run = uring_run,
    .submit = uring_submit,
    .clock_us = system_clock_us,
    .wall_ms = system_wall_ms,
    .random = system_random,
    .signal_start = uring_signal_start,
    .signal_stop = uring_signal_stop,
    .resolve = system_resolve,
    .listen = uring_listen,
    .listener_close = uring_listener_close,
    .connect_start = uring_connect_start,
    .connect_cancel = uring_connect_cancel,
    .receive_start = uring_receive_start,
    .receive_pause = uring_receive_pause,
    .send_start = uring_send_start,
    .stream_close = uring_stream_close,
    .file_start = uring_file_start,
    .lock = file_lock,
    .forget = file_forget,
    .file_close = file_close,
};

int uring_new(char *reason, size_t reason_size, struct io **ret_io)
{
    struct uring *uring = memory_new(1, sizeof *uring);
    const char *failed = "io_uring_setup";
    int err = ring_init(uring);
    if (err != 0) {
        (void)snprintf(reason, reason_size, "%s: %s", failed, io_error_sentence(err));
        free(uring);
        return KV_ERR_IO;
    }
    err = probe(uring, &failed);
    if (err == 0) {
        failed = "io_uring_register (receive buffers)";
        err = buffers_init(uring);
    }
    if (err != 0) {
        (void)snprintf(reason, reason_size, "%s: %s", failed, io_error_sentence(err));
        uring_release(uring);
        return KV_ERR_IO;
    }
    system_ignore_broken_pipe();
    list_init(&uring->waiting);
    io_base_init(&uring->io, &uring_calls, system_now_us());
    *ret_io = &uring->io;
    return 0;
}
