#include "sim_cast.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cast ---- */

static void on_timer(struct io_timer *timer)
{
    CONTAINER_OF(timer, struct actor, timer)->fired++;
}

struct cast *cast_new(uint64_t seed, size_t count)
{
    struct cast *cast = memory_new(1, sizeof *cast);
    cast->world = sim_world_new(seed);
    cast->count = count;
    for (size_t i = 0; i < count; i++) {
        char address[20];
        (void)snprintf(address, sizeof address, "10.0.0.%u", (unsigned)(i + 1) & 0xff);
        struct actor *actor = &cast->actors[i];
        actor->cast = cast;
        actor->host = sim_host_new(cast->world, address);
        io_timer_init(&actor->timer, on_timer);
        assert_int_equal(sim_disk_make_path(actor->host, "/d"), 0);
        actor_boot(actor);
    }
    return cast;
}

void cast_free(struct cast *cast)
{
    for (size_t i = 0; i < cast->count; i++) {
        if (cast->actors[i].io != NULL) {
            actor_crash(&cast->actors[i], SIM_CRASH_KILL);
        }
        buf_done(&cast->actors[i].got);
    }
    sim_world_free(cast->world);
    free(cast);
}

/* One turn of whoever is next; false when nobody is up to then. */
static bool cast_step(struct cast *cast, uint64_t until_us)
{
    const struct sim_host *host = sim_world_step(cast->world, until_us);
    if (host == NULL) {
        return false;
    }
    struct actor *actor = &cast->actors[sim_host_number(host)];
    actor->turns++;
    assert_int_equal(io_run(actor->io, 0), 0);
    return true;
}

void cast_run(struct cast *cast, uint64_t us)
{
    uint64_t until_us = sim_world_now(cast->world) + us;
    while (cast_step(cast, until_us)) {
    }
    assert_true(sim_world_now(cast->world) == until_us);
}

bool cast_run_until(struct cast *cast, const bool *flag)
{
    uint64_t until_us = sim_world_now(cast->world) + (uint64_t)600 * SECOND;
    while (!*flag && cast_step(cast, until_us)) {
    }
    return *flag;
}

void actor_boot(struct actor *actor)
{
    sim_host_boot(actor->host, &actor->io);
    actor->sent = true;
}

static void on_wound_down(struct io_close *close)
{
    (void)close;
}

void actor_crash(struct actor *actor, enum sim_crash crash)
{
    struct io_close close = {.done = on_wound_down};
    sim_host_crash(actor->host, crash);
    assert_null(sim_host_io(actor->host));
    sim_io_drain(actor->io, 100);
    if (actor->stream != NULL) {
        io_stream_close(actor->io, actor->stream, &close);
        actor->stream = NULL;
    }
    if (actor->listener != NULL) {
        io_listener_close(actor->io, actor->listener);
        actor->listener = NULL;
    }
    for (size_t i = 0; i < ACTOR_FILES_MAX; i++) {
        io_file_close(actor->io, actor->files[i]);
        actor->files[i] = NULL;
    }
    io_timer_cancel(actor->io, &actor->timer);
    sim_io_drain(actor->io, 100);
    io_free(actor->io);
    actor->io = NULL;
    buf_clear(&actor->got);
}

/* ---- the connection ---- */

static void on_received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct actor *actor = CONTAINER_OF(receive, struct actor, receive);
    assert_false(actor->ended);
    buf_append_slice(&actor->got, bytes);
    actor->pieces++;
    actor->ended = bytes.size == 0;
    actor->end_result = result;
}

/* A new connection takes the place of the old one. */
static void stream_begin(struct actor *actor, struct io_stream *stream)
{
    if (actor->stream != NULL) {
        io_stream_close(actor->io, actor->stream, NULL);
    }
    actor->stream = stream;
    actor->ended = false;
    actor->pieces = 0;
    actor->receive.done = on_received;
    buf_clear(&actor->got);
    io_receive_start(actor->io, stream, &actor->receive);
}

static void on_accepted(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    struct actor *actor = CONTAINER_OF(accept, struct actor, accept);
    if (stream == NULL) {
        assert_true(error < 0);
        actor->accept_errors++;
        return;
    }
    stream_begin(actor, stream);
}

void actor_listen(struct actor *actor)
{
    struct io_address address;
    assert_int_equal(io_resolve(actor->io, "0.0.0.0:7000", &address), 0);
    actor->accept.done = on_accepted;
    assert_int_equal(io_listen(actor->io, &address, &actor->accept, &actor->listener), 0);
}

static void on_connected(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct actor *actor = CONTAINER_OF(connect, struct actor, connect);
    assert_false(actor->connected);
    actor->connected = true;
    actor->connect_result = result;
    if (stream != NULL) {
        stream_begin(actor, stream);
    }
}

void actor_connect(struct actor *actor, const struct actor *to)
{
    char text[40];
    struct io_address address;
    (void)snprintf(text, sizeof text, "%s:%d", sim_host_address(to->host), PORT);
    assert_int_equal(io_resolve(actor->io, text, &address), 0);
    actor->connect.done = on_connected;
    actor->connected = false;
    io_connect_start(actor->io, &actor->connect, &address);
}

void actors_meet(struct actor *from, struct actor *to)
{
    struct cast *cast = from->cast;
    if (to->listener == NULL) {
        actor_listen(to);
    }
    actor_connect(from, to);
    assert_true(cast_run_until(cast, &from->connected));
    assert_int_equal(from->connect_result, 0);
    cast_run(cast, 20 * 1000);
    assert_non_null(to->stream);
}

static void on_sent(struct io_send *send, int64_t result)
{
    struct actor *actor = CONTAINER_OF(send, struct actor, send);
    assert_false(actor->sent);
    actor->sent = true;
    actor->sent_result = result;
}

void actor_send(struct actor *actor, const void *bytes, size_t size)
{
    assert_true(actor->sent);
    actor->sent = false;
    actor->send.done = on_sent;
    actor->send.parts[0] = (struct iovec){.iov_base = (void *)bytes, .iov_len = size};
    actor->send.part_count = 1;
    io_send_start(actor->io, actor->stream, &actor->send);
}

static void on_closed(struct io_close *close)
{
    CONTAINER_OF(close, struct actor, close)->closed = true;
}

void actor_leave(struct actor *actor)
{
    actor->closed = false;
    actor->close.done = on_closed;
    io_stream_close(actor->io, actor->stream, &actor->close);
    actor->stream = NULL;
    assert_true(cast_run_until(actor->cast, &actor->closed));
    buf_clear(&actor->got);
}

/* ---- files ---- */

static void on_errand(struct io_file_op *op, int64_t result)
{
    struct errand *errand = CONTAINER_OF(op, struct errand, op);
    assert_false(errand->done);
    errand->done = true;
    errand->result = result;
}

struct io_file_op *errand(struct errand *errand)
{
    *errand = (struct errand){.op = {.done = on_errand}};
    return &errand->op;
}

static int64_t wait_for(struct actor *actor, const struct errand *waited)
{
    assert_false(waited->done);
    assert_true(cast_run_until(actor->cast, &waited->done));
    return waited->result;
}

struct io_file *actor_open(struct actor *actor, const char *path, unsigned flags)
{
    struct errand waited;
    io_open(actor->io, errand(&waited), path, flags);
    assert_int_equal(wait_for(actor, &waited), 0);
    for (size_t i = 0; i < ACTOR_FILES_MAX; i++) {
        if (actor->files[i] == NULL) {
            actor->files[i] = waited.op.file;
            return waited.op.file;
        }
    }
    fail_msg("too many open files");
    return NULL;
}

void actor_close(struct actor *actor, struct io_file *file)
{
    for (size_t i = 0; i < ACTOR_FILES_MAX; i++) {
        if (actor->files[i] == file) {
            actor->files[i] = NULL;
        }
    }
    io_file_close(actor->io, file);
}

int64_t actor_open_result(struct actor *actor, const char *path, unsigned flags)
{
    struct errand waited;
    io_open(actor->io, errand(&waited), path, flags);
    int64_t result = wait_for(actor, &waited);
    if (result == 0) {
        io_file_close(actor->io, waited.op.file);
    }
    return result;
}

int64_t actor_write(struct actor *actor, struct io_file *file, uint64_t offset, const void *bytes,
                    size_t size, unsigned flags)
{
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
    struct errand waited;
    io_write(actor->io, errand(&waited), file, offset, &part, 1, flags);
    return wait_for(actor, &waited);
}

int64_t actor_read(struct actor *actor, struct io_file *file, uint64_t offset, void *bytes,
                   size_t size)
{
    struct errand waited;
    io_read(actor->io, errand(&waited), file, offset, bytes, size);
    return wait_for(actor, &waited);
}

int64_t actor_sync(struct actor *actor, struct io_file *file)
{
    struct errand waited;
    io_sync(actor->io, errand(&waited), file);
    return wait_for(actor, &waited);
}

int64_t actor_size(struct actor *actor, struct io_file *file)
{
    struct errand waited;
    io_size(actor->io, errand(&waited), file);
    return wait_for(actor, &waited);
}

int64_t actor_rename(struct actor *actor, const char *from, const char *to)
{
    struct errand waited;
    io_rename(actor->io, errand(&waited), from, to);
    return wait_for(actor, &waited);
}

int64_t actor_unlink(struct actor *actor, const char *path)
{
    struct errand waited;
    io_unlink(actor->io, errand(&waited), path);
    return wait_for(actor, &waited);
}

void actor_sync_names(struct actor *actor, const char *path)
{
    struct io_file *directory = actor_open(actor, path, IO_OPEN_DIRECTORY);
    assert_int_equal(actor_sync(actor, directory), 0);
    actor_close(actor, directory);
}

bool actor_has(struct actor *actor, const char *path)
{
    return actor_open_result(actor, path, IO_OPEN_READ_ONLY) == 0;
}
