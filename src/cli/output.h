/*
 * How replies look: as text for people, or as one JSON object each for programs.
 *
 *     {"ok":true,"key":"k","value":"v","revision":12}
 *     {"ok":false,"error":"not_found","message":"Key not found","key":"k"}
 *
 * In JSON, bytes that are no UTF-8 stand under the name with "_base64" behind it. As text they are
 * escaped (cli/words.h) unless `raw` is set.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/bytes.h"
#include "kvapp/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* The exit status of one command, or of the worst of several. */
enum exit_status {
    EXIT_DONE = 0,
    EXIT_NOT = 1, /* the key is not there, not at the expected revision, or no number */
    EXIT_USAGE = 2,
    EXIT_NO_ANSWER = 3,
};

/* Zero-initialised but for the files; output_done releases what was used. */
struct output {
    FILE *out;
    FILE *complaints; /* where "Error: ..." and "Usage: ..." go when it is text */
    bool json;
    bool raw;
    struct buf scratch;
};

void output_done(struct output *output);

/* The exit status that fits a reply's status. */
enum exit_status output_exit_status(int status);

/* "OK"; of a write: with its revision. */
void output_ok(struct output *output, struct slice key, const struct kvapp_reply *reply);
void output_value(struct output *output, struct slice key, const struct kvapp_reply *reply);
/* As text, after a stale read: how old it may be. JSON objects have that among the rest. */
void output_age(struct output *output, const struct kvapp_reply *reply);
/* The sum that an add made. */
void output_number(struct output *output, struct slice key, const struct kvapp_reply *reply);
/* The value's new size. */
void output_size(struct output *output, struct slice key, const struct kvapp_reply *reply);
/* When the key goes; JSON objects have the rest of the stat too. */
void output_ttl(struct output *output, struct slice key, const struct kvapp_reply *reply,
                const struct kvapp_stat *stat);
void output_deleted(struct output *output, uint64_t count);
/* What kvapp_outcome and kvapp_cancel gave, and the exit status: EXIT_DONE when it was applied,
 * EXIT_NOT when not, not so far, or when it is not known any more. */
enum exit_status output_outcome(struct output *output, const struct kvapp_reply *reply,
                                const char *detail);
/* A backup was written: so many bytes, all entries up to `index`. */
void output_backup(struct output *output, const char *file, uint64_t size, uint64_t index);

/* What came instead: not found, a condition that was not met, or an error, of which `detail` says
 * more (empty: nothing). */
void output_failure(struct output *output, struct slice key, const struct kvapp_reply *reply,
                    const char *detail);

/* The command was not understood; `sentence` is printed as it is. */
void output_usage(struct output *output, const char *sentence);

/* A list, in as many pages as it takes. */
struct output_list {
    struct output *output;
    bool values;
    uint64_t count;
    struct kvapp_reply oldest; /* of stale pages: only age and index */
};

void output_list_begin(struct output_list *list, struct output *output, bool values);
void output_list_item(struct output_list *list, const struct kvapp_item *item);
/* A page came: of several stale ones the oldest is told in the end. */
void output_list_age(struct output_list *list, const struct kvapp_reply *page);
/* status: 0, or what cut the list short. */
void output_list_end(struct output_list *list, int status, const char *detail);

/* Sets a member to bytes: text, or under the name with "_base64" behind it. */
void output_set_bytes(struct output *output, json_t *object, const char *name, struct slice bytes);

/* Prints an object on a line of its own and releases it. */
void output_json(struct output *output, json_t *object);

#endif
