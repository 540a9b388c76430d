#include "base/bytes.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT_GUESS = 256 }; /* bytes of a text; a longer one is formatted twice */

bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

bool slice_has_prefix(struct slice bytes, struct slice prefix)
{
    return bytes.size >= prefix.size &&
           (prefix.size == 0 || memcmp(bytes.data, prefix.data, prefix.size) == 0);
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
}

void buf_shrink(struct buf *buf, size_t kept_max)
{
    if (buf->size == 0 && buf->capacity > kept_max) {
        buf_done(buf);
    }
}

uint8_t *buf_reserve(struct buf *buf, size_t size)
{
    CHECK(size <= SIZE_MAX / 4);
    CHECK(buf->size <= SIZE_MAX / 4);
    size_t needed = buf->size + size;
    if (needed > buf->capacity) {
        size_t capacity = buf->capacity == 0 ? 64 : buf->capacity;
        while (capacity < needed) {
            capacity *= 2;
        }
        buf->data = memory_grow(buf->data, capacity);
        buf->capacity = capacity;
    }
    return buf->data + buf->size;
}

uint8_t *buf_extend(struct buf *buf, size_t size)
{
    uint8_t *at = buf_reserve(buf, size);
    buf->size += size;
    return at;
}

void buf_append(struct buf *buf, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(buf_extend(buf, size), data, size);
    }
}

void buf_append_slice(struct buf *buf, struct slice bytes)
{
    buf_append(buf, bytes.data, bytes.size);
}

void buf_put_u8(struct buf *buf, uint8_t value)
{
    *buf_extend(buf, 1) = value;
}

void buf_put_u16(struct buf *buf, uint16_t value)
{
    put_u16(buf_extend(buf, 2), value);
}

void buf_put_u32(struct buf *buf, uint32_t value)
{
    put_u32(buf_extend(buf, 4), value);
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
    put_u64(buf_extend(buf, 8), value);
}

void buf_vprint(struct buf *buf, const char *format, va_list arguments)
{
    size_t room = TEXT_GUESS;
    for (;;) {
        va_list copy;
        va_copy(copy, arguments);
        int size = vsnprintf((char *)buf_reserve(buf, room), room, format, copy);
        va_end(copy);
        CHECK(size >= 0);
        if ((size_t)size < room) {
            (void)buf_extend(buf, (size_t)size);
            return;
        }
        room = (size_t)size + 1;
    }
}

void buf_print(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    buf_vprint(buf, format, arguments);
    va_end(arguments);
}

void buf_put_sized(struct buf *buf, struct slice bytes)
{
    CHECK(bytes.size <= UINT32_MAX);
    buf_put_u32(buf, (uint32_t)bytes.size);
    buf_append_slice(buf, bytes);
}

void buf_consume(struct buf *buf, size_t size)
{
    CHECK(size <= buf->size);
    buf->size -= size;
    if (buf->size > 0 && size > 0) {
        memmove(buf->data, buf->data + size, buf->size);
    }
}

static const uint8_t *reader_take(struct reader *reader, size_t size)
{
    static const uint8_t zeros[8];
    if (reader->failed || reader->left < size) {
        reader->failed = true;
        return size <= sizeof zeros ? zeros : NULL;
    }
    const uint8_t *at = reader->at;
    if (size > 0) {
        reader->at += size;
    }
    reader->left -= size;
    return at;
}

uint8_t reader_u8(struct reader *reader)
{
    return *reader_take(reader, 1);
}

uint16_t reader_u16(struct reader *reader)
{
    return get_u16(reader_take(reader, 2));
}

uint32_t reader_u32(struct reader *reader)
{
    return get_u32(reader_take(reader, 4));
}

uint64_t reader_u64(struct reader *reader)
{
    return get_u64(reader_take(reader, 8));
}

struct slice reader_bytes(struct reader *reader, size_t size)
{
    const uint8_t *at = reader_take(reader, size);
    return reader->failed ? slice_of(NULL, 0) : slice_of(at, size);
}

struct slice reader_sized(struct reader *reader)
{
    return reader_bytes(reader, reader_u32(reader));
}
