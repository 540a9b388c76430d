/*
 * The decoder of Redis's protocol, and what is done with a request before it means anything: found,
 * checked, its keys looked for, described. The bytes come once as a whole and once in pieces; both
 * must give the same.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/prng.h"
#include "wire/redis.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PLACES_MAX = 64, PIECE_MAX = 24 };

/* An error is one line, and the only thing that was appended. */
static void check_error(const struct buf *replies, size_t mark)
{
    CHECK(replies->size >= mark + 3);
    CHECK(replies->data[mark] == '-');
    for (size_t i = mark; i < replies->size - 2; i++) {
        CHECK(replies->data[i] != '\r');
        CHECK(replies->data[i] != '\n');
    }
    CHECK(memcmp(replies->data + replies->size - 2, "\r\n", 2) == 0);
}

static void use(const struct resp_request *request, const struct resp_writer *writer)
{
    if (request->count == 0) {
        return;
    }
    const struct redis_command *row = redis_find(request);
    size_t mark = writer->out->size;
    if (!redis_check(row, request, writer)) {
        check_error(writer->out, mark);
        return;
    }
    CHECK(row != NULL);
    CHECK(writer->out->size == mark);
    size_t places[PLACES_MAX];
    size_t count = redis_keys(row, request, places, PLACES_MAX);
    for (size_t i = 0; i < count; i++) {
        CHECK(places[i] > 0);
        CHECK(places[i] < request->count);
        CHECK(redis_slot(request->words[places[i]]) < 16384);
    }
    /* All of the commands are much to write, and always the same. */
    bool is_about_commands = row->id >= REDIS_COMMAND && row->id <= REDIS_COMMAND_LIST;
    if (is_about_commands && request->count > 2) {
        redis_describe(row, request, writer);
        CHECK(writer->out->size > mark);
    }
}

static void put_request(struct buf *transcript, const struct resp_request *request)
{
    buf_put_u64(transcript, request->count);
    for (size_t i = 0; i < request->count; i++) {
        buf_put_sized(transcript, request->words[i]);
    }
}

/* What became of the bytes; with `prng`, in pieces. The bytes lie elsewhere at each call, and the
 * sanitizer sees a look behind their end. */
static void transcribe(struct slice stream, struct prng *prng, struct buf *transcript)
{
    struct resp_decoder decoder = {0};
    size_t at = 0;
    size_t there = prng == NULL ? stream.size : 0;
    int err = 0;
    do {
        uint8_t *copy = malloc(there - at + 1);
        CHECK(copy != NULL);
        memcpy(copy + 1, stream.data + at, there - at);
        struct resp_request request;
        size_t size;
        err = resp_decode(&decoder, slice_of(copy + 1, there - at), &request, &size);
        if (err == 0) {
            CHECK(size > 0);
            CHECK(size <= there - at);
            put_request(transcript, &request);
            struct resp_writer writer = {.out = transcript,
                                         .version = request.count % 2 == 0 ? 2 : 3};
            use(&request, &writer);
            at += size;
        } else if (err == KV_ERR_INCOMPLETE && there < stream.size) {
            size_t piece = prng_between(prng, 1, PIECE_MAX);
            there += piece < stream.size - there ? piece : stream.size - there;
            err = 0;
        }
        free(copy);
    } while (err == 0);
    CHECK(err == KV_ERR_INCOMPLETE || err == KV_ERR_MALFORMED);
    buf_put_u64(transcript, at);
    buf_put_sized(transcript, slice_of_string(decoder.error));
    resp_decoder_done(&decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct slice stream = slice_of(data, size);
    struct buf whole = {0};
    transcribe(stream, NULL, &whole);
    struct prng prng;
    prng_init(&prng, hash_bytes(data, size));
    struct buf pieces = {0};
    transcribe(stream, &prng, &pieces);
    CHECK(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
