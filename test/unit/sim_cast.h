/*
 * The cast of the tests of the simulated world: hosts whose processes do what a test tells them,
 * one connection each, and files by calls that wait.
 */
#ifndef TEST_SIM_CAST_H
#define TEST_SIM_CAST_H

#include "io/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ACTORS_MAX = 4, ACTOR_FILES_MAX = 8, SECOND = 1000 * 1000 };

struct cast;

/* A process, with its end of one connection. */
struct actor {
    struct cast *cast;
    struct sim_host *host;
    struct io *io; /* NULL: does not run */
    struct io_accept accept;
    struct io_listener *listener;
    unsigned accept_errors;
    struct io_connect connect;
    bool connected;
    int64_t connect_result;
    struct io_stream *stream;
    struct io_receive receive;
    struct buf got;
    unsigned pieces;
    bool ended;
    int64_t end_result;
    struct io_send send;
    bool sent;
    int64_t sent_result;
    struct io_close close;
    bool closed;
    struct io_timer timer;
    unsigned fired;
    struct io_file *files[ACTOR_FILES_MAX]; /* open; NULL: a free place */
    uint64_t turns;
};

struct cast {
    struct sim_world *world;
    struct actor actors[ACTORS_MAX]; /* 10.0.0.1, 10.0.0.2, ... */
    size_t count;
};

/* All hosts booted; each has the durable directory /d. */
struct cast *cast_new(uint64_t seed, size_t count);
/* Crashes who still runs, winds everything down and frees it. */
void cast_free(struct cast *cast);

/* Lets the processes run for that long. */
void cast_run(struct cast *cast, uint64_t us);
/* Lets them run until *flag, for at most ten minutes; says whether it came. */
bool cast_run_until(struct cast *cast, const bool *flag);

void actor_boot(struct actor *actor);
/* The process is gone, and wound down. */
void actor_crash(struct actor *actor, enum sim_crash crash);

/* ---- the connection ---- */

enum { PORT = 7000 };

/* Listens on PORT; what is accepted becomes the actor's stream and is received from. */
void actor_listen(struct actor *actor);
/* Starts to connect to PORT of the other, and receives from the stream once it is there. */
void actor_connect(struct actor *actor, const struct actor *to);
/* Both, and waits for both ends. */
void actors_meet(struct actor *from, struct actor *to);
/* The bytes stay in place until `sent`. */
void actor_send(struct actor *actor, const void *bytes, size_t size);
/* Closes the stream and forgets what was got. */
void actor_leave(struct actor *actor);

/* ---- files: each call starts an operation, waits for it and gives its result ---- */

/* Open until actor_close or the crash. */
struct io_file *actor_open(struct actor *actor, const char *path, unsigned flags);
void actor_close(struct actor *actor, struct io_file *file);
int64_t actor_open_result(struct actor *actor, const char *path, unsigned flags);
int64_t actor_write(struct actor *actor, struct io_file *file, uint64_t offset, const void *bytes,
                    size_t size, unsigned flags);
int64_t actor_read(struct actor *actor, struct io_file *file, uint64_t offset, void *bytes,
                   size_t size);
int64_t actor_sync(struct actor *actor, struct io_file *file);
int64_t actor_size(struct actor *actor, struct io_file *file);
int64_t actor_rename(struct actor *actor, const char *from, const char *to);
int64_t actor_unlink(struct actor *actor, const char *path);
/* Opens, syncs and closes a directory. */
void actor_sync_names(struct actor *actor, const char *path);
/* Whether there is a file of that name. */
bool actor_has(struct actor *actor, const char *path);

/* An operation that the test does not wait for. */
struct errand {
    struct io_file_op op;
    bool done;
    int64_t result;
};
struct io_file_op *errand(struct errand *errand);

#endif
