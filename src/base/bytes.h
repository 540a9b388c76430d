/*
 * Bytes: a borrowed slice, a growable buffer, and the little-endian writer and reader that every
 * format of kvapp goes through. A struct is never written raw.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns. A slice of size 0 may have any pointer. */
struct slice {
    const uint8_t *data;
    size_t size;
};

static inline struct slice slice_of(const void *data, size_t size)
{
    return (struct slice){.data = data, .size = size};
}

static inline struct slice slice_of_string(const char *string)
{
    return slice_of(string, strlen(string));
}

bool slice_equal(struct slice a, struct slice b);

/* Lexicographic by unsigned byte, a prefix before what it begins: <0, 0, >0. */
int slice_compare(struct slice a, struct slice b);

bool slice_has_prefix(struct slice bytes, struct slice prefix);

static inline void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *at, uint32_t value)
{
    put_u16(at, (uint16_t)value);
    put_u16(at + 2, (uint16_t)(value >> 16));
}

static inline void put_u64(uint8_t *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static inline uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | (at[1] << 8));
}

static inline uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)get_u16(at) | ((uint32_t)get_u16(at + 2) << 16);
}

static inline uint64_t get_u64(const uint8_t *at)
{
    return (uint64_t)get_u32(at) | ((uint64_t)get_u32(at + 4) << 32);
}

/*
 * A growable buffer. Zero-initialised it is empty and owns nothing. Growth doubles, and running
 * out of memory ends the process: buffers are bounded by their owners, so it means a bug or a
 * machine that cannot go on.
 */
struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buf_done(struct buf *buf);
void buf_clear(struct buf *buf);
/* Gives the memory of an empty buffer back when it is more than `kept_max`. */
void buf_shrink(struct buf *buf, size_t kept_max);

/* Makes room for `size` more bytes and returns where they go; the size does not change yet. */
uint8_t *buf_reserve(struct buf *buf, size_t size);

/* Appends `size` bytes, uninitialised, and returns where they are. Valid until the next growth. */
uint8_t *buf_extend(struct buf *buf, size_t size);

void buf_append(struct buf *buf, const void *data, size_t size);
void buf_append_slice(struct buf *buf, struct slice bytes);
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16(struct buf *buf, uint16_t value);
void buf_put_u32(struct buf *buf, uint32_t value);
void buf_put_u64(struct buf *buf, uint64_t value);
/* A u32 size, then the bytes: what reader_sized reads. */
void buf_put_sized(struct buf *buf, struct slice bytes);
/* A text as of printf, without its NUL. */
void buf_print(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprint(struct buf *buf, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* Removes `size` bytes from the front. */
void buf_consume(struct buf *buf, size_t size);

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->size);
}

/*
 * Reads fields from the front of a slice. The first read past the end sets `failed`, after which
 * every read gives zeros: a decoder reads all its fields and looks once, at the end.
 */
struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static inline struct reader reader_of(struct slice bytes)
{
    return (struct reader){.at = bytes.data, .left = bytes.size, .failed = false};
}

uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
/* The next `size` bytes, borrowed. */
struct slice reader_bytes(struct reader *reader, size_t size);
/* A u32 size, then that many bytes, borrowed. */
struct slice reader_sized(struct reader *reader);

/* True when nothing failed and every byte was consumed. */
static inline bool reader_finished(const struct reader *reader)
{
    return !reader->failed && reader->left == 0;
}

#endif
