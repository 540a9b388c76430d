/*
 * Durable writes past the page cache: what the log does thousands of times a second.
 *
 * A buffered durable write copies into the page cache, starts the write, waits for it in a kernel
 * thread, and wakes the loop from there. Past the cache the write goes to the device as it is, and
 * nobody waits (measured here, 3 writers of 3.5 KiB: 186 instead of 240 us, 16 instead of 59 us of
 * CPU). It needs whole sectors, aligned memory, and a file system that can: so the bytes are copied
 * into an aligned buffer, and whatever does not fit, or is refused, goes the plain way.
 *
 * Plain and direct writes may be mixed on one file as long as none is in flight on the same bytes:
 * the kernel drops what it has cached of a direct write.
 */
#ifndef IO_DIRECT_H
#define IO_DIRECT_H

#include "io/backend.h"

enum {
    DIRECT_UNIT = 512,            /* offset and size are multiples of it */
    DIRECT_SIZE_MAX = 256 * 1024, /* beyond, the copy costs more than is gained */
};

struct direct {
    int fd; /* the second descriptor, opened with the first write; -1: there is none yet */
    bool refused;
    bool busy;
    uint8_t *bytes;
    size_t capacity;
};

void direct_init(struct direct *direct);
void direct_done(struct direct *direct);

/*
 * True when the write can go directly: *ret_part then holds its bytes, to be written to direct->fd
 * until direct_release. `fd` is the file's own descriptor.
 */
bool direct_take(struct direct *direct, int fd, const struct io_file_request *request,
                 struct iovec *ret_part);
void direct_release(struct direct *direct);

/* The file system does not want such writes: direct_take says no from now on. */
void direct_refuse(struct direct *direct);

#endif
