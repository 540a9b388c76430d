#include "io/direct.h"

#include "base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIGNMENT = 4096, CAPACITY_MIN = 16 * 1024 };

STATIC_CHECK(CAPACITY_MIN % ALIGNMENT == 0, "buffers are whole pages");

void direct_init(struct direct *direct)
{
    *direct = (struct direct){.fd = -1};
}

void direct_done(struct direct *direct)
{
    CHECK(!direct->busy);
    if (direct->fd >= 0) {
        (void)close(direct->fd);
    }
    free(direct->bytes);
    direct_init(direct);
}

/* The bytes of all parts; 0 when they cannot be written directly. */
static size_t fitting_size(const struct io_file_request *request)
{
    size_t size = 0;
    for (size_t i = 0; i < request->part_count; i++) {
        if (request->parts[i].iov_len > DIRECT_SIZE_MAX - size) {
            return 0;
        }
        size += request->parts[i].iov_len;
    }
    return size % DIRECT_UNIT == 0 && request->offset % DIRECT_UNIT == 0 ? size : 0;
}

/* The same open file again, but past the cache. */
static void open_twin(struct direct *direct, int fd)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    direct->fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
    direct->refused = direct->fd < 0;
}

static void make_room(struct direct *direct, size_t size)
{
    if (size <= direct->capacity) {
        return;
    }
    size_t capacity = CAPACITY_MIN;
    while (capacity < size) {
        capacity *= 2;
    }
    free(direct->bytes);
    direct->bytes = aligned_alloc(ALIGNMENT, capacity);
    direct->capacity = direct->bytes == NULL ? 0 : capacity;
}

bool direct_take(struct direct *direct, int fd, const struct io_file_request *request,
                 struct iovec *ret_part)
{
    size_t size = direct->refused || direct->busy ? 0 : fitting_size(request);
    if (size == 0 || (request->flags & IO_WRITE_DURABLE) == 0) {
        return false;
    }
    if (direct->fd < 0) {
        open_twin(direct, fd);
    }
    make_room(direct, size);
    if (direct->fd < 0 || direct->bytes == NULL) {
        return false;
    }
    size_t at = 0;
    for (size_t i = 0; i < request->part_count; i++) {
        if (request->parts[i].iov_len > 0) {
            memcpy(direct->bytes + at, request->parts[i].iov_base, request->parts[i].iov_len);
            at += request->parts[i].iov_len;
        }
    }
    CHECK(at == size);
    direct->busy = true;
    *ret_part = (struct iovec){.iov_base = direct->bytes, .iov_len = size};
    return true;
}

void direct_release(struct direct *direct)
{
    CHECK(direct->busy);
    direct->busy = false;
}

void direct_refuse(struct direct *direct)
{
    CHECK(!direct->busy);
    direct->refused = true;
}
