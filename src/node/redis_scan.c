/*
 * SCAN. Keys are walked in their order, so where a scan stands is a key, and its cursor, a number,
 * only names it: this server keeps SCANS_MAX of them. A scan that goes on takes the place of its
 * cursor before the last, so it may ask for a page once more, and holds two places however long it
 * is. What is there from the first call to the last is given exactly once, which is more than Redis
 * promises. A cursor of another server, or one whose place another scan has taken, is an error, and
 * never a wrong answer.
 */
#include "node/node.h"

#include "base/memory.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { COUNT_DEFAULT = 10, FLAG_NOTHING = 1 /* of the call: no key has that type */ };

void scans_start(struct scans *scans, uint64_t chance)
{
    /* Few digits, and hardly those of another server. */
    scans->first = (chance % 1000000 + 1) * SCANS_MAX;
}

void scans_done(struct scans *scans)
{
    for (size_t i = 0; scans->ring != NULL && i < SCANS_MAX; i++) {
        buf_done(&scans->ring[i].key);
    }
    free(scans->ring);
    *scans = (struct scans){0};
}

/* ---- the request ---- */

struct scan_request {
    uint64_t cursor;
    int64_t count;
    struct slice pattern;
    bool nothing;
};

static bool read_options(const struct resp_request *request, const struct resp_writer *writer,
                         struct scan_request *scan)
{
    for (size_t i = 2; i < request->count; i += 2) {
        if (i + 1 == request->count) {
            resp_error(writer, "ERR syntax error");
            return false;
        }
        struct slice option = request->words[i];
        struct slice value = request->words[i + 1];
        if (redis_word_is(option, "match")) {
            scan->pattern = value;
        } else if (redis_word_is(option, "type")) {
            scan->nothing = !redis_word_is(value, "string");
        } else if (!redis_word_is(option, "count")) {
            resp_error(writer, "ERR syntax error");
            return false;
        } else if (!number_parse(value, &scan->count)) {
            resp_error(writer, "ERR value is not an integer or out of range");
            return false;
        } else if (scan->count < 1) {
            resp_error(writer, "ERR syntax error");
            return false;
        }
    }
    return true;
}

/* The key that a cursor names; false: it is not known. */
static bool find(const struct scans *scans, uint64_t cursor, struct slice *ret_key)
{
    if (cursor == 0) {
        *ret_key = slice_of(NULL, 0);
        return true;
    }
    const struct scan *scan = scans->ring == NULL ? NULL : &scans->ring[cursor % SCANS_MAX];
    if (scan == NULL || scan->cursor != cursor) {
        return false;
    }
    *ret_key = buf_slice(&scan->key);
    return true;
}

bool scan_begin(struct client *client, const struct resp_request *request,
                const struct resp_writer *writer, struct redis_unit *unit)
{
    struct scan_request scan = {.count = COUNT_DEFAULT, .pattern = slice_of_string("*")};
    if (!redis_parse_number(request->words[1], &scan.cursor)) {
        resp_error(writer, "ERR invalid cursor");
        return false;
    }
    if (!read_options(request, writer, &scan)) {
        return false;
    }
    struct command command = {
        .operation = OPERATION_MATCH,
        .pattern = scan.pattern,
        .limit = scan.count > LIST_LIMIT_MAX ? LIST_LIMIT_MAX : (uint32_t)scan.count,
    };
    if (!find(&client->node->scans, scan.cursor, &command.key)) {
        resp_error(writer, "ERR the cursor is not known here: it is of another server, or too old; "
                           "begin again with 0");
        return false;
    }
    if (command_check(&command) != 0) {
        resp_error(writer, "ERR the pattern is longer than %d bytes", PATTERN_SIZE_MAX);
        return false;
    }
    command_encode_into_batch(&command, &unit->commands);
    unit->count = 1;
    const struct redis_piece piece = {
        .kind = REDIS_PIECE_SCAN,
        .call = {.id = REDIS_SCAN,
                 .count = 1,
                 .flags = scan.nothing ? FLAG_NOTHING : 0,
                 .number = (int64_t)scan.cursor},
    };
    unit_add(unit, client->redis, piece);
    return true;
}

/* ---- the answer ---- */

/* The place for a cursor that follows `before`, 0: none. */
static uint64_t choose_place(struct scans *scans, uint64_t before)
{
    const struct scan *last = &scans->ring[before % SCANS_MAX];
    uint64_t older = before != 0 && last->cursor == before ? last->before : 0;
    if (older != 0 && scans->ring[older % SCANS_MAX].cursor == older) {
        return older % SCANS_MAX;
    }
    return scans->next++ % SCANS_MAX;
}

/* A new cursor for going on behind that key. */
static uint64_t keep(struct scans *scans, uint64_t before, struct slice last)
{
    if (scans->ring == NULL) {
        scans->ring = memory_new(SCANS_MAX, sizeof *scans->ring);
    }
    uint64_t place = choose_place(scans, before);
    struct scan *scan = &scans->ring[place];
    uint64_t cursor = scan->cursor == 0 ? scans->first + place : scan->cursor + SCANS_MAX;
    scan->cursor = cursor;
    scan->before = before;
    buf_clear(&scan->key);
    buf_append_slice(&scan->key, last);
    buf_put_u8(&scan->key, 0);
    return cursor;
}

void scan_end(struct client *client, const struct redis_piece *piece, struct redis_replies *replies,
              const struct resp_writer *writer)
{
    const struct reply reply = redis_next_reply(replies);
    if (reply.status != 0) {
        redis_error_of(reply.status, NULL, writer);
        return;
    }
    struct reader reader = reader_of(reply.data);
    struct slice last = reader_sized(&reader);
    uint64_t before = (uint64_t)piece->call.number;
    uint64_t cursor = reply.more ? keep(&client->node->scans, before, last) : 0;
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, cursor);
    resp_array(writer, 2);
    resp_bulk_string(writer, text);
    bool nothing = (piece->call.flags & FLAG_NOTHING) != 0;
    resp_array(writer, nothing ? 0 : (size_t)reply.count);
    for (uint64_t i = 0; !nothing && i < reply.count; i++) {
        resp_bulk(writer, reader_sized(&reader));
    }
}
