/*
 * Listening and connecting in the io_uring backend.
 *
 * A listener is one request that goes on by itself (multishot). After an error it pauses, as
 * without that a full table of descriptors would keep the loop spinning.
 */
#include "base/memory.h"
#include "io/system.h"
#include "io/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_PAUSE_US = 100 * 1000 };

/* ---- listening ---- */

struct uring_listener {
    struct io_listener base;
    struct uring *uring;
    int fd;
    struct io_accept *accept; /* NULL: closed */
    struct io_timer pause;
    struct uring_request accepting;
    struct uring_request cancel;
};

static void listener_gone(struct uring_listener *listener)
{
    if (!listener->accepting.in_flight && !listener->cancel.in_flight) {
        (void)close(listener->fd);
        free(listener);
    }
}

static void prepare_accepting(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_listener *listener = CONTAINER_OF(request, struct uring_listener, accepting);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
}

static void accepted(struct uring_listener *listener, int fd)
{
    if (listener->accept == NULL) {
        (void)close(fd);
        return;
    }
    struct io_address peer;
    socket_accepted(fd, &peer);
    listener->accept->done(listener->accept, uring_stream_new(listener->uring, fd, &peer), 0);
}

static void on_accepting(struct uring_request *request, int result, unsigned flags)
{
    (void)flags;
    struct uring_listener *listener = CONTAINER_OF(request, struct uring_listener, accepting);
    bool failed = false;
    if (result >= 0) {
        accepted(listener, result);
    } else if (listener->accept != NULL) {
        failed = result != -ECONNABORTED && result != -EINTR && result != -EAGAIN;
    }
    if (failed) {
        struct io *io = &listener->uring->io;
        io_timer_set(io, &listener->pause, io_now_us(io) + ACCEPT_PAUSE_US);
        listener->accept->done(listener->accept, NULL, result);
    }
    if (listener->accept == NULL) {
        listener_gone(listener);
    } else if (!request->in_flight && !failed) {
        uring_start(listener->uring, request);
    }
}

static void on_pause_over(struct io_timer *timer)
{
    struct uring_listener *listener = CONTAINER_OF(timer, struct uring_listener, pause);
    uring_start(listener->uring, &listener->accepting);
}

static void prepare_listener_cancel(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_listener *listener = CONTAINER_OF(request, struct uring_listener, cancel);
    io_uring_prep_cancel(sqe, &listener->accepting, 0);
}

static void on_listener_cancel(struct uring_request *request, int result, unsigned flags)
{
    (void)result;
    (void)flags;
    listener_gone(CONTAINER_OF(request, struct uring_listener, cancel));
}

int uring_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
                 struct io_listener **ret_listener)
{
    uint16_t port = 0;
    int fd = socket_listen(address, &port);
    if (fd < 0) {
        return fd;
    }
    struct uring_listener *listener = memory_new(1, sizeof *listener);
    listener->base.port = port;
    listener->uring = uring_of(io);
    listener->fd = fd;
    listener->accept = accept;
    listener->accepting =
        (struct uring_request){.prepare = prepare_accepting, .complete = on_accepting};
    listener->cancel =
        (struct uring_request){.prepare = prepare_listener_cancel, .complete = on_listener_cancel};
    io_timer_init(&listener->pause, on_pause_over);
    uring_start(listener->uring, &listener->accepting);
    *ret_listener = &listener->base;
    return 0;
}

void uring_listener_close(struct io *io, struct io_listener *base)
{
    struct uring_listener *listener = CONTAINER_OF(base, struct uring_listener, base);
    io_timer_cancel(io, &listener->pause);
    listener->accept = NULL;
    /* The request in flight keeps the socket open for a while, but it listens no more. */
    (void)shutdown(listener->fd, SHUT_RDWR);
    uring_start(listener->uring, &listener->cancel);
}

/* ---- connecting ---- */

struct uring_connect {
    struct uring *uring;
    struct io_connect *connect; /* NULL: `done` was called */
    struct io_address address;
    int fd; /* or the negative errno of making it */
    bool cancelled;
    struct uring_request connecting;
    struct uring_request cancel;
    struct io_ready ready;
};

static void connect_gone(struct uring_connect *own)
{
    if (!own->connecting.in_flight && !own->cancel.in_flight) {
        free(own);
    }
}

static void finish_connect(struct uring_connect *own, int result)
{
    struct io_connect *connect = own->connect;
    struct io_stream *stream = NULL;
    if (result == 0) {
        stream = uring_stream_new(own->uring, own->fd, &own->address);
    } else if (own->fd >= 0) {
        (void)close(own->fd);
    }
    own->connect = NULL;
    connect->backend = NULL;
    connect_gone(own);
    connect->done(connect, stream, result);
}

static void prepare_connecting(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_connect *own = CONTAINER_OF(request, struct uring_connect, connecting);
    io_uring_prep_connect(sqe, own->fd, (const struct sockaddr *)own->address.bytes,
                          own->address.size);
}

static void on_connecting(struct uring_request *request, int result, unsigned flags)
{
    (void)flags;
    struct uring_connect *own = CONTAINER_OF(request, struct uring_connect, connecting);
    bool again = result == -EINTR || result == -EAGAIN;
    if (again && !own->cancelled) {
        uring_start(own->uring, request);
    } else {
        finish_connect(own, again ? -ECANCELED : result);
    }
}

static void on_connect_failed(struct io_ready *ready)
{
    struct uring_connect *own = CONTAINER_OF(ready, struct uring_connect, ready);
    finish_connect(own, own->cancelled ? -ECANCELED : own->fd);
}

static void prepare_connect_cancel(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_connect *own = CONTAINER_OF(request, struct uring_connect, cancel);
    io_uring_prep_cancel(sqe, &own->connecting, 0);
}

static void on_connect_cancel(struct uring_request *request, int result, unsigned flags)
{
    (void)result;
    (void)flags;
    connect_gone(CONTAINER_OF(request, struct uring_connect, cancel));
}

void uring_connect_start(struct io *io, struct io_connect *connect,
                         const struct io_address *address)
{
    struct uring_connect *own = memory_new(1, sizeof *own);
    own->uring = uring_of(io);
    own->connect = connect;
    own->address = *address;
    own->connecting =
        (struct uring_request){.prepare = prepare_connecting, .complete = on_connecting};
    own->cancel =
        (struct uring_request){.prepare = prepare_connect_cancel, .complete = on_connect_cancel};
    connect->backend = own;
    own->fd = socket_new(address);
    if (own->fd < 0) {
        io_ready_push(io, &own->ready, on_connect_failed);
    } else {
        uring_start(own->uring, &own->connecting);
    }
}

void uring_connect_cancel(struct io *io, struct io_connect *connect)
{
    (void)io;
    struct uring_connect *own = connect->backend;
    if (own == NULL || own->cancelled) {
        return;
    }
    own->cancelled = true;
    if (own->connecting.in_flight) {
        uring_start(own->uring, &own->cancel);
    }
}
