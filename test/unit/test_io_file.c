/* Files through io.h, the same on every backend. */
#include "io_world.h"

#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int64_t write_bytes(struct world *world, struct io_file *file, uint64_t offset,
                           const void *bytes, size_t size, unsigned flags)
{
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
    struct file_wait wait;
    io_write(world->io, file_op(&wait), file, offset, &part, 1, flags);
    return file_result(world, &wait);
}

static int64_t read_bytes(struct world *world, struct io_file *file, uint64_t offset, void *bytes,
                          size_t size)
{
    struct file_wait wait;
    io_read(world->io, file_op(&wait), file, offset, bytes, size);
    return file_result(world, &wait);
}

static int64_t size_of(struct world *world, struct io_file *file)
{
    struct file_wait wait;
    io_size(world->io, file_op(&wait), file);
    return file_result(world, &wait);
}

static void open_says_why_it_failed(void **state)
{
    struct world *world = *state;
    char path[128];
    struct file_wait wait;
    io_open(world->io, file_op(&wait), path_in(world, "absent", path), 0);
    assert_int_equal(file_result(world, &wait), -ENOENT);
    io_file_close(world->io, open_file(world, "there", IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE));
    io_open(world->io, file_op(&wait), path_in(world, "there", path),
            IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE);
    assert_int_equal(file_result(world, &wait), -EEXIST);
    io_open(world->io, file_op(&wait), path_in(world, "there", path), IO_OPEN_DIRECTORY);
    assert_int_equal(file_result(world, &wait), -ENOTDIR);
}

static void path_may_go_after_the_call(void **state)
{
    struct world *world = *state;
    char path[128];
    struct file_wait wait;
    io_make_directory(world->io, file_op(&wait), path_in(world, "made", path));
    memset(path, 'x', sizeof path);
    assert_int_equal(file_result(world, &wait), 0);
    io_file_close(world->io, open_file(world, "made", IO_OPEN_DIRECTORY));
}

static void what_was_written_is_read_back(void **state)
{
    struct world *world = *state;
    struct io_file *file = open_file(world, "file", IO_OPEN_CREATE);
    assert_int_equal(size_of(world, file), 0);
    assert_int_equal(write_bytes(world, file, 0, "abcdef", 6, 0), 6);
    assert_int_equal(write_bytes(world, file, 6, "ghi", 3, IO_WRITE_DURABLE), 3);
    assert_int_equal(write_bytes(world, file, 2, "CD", 2, IO_WRITE_DURABLE), 2);
    assert_int_equal(size_of(world, file), 9);
    char bytes[16] = {0};
    assert_int_equal(read_bytes(world, file, 1, bytes, 4), 4);
    assert_memory_equal(bytes, "bCDe", 4);
    assert_int_equal(write_bytes(world, file, 9, "", 0, IO_WRITE_DURABLE), 0);
    io_file_close(world->io, file);
}

static void read_at_the_end_gives_less_and_beyond_it_nothing(void **state)
{
    struct world *world = *state;
    struct io_file *file = open_file(world, "file", IO_OPEN_CREATE);
    assert_int_equal(write_bytes(world, file, 0, "abcdef", 6, 0), 6);
    char bytes[16] = {0};
    assert_int_equal(read_bytes(world, file, 4, bytes, sizeof bytes), 2);
    assert_memory_equal(bytes, "ef", 2);
    assert_int_equal(read_bytes(world, file, 6, bytes, sizeof bytes), 0);
    assert_int_equal(read_bytes(world, file, 1000, bytes, sizeof bytes), 0);
    assert_int_equal(read_bytes(world, file, 0, bytes, 0), 0);
    io_file_close(world->io, file);
}

static void read_only_file_refuses_writes(void **state)
{
    struct world *world = *state;
    io_file_close(world->io, open_file(world, "file", IO_OPEN_CREATE));
    struct io_file *file = open_file(world, "file", IO_OPEN_READ_ONLY);
    assert_int_equal(write_bytes(world, file, 0, "a", 1, IO_WRITE_DURABLE), -EBADF);
    io_file_close(world->io, file);
}

static void write_of_many_parts(struct world *world, unsigned flags)
{
    enum { PARTS = 2 * IOV_MAX + 77, PART_SIZE_MAX = 97 };
    struct io_file *file = open_file(world, "many", IO_OPEN_CREATE);
    struct iovec *parts = memory_new(PARTS, sizeof *parts);
    struct buf bytes = {0};
    for (size_t i = 0; i < PARTS; i++) {
        for (size_t left = i % PART_SIZE_MAX; left > 0; left--) {
            buf_put_u8(&bytes, (uint8_t)('a' + i % 26));
        }
    }
    uint8_t *at = bytes.data;
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = (struct iovec){.iov_base = at, .iov_len = i % PART_SIZE_MAX};
        at += parts[i].iov_len;
    }
    struct file_wait wait;
    io_write(world->io, file_op(&wait), file, 5, parts, PARTS, flags);
    assert_int_equal(file_result(world, &wait), bytes.size);
    uint8_t *back = memory_new(1, bytes.size);
    assert_int_equal(read_bytes(world, file, 5, back, bytes.size), bytes.size);
    assert_memory_equal(back, bytes.data, bytes.size);
    free(back);
    free(parts);
    buf_done(&bytes);
    io_file_close(world->io, file);
}

static void write_takes_more_parts_than_the_system(void **state)
{
    write_of_many_parts(*state, 0);
    write_of_many_parts(*state, IO_WRITE_DURABLE);
}

static void large_write_and_read_are_whole(void **state)
{
    struct world *world = *state;
    enum { SIZE = 9 * 1024 * 1024 + 13 };
    struct io_file *file = open_file(world, "large", IO_OPEN_CREATE);
    uint8_t *bytes = memory_new(2, SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t)(i * 31 + i / 4096);
    }
    assert_int_equal(write_bytes(world, file, 0, bytes, SIZE, IO_WRITE_DURABLE), SIZE);
    assert_int_equal(read_bytes(world, file, 0, bytes + SIZE, SIZE), SIZE);
    assert_memory_equal(bytes, bytes + SIZE, SIZE);
    free(bytes);
    io_file_close(world->io, file);
}

static void several_operations_in_flight_on_one_file(void **state)
{
    struct world *world = *state;
    enum { COUNT = 64, SIZE = 1000 };
    struct io_file *file = open_file(world, "file", IO_OPEN_CREATE);
    static uint8_t bytes[COUNT][SIZE];
    struct file_wait waits[COUNT];
    struct iovec parts[COUNT];
    for (int i = 0; i < COUNT; i++) {
        memset(bytes[i], i + 1, SIZE);
        parts[i] = (struct iovec){.iov_base = bytes[i], .iov_len = SIZE};
        io_write(world->io, file_op(&waits[i]), file, (uint64_t)i * SIZE, &parts[i], 1,
                 i % 2 == 0 ? IO_WRITE_DURABLE : 0);
    }
    for (int i = 0; i < COUNT; i++) {
        if (!waits[i].done) {
            turn_until(world, &waits[i].done);
        }
        assert_int_equal(waits[i].result, SIZE);
    }
    static uint8_t back[COUNT][SIZE];
    assert_int_equal(read_bytes(world, file, 0, back, sizeof back), sizeof back);
    assert_memory_equal(back, bytes, sizeof bytes);
    io_file_close(world->io, file);
}

static void sync_works_on_files_and_directories(void **state)
{
    struct world *world = *state;
    struct io_file *file = open_file(world, "file", IO_OPEN_CREATE);
    struct io_file *directory = open_file(world, ".", IO_OPEN_DIRECTORY);
    struct file_wait wait;
    io_sync(world->io, file_op(&wait), file);
    assert_int_equal(file_result(world, &wait), 0);
    io_sync(world->io, file_op(&wait), directory);
    assert_int_equal(file_result(world, &wait), 0);
    io_file_close(world->io, file);
    io_file_close(world->io, directory);
}

static void names_are_listed_renamed_and_removed(void **state)
{
    struct world *world = *state;
    char path[128];
    char path_to[128];
    struct file_wait wait;
    const char *const names[] = {"b", "a", "c2", "c10"};
    for (size_t i = 0; i < 4; i++) {
        io_file_close(world->io, open_file(world, names[i], IO_OPEN_CREATE));
    }
    io_make_directory(world->io, file_op(&wait), path_in(world, "d", path));
    assert_int_equal(file_result(world, &wait), 0);
    io_make_directory(world->io, file_op(&wait), path);
    assert_int_equal(file_result(world, &wait), -EEXIST);
    io_rename(world->io, file_op(&wait), path_in(world, "b", path), path_in(world, "e", path_to));
    assert_int_equal(file_result(world, &wait), 0);
    io_rename(world->io, file_op(&wait), path, path_to);
    assert_int_equal(file_result(world, &wait), -ENOENT);
    io_unlink(world->io, file_op(&wait), path_in(world, "a", path));
    assert_int_equal(file_result(world, &wait), 0);
    io_unlink(world->io, file_op(&wait), path);
    assert_int_equal(file_result(world, &wait), -ENOENT);

    struct buf found = {0};
    buf_append(&found, "kept", 5);
    io_list(world->io, file_op(&wait), world->directory, &found);
    assert_int_equal(file_result(world, &wait), 4);
    static const char expected[] = "kept\0c10\0c2\0d\0e";
    assert_int_equal(found.size, sizeof expected);
    assert_memory_equal(found.data, expected, sizeof expected);
    io_list(world->io, file_op(&wait), path_in(world, "absent", path), &found);
    assert_int_equal(file_result(world, &wait), -ENOENT);
    assert_int_equal(found.size, sizeof expected);
    buf_done(&found);
}

static void empty_directory_lists_nothing(void **state)
{
    struct world *world = *state;
    struct buf found = {0};
    struct file_wait wait;
    io_list(world->io, file_op(&wait), world->directory, &found);
    assert_int_equal(file_result(world, &wait), 0);
    assert_int_equal(found.size, 0);
    buf_done(&found);
}

static void full_device_fails_the_write_once(void **state)
{
    struct world *world = *state;
    struct file_wait wait;
    io_open(world->io, file_op(&wait), "/dev/full", 0);
    assert_int_equal(file_result(world, &wait), 0);
    struct io_file *full = wait.op.file;
    assert_int_equal(write_bytes(world, full, 0, "abc", 3, 0), -ENOSPC);
    turn_for(world, 5);
    io_file_close(world->io, full);
}

/* The system writes up to the limit, then fails: the failure must not be hidden. */
static void short_write_that_cannot_go_on_is_a_failure(void **state)
{
    struct world *world = *state;
    enum { LIMIT = 64 * 1024 };
    struct io_file *file = open_file(world, "file", IO_OPEN_CREATE);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    uint8_t *bytes = memory_new(2, LIMIT);
    int64_t plain = write_bytes(world, file, 0, bytes, (size_t)2 * LIMIT, 0);
    int64_t durable = write_bytes(world, file, 0, bytes, (size_t)2 * LIMIT, IO_WRITE_DURABLE);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(plain, -EFBIG);
    assert_int_equal(durable, -EFBIG);
    free(bytes);
    io_file_close(world->io, file);
}

static void lock_is_refused_to_a_second_opener_until_close(void **state)
{
    struct world *world = *state;
    struct io_file *first = open_file(world, "lock", IO_OPEN_CREATE);
    struct io_file *second = open_file(world, "lock", IO_OPEN_CREATE);
    assert_int_equal(io_lock(world->io, first), 0);
    assert_int_equal(io_lock(world->io, second), -EWOULDBLOCK);
    io_file_close(world->io, first);
    assert_int_equal(io_lock(world->io, second), 0);
    io_file_close(world->io, second);
    io_file_close(world->io, NULL);
}

struct chain {
    struct io_file_op op;
    struct world *world;
    struct io_file *file;
    struct iovec part;
    int left;
    bool done;
};

static void on_chain(struct io_file_op *op, int64_t result)
{
    struct chain *chain = CONTAINER_OF(op, struct chain, op);
    assert_int_equal(result, 3);
    chain->left--;
    chain->done = chain->left == 0;
    if (!chain->done) {
        chain->part = (struct iovec){.iov_base = "abc", .iov_len = 3};
        io_write(chain->world->io, op, chain->file, 0, &chain->part, 1, 0);
    }
}

static void completion_starts_the_same_operation_again(void **state)
{
    struct world *world = *state;
    struct chain chain = {.op = {.done = on_chain}, .world = world, .left = 100};
    chain.file = open_file(world, "file", IO_OPEN_CREATE);
    chain.part = (struct iovec){.iov_base = "abc", .iov_len = 3};
    io_write(world->io, &chain.op, chain.file, 0, &chain.part, 1, 0);
    assert_int_equal(chain.left, 100);
    turn_until(world, &chain.done);
    io_file_close(world->io, chain.file);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(open_says_why_it_failed),
        cmocka_unit_test(path_may_go_after_the_call),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(read_at_the_end_gives_less_and_beyond_it_nothing),
        cmocka_unit_test(read_only_file_refuses_writes),
        cmocka_unit_test(write_takes_more_parts_than_the_system),
        cmocka_unit_test(large_write_and_read_are_whole),
        cmocka_unit_test(several_operations_in_flight_on_one_file),
        cmocka_unit_test(sync_works_on_files_and_directories),
        cmocka_unit_test(names_are_listed_renamed_and_removed),
        cmocka_unit_test(empty_directory_lists_nothing),
        kernel_unit_test(full_device_fails_the_write_once),
        kernel_unit_test(short_write_that_cannot_go_on_is_a_failure),
        cmocka_unit_test(lock_is_refused_to_a_second_opener_until_close),
        cmocka_unit_test(completion_starts_the_same_operation_again),
    };
    return run_on_backends("io_file", cases, sizeof cases / sizeof cases[0]);
}
