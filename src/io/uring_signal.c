/*
 * SIGTERM and SIGINT by a signalfd that the ring polls. The two are blocked in the thread that
 * listens, and in every thread it makes afterwards: a process listens before it has others.
 */
#include "io/uring.h"

#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct uring_signal {
    struct uring *uring;
    struct io_signal *signal; /* NULL once stopped */
    int fd;
    sigset_t before; /* the mask to go back to */
    struct uring_request poll;
    struct uring_request cancel;
};

static void signal_gone(struct uring_signal *own)
{
    if (!own->poll.in_flight && !own->cancel.in_flight) {
        (void)close(own->fd);
        free(own);
    }
}

static void prepare_poll(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_signal *own = CONTAINER_OF(request, struct uring_signal, poll);
    io_uring_prep_poll_add(sqe, own->fd, POLLIN);
}

static void on_poll(struct uring_request *request, int result, unsigned flags)
{
    (void)result;
    (void)flags;
    struct uring_signal *own = CONTAINER_OF(request, struct uring_signal, poll);
    struct signalfd_siginfo info;
    /* The call back may stop the listening, so look again each time. */
    while (own->signal != NULL && read(own->fd, &info, sizeof info) == sizeof info) {
        own->signal->done(own->signal, (int)info.ssi_signo);
    }
    if (own->signal != NULL) {
        uring_start(own->uring, request);
    } else {
        signal_gone(own);
    }
}

static void prepare_cancel(struct uring_request *request, struct io_uring_sqe *sqe)
{
    struct uring_signal *own = CONTAINER_OF(request, struct uring_signal, cancel);
    io_uring_prep_cancel(sqe, &own->poll, 0);
}

static void on_cancel(struct uring_request *request, int result, unsigned flags)
{
    (void)result;
    (void)flags;
    signal_gone(CONTAINER_OF(request, struct uring_signal, cancel));
}

int uring_signal_start(struct io *io, struct io_signal *signal)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct uring_signal *own = memory_new(1, sizeof *own);
    *own = (struct uring_signal){.uring = uring_of(io),
                                 .signal = signal,
                                 .fd = fd,
                                 .poll = {.prepare = prepare_poll, .complete = on_poll},
                                 .cancel = {.prepare = prepare_cancel, .complete = on_cancel}};
    int err = pthread_sigmask(SIG_BLOCK, &set, &own->before);
    CHECK(err == 0);
    signal->backend = own;
    uring_start(own->uring, &own->poll);
    return 0;
}

void uring_signal_stop(struct io *io, struct io_signal *signal)
{
    (void)io;
    struct uring_signal *own = signal->backend;
    signal->backend = NULL;
    own->signal = NULL;
    int err = pthread_sigmask(SIG_SETMASK, &own->before, NULL);
    CHECK(err == 0);
    uring_start(own->uring, &own->cancel);
}
