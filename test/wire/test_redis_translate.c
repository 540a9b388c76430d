/*
 * What requests of Redis become, and what replies look like to its clients: redis.txt. In it
 *
 *     > words                  a request
 *     = command                what it became, one line for each command; or
 *     ! bytes                  how it was answered at once
 *     < reply | reply ...      given replies to them, any number of times (redis_notation.h)
 *     2 bytes                  what a client that speaks version 2 of RESP gets for these
 *     3 bytes                  and version 3, where that is different
 *     @ now_ms                 the cluster's time from here on
 *     ? status [sentence]      a status that is none of a command's own
 *
 * the lines = ! 2 3 are the program's. They were compared with redis-server 7.0.15. Run with
 * --rewrite after a change that is meant, and review the file like code.
 *
 * Usage: test_redis_translate DIRECTORY [--rewrite]
 */
#include "redis_notation.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/prng.h"
#include "wire/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct place {
    const char *directory;
    bool rewrite;
};

/* ---- requests and replies ---- */

/* One request, and what became of it. */
struct scene {
    struct redis_chance chance;
    struct redis_call call;
    bool translated;
    struct buf text; /* of the words */
    struct slice words[NOTATION_WORDS_MAX];
    struct buf commands;
    struct buf out;
};

static void scene_done(struct scene *scene)
{
    buf_done(&scene->text);
    buf_done(&scene->commands);
    buf_done(&scene->out);
}

/* As the caller of redis_translate does it. What fails must leave everything as it was. */
static void translate(struct scene *scene, const struct resp_request *request, unsigned version)
{
    const struct redis_command *row = redis_find(request);
    assert_non_null(row);
    const struct resp_writer writer = {.out = &scene->out, .version = version};
    const struct redis_call unset = {.id = REDIS_ID_COUNT, .count = 7};
    scene->call = unset;
    buf_clear(&scene->out);
    buf_clear(&scene->commands);
    buf_put_u32(&scene->commands, 0); /* What a transaction has already: it stays. */
    scene->translated =
        redis_translate(row, request, &scene->chance, &writer, &scene->commands, &scene->call);
    if (!scene->translated) {
        assert_memory_equal(&scene->call, &unset, sizeof unset);
        assert_int_equal(scene->commands.size, 4);
        assert_true(scene->out.size > 0);
        return;
    }
    assert_int_equal(scene->out.size, 0);
    buf_consume(&scene->commands, 4);
    const struct command batch = {.operation = OPERATION_BATCH,
                                  .commands = buf_slice(&scene->commands)};
    assert_int_equal(command_check(&batch), 0);
    struct reader reader = reader_of(batch.commands);
    struct command command;
    uint32_t count = 0;
    while (command_next(&reader, &command)) {
        count++;
    }
    assert_int_equal(scene->call.count, count);
}

static void translate_line(struct scene *scene, struct slice line)
{
    const struct resp_request request = {
        .words = scene->words,
        .count = notation_read_words(line, &scene->text, scene->words),
    };
    translate(scene, &request, 2);
}

/* The replies are given as those of a batch, and a single one once more as the only one. */
static void render(struct scene *scene, struct slice replies, unsigned version)
{
    const struct resp_writer writer = {.out = &scene->out, .version = version};
    struct redis_replies taken = {.reader = reader_of(replies)};
    buf_clear(&scene->out);
    redis_render(&scene->call, &taken, scene->chance.now_ms, &writer);
    assert_int_equal(taken.reader.left, 0);
    assert_int_equal(redis_next_reply(&taken).status, KV_ERR_MALFORMED);
    if (scene->call.count == 1) {
        struct reply alone;
        struct reader reader = reader_of(replies);
        assert_int_equal(reply_decode(reader_sized(&reader), &alone), 0);
        struct buf once_more = {0};
        const struct resp_writer other = {.out = &once_more, .version = version};
        taken = (struct redis_replies){.alone = &alone};
        redis_render(&scene->call, &taken, scene->chance.now_ms, &other);
        assert_true(slice_equal(buf_slice(&once_more), buf_slice(&scene->out)));
        assert_int_equal(redis_next_reply(&taken).status, KV_ERR_MALFORMED);
        buf_done(&once_more);
    }
}

/* ---- the recorded file ---- */

static void record_request(struct scene *scene, struct slice line, struct buf *out)
{
    translate_line(scene, line);
    if (!scene->translated) {
        buf_print(out, "! ");
        notation_put_bytes(out, buf_slice(&scene->out), true);
        buf_print(out, "\n");
        return;
    }
    struct reader reader = reader_of(buf_slice(&scene->commands));
    struct command command;
    while (command_next(&reader, &command)) {
        buf_print(out, "= ");
        notation_put_command(out, &command);
        buf_print(out, "\n");
    }
}

static void record_reply(struct scene *scene, struct slice line, struct buf *out)
{
    assert_true(scene->translated);
    struct buf replies = {0};
    struct buf before = {0};
    notation_read_replies(line, &replies);
    for (unsigned version = 2; version <= 3; version++) {
        render(scene, buf_slice(&replies), version);
        if (version == 2 || !slice_equal(buf_slice(&before), buf_slice(&scene->out))) {
            buf_print(out, "%u ", version);
            notation_put_bytes(out, buf_slice(&scene->out), true);
            buf_print(out, "\n");
        }
        buf_append_slice(&before, buf_slice(&scene->out));
    }
    buf_done(&before);
    buf_done(&replies);
}

static void record_status(struct scene *scene, struct slice line, struct buf *out)
{
    size_t count = notation_read_words(line, &scene->text, scene->words);
    char sentence[64];
    if (count > 1) {
        (void)snprintf(sentence, sizeof sentence, "%.*s", (int)scene->words[1].size,
                       (const char *)scene->words[1].data);
    }
    const struct resp_writer writer = {.out = &scene->out, .version = 2};
    buf_clear(&scene->out);
    redis_error_of(notation_status(scene->words[0]), count > 1 ? sentence : NULL, &writer);
    buf_print(out, "2 ");
    notation_put_bytes(out, buf_slice(&scene->out), true);
    buf_print(out, "\n");
}

/* The file as it should be: its own lines, and what the program makes of them. */
static void record(struct slice file, struct buf *out)
{
    struct scene scene = {.chance = {.random = 77, .now_ms = 1000000}};
    for (size_t from = 0; from < file.size;) {
        const uint8_t *end = memchr(file.data + from, '\n', file.size - from);
        assert_non_null(end);
        struct slice line = slice_of(file.data + from, (size_t)(end - file.data) - from);
        from += line.size + 1;
        uint8_t kind = line.size > 0 ? line.data[0] : '#';
        struct slice rest = slice_of(line.data + 2, line.size > 2 ? line.size - 2 : 0);
        if (kind == '=' || kind == '!' || kind == '2' || kind == '3') {
            continue;
        }
        buf_append_slice(out, line);
        buf_print(out, "\n");
        if (kind == '>') {
            record_request(&scene, rest, out);
        } else if (kind == '<') {
            record_reply(&scene, rest, out);
        } else if (kind == '?') {
            record_status(&scene, rest, out);
        } else if (kind == '@') {
            scene.chance.now_ms = notation_read_number(rest);
        } else {
            assert_int_equal(kind, '#');
        }
    }
    scene_done(&scene);
}

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char piece[4096];
    size_t size = 0;
    while ((size = fread(piece, 1, sizeof piece, file)) > 0) {
        buf_append(out, piece, size);
    }
    (void)fclose(file);
}

/* Shows the first line that differs. */
static void compare(struct slice is, struct slice should)
{
    if (slice_equal(is, should)) {
        return;
    }
    size_t line = 1;
    size_t at = 0;
    size_t from = 0;
    while (at < is.size && at < should.size && is.data[at] == should.data[at]) {
        at++;
        if (is.data[at - 1] == '\n') {
            line++;
            from = at;
        }
    }
    fail_msg("redis.txt:%zu is\n%.80s\nand should be\n%.80s", line,
             from < is.size ? (const char *)is.data + from : "",
             from < should.size ? (const char *)should.data + from : "");
}

static void requests_and_replies_are_as_recorded(void **state)
{
    const struct place *place = *state;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/redis.txt", place->directory);
    struct buf is = {0};
    struct buf should = {0};
    read_file(path, &is);
    record(buf_slice(&is), &should);
    if (place->rewrite) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(should.data, 1, should.size, file), should.size);
        assert_int_equal(fclose(file), 0);
    } else {
        buf_put_u8(&is, 0);
        buf_put_u8(&should, 0);
        compare(buf_slice(&is), buf_slice(&should));
    }
    buf_done(&is);
    buf_done(&should);
}

/* ---- limits ---- */

static void assert_refused(struct scene *scene, const struct slice *words, size_t count,
                           const char *error)
{
    const struct resp_request request = {.words = words, .count = count};
    translate(scene, &request, 2);
    assert_false(scene->translated);
    buf_put_u8(&scene->out, 0);
    assert_string_equal((const char *)scene->out.data, error);
}

static void assert_taken(struct scene *scene, const struct slice *words, size_t count,
                         uint32_t commands)
{
    const struct resp_request request = {.words = words, .count = count};
    translate(scene, &request, 2);
    assert_true(scene->translated);
    assert_int_equal(scene->call.count, commands);
}

static void what_is_too_large_for_the_store_is_refused(void **state)
{
    (void)state;
    struct scene scene = {.chance = {.now_ms = 1}};
    struct buf large = {0};
    memset(buf_extend(&large, VALUE_SIZE_MAX + 1), 'x', VALUE_SIZE_MAX + 1);
    struct slice words[] = {slice_of_string("rename"), slice_of_string("a"), slice_of_string("b")};
    static const char key_error[] =
        "-ERR the key is larger than 4096 bytes, which kvapp does not allow\r\n";
    for (size_t i = 1; i <= 2; i++) {
        struct slice small = words[i];
        words[i] = slice_of(large.data, KEY_SIZE_MAX);
        assert_taken(&scene, words, 3, 1);
        words[i] = slice_of(large.data, KEY_SIZE_MAX + 1);
        assert_refused(&scene, words, 3, key_error);
        words[i] = small;
    }
    words[0] = slice_of_string("set");
    words[2] = slice_of(large.data, VALUE_SIZE_MAX);
    assert_taken(&scene, words, 3, 1);
    words[2] = slice_of(large.data, VALUE_SIZE_MAX + 1);
    assert_refused(&scene, words, 3,
                   "-ERR the value is larger than 1048576 bytes, which kvapp does not allow\r\n");
    words[0] = slice_of_string("keys");
    words[1] = slice_of(large.data, PATTERN_SIZE_MAX);
    assert_taken(&scene, words, 2, 1);
    words[1] = slice_of(large.data, PATTERN_SIZE_MAX + 1);
    assert_refused(&scene, words, 2,
                   "-ERR the pattern is larger than 4096 bytes, which kvapp does not allow\r\n");
    buf_done(&large);
    scene_done(&scene);
}

static void a_batch_can_take_no_more_commands(void **state)
{
    (void)state;
    static const char error[] =
        "-ERR the command takes more than 16384 steps, which kvapp does not allow\r\n";
    struct scene scene = {.chance = {.now_ms = 1}};
    size_t count = 2 * BATCH_COUNT_MAX + 3;
    struct slice *words = memory_new(count, sizeof *words);
    for (size_t i = 0; i < count; i++) {
        words[i] = slice_of_string("k");
    }
    words[0] = slice_of_string("mget");
    assert_taken(&scene, words, 1 + BATCH_COUNT_MAX, BATCH_COUNT_MAX);
    assert_refused(&scene, words, 2 + BATCH_COUNT_MAX, error);
    words[0] = slice_of_string("mset");
    assert_taken(&scene, words, 1 + 2 * BATCH_COUNT_MAX, BATCH_COUNT_MAX);
    assert_refused(&scene, words, 3 + 2 * BATCH_COUNT_MAX, error);
    words[0] = slice_of_string("msetnx");
    assert_taken(&scene, words, 1 + BATCH_COUNT_MAX, BATCH_COUNT_MAX);
    assert_refused(&scene, words, 3 + BATCH_COUNT_MAX, error);
    free(words);
    scene_done(&scene);
}

/* ---- anything at all ---- */

/* Takes one value off the front; false: the bytes do not begin with one. */
static bool skip_value(struct reader *reader)
{
    size_t pending = 1;
    while (pending > 0) {
        const uint8_t *end = reader->left == 0 ? NULL : memchr(reader->at, '\n', reader->left);
        if (end == NULL || end == reader->at || end[-1] != '\r') {
            return false;
        }
        uint8_t kind = reader->at[0];
        bool negative = reader->at[1] == '-';
        size_t number = 0;
        for (const uint8_t *at = reader->at + 1 + negative; *at >= '0' && *at <= '9'; at++) {
            number = number * 10 + (size_t)(*at - '0');
        }
        (void)reader_bytes(reader, (size_t)(end - reader->at) + 1);
        pending--;
        if (kind == '*' || kind == '%') {
            pending += number * (kind == '%' ? 2 : 1);
        } else if (kind == '$' && !negative) {
            (void)reader_bytes(reader, number + 2);
        } else if (strchr("+-:_$", kind) == NULL) {
            return false;
        }
    }
    return !reader->failed;
}

static uint64_t pick(struct prng *prng, size_t count)
{
    return prng_between(prng, 0, count - 1);
}

static void put_random_replies(struct prng *prng, uint32_t count, struct buf *replies)
{
    struct buf data = {0};
    struct buf bytes = {0};
    for (uint32_t i = 0; i < count; i++) {
        buf_clear(&data);
        size_t size = (size_t)pick(prng, 4) * 20;
        for (size_t at = 0; at < size; at++) {
            buf_put_u8(&data, (uint8_t)(at % 4 == 0 ? pick(prng, 9) : pick(prng, 2)));
        }
        struct reply reply = {
            .status = pick(prng, 2) == 0 ? 0 : -(int)pick(prng, 40),
            .more = pick(prng, 8) == 0,
            .revision = pick(prng, 9),
            .count = pick(prng, 9),
            .data = buf_slice(&data),
        };
        buf_clear(&bytes);
        reply_encode(&reply, &bytes);
        buf_put_sized(replies, buf_slice(&bytes));
    }
    /* Sometimes there are not as many as there should be, or the last is cut off. */
    if (pick(prng, 8) == 0) {
        replies->size = (size_t)pick(prng, replies->size + 1);
    }
    buf_done(&bytes);
    buf_done(&data);
}

static void assert_one_value(const struct buf *out)
{
    struct reader reader = reader_of(buf_slice(out));
    assert_true(skip_value(&reader));
    assert_int_equal(reader.left, 0);
}

/* Words that mean something somewhere, behind the name of a command. */
static size_t random_words(struct prng *prng, struct slice *ret_words)
{
    static const char *const words[] = {
        "k",
        "l",
        "10",
        "-1",
        "0",
        "x",
        "ex",
        "px",
        "exat",
        "pxat",
        "nx",
        "xx",
        "get",
        "gt",
        "lt",
        "keepttl",
        "persist",
        "sync",
        "db",
        "idx",
        "len",
        "1.5",
        "minmatchlen",
        "withmatchlen",
        "samples",
        "replace",
        "*",
        "inf",
        "",
        "+5",
        "9223372036854775807",
    };
    static const char *const names[] = {
        "append",      "copy",      "dbsize",      "decr",     "decrby",   "del",         "exists",
        "expire",      "expireat",  "expiretime",  "flushall", "flushdb",  "get",         "getdel",
        "getex",       "getrange",  "getset",      "incr",     "incrby",   "incrbyfloat", "keys",
        "kv.revision", "lcs",       "memory",      "mget",     "mset",     "msetnx",      "persist",
        "pexpire",     "pexpireat", "pexpiretime", "psetex",   "pttl",     "randomkey",   "rename",
        "renamenx",    "set",       "setex",       "setnx",    "setrange", "strlen",      "substr",
        "touch",       "ttl",       "type",        "unlink",
    };
    ret_words[0] = slice_of_string(names[pick(prng, sizeof names / sizeof names[0])]);
    ret_words[1] = slice_of_string("usage");
    const struct resp_request container = {.words = ret_words, .count = 2};
    const struct redis_command *row = redis_find(&container);
    assert_non_null(row);
    size_t count = (size_t)abs(row->arity) + (row->arity > 0 ? 0 : (size_t)pick(prng, 5));
    for (size_t i = row->id == REDIS_MEMORY_USAGE ? 2 : 1; i < count; i++) {
        ret_words[i] = slice_of_string(words[pick(prng, sizeof words / sizeof words[0])]);
    }
    return count;
}

static void any_words_and_replies_give_one_value(void **state)
{
    (void)state;
    const char *text = getenv("KVAPP_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 20260101;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct scene scene = {.chance = {.random = seed, .now_ms = 1000}};
    struct buf replies = {0};
    size_t translated = 0;
    for (size_t round = 0; round < 100000; round++) {
        const struct resp_request request = {
            .words = scene.words,
            .count = random_words(&prng, scene.words),
        };
        unsigned version = 2 + (unsigned)pick(&prng, 2);
        translate(&scene, &request, version);
        if (scene.translated) {
            translated++;
            buf_clear(&replies);
            put_random_replies(&prng, scene.call.count, &replies);
            struct redis_replies taken = {.reader = reader_of(buf_slice(&replies))};
            const struct resp_writer writer = {.out = &scene.out, .version = version};
            redis_render(&scene.call, &taken, scene.chance.now_ms, &writer);
        }
        assert_one_value(&scene.out);
    }
    assert_true(translated > 10000);
    buf_done(&replies);
    scene_done(&scene);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    struct place place = {
        .directory = argv[1],
        .rewrite = argc > 2 && strcmp(argv[2], "--rewrite") == 0,
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(requests_and_replies_are_as_recorded, &place),
        cmocka_unit_test(what_is_too_large_for_the_store_is_refused),
        cmocka_unit_test(a_batch_can_take_no_more_commands),
        cmocka_unit_test(any_words_and_replies_give_one_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
