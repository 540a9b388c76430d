#include "io_world.h"

#include "base/memory.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
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

static int setup_sim(void **state)
{
    struct world *world = memory_new(1, sizeof *world);
    world->sim = sim_world_new(1);
    world->host = sim_host_new(world->sim, "10.0.0.1");
    sim_host_drive_itself(world->host);
    (void)snprintf(world->directory, sizeof world->directory, "/tmp/kvapp-io");
    assert_int_equal(sim_disk_make_path(world->host, world->directory), 0);
    sim_host_boot(world->host, &world->io);
    *state = world;
    return 0;
}

static int teardown_sim(void **state)
{
    struct world *world = *state;
    io_free(world->io);
    sim_world_free(world->sim);
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

/* One case on one backend; `initial` NULL: in a simulated world. */
static struct CMUnitTest test_of(const struct CMUnitTest *each, char text[160], const char *name,
                                 enum io_backend *initial)
{
    (void)snprintf(text, 160, "%s on %s", each->name, name);
    return (struct CMUnitTest){.name = text,
                               .test_func = each->test_func,
                               .setup_func = initial == NULL ? setup_sim : setup,
                               .teardown_func = initial == NULL ? teardown_sim : teardown,
                               .initial_state = initial};
}

int run_on_backends(const char *suite, const struct CMUnitTest *cases, size_t count)
{
    static enum io_backend backends[2] = {IO_BACKEND_PORTABLE, IO_BACKEND_URING};
    static const char *const names[2] = {"portable", "io_uring"};
    struct CMUnitTest *tests = memory_new(3 * count, sizeof *tests);
    char(*texts)[160] = memory_new(3 * count, sizeof *texts);
    size_t total = 0;
    for (size_t which = 0; which < 3; which++) {
        enum io_backend *initial = which < 2 ? &backends[which] : NULL;
        if (initial != NULL && !available(*initial)) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            const char *name = initial == NULL ? "sim" : names[which];
            bool for_kernel = cases[i].initial_state != NULL;
            if (initial != NULL || !for_kernel) {
                tests[total] = test_of(&cases[i], texts[total], name, initial);
                total++;
            }
        }
    }
    int failed = _cmocka_run_group_tests(suite, tests, total, NULL, NULL);
    free(tests);
    free(texts);
    return failed;
}

void send_signal(struct world *world, int number)
{
    if (world->sim != NULL) {
        sim_host_signal(world->host, number);
    } else {
        assert_int_equal(raise(number), 0);
    }
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
