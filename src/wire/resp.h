/*
 * RESP, the protocol of Redis: requests out of bytes, replies into bytes. Versions 2 and 3, and
 * commands typed as a line ("inline"). No sockets, and nothing of what a command means: that is
 * wire/redis.h.
 *
 * A request is an array of bulk strings, or a line of words:
 *
 *     *2 CR LF │ $3 CR LF GET CR LF │ $3 CR LF key CR LF          GET key CR LF
 *
 * Lengths are strict decimal numbers; every cap is checked before anything is kept for it. What is
 * wrong has the same name however the bytes were cut on their way: that is why a line is too big
 * from a byte on, and not when so many bytes happen to be there without its end.
 */
#ifndef WIRE_RESP_H
#define WIRE_RESP_H

#include "base/bytes.h"
#include "base/limits.h"
#include "kvapp/err.h"

enum {
    RESP_INLINE_MAX = 64 * 1024, /* bytes of a line, of an inline command or a length */
    RESP_ARGUMENTS_MAX = 2 * BATCH_COUNT_MAX + 8,
    RESP_REQUEST_SIZE_MAX = 2 * 1024 * 1024, /* bytes of one request, with its lengths */
};

/* A request: its words, the command's name first. Borrowed, both from the bytes and from the
 * decoder: valid until either changes. */
struct resp_request {
    const struct slice *words;
    size_t count;
};

/* Where in an unfinished request the decoder is. Zero-initialised it is at the beginning of one. */
struct resp_decoder {
    size_t at;       /* bytes of the request that were looked at */
    size_t from;     /* where the unfinished line begins, or the unfinished word */
    size_t expected; /* words of an array that has begun; 0: none has */
    bool in_word;    /* a word's length is known, its bytes are not all there */
    size_t word_size;
    size_t *offsets; /* of the words found so far: offset, size */
    size_t count;
    size_t capacity; /* of offsets, in words, and of words */
    struct slice *words;
    struct buf text; /* the words of a line with quotes, without them */
    char error[128]; /* what was wrong, in Redis's words: "Protocol error: ..." */
};

void resp_decoder_done(struct resp_decoder *decoder);

/*
 * The request at the front of `bytes`. Returns 0 with the request and its size, and begins anew; an
 * empty line or an empty array is a request of no words. KV_ERR_INCOMPLETE: call again with the
 * same bytes, wherever they lie by then, and more behind them; what was looked at is not looked at
 * again. KV_ERR_MALFORMED: `error` says why, without CR and LF; nothing more can be decoded.
 *
 * Where Redis is lax, the bytes are malformed here: a number or a word that is not followed by CR
 * and LF. A zero byte in a line is one like any other.
 */
int resp_decode(struct resp_decoder *decoder, struct slice bytes, struct resp_request *ret_request,
                size_t *ret_size);

/* ---- replies: each appends one value ---- */

/* The version that a connection speaks, 2 or 3, decides what some values look like; where the
 * comment says nothing of it, they look the same. */
struct resp_writer {
    struct buf *out;
    unsigned version;
};

void resp_status(const struct resp_writer *writer, const char *word); /* "OK" */
/* The text begins with the error's kind, "ERR no such key"; its CR and LF become spaces. */
void resp_error(const struct resp_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void resp_integer(const struct resp_writer *writer, int64_t value);
void resp_bulk(const struct resp_writer *writer, struct slice bytes);
void resp_bulk_string(const struct resp_writer *writer, const char *string);
void resp_verbatim(const struct resp_writer *writer, struct slice text); /* 2: a bulk string */
void resp_null(const struct resp_writer *writer);                        /* 2: a null bulk string */
void resp_null_array(const struct resp_writer *writer);                  /* 3: null */
/* Their elements follow: `count`, and of a map twice as many. */
void resp_array(const struct resp_writer *writer, size_t count);
void resp_map(const struct resp_writer *writer, size_t count); /* 2: an array of twice as many */
void resp_set(const struct resp_writer *writer, size_t count); /* 2: an array */

#endif
