/*
 * Lines of the shell into words of bytes, and bytes into text that a terminal can show.
 *
 *     line  := space* (word (space+ word)*)? space*
 *     word  := bare | "quoted" | 'raw'
 *     bare    any bytes but space, from one that is no quote; nothing is special inside
 *     quoted  with the escapes \\ \" \n \r \t \xNN (two hexadecimal digits)
 *     raw     any bytes but '
 *
 * A quote is one only where a word begins, so that it's is a word; after the closing quote comes a
 * space or the end.
 */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include "base/bytes.h"
#include "kvapp/err.h"

/* Zero-initialised it is empty. A zero byte follows each word. */
struct words {
    struct buf bytes;
    struct slice *at;
    size_t count;
    size_t capacity;
};

/* Replaces the words by those of the line. Returns 0, or KV_ERR_INVALID with a sentence for the
 * user in `error`; there are no words then. */
int words_split(struct words *words, struct slice line, char *error, size_t error_size);

void words_done(struct words *words);

/* Words [first, count) joined by one space each, appended to `out`. */
void words_join(const struct slice *at, size_t first, size_t count, struct buf *out);

/*
 * Appends the bytes as text: printable UTF-8 as it is, a backslash as \\, any other byte as \xNN.
 * Control characters and those that change the direction of the text are not printable. Between
 * double quotes (and with a backslash before each double quote) the shell reads it back.
 */
void text_escape(struct slice bytes, struct buf *out);

/* Whether all of it is UTF-8: shortest forms, no surrogates, at most U+10FFFF. */
bool text_is_utf8(struct slice bytes);

/* The UTF-8 character at the front: its size, or 0 when there is none. */
size_t text_utf8_next(struct slice bytes, uint32_t *ret_character);

#endif
