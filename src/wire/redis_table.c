/*
 * Finding a command, and what can be said of a request from its row alone. A subcommand is found
 * under one name with its container, "client|list", in the same arrays.
 */
#include "wire/redis_table.h"

#include "base/assert.h"

#include <stdio.h>

enum {
    NAME_SIZE_MAX = 64,    /* bytes; no name of a command is longer */
    ERROR_WORDS_MAX = 128, /* bytes of a request's words that an error repeats, more or less */
    SLOTS = 16384,
};

/* ---- finding ---- */

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + 'a' - 'A') : byte;
}

static const struct redis_command *search(const struct redis_command *rows, size_t count,
                                          struct slice name)
{
    size_t from = 0;
    size_t to = count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = slice_compare(name, slice_of_string(rows[middle].name));
        if (order == 0) {
            return &rows[middle];
        }
        if (order < 0) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    return NULL;
}

const struct redis_command *redis_find_name(struct slice name)
{
    uint8_t lowered[NAME_SIZE_MAX];
    if (name.size > sizeof lowered) {
        return NULL;
    }
    for (size_t i = 0; i < name.size; i++) {
        lowered[i] = lower(name.data[i]);
    }
    name = slice_of(lowered, name.size);
    const struct redis_command *row =
        search(redis_table_keys, REDIS_ID_COUNT - REDIS_LOCAL_COUNT, name);
    return row != NULL ? row : search(redis_table_connection, REDIS_LOCAL_COUNT, name);
}

const struct redis_command *redis_row(enum redis_id id)
{
    size_t place = id;
    CHECK(place < REDIS_ID_COUNT);
    const struct redis_command *row = place < REDIS_LOCAL_COUNT
                                          ? &redis_table_connection[place]
                                          : &redis_table_keys[place - REDIS_LOCAL_COUNT];
    CHECK(row->id == id);
    return row;
}

bool redis_is_container(const struct redis_command *row)
{
    switch (row->id) {
    case REDIS_CLIENT:
    case REDIS_CLUSTER:
    case REDIS_COMMAND:
    case REDIS_CONFIG:
    case REDIS_MEMORY:
    case REDIS_SENTINEL:
        return true;
    default:
        return false;
    }
}

/* A word with a bar in it names no command: only a container and a second word do. */
static const struct redis_command *find_first(const struct resp_request *request)
{
    struct slice word = request->words[0];
    bool has_bar = word.size > 0 && memchr(word.data, '|', word.size) != NULL;
    return has_bar ? NULL : redis_find_name(word);
}

const struct redis_command *redis_find(const struct resp_request *request)
{
    if (request->count == 0) {
        return NULL;
    }
    const struct redis_command *row = find_first(request);
    if (row == NULL || request->count == 1 || !redis_is_container(row)) {
        return row;
    }
    char name[NAME_SIZE_MAX];
    int size = snprintf(name, sizeof name, "%s|", row->name);
    struct slice word = request->words[1];
    if (word.size > sizeof name - (size_t)size) {
        return NULL;
    }
    if (word.size > 0) {
        memcpy(name + size, word.data, word.size);
    }
    return redis_find_name(slice_of(name, (size_t)size + word.size));
}

/* ---- checking ---- */

bool redis_fits_arity(const struct redis_command *row, size_t count)
{
    return row->arity >= 0 ? count == (size_t)row->arity : count >= (size_t)-row->arity;
}

static int clipped(struct slice word, size_t max)
{
    return (int)(word.size < max ? word.size : max);
}

static void put_unknown_subcommand(const struct redis_command *container, struct slice word,
                                   const struct resp_writer *writer)
{
    char name[NAME_SIZE_MAX];
    size_t size = strlen(container->name);
    CHECK(size < sizeof name);
    for (size_t i = 0; i <= size; i++) {
        uint8_t byte = (uint8_t)container->name[i];
        name[i] = (char)(byte >= 'a' && byte <= 'z' ? byte - 'a' + 'A' : byte);
    }
    resp_error(writer, "ERR unknown subcommand '%.*s'. Try %s HELP.",
               clipped(word, ERROR_WORDS_MAX), (const char *)word.data, name);
}

/* As in Redis, the words are cut so that their bytes and quotes are about ERROR_WORDS_MAX, and a
 * zero byte ends a word. */
static void put_unknown_command(const struct resp_request *request,
                                const struct resp_writer *writer)
{
    char words[ERROR_WORDS_MAX + sizeof "'' "] = "";
    size_t size = 0;
    for (size_t i = 1; i < request->count && size < ERROR_WORDS_MAX; i++) {
        struct slice word = request->words[i];
        int put = snprintf(words + size, sizeof words - size, "'%.*s' ",
                           clipped(word, ERROR_WORDS_MAX - size), (const char *)word.data);
        CHECK(put > 0 && (size_t)put < sizeof words - size);
        size += (size_t)put;
    }
    struct slice name = request->words[0];
    resp_error(writer, "ERR unknown command '%.*s', with args beginning with: %s",
               clipped(name, ERROR_WORDS_MAX), (const char *)name.data, words);
}

bool redis_check(const struct redis_command *row, const struct resp_request *request,
                 const struct resp_writer *writer)
{
    CHECK(request->count > 0);
    if (row == NULL) {
        const struct redis_command *first = find_first(request);
        if (first != NULL) {
            put_unknown_subcommand(first, request->words[1], writer);
        } else {
            put_unknown_command(request, writer);
        }
        return false;
    }
    if (!redis_fits_arity(row, request->count)) {
        /* Whatever is wrong with EXEC ends the transaction, and is told so. */
        const char *kind =
            row->id == REDIS_EXEC ? "EXECABORT Transaction discarded because of:" : "ERR";
        resp_error(writer, "%s wrong number of arguments for '%s' command", kind, row->name);
        return false;
    }
    return true;
}

/* ---- keys ---- */

struct redis_key_range redis_key_range(const struct redis_command *row, size_t words)
{
    struct redis_key_range range = {0};
    if (row->first_key == 0 || !redis_fits_arity(row, words)) {
        return range;
    }
    range.first = (size_t)row->first_key;
    range.step = (size_t)row->step;
    size_t end = row->last_key < 0 ? words - (size_t)-row->last_key + 1 : (size_t)row->last_key + 1;
    CHECK(end <= words);
    if (end > range.first) {
        range.count = (end - range.first + range.step - 1) / range.step;
    }
    return range;
}

size_t redis_keys(const struct redis_command *row, const struct resp_request *request,
                  size_t *places, size_t max)
{
    struct redis_key_range range = redis_key_range(row, request->count);
    size_t count = range.count < max ? range.count : max;
    for (size_t i = 0; i < count; i++) {
        places[i] = range.first + i * range.step;
    }
    return count;
}

/* CRC-16/XMODEM: polynomial 0x1021, from 0, four bits at a time. */
static uint16_t crc16(struct slice bytes)
{
    static const uint16_t table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
    };
    unsigned crc = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        crc = (crc << 4 & 0xffff) ^ table[crc >> 12 ^ bytes.data[i] >> 4];
        crc = (crc << 4 & 0xffff) ^ table[crc >> 12 ^ (bytes.data[i] & 0xf)];
    }
    return (uint16_t)crc;
}

unsigned redis_slot(struct slice key)
{
    const uint8_t *open = key.size > 0 ? memchr(key.data, '{', key.size) : NULL;
    if (open != NULL) {
        const uint8_t *tag = open + 1;
        size_t rest = key.size - (size_t)(tag - key.data);
        const uint8_t *close = rest > 0 ? memchr(tag, '}', rest) : NULL;
        if (close != NULL && close > tag) {
            key = slice_of(tag, (size_t)(close - tag));
        }
    }
    return crc16(key) % SLOTS;
}
