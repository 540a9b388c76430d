/*
 * What the conformance tests of the io stand on: each case runs once for each backend, in a world
 * of its own with an io and an empty directory, and must leave no descriptor open.
 */
#ifndef TEST_IO_WORLD_H
#define TEST_IO_WORLD_H

#include "io/io.h"
#include "io/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    enum io_backend backend; /* of the kernel; meaningless in a simulated world */
    struct io *io;
    struct sim_world *sim; /* NULL: the kernel's world */
    struct sim_host *host; /* of a simulated world, whose io is `io` */
    char directory[64];
    size_t descriptors; /* open before the io was made */
};

/*
 * A case for the backends of the kernel only: it tests what the kernel does to a process, or uses
 * sockets, limits or clocks of its own.
 */
#define kernel_unit_test(case) cmocka_unit_test_prestate(case, (void *)"kernel")

/* Runs every case on all backends; the backend's name is appended to the case's. */
int run_on_backends(const char *suite, const struct CMUnitTest *cases, size_t count);

/* Sends the signal to this process. */
void send_signal(struct world *world, int number);

/* Turns the io until *flag, for at most ten seconds. */
void turn_until(struct world *world, const bool *flag);
/* Turns the io for `ms` milliseconds. */
void turn_for(struct world *world, uint64_t ms);

/* "<the world's directory>/<name>", in `text`. */
const char *path_in(const struct world *world, const char *name, char text[128]);

/* The number of descriptors that the process has open. */
size_t descriptors_open(void);

/* A file operation and what became of it. */
struct file_wait {
    struct io_file_op op;
    int64_t result;
    bool done;
};

/* Call before the operation is started with &wait->op. */
struct io_file_op *file_op(struct file_wait *wait);
/* Checks that it did not complete while it was started, turns until it does: its result. */
int64_t file_result(struct world *world, struct file_wait *wait);

/* Opens `name` in the world's directory; it must work. */
struct io_file *open_file(struct world *world, const char *name, unsigned flags);

#endif
