/*
 * What stands behind io.h: the calls that a backend implements, and the little that all backends
 * share. Internal to the backends; nothing else includes it.
 *
 * io.c owns the timers, the queue of completions that are ready without any waiting, and the turn
 * of io_run; a backend owns everything else, the clock included, so that a virtual world can be a
 * backend. A backend's own struct embeds `struct io` first; its streams and listeners embed
 * `struct io_stream` and `struct io_listener` first.
 *
 *     io_run ──► calls->run(until)      waits; sets now_us once; calls what completed
 *            ──► the ready queue        completions that were known without waiting
 *            ──► timers due at now_us
 */
#ifndef IO_BACKEND_H
#define IO_BACKEND_H

#include "base/list.h"
#include "io/io.h"

struct io_calls;

struct io {
    const struct io_calls *calls;
    uint64_t now_us;
    struct heap timers;
    struct list ready; /* of io_ready.node */
    bool running;      /* inside io_run */
};

/* A completion that needs no waiting, embedded in a backend's record. */
struct io_ready {
    struct list node;
    void (*run)(struct io_ready *ready);
};

struct io_stream {
    struct io_address peer;
};

struct io_listener {
    uint16_t port;
};

enum io_file_kind {
    IO_FILE_OPEN,
    IO_FILE_READ,
    IO_FILE_WRITE,
    IO_FILE_SYNC,
    IO_FILE_SIZE,
    IO_FILE_RENAME,
    IO_FILE_UNLINK,
    IO_FILE_MAKE_DIRECTORY,
    IO_FILE_LIST,
};

/* The arguments of one file operation; a kind uses the fields of its call in io.h. */
struct io_file_request {
    enum io_file_kind kind;
    struct io_file *file;
    const char *path;    /* borrowed for the call */
    const char *path_to; /* the new name, borrowed for the call */
    unsigned flags;      /* io_open_flags or io_write_flags */
    uint64_t offset;
    void *bytes; /* where a read goes */
    size_t size;
    struct iovec *parts;
    size_t part_count;
};

/* Each call has the contract of the function of its name in io.h. */
struct io_calls {
    const char *name;
    void (*free)(struct io *io);
    /*
     * Submits what was started, waits until something completes or until_us is reached, sets
     * io->now_us once, before the first completion, and calls the completions. With until_us at or
     * before the present it does not wait. Returns 0 or KV_ERR_IO.
     */
    int (*run)(struct io *io, uint64_t until_us);
    void (*submit)(struct io *io); /* NULL: what is started is handed over at once, or by run */
    uint64_t (*clock_us)(const struct io *io); /* monotonic, read when called */
    uint64_t (*wall_ms)(const struct io *io);
    uint64_t (*random)(struct io *io);
    int (*signal_start)(struct io *io, struct io_signal *signal);
    void (*signal_stop)(struct io *io, struct io_signal *signal);
    int (*resolve)(struct io *io, const char *host_port, struct io_address *ret_address);
    int (*listen)(struct io *io, const struct io_address *address, struct io_accept *accept,
                  struct io_listener **ret_listener);
    void (*listener_close)(struct io *io, struct io_listener *listener);
    void (*connect_start)(struct io *io, struct io_connect *connect,
                          const struct io_address *address);
    void (*connect_cancel)(struct io *io, struct io_connect *connect);
    void (*receive_start)(struct io *io, struct io_stream *stream, struct io_receive *receive);
    void (*receive_pause)(struct io *io, struct io_stream *stream);
    void (*send_start)(struct io *io, struct io_stream *stream, struct io_send *send);
    void (*stream_close)(struct io *io, struct io_stream *stream, struct io_close *close);
    void (*file_start)(struct io *io, struct io_file_op *op, const struct io_file_request *request);
    int (*lock)(struct io *io, struct io_file *file);
    void (*forget)(struct io *io, struct io_file *file);
    void (*file_close)(struct io *io, struct io_file *file);
};

/* For a backend's constructor and destructor, which first ends what it has in flight. */
void io_base_init(struct io *io, const struct io_calls *calls, uint64_t now_us);
void io_base_done(struct io *io);

/* Queues a completion for this turn or, when the ready queue of this turn already runs, the next.
 */
void io_ready_push(struct io *io, struct io_ready *ready, void (*run)(struct io_ready *ready));

/*
 * The kernel's backends. On success *ret_io is a new io. On failure they return KV_ERR_IO and write
 * one line into `reason` that says what failed ("io_uring_setup: Operation not permitted").
 */
int portable_new(char *reason, size_t reason_size, struct io **ret_io);
int uring_new(char *reason, size_t reason_size, struct io **ret_io);

#endif
