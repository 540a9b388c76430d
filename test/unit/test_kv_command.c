/* The bytes of commands: round trips, strictness, limits. */
#include "base/limits.h"
#include "base/memory.h"
#include "base/prng.h"
#include "kv/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct slice text(const char *string)
{
    return slice_of_string(string);
}

enum { EXAMPLES_MAX = 48 };

static size_t common_commands(struct command *out)
{
    struct command examples[] = {
        {.operation = OPERATION_GET, .key = text("k")},
        {.operation = OPERATION_PUT, .key = text("k")},
        {.operation = OPERATION_PUT, .key = text("key"), .value = text("value")},
        {.operation = OPERATION_PUT,
         .session = 7,
         .sequence = 9,
         .acknowledged = 8,
         .has_expected = true,
         .expected_revision = UINT64_MAX,
         .key = slice_of("a\0b\xff", 4),
         .value = slice_of("\0\r\n", 3)},
        {.operation = OPERATION_DELETE, .key = text("k"), .has_expected = true},
        {.operation = OPERATION_DELETE, .key = text("k"), .session = 1, .sequence = 1},
        {.operation = OPERATION_LIST},
        {.operation = OPERATION_LIST,
         .limit = 10,
         .key = text("a"),
         .end = text("z"),
         .prefix = text("p")},
        {.operation = OPERATION_SCAN, .prefix = slice_of("\xff\xff", 2)},
        {.operation = OPERATION_SCAN, .limit = UINT32_MAX, .end = text("z")},
        {.operation = OPERATION_DELETE_RANGE, .prefix = text("p")},
        {.operation = OPERATION_DELETE_RANGE,
         .session = 3,
         .sequence = UINT64_MAX,
         .acknowledged = UINT64_MAX - 1,
         .key = text("a"),
         .end = text("b"),
         .prefix = text("a")},
        {.operation = OPERATION_OPEN_SESSION},
        {.operation = OPERATION_CLOSE_SESSION, .session = 5},
        {.operation = OPERATION_OUTCOME, .session = 5, .sequence = 6},
    };
    memcpy(out, examples, sizeof examples);
    return COUNT_OF(examples);
}

static size_t richer_commands(struct command *out)
{
    /* A guard, then a get of the key "k". */
    static const char commands[] = "\x19\0\0\0\x13\x0a\x02\0\5\0\0\0\0\0\0\0\1\0\0\0k"
                                   "\1\0\0\0\0\0\0\0\x09\0\0\0\0\x08\0\0\1\0\0\0k";
    struct slice batch = slice_of(commands, sizeof commands - 1);
    struct command examples[] = {
        {.operation = OPERATION_PUT,
         .key = text("k"),
         .options = OPTION_ABSENT | OPTION_RETURN,
         .expiry = {EXPIRY_AFTER, INT64_MAX}},
        {.operation = OPERATION_PUT,
         .key = text("k"),
         .options = OPTION_PRESENT,
         .expiry = {.kind = EXPIRY_KEEP}},
        {.operation = OPERATION_DELETE, .key = text("k"), .options = OPTION_RETURN},
        {.operation = OPERATION_ADD, .key = text("k"), .number = INT64_MIN},
        {.operation = OPERATION_ADD, .key = text("k"), .session = 1, .sequence = 1},
        {.operation = OPERATION_ADD_FLOAT, .key = text("k"), .value = text("1.5")},
        {.operation = OPERATION_APPEND, .key = text("k"), .session = 1, .sequence = 1},
        {.operation = OPERATION_SET_RANGE, .key = text("k"), .value = text("v"), .number = 9},
        {.operation = OPERATION_EXPIRE, .key = text("k")},
        {.operation = OPERATION_EXPIRE,
         .session = 1,
         .sequence = 1,
         .key = text("k"),
         .options = OPTION_LIMITED | OPTION_LATER,
         .expiry = {EXPIRY_AT, 0}},
        {.operation = OPERATION_RENAME, .key = text("k"), .target = text("t")},
        {.operation = OPERATION_COPY,
         .key = text("k"),
         .target = text("t"),
         .options = OPTION_REPLACE},
        {.operation = OPERATION_CLEAR},
        {.operation = OPERATION_PURGE},
        {.operation = OPERATION_BATCH, .commands = batch},
        {.operation = OPERATION_BATCH, .session = 1, .sequence = 1, .commands = batch},
        {.operation = OPERATION_STAT, .key = text("k")},
        {.operation = OPERATION_GET_RANGE, .key = text("k"), .number = -3, .last = -1},
        {.operation = OPERATION_COUNT},
        {.operation = OPERATION_RANDOM, .number = -1},
        {.operation = OPERATION_MATCH},
        {.operation = OPERATION_MATCH, .pattern = text("a*"), .key = text("a"), .limit = 7},
        {.operation = OPERATION_LCS, .key = text("k"), .target = text("t")},
        {.operation = OPERATION_LCS,
         .key = text("k"),
         .target = text("t"),
         .options = OPTION_MATCHES,
         .number = 4},
        {.operation = OPERATION_READ_BATCH, .commands = batch},
    };
    memcpy(out, examples, sizeof examples);
    return COUNT_OF(examples);
}

/* One of each operation with every part it may have, and one with the fewest; name: the row. */
static void example_commands(struct command out[EXAMPLES_MAX], size_t *ret_count)
{
    size_t count = common_commands(out);
    count += richer_commands(out + count);
    assert_true(count <= EXAMPLES_MAX);
    *ret_count = count;
}

static void assert_command_equal(const struct command *a, const struct command *b)
{
    assert_int_equal(a->operation, b->operation);
    assert_true(a->session == b->session);
    assert_true(a->sequence == b->sequence);
    assert_true(a->acknowledged == b->acknowledged);
    assert_int_equal(a->has_expected, b->has_expected);
    assert_true(a->expected_revision == b->expected_revision);
    assert_int_equal(a->limit, b->limit);
    assert_true(slice_equal(a->key, b->key));
    assert_true(slice_equal(a->value, b->value));
    assert_true(slice_equal(a->end, b->end));
    assert_true(slice_equal(a->prefix, b->prefix));
    assert_int_equal(a->options, b->options);
    assert_int_equal(a->expiry.kind, b->expiry.kind);
    assert_true(a->expiry.ms == b->expiry.ms);
    assert_true(a->number == b->number);
    assert_true(a->last == b->last);
    assert_true(slice_equal(a->target, b->target));
    assert_true(slice_equal(a->pattern, b->pattern));
    assert_true(slice_equal(a->commands, b->commands));
}

static void put_has_the_drawn_bytes(void **state)
{
    (void)state;
    struct command command = {.operation = OPERATION_PUT,
                              .session = 0x0102030405060708,
                              .sequence = 2,
                              .acknowledged = 1,
                              .has_expected = true,
                              .expected_revision = 3,
                              .key = text("key"),
                              .value = text("v")};
    static const uint8_t expected[] = {
        1, 0x1b, 0, 0,                   /* put; SESSION, EXPECT, KEY, VALUE */
        8, 7,    6, 5, 4,   3,   2,   1, /* session */
        2, 0,    0, 0, 0,   0,   0,   0, /* sequence */
        1, 0,    0, 0, 0,   0,   0,   0, /* acknowledged */
        3, 0,    0, 0, 0,   0,   0,   0, /* expected revision */
        3, 0,    0, 0, 'k', 'e', 'y',    /* key */
        1, 0,    0, 0, 'v',              /* value */
    };
    struct buf buf = {0};
    command_encode(&command, &buf);
    assert_int_equal(buf.size, sizeof expected);
    assert_memory_equal(buf.data, expected, sizeof expected);
    buf_done(&buf);
}

static void scan_has_the_drawn_bytes(void **state)
{
    (void)state;
    struct command command = {.operation = OPERATION_SCAN,
                              .limit = 0x01020304,
                              .key = text("a"),
                              .end = text("b"),
                              .prefix = text("cd")};
    static const uint8_t expected[] = {
        4, 0x6c, 0, 0,           /* scan; LIMIT, KEY, END, PREFIX */
        4, 3,    2, 1,           /* limit */
        1, 0,    0, 0, 'a',      /* key */
        1, 0,    0, 0, 'b',      /* end */
        2, 0,    0, 0, 'c', 'd', /* prefix */
    };
    struct buf buf = {0};
    command_encode(&command, &buf);
    assert_int_equal(buf.size, sizeof expected);
    assert_memory_equal(buf.data, expected, sizeof expected);
    buf_done(&buf);
}

static void the_later_parts_have_the_drawn_bytes(void **state)
{
    (void)state;
    static const struct command commands[] = {
        {.operation = OPERATION_EXPIRE,
         .key = {(const uint8_t *)"k", 1},
         .options = OPTION_EARLIER,
         .expiry = {EXPIRY_AT, 0x0102}},
        {.operation = OPERATION_GET_RANGE,
         .key = {(const uint8_t *)"k", 1},
         .number = 2,
         .last = -1},
        {.operation = OPERATION_LCS,
         .key = {(const uint8_t *)"k", 1},
         .target = {(const uint8_t *)"t", 1},
         .options = OPTION_MATCHES},
        {.operation = OPERATION_MATCH, .pattern = {(const uint8_t *)"*", 1}},
    };
    static const struct {
        const char *bytes;
        size_t size;
    } expected[] = {
        {"\x0d\x88\x01\0\1\0\0\0k\x80\0\0\0\2\2\1\0\0\0\0\0\0", 22},
        {"\x15\x08\x06\0\1\0\0\0k\2\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 25},
        {"\x19\x88\x08\0\1\0\0\0k\0\1\0\0\1\0\0\0t", 18},
        {"\x18\0\x10\0\1\0\0\0*", 9},
    };
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        struct buf buf = {0};
        command_encode(&commands[i], &buf);
        assert_int_equal(buf.size, expected[i].size);
        assert_memory_equal(buf.data, expected[i].bytes, buf.size);
        buf_done(&buf);
    }
}

static void every_operation_decodes_to_what_was_encoded(void **state)
{
    (void)state;
    struct command examples[EXAMPLES_MAX];
    size_t count = 0;
    example_commands(examples, &count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(command_check(&examples[i]), 0);
        struct buf buf = {0};
        command_encode(&examples[i], &buf);
        struct command decoded;
        assert_int_equal(command_decode(buf_slice(&buf), &decoded), 0);
        assert_command_equal(&decoded, &examples[i]);
        buf_done(&buf);
    }
}

static void truncated_and_overlong_commands_are_malformed(void **state)
{
    (void)state;
    struct command examples[EXAMPLES_MAX];
    size_t count = 0;
    example_commands(examples, &count);
    for (size_t i = 0; i < count; i++) {
        struct buf buf = {0};
        command_encode(&examples[i], &buf);
        for (size_t size = 0; size < buf.size; size++) {
            /* A copy of exactly that size lets the sanitizer see a read past the end. */
            uint8_t *cut = memory_new(1, size);
            memcpy(cut, buf.data, size);
            struct command decoded = {.limit = 77};
            assert_int_equal(command_decode(slice_of(cut, size), &decoded), KV_ERR_MALFORMED);
            assert_int_equal(decoded.limit, 77);
            free(cut);
        }
        buf_put_u8(&buf, 0);
        struct command decoded;
        assert_int_equal(command_decode(buf_slice(&buf), &decoded), KV_ERR_MALFORMED);
        buf_done(&buf);
    }
}

/* Whatever decodes after random damage must be encodable again to a command of the same meaning. */
static void damaged_commands_are_refused_or_sound(void **state)
{
    (void)state;
    uint64_t seed = 20261;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct command examples[EXAMPLES_MAX];
    size_t count = 0;
    example_commands(examples, &count);
    size_t accepted = 0;
    size_t refused = 0;
    for (size_t round = 0; round < 200000; round++) {
        struct buf buf = {0};
        command_encode(&examples[prng_between(&prng, 0, count - 1)], &buf);
        for (uint64_t flips = prng_between(&prng, 1, 3); flips > 0; flips--) {
            uint64_t bit = prng_between(&prng, 0, buf.size * 8 - 1);
            buf.data[bit / 8] = (uint8_t)(buf.data[bit / 8] ^ (1u << (bit % 8)));
        }
        struct command decoded;
        int err = command_decode(buf_slice(&buf), &decoded);
        if (err != 0) {
            assert_true(err == KV_ERR_MALFORMED || err == KV_ERR_COMMAND_UNKNOWN);
            refused++;
        } else if (command_check(&decoded) == 0) {
            struct buf again = {0};
            command_encode(&decoded, &again);
            struct command twice;
            assert_int_equal(command_decode(buf_slice(&again), &twice), 0);
            assert_command_equal(&decoded, &twice);
            buf_done(&again);
            accepted++;
        }
        buf_done(&buf);
    }
    assert_true(accepted > 1000);
    assert_true(refused > 1000);
}

static void random_bytes_never_crash_the_decoders(void **state)
{
    (void)state;
    uint64_t seed = 20262;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    for (size_t round = 0; round < 200000; round++) {
        uint8_t bytes[48];
        size_t size = prng_between(&prng, 0, sizeof bytes);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = prng_chance(&prng, 1, 2) ? 0 : (uint8_t)prng_next(&prng);
        }
        struct command command;
        struct reply reply;
        int err = command_decode(slice_of(bytes, size), &command);
        assert_true(err == 0 || err == KV_ERR_MALFORMED || err == KV_ERR_COMMAND_UNKNOWN);
        err = reply_decode(slice_of(bytes, size), &reply);
        assert_true(err == 0 || err == KV_ERR_MALFORMED);
    }
}

/* The parts each operation must and may have, written here a second time on purpose. */
static const struct {
    uint16_t required;
    uint16_t allowed;
} parts_of[] = {
    [OPERATION_GET] = {0x0008, 0x0008},          [OPERATION_PUT] = {0x0018, 0x019b},
    [OPERATION_DELETE] = {0x0008, 0x008b},       [OPERATION_LIST] = {0x0000, 0x006c},
    [OPERATION_SCAN] = {0x0000, 0x006c},         [OPERATION_DELETE_RANGE] = {0x0000, 0x0069},
    [OPERATION_OPEN_SESSION] = {0x0000, 0x0000}, [OPERATION_CLOSE_SESSION] = {0x0001, 0x0001},
    [OPERATION_OUTCOME] = {0x0001, 0x0001},      [OPERATION_ADD] = {0x0208, 0x0209},
    [OPERATION_ADD_FLOAT] = {0x0018, 0x0018},    [OPERATION_APPEND] = {0x0018, 0x0019},
    [OPERATION_SET_RANGE] = {0x0218, 0x0218},    [OPERATION_EXPIRE] = {0x0108, 0x0189},
    [OPERATION_RENAME] = {0x0808, 0x0888},       [OPERATION_COPY] = {0x0808, 0x0888},
    [OPERATION_CLEAR] = {0x0000, 0x0000},        [OPERATION_PURGE] = {0x0000, 0x0000},
    [OPERATION_BATCH] = {0x2000, 0x2001},        [OPERATION_GUARD] = {0x0208, 0x028a},
    [OPERATION_STAT] = {0x0008, 0x0008},         [OPERATION_GET_RANGE] = {0x0608, 0x0608},
    [OPERATION_COUNT] = {0x0000, 0x0000},        [OPERATION_RANDOM] = {0x0200, 0x0200},
    [OPERATION_MATCH] = {0x1000, 0x100c},        [OPERATION_LCS] = {0x0808, 0x0a88},
    [OPERATION_READ_BATCH] = {0x2000, 0x2000},
};

/* The bytes of each part when it is zero: numbers 0, empty slices. */
static const uint8_t part_sizes[16] = {24, 8, 4, 4, 4, 4, 4, 4, 9, 8, 8, 4, 4, 4, 0, 0};

static void flags_that_an_operation_lacks_or_needs_are_malformed(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (unsigned operation = 0; operation < COUNT_OF(parts_of); operation++) {
        for (unsigned flags = 0; flags < 0x10000; flags++) {
            buf_clear(&buf);
            buf_put_u8(&buf, (uint8_t)operation);
            buf_put_u16(&buf, (uint16_t)flags);
            buf_put_u8(&buf, 0);
            size_t size = 0;
            for (unsigned bit = 0; bit < 16; bit++) {
                size += flags & (1u << bit) ? part_sizes[bit] : 0u;
            }
            memset(buf_extend(&buf, size), 0, size);
            bool good = (flags & ~(unsigned)parts_of[operation].allowed) == 0 &&
                        (flags & parts_of[operation].required) == parts_of[operation].required;
            struct command command;
            assert_int_equal(command_decode(buf_slice(&buf), &command),
                             good ? 0 : KV_ERR_MALFORMED);
        }
    }
    buf_done(&buf);
}

static void reserved_bytes_must_be_zero(void **state)
{
    (void)state;
    struct command command = {.operation = OPERATION_GET, .key = text("k")};
    struct buf buf = {0};
    command_encode(&command, &buf);
    for (size_t at = 2; at < 4; at++) {
        buf.data[at] = 1;
        assert_int_equal(command_decode(buf_slice(&buf), &command), KV_ERR_MALFORMED);
        buf.data[at] = 0;
    }
    assert_int_equal(command_decode(buf_slice(&buf), &command), 0);
    buf_done(&buf);
}

static void unknown_operations_are_named_so(void **state)
{
    (void)state;
    uint8_t bytes[4] = {0};
    for (unsigned operation = COUNT_OF(parts_of); operation < 256; operation++) {
        bytes[0] = (uint8_t)operation;
        struct command command;
        assert_int_equal(command_decode(slice_of(bytes, sizeof bytes), &command),
                         KV_ERR_COMMAND_UNKNOWN);
        assert_string_equal(operation_name((enum operation)operation), "unknown");
        assert_false(operation_is_write((enum operation)operation));
    }
    struct command command = {.operation = (enum operation)200};
    assert_int_equal(command_check(&command), KV_ERR_COMMAND_UNKNOWN);
}

static void writes_are_told_from_reads(void **state)
{
    (void)state;
    static const enum operation reads[] = {
        OPERATION_GET,   OPERATION_LIST,   OPERATION_SCAN,  OPERATION_OUTCOME,
        OPERATION_GUARD, OPERATION_STAT,   OPERATION_COUNT, OPERATION_GET_RANGE,
        OPERATION_MATCH, OPERATION_RANDOM, OPERATION_LCS,   OPERATION_READ_BATCH,
    };
    uint32_t expected = 0;
    for (size_t i = 0; i < COUNT_OF(reads); i++) {
        expected |= 1u << reads[i];
    }
    for (unsigned operation = 0; operation < COUNT_OF(parts_of); operation++) {
        bool is_read = (expected & (1u << operation)) != 0;
        assert_int_equal(operation_is_write((enum operation)operation), !is_read);
    }
    assert_string_equal(operation_name(OPERATION_PUT), "put");
    assert_string_equal(operation_name(OPERATION_DELETE_RANGE), "delete-range");
}

static void sizes_are_checked_at_their_limits(void **state)
{
    (void)state;
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX + 1);
    struct command command = {.operation = OPERATION_PUT, .key = slice_of(bytes, KEY_SIZE_MAX)};
    assert_int_equal(command_check(&command), 0);
    command.value = slice_of(bytes, VALUE_SIZE_MAX);
    assert_int_equal(command_check(&command), 0);
    struct buf buf = {0};
    command_encode(&command, &buf);
    assert_true(buf.size <= COMMAND_SIZE_MAX);
    buf_done(&buf);
    command.value = slice_of(bytes, VALUE_SIZE_MAX + 1);
    assert_int_equal(command_check(&command), KV_ERR_VALUE_TOO_LARGE);
    command.value = slice_of(bytes, 0);
    command.key = slice_of(bytes, KEY_SIZE_MAX + 1);
    assert_int_equal(command_check(&command), KV_ERR_KEY_TOO_LARGE);
    for (int operation = OPERATION_GET; operation <= OPERATION_DELETE; operation++) {
        command = (struct command){.operation = (enum operation)operation};
        assert_int_equal(command_check(&command), KV_ERR_KEY_EMPTY);
    }
    free(bytes);
}

static void targets_and_patterns_are_checked_at_their_limits(void **state)
{
    (void)state;
    uint8_t *bytes = memory_new(1, KEY_SIZE_MAX + 2);
    struct command rename = {.operation = OPERATION_RENAME, .key = text("k")};
    assert_int_equal(command_check(&rename), KV_ERR_KEY_EMPTY);
    rename.target = slice_of(bytes, KEY_SIZE_MAX);
    assert_int_equal(command_check(&rename), 0);
    rename.target.size++;
    assert_int_equal(command_check(&rename), KV_ERR_KEY_TOO_LARGE);
    struct command match = {.operation = OPERATION_MATCH,
                            .key = slice_of(bytes, KEY_SIZE_MAX + 1),
                            .pattern = slice_of(bytes, PATTERN_SIZE_MAX)};
    assert_int_equal(command_check(&match), 0);
    match.pattern.size++;
    assert_int_equal(command_check(&match), KV_ERR_INVALID);
    match.pattern.size = 0;
    match.key.size++;
    assert_int_equal(command_check(&match), KV_ERR_KEY_TOO_LARGE);
    free(bytes);
}

static void range_bounds_may_be_one_byte_longer_than_a_key(void **state)
{
    (void)state;
    uint8_t *bytes = memory_new(1, KEY_SIZE_MAX + 2);
    static const enum operation ranges[] = {OPERATION_LIST, OPERATION_SCAN, OPERATION_DELETE_RANGE};
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        struct command command = {.operation = ranges[i],
                                  .key = slice_of(bytes, KEY_SIZE_MAX + 1),
                                  .end = slice_of(bytes, KEY_SIZE_MAX + 1),
                                  .prefix = slice_of(bytes, KEY_SIZE_MAX)};
        assert_int_equal(command_check(&command), 0);
        command.key.size = KEY_SIZE_MAX + 2;
        assert_int_equal(command_check(&command), KV_ERR_KEY_TOO_LARGE);
        command.key.size = 1;
        command.end.size = KEY_SIZE_MAX + 2;
        assert_int_equal(command_check(&command), KV_ERR_KEY_TOO_LARGE);
        command.end.size = 1;
        command.prefix.size = KEY_SIZE_MAX + 1;
        assert_int_equal(command_check(&command), KV_ERR_KEY_TOO_LARGE);
    }
    free(bytes);
}

static void parts_that_mean_nothing_are_invalid(void **state)
{
    (void)state;
    struct slice key = text("k");
    struct command bad[] = {
        {.operation = OPERATION_DELETE_RANGE},
        {.operation = OPERATION_DELETE_RANGE, .key = key, .limit = 1},
        {.operation = OPERATION_DELETE_RANGE, .key = key, .has_expected = true},
        {.operation = OPERATION_GET, .key = key, .value = key},
        {.operation = OPERATION_GET, .key = key, .session = 1, .sequence = 1},
        {.operation = OPERATION_LIST, .session = 1, .sequence = 1},
        {.operation = OPERATION_OPEN_SESSION, .session = 1, .sequence = 1},
        {.operation = OPERATION_OPEN_SESSION, .key = key},
        {.operation = OPERATION_CLOSE_SESSION},
        {.operation = OPERATION_OUTCOME, .session = 1},
        {.operation = OPERATION_OUTCOME, .sequence = 1},
        {.operation = OPERATION_OUTCOME, .session = 1, .sequence = 2, .acknowledged = 1},
        {.operation = OPERATION_PUT, .key = key, .end = key},
        {.operation = OPERATION_PUT, .key = key, .session = 1, .sequence = 0},
        {.operation = OPERATION_PUT, .key = key, .session = 1, .sequence = 5, .acknowledged = 5},
        {.operation = OPERATION_PUT, .key = key, .sequence = 5},
        {.operation = OPERATION_PUT, .key = key, .acknowledged = 5},
        {.operation = OPERATION_PUT, .key = key, .options = OPTION_ABSENT | OPTION_PRESENT},
        {.operation = OPERATION_PUT, .key = key, .options = OPTION_REPLACE},
        {.operation = OPERATION_PUT, .key = key, .options = 1u << 31},
        {.operation = OPERATION_PUT,
         .key = key,
         .session = 1,
         .sequence = 1,
         .options = OPTION_RETURN},
        {.operation = OPERATION_PUT, .key = key, .expiry = {EXPIRY_AFTER, -1}},
        {.operation = OPERATION_PUT, .key = key, .expiry = {EXPIRY_NEVER, 1}},
        {.operation = OPERATION_PUT, .key = key, .expiry = {EXPIRY_KEEP, 1}},
        {.operation = OPERATION_PUT, .key = key, .expiry = {EXPIRY_KINDS, 0}},
        {.operation = OPERATION_EXPIRE, .key = key, .expiry = {EXPIRY_KEEP, 0}},
        {.operation = OPERATION_EXPIRE, .key = key, .options = OPTION_LATER | OPTION_EARLIER},
        {.operation = OPERATION_EXPIRE, .key = key, .options = OPTION_UNLIMITED | OPTION_LIMITED},
        {.operation = OPERATION_EXPIRE, .key = key, .options = OPTION_UNLIMITED | OPTION_LATER},
        {.operation = OPERATION_EXPIRE, .key = key, .options = OPTION_UNLIMITED | OPTION_EARLIER},
        {.operation = OPERATION_EXPIRE, .key = key, .options = OPTION_ABSENT},
        {.operation = OPERATION_RENAME, .key = key, .target = key, .options = OPTION_REPLACE},
        {.operation = OPERATION_COPY, .key = key, .target = key, .options = OPTION_ABSENT},
        {.operation = OPERATION_SET_RANGE, .key = key, .number = -1},
        {.operation = OPERATION_LCS, .key = key, .target = key, .number = -1},
        {.operation = OPERATION_GUARD, .key = key, .has_expected = true, .number = 1},
        {.operation = OPERATION_CLEAR, .session = 1, .sequence = 1},
        {.operation = OPERATION_BATCH},
        {.operation = OPERATION_READ_BATCH},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(command_check(&bad[i]), KV_ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_has_the_drawn_bytes),
        cmocka_unit_test(scan_has_the_drawn_bytes),
        cmocka_unit_test(the_later_parts_have_the_drawn_bytes),
        cmocka_unit_test(every_operation_decodes_to_what_was_encoded),
        cmocka_unit_test(truncated_and_overlong_commands_are_malformed),
        cmocka_unit_test(damaged_commands_are_refused_or_sound),
        cmocka_unit_test(random_bytes_never_crash_the_decoders),
        cmocka_unit_test(flags_that_an_operation_lacks_or_needs_are_malformed),
        cmocka_unit_test(reserved_bytes_must_be_zero),
        cmocka_unit_test(unknown_operations_are_named_so),
        cmocka_unit_test(writes_are_told_from_reads),
        cmocka_unit_test(sizes_are_checked_at_their_limits),
        cmocka_unit_test(targets_and_patterns_are_checked_at_their_limits),
        cmocka_unit_test(range_bounds_may_be_one_byte_longer_than_a_key),
        cmocka_unit_test(parts_that_mean_nothing_are_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
