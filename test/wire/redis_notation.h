/*
 * How requests of Redis, commands and replies are written in redis.txt. A word is its bytes, with
 * \r \n \\ and \xHH for what cannot be seen; "" is the empty one. A reply is the name of its
 * status, "OK" or "NOT_FOUND", and what it has:
 *
 *     more  revision=N  count=N  data=BYTES  stat=CREATE,MODIFY,VERSION,EXPIRES,NOW
 *     item=BYTES (size and bytes, into the data)  match=FIRST,LAST,FIRST,LAST (into the data)
 */
#ifndef TEST_WIRE_REDIS_NOTATION_H
#define TEST_WIRE_REDIS_NOTATION_H

#include "kv/command.h"

enum {
    NOTATION_WORDS_MAX = 64,
};

/* The words of a line; their bytes are put into `text`, which outlives them. */
size_t notation_read_words(struct slice line, struct buf *text, struct slice *ret_words);

/* Replies, " | " between them, as of a batch. */
void notation_read_replies(struct slice line, struct buf *replies);

/* The status of that name, as of kvapp_err_name. */
int notation_status(struct slice name);

/* A decimal number; a negative one wraps around. */
uint64_t notation_read_number(struct slice text);

/* Bytes as they are read; blanks stay blanks where `plain_blanks`. */
void notation_put_bytes(struct buf *out, struct slice bytes, bool plain_blanks);

/* "put key=k value=v options=absent,return expiry=after:10000" */
void notation_put_command(struct buf *out, const struct command *command);

#endif
