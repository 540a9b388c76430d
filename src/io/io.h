/*
 * The seam to the world: sockets, files, time, signals. Nothing outside src/io makes a system call
 * for I/O or reads a clock. Three backends stand behind it: io_uring (production), libuv (where
 * io_uring is forbidden) and, with the simulator, a virtual world.
 *
 * An operation is a struct embedded in, and owned by, whoever starts it. It stays where it is and
 * is not touched from its start to its completion. It completes exactly once, by a call of its
 * `done` from inside io_run, never from inside the call that started it, even when it fails at
 * once. A completion may start further operations, the same struct included.
 *
 * Results are >= 0, or a negative errno: the one place where kvapp keeps the system's own numbers,
 * because the sentence to the user must say what the system said (io_error_sentence).
 *
 * One thread drives an io, from its first io_run to io_free; several ios may live in one process,
 * each with its own thread or driven in turn by one.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include "base/bytes.h"
#include "base/heap.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct io;

/* ---- life ---- */

enum io_backend {
    IO_BACKEND_AUTO, /* io_uring where the kernel lets us, else the portable one */
    IO_BACKEND_URING,
    IO_BACKEND_PORTABLE, /* libuv */
};

/*
 * Makes an io. On success *ret_io is owned by the caller and `reason`, a buffer of `reason_size`
 * bytes, holds one line that says which backend was chosen and why ("io_uring", "portable (libuv):
 * io_uring_setup: Operation not permitted"). Returns 0 or KV_ERR_IO, with the reason filled in.
 */
int io_new(enum io_backend backend, char *reason, size_t reason_size, struct io **ret_io);

/* Every handle must have been closed and the closing have completed. NULL is fine. */
void io_free(struct io *io);

/* "io_uring" or "portable". */
const char *io_backend_name(const struct io *io);

/*
 * Waits until something completes or a timer is due, at most until `deadline_us` (io_now_us scale;
 * UINT64_MAX: no limit; 0 or the past: do not wait), then calls every completion that is ready,
 * once. Everything started before or during the last call is submitted together. Returns 0, or
 * KV_ERR_IO when the backend itself is broken.
 */
int io_run(struct io *io, uint64_t deadline_us);

/*
 * Hands over what was started so far, without waiting for anything: what others wait for need not
 * wait for what is started after it. Only ever needed for speed; the next io_run does the same.
 */
void io_submit(struct io *io);

/* Plain words for a negative errno result; never NULL. */
const char *io_error_sentence(int64_t result);

/* ---- time ---- */

/*
 * Monotonic microseconds. Read by io_run before it calls completions, and once more when it has
 * called them: until the next io_run the clock stands still at a time at which everything that this
 * io_run brought had arrived, however long the process was stopped meanwhile.
 */
uint64_t io_now_us(const struct io *io);
/* Wall clock, milliseconds since 1970, read when called. */
uint64_t io_wall_ms(const struct io *io);
/* Unpredictable bits for seeds and identities. */
uint64_t io_random(struct io *io);

struct io_timer {
    struct heap_node node;
    void (*done)(struct io_timer *timer);
};

static inline void io_timer_init(struct io_timer *timer, void (*done)(struct io_timer *timer))
{
    *timer = (struct io_timer){.done = done};
}

/* (Re)sets the timer to fire once, in the first io_run at or after `at_us`. */
void io_timer_set(struct io *io, struct io_timer *timer, uint64_t at_us);
static inline bool io_timer_is_set(const struct io_timer *timer)
{
    return heap_holds(&timer->node);
}
/* Stops the timer; one that is not set is left alone. Its `done` is not called. */
void io_timer_cancel(struct io *io, struct io_timer *timer);

/* ---- signals ---- */

struct io_signal {
    void (*done)(struct io_signal *signal, int number);
    void *backend;
};

/*
 * Calls `done` from io_run whenever SIGTERM or SIGINT arrives. At most one io of a process may
 * listen. SIGPIPE is ignored for the whole process by io_new. Returns 0 or negative errno.
 */
int io_signal_start(struct io *io, struct io_signal *signal);
void io_signal_stop(struct io *io, struct io_signal *signal);

/* ---- sockets: TCP streams ---- */

struct io_address {
    uint8_t bytes[28]; /* a sockaddr_in or sockaddr_in6 */
    uint32_t size;
};

/*
 * Resolves "host:port" ("[::1]:80" for IPv6; names through the system's resolver, which may block:
 * do it at start-up and before a reconnect). Returns 0 or KV_ERR_ADDRESS.
 */
int io_resolve(struct io *io, const char *host_port, struct io_address *ret_address);

struct io_stream; /* one connection; owned by the backend, freed by io_stream_close */
struct io_listener;

struct io_accept {
    /* `stream` is a new connection that now belongs to the callee, or NULL with `error` set to a
     * negative errno (such as -EMFILE); listening goes on, after a short pause, in either case. */
    void (*done)(struct io_accept *accept, struct io_stream *stream, int64_t error);
};

/*
 * Listens on `address` (SO_REUSEADDR, TCP_NODELAY on what it accepts). Returns 0 or a negative
 * errno such as -EADDRINUSE. `accept` is called for every connection until io_listener_close.
 */
int io_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
              struct io_listener **ret_listener);
/* The port really bound, for tests that listen on port 0. */
uint16_t io_listener_port(const struct io_listener *listener);
/* Stops listening at once; no callback comes after this call. */
void io_listener_close(struct io *io, struct io_listener *listener);

struct io_connect {
    /* `stream` belongs to the callee, or is NULL and `result` a negative errno. */
    void (*done)(struct io_connect *connect, struct io_stream *stream, int64_t result);
    void *backend; /* in flight: the backend's own record */
};

/* Connects to `address`; completes once. */
void io_connect_start(struct io *io, struct io_connect *connect, const struct io_address *address);
/* Gives up: `done` comes once, with -ECANCELED, unless the connection was made meanwhile. */
void io_connect_cancel(struct io *io, struct io_connect *connect);

struct io_receive {
    /*
     * Called for each piece that arrived. The bytes are lent for the length of the call, so an
     * idle connection owns no buffer. Size 0 with result 0: the peer closed its side. A negative
     * `result` is an errno. After either of these no further call comes.
     */
    void (*done)(struct io_receive *receive, struct slice bytes, int64_t result);
};

/*
 * Starts receiving, which goes on by itself until io_receive_pause, an error, the end or
 * io_stream_close.
 */
void io_receive_start(struct io *io, struct io_stream *stream, struct io_receive *receive);
/*
 * Back-pressure: stops reading from the socket. At most what had already been read (64 KiB) still
 * arrives by the callback. io_receive_start resumes.
 */
void io_receive_pause(struct io *io, struct io_stream *stream);

enum { IO_SEND_PARTS_MAX = 8 };

struct io_send {
    /* result: all bytes sent (their count), or a negative errno. */
    void (*done)(struct io_send *send, int64_t result);
    struct iovec parts[IO_SEND_PARTS_MAX]; /* filled in by the caller; may be changed by the io */
    size_t part_count;
    void *backend;
};

/* Sends all parts, in order. One send per stream may be in flight. The bytes stay in place. */
void io_send_start(struct io *io, struct io_stream *stream, struct io_send *send);

struct io_close {
    void (*done)(struct io_close *close);
};

/*
 * Closes the stream: no receive callback comes any more; a send in flight completes first, with
 * -ECANCELED or its result; then `close->done` comes and the stream is gone. `close` may be NULL
 * for a stream that has no send in flight and that nobody waits for.
 */
void io_stream_close(struct io *io, struct io_stream *stream, struct io_close *close);

/* The peer as "host:port" for messages. */
void io_stream_peer(const struct io_stream *stream, char ret_text[ADDRESS_SIZE_MAX]);

/* ---- files ---- */

struct io_file; /* owned by the backend; freed by io_file_close */

/* One struct for all file operations; several may be in flight on one file. */
struct io_file_op {
    void (*done)(struct io_file_op *op, int64_t result);
    void *backend;
    /* What the operation works on; see each call. */
    struct io_file *file;
    struct iovec *parts;
    size_t part_count;
    struct buf *names;
};

enum io_open_flags {
    IO_OPEN_CREATE = 1 << 0,    /* make it when it is not there, mode 0600 */
    IO_OPEN_EXCLUSIVE = 1 << 1, /* with CREATE: fail with -EEXIST when it is there */
    IO_OPEN_READ_ONLY = 1 << 2,
    IO_OPEN_DIRECTORY = 1 << 3, /* for io_sync and io_list */
};

/* result 0: op->file is the open file; else a negative errno. `path` may go after the call. */
void io_open(struct io *io, struct io_file_op *op, const char *path, unsigned flags);

/* result: bytes read; fewer than `size` only at the end of the file. */
void io_read(struct io *io, struct io_file_op *op, struct io_file *file, uint64_t offset,
             void *bytes, size_t size);

enum io_write_flags {
    IO_WRITE_DURABLE = 1 << 0, /* completes once the data are on the disk (as RWF_DSYNC) */
};

/*
 * Writes `count` parts at `offset`; parts and bytes stay in place until `done` (the io may change
 * the parts). result: all bytes written (their count), or a negative errno; a short write of the
 * system is continued, and when that fails, is its error.
 */
void io_write(struct io *io, struct io_file_op *op, struct io_file *file, uint64_t offset,
              struct iovec *parts, size_t count, unsigned flags);

/* fdatasync for a file, fsync for a directory (whose names it makes durable). */
void io_sync(struct io *io, struct io_file_op *op, struct io_file *file);

/* result: the size in bytes. */
void io_size(struct io *io, struct io_file_op *op, struct io_file *file);

void io_rename(struct io *io, struct io_file_op *op, const char *from, const char *to);
void io_unlink(struct io *io, struct io_file_op *op, const char *path);
/* Makes a directory, mode 0700; -EEXIST when something has that name. Parents must be there. */
void io_make_directory(struct io *io, struct io_file_op *op, const char *path);

/* The names in a directory, sorted, each with its NUL, appended to *names; result: their number. */
void io_list(struct io *io, struct io_file_op *op, const char *path, struct buf *names);

/*
 * Takes the exclusive lock of an open file, without waiting: 0, or -EWOULDBLOCK when another
 * process (or another open file of this one) has it. The lock goes with the file. At once.
 */
int io_lock(struct io *io, struct io_file *file);

/*
 * Lets the system forget what it holds of a file in memory and takes for synced, so that the next
 * read shows what is on the disk. After a sync that failed the two may differ, and would until the
 * power goes. Call it behind an io_sync; where a system remembers nothing it does nothing.
 */
void io_forget(struct io *io, struct io_file *file);

/* Closes at once; no operation may be in flight on the file. NULL is fine. */
void io_file_close(struct io *io, struct io_file *file);

#endif
