#include "io_world.h"

#include "base/memory.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_US_MAX = 10 * 1000 * 1000 };

static int setup(void **state)
{
    const enum io_backend *backend = *state;
    struct world *world = memory_new(1, sizeof *world);
    world->backend = *backend;
    world->descriptors = descriptors_open();
    char reason[200];
    assert_int_equal(io_new(world->backend, reason, sizeof reason, &world->io), 0);
    (void)snprintf(world->directory, sizeof world->directory, "/tmp/kvapp-io-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    *state = world;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *world = *state;
    io_free(world->io);
    assert_int_equal(nftw(world->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    assert_int_equal(descriptors_open(), world->descriptors);
    free(world);
    return 0;
}

/* Also opens what libuv keeps open for the whole process, before descriptors are counted. */
static bool available(enum io_backend backend)
{
    char reason[200];
    struct io *io = NULL;
    if (io_new(backend, reason, sizeof reason, &io) != 0) {
        (void)printf("# left out: %s\n", reason);
        return false;
    }
    io_free(io);
    return true;
}

int run_on_backends(const char *suite, const struct CMUnitTest *cases, size_t count)
{
    static enum io_backend backends[2] = {IO_BACKEND_PORTABLE, IO_BACKEND_URING};
    static const char *const names[2] = {"portable", "io_uring"};
    size_t runs = available(IO_BACKEND_PORTABLE) && available(IO_BACKEND_URING) ? 2 : 1;
    struct CMUnitTest *tests = memory_new(runs * count, sizeof *tests);
    char(*texts)[160] = memory_new(runs * count, sizeof *texts);
    for (size_t i = 0; i < runs * count; i++) {
        const struct CMUnitTest *each = &cases[i % count];
        size_t which = i / count;
        (void)snprintf(texts[i], sizeof texts[i], "%s on %s", each->name, names[which]);
        tests[i] = (struct CMUnitTest){.name = texts[i],
                                       .test_func = each->test_func,
                                       .setup_func = setup,
                                       .teardown_func = teardown,
                                       .initial_state = &backends[which]};
    }
    int failed = _cmocka_run_group_tests(suite, tests, runs * count, NULL, NULL);
    free(tests);
    free(texts);
    return failed;
}

void turn_until(struct world *world, const bool *flag)
{
    assert_int_equal(io_run(world->io, 0), 0);
    uint64_t give_up_us = io_now_us(world->io) + WAIT_US_MAX;
    while (!*flag && io_now_us(world->io) < give_up_us) {
        assert_int_equal(io_run(world->io, give_up_us), 0);
    }
    assert_true(*flag);
}

void turn_for(struct world *world, uint64_t ms)
{
    assert_int_equal(io_run(world->io, 0), 0);
    uint64_t until_us = io_now_us(world->io) + ms * 1000;
    while (io_now_us(world->io) < until_us) {
        assert_int_equal(io_run(world->io, until_us), 0);
    }
}

const char *path_in(const struct world *world, const char *name, char text[128])
{
    (void)snprintf(text, 128, "%s/%s", world->directory, name);
    return text;
}

size_t descriptors_open(void)
{
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    size_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count;
}

static void on_file(struct io_file_op *op, int64_t result)
{
    struct file_wait *wait = CONTAINER_OF(op, struct file_wait, op);
    assert_false(wait->done);
    wait->done = true;
    wait->result = result;
}

struct io_file_op *file_op(struct file_wait *wait)
{
    *wait = (struct file_wait){.op = {.done = on_file}};
    return &wait->op;
}

int64_t file_result(struct world *world, struct file_wait *wait)
{
    assert_false(wait->done);
    turn_until(world, &wait->done);
    return wait->result;
}

struct io_file *open_file(struct world *world, const char *name, unsigned flags)
{
    char path[128];
    struct file_wait wait;
    io_open(world->io, file_op(&wait), path_in(world, name, path), flags);
    assert_int_equal(file_result(world, &wait), 0);
    assert_non_null(wait.op.file);
    return wait.op.file;
}
