/* Restoring from bytes that nobody vouches for: damaged, cut, made up. */
#include "base/limits.h"
#include "base/memory.h"
#include "kv/session.h"
#include "kv_snapshots.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* ---- a small snapshot, of which every byte is known ---- */

enum {
    STATE_AT = 8,
    ITEMS_AT = 56,
    A_AT = 64,  /* key "a": made by entry 3, set by 5 */
    B_AT = 106, /* key "b": made by entry 4 */
    SESSIONS_AT = 148,
    ONE_AT = 156,       /* session 1, used by entry 4 */
    ONE_REPLY_AT = 196, /* to sequence 5; 32 bytes behind it to 7 */
    TWO_AT = 260,       /* session 2, used by entry 5, with one reply */
    SMALL_SIZE = 332,
    SMALL_INDEX = 5,
    SMALL_TIME_MS = 1000,
};

struct small {
    struct buf bytes;
    uint64_t digest;
};

static struct small small_new(void)
{
    struct driver driver = driver_new(4, 4);
    uint64_t one = open_session(&driver);
    uint64_t two = open_session(&driver);
    (void)put_once(&driver, (struct stamp){one, 5, 0}, "a", "v");
    (void)put_once(&driver, (struct stamp){one, 7, 0}, "b", "v");
    (void)put_once(&driver, (struct stamp){two, 1, 0}, "a", "w");
    struct small small = {.digest = kv_digest(driver.kv)};
    struct kv_snapshot *snapshot = kv_freeze(driver.kv);
    read_snapshot(snapshot, &small.bytes);
    assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
    driver_done(&driver);
    assert_int_equal(small.bytes.size, SMALL_SIZE);
    return small;
}

/* What becomes of it; whatever comes back is a good state, and of the digest that was asked for. */
static int try_bytes(const struct kv_options *options, struct slice bytes, uint64_t digest)
{
    int err;
    struct kv *kv = restore_bytes(options, bytes, SMALL_INDEX, digest, &err);
    if (kv != NULL) {
        kv_check(kv);
        assert_true(kv_digest(kv) == digest);
        kv_free(kv);
    }
    return err;
}

static void every_truncation_is_damage(void **state)
{
    (void)state;
    struct small small = small_new();
    for (size_t size = 0; size < SMALL_SIZE; size++) {
        /* Of its own size, so that reading past the end is seen. */
        uint8_t *bytes = memory_new(1, size + 1);
        memcpy(bytes + 1, small.bytes.data, size);
        int err = try_bytes(&kv_options_default, slice_of(bytes + 1, size), small.digest);
        assert_int_equal(err, KV_ERR_DAMAGED);
        free(bytes);
    }
    assert_int_equal(try_bytes(&kv_options_default, buf_slice(&small.bytes), small.digest), 0);
    buf_done(&small.bytes);
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    struct small small = small_new();
    for (size_t at = 0; at < SMALL_SIZE; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            small.bytes.data[at] ^= (uint8_t)(1u << bit);
            int err = try_bytes(&kv_options_default, buf_slice(&small.bytes), small.digest);
            bool is_format = at >= STATE_AT && at < STATE_AT + 4;
            assert_true(err == KV_ERR_DAMAGED || (is_format && err == KV_ERR_VERSION));
            small.bytes.data[at] ^= (uint8_t)(1u << bit);
        }
    }
    buf_done(&small.bytes);
}

/* Another number in one field. */
struct patch {
    size_t at;
    size_t size;
    uint64_t value;
};

static void patch_bytes(uint8_t *bytes, const struct patch *patch)
{
    uint8_t number[8];
    put_u64(number, patch->value);
    memcpy(bytes + patch->at, number, patch->size);
}

static int chunk_error(const struct kv_options *options, struct slice bytes)
{
    struct kv_restore *restore = kv_restore_begin(options);
    int err = kv_restore_chunk(restore, bytes);
    kv_restore_free(restore);
    return err;
}

/* Before the digest is looked at: it would only say that something is wrong. */
static void fields_that_no_log_can_make_are_damage(void **state)
{
    (void)state;
    static const struct patch patches[] = {
        {0, 1, 0},                               /* a kind that there is not */
        {0, 1, 2},                               /* items before the state */
        {1, 1, 1},                               /* reserved */
        {2, 2, 0x100},                           /* reserved */
        {4, 4, 0},                               /* an empty piece */
        {4, 4, 2},                               /* two states */
        {STATE_AT + 4, 4, 1},                    /* reserved */
        {STATE_AT + 8, 8, SMALL_INDEX - 1},      /* a key from after the index */
        {STATE_AT + 16, 8, SMALL_TIME_MS - 1},   /* a clock ahead of the time */
        {ITEMS_AT, 1, 1},                        /* another state */
        {ITEMS_AT, 1, 4},                        /* a kind that there is not */
        {ITEMS_AT + 4, 4, 0},                    /* an empty piece */
        {ITEMS_AT + 4, 4, 3},                    /* more items than there are */
        {ITEMS_AT + 4, 4, UINT32_MAX},           /* far more */
        {A_AT, 2, 0},                            /* an empty key */
        {A_AT, 2, KEY_SIZE_MAX + 1},             /* a key too large */
        {A_AT + 2, 2, 1},                        /* reserved */
        {A_AT + 4, 4, VALUE_SIZE_MAX + 1},       /* a value too large */
        {A_AT + 4, 4, UINT32_MAX},               /* far larger than what is there */
        {A_AT + 8, 8, 0},                        /* made by no entry */
        {A_AT + 8, 8, 6},                        /* made after it was set */
        {A_AT + 16, 8, SMALL_INDEX + 1},         /* set after the index */
        {A_AT + 24, 8, 0},                       /* never written */
        {A_AT + 24, 8, 3 * BATCH_COUNT_MAX + 1}, /* written more often than entries can */
        {A_AT + 24, 8, UINT64_MAX},              /* far more often */
        {A_AT + 32, 8, INT64_MAX + 1ull},        /* it goes later than any time can be */
        {A_AT + 40, 1, 'b'},                     /* the same key twice */
        {A_AT + 40, 1, 'c'},                     /* keys that fall */
        {SESSIONS_AT + 4, 4, 0},                 /* an empty piece */
        {SESSIONS_AT + 4, 4, 3},                 /* more sessions than there are */
        {ONE_AT, 8, 0},                          /* opened by no entry */
        {ONE_AT, 8, 5},                          /* opened after it was used */
        {ONE_AT + 8, 8, SMALL_INDEX + 1},        /* used after the index */
        {ONE_AT + 16, 8, SMALL_TIME_MS + 1},     /* used after the clock */
        {ONE_AT + 24, 8, 5},                     /* a reply at the floor */
        {ONE_AT + 32, 4, 3},                     /* more replies than there are */
        {ONE_AT + 32, 4, UINT32_MAX},            /* far more */
        {ONE_AT + 36, 4, 1},                     /* reserved */
        {ONE_REPLY_AT, 8, 0},                    /* a sequence that cannot be */
        {ONE_REPLY_AT, 8, 7},                    /* a sequence twice */
        {ONE_REPLY_AT, 8, 8},                    /* sequences that fall */
        {ONE_REPLY_AT + 8, 8, SMALL_INDEX + 1},  /* a revision after the index */
        {ONE_REPLY_AT + 24, 4, 1},               /* a status that is no error */
        {ONE_REPLY_AT + 28, 4, 2},               /* more than a flag */
        {ONE_REPLY_AT + 28, 4, 0x100},           /* reserved */
        {TWO_AT, 8, 1},                          /* a session twice */
    };
    struct small small = small_new();
    uint8_t bytes[SMALL_SIZE];
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        memcpy(bytes, small.bytes.data, SMALL_SIZE);
        patch_bytes(bytes, &patches[i]);
        int err = chunk_error(&kv_options_default, slice_of(bytes, SMALL_SIZE));
        if (err != KV_ERR_DAMAGED) {
            fail_msg("patch %zu gives %d", i, err);
        }
    }
    assert_int_equal(chunk_error(&kv_options_default, buf_slice(&small.bytes)), 0);
    buf_done(&small.bytes);
}

static void another_format_is_another_version(void **state)
{
    (void)state;
    static const uint32_t formats[] = {0, 1, 3, UINT32_MAX};
    struct small small = small_new();
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        put_u32(small.bytes.data + STATE_AT, formats[i]);
        int err = chunk_error(&kv_options_default, buf_slice(&small.bytes));
        assert_int_equal(err, KV_ERR_VERSION);
    }
    buf_done(&small.bytes);
}

static void what_breaks_a_limit_is_damage(void **state)
{
    (void)state;
    struct small small = small_new();
    static const struct kv_options options[] = {
        {.sessions_max = 1, .replies_max = 2, .replies_size_max = 96, .session_ttl_ms = 1},
        {.sessions_max = 2, .replies_max = 1, .replies_size_max = 96, .session_ttl_ms = 1},
        {.sessions_max = 2, .replies_max = 2, .replies_size_max = 95, .session_ttl_ms = 1},
    };
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        assert_int_equal(chunk_error(&options[i], buf_slice(&small.bytes)), KV_ERR_DAMAGED);
    }
    struct kv_options enough = options[0];
    enough.sessions_max = 2;
    assert_int_equal(chunk_error(&enough, buf_slice(&small.bytes)), 0);
    buf_done(&small.bytes);
}

static int end_error(struct slice bytes, uint64_t index, uint64_t digest)
{
    struct kv_restore *restore = kv_restore_begin(&kv_options_default);
    if (bytes.size > 0) {
        assert_int_equal(kv_restore_chunk(restore, bytes), 0);
    }
    struct kv *kv = NULL;
    int err = kv_restore_end(restore, index, digest, &kv);
    kv_free(kv);
    if (err != 0) {
        kv_restore_free(restore);
    }
    return err;
}

static void the_end_asks_for_everything(void **state)
{
    (void)state;
    struct small small = small_new();
    struct slice bytes = buf_slice(&small.bytes);
    assert_int_equal(end_error(slice_of(NULL, 0), 0, small.digest), KV_ERR_DAMAGED);
    assert_int_equal(end_error(bytes, SMALL_INDEX + 1, small.digest), KV_ERR_DAMAGED);
    assert_int_equal(end_error(bytes, SMALL_INDEX, small.digest + 1), KV_ERR_DAMAGED);
    assert_int_equal(end_error(bytes, SMALL_INDEX, small.digest), 0);
    /* One more and one less of each was promised. The digest does not say so. */
    static const struct patch patches[] = {
        {STATE_AT + 32, 8, 3},
        {STATE_AT + 32, 8, 1},
        {STATE_AT + 40, 8, 3},
        {STATE_AT + 40, 8, 1},
    };
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        patch_bytes(small.bytes.data, &patches[i]);
        assert_int_equal(end_error(bytes, SMALL_INDEX, small.digest), KV_ERR_DAMAGED);
        patch_bytes(small.bytes.data, &(struct patch){patches[i].at, 8, 2});
    }
    kv_restore_free(NULL);
    buf_done(&small.bytes);
}

static void nothing_may_follow_but_more_of_the_same(void **state)
{
    (void)state;
    struct small small = small_new();
    uint8_t bytes[SMALL_SIZE];
    memcpy(bytes, small.bytes.data, SMALL_SIZE);
    bytes[A_AT + 40] = 'c';
    bytes[B_AT + 40] = 'd';
    struct slice more_items = slice_of(bytes + ITEMS_AT, SESSIONS_AT - ITEMS_AT);
    struct slice parts[] = {
        slice_of(bytes, ITEMS_AT),       /* the state */
        more_items,                      /* items */
        slice_of("\x03\0\0\0\0\0\0", 8), /* no sessions */
    };
    struct kv_restore *restore = kv_restore_begin(&kv_options_default);
    assert_int_equal(kv_restore_chunk(restore, slice_of(small.bytes.data, SESSIONS_AT)), 0);
    assert_int_equal(kv_restore_chunk(restore, more_items), 0);
    kv_restore_free(restore);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        restore = kv_restore_begin(&kv_options_default);
        assert_int_equal(kv_restore_chunk(restore, buf_slice(&small.bytes)), 0);
        assert_int_equal(kv_restore_chunk(restore, parts[i]), KV_ERR_DAMAGED);
        kv_restore_free(restore);
    }
    restore = kv_restore_begin(&kv_options_default);
    assert_int_equal(kv_restore_chunk(restore, slice_of(NULL, 0)), KV_ERR_DAMAGED);
    kv_restore_free(restore);
    buf_done(&small.bytes);
}

static int sessions_error(const uint8_t *bytes)
{
    struct sessions sessions;
    sessions_init(&sessions, &kv_options_default);
    sessions.clock_ms = SMALL_TIME_MS;
    struct reader reader = reader_of(slice_of(bytes + ONE_AT, SMALL_SIZE - ONE_AT));
    assert_int_equal(sessions_restore(&sessions, &reader, SMALL_INDEX), 0);
    assert_int_equal(sessions_restore(&sessions, &reader, SMALL_INDEX), 0);
    int err = sessions_restore_end(&sessions);
    if (err == 0) {
        sessions_check(&sessions);
    }
    sessions_done(&sessions);
    return err;
}

static void sessions_come_back_in_the_order_of_use(void **state)
{
    (void)state;
    struct small small = small_new();
    uint8_t bytes[SMALL_SIZE];
    memcpy(bytes, small.bytes.data, SMALL_SIZE);
    assert_int_equal(sessions_error(bytes), 0);
    /* The other way round: the first one was used last. */
    patch_bytes(bytes, &(struct patch){ONE_AT + 8, 8, 5});
    patch_bytes(bytes, &(struct patch){TWO_AT + 8, 8, 4});
    assert_int_equal(sessions_error(bytes), 0);
    /* Two used by one entry. */
    patch_bytes(bytes, &(struct patch){ONE_AT + 8, 8, 4});
    assert_int_equal(sessions_error(bytes), KV_ERR_DAMAGED);
    /* The later one at an earlier time. */
    memcpy(bytes, small.bytes.data, SMALL_SIZE);
    patch_bytes(bytes, &(struct patch){TWO_AT + 16, 8, SMALL_TIME_MS - 1});
    assert_int_equal(sessions_error(bytes), KV_ERR_DAMAGED);
    buf_done(&small.bytes);
}

/* Numbers that sizes and counts like to be confused by. */
static uint8_t random_byte(struct prng *prng)
{
    static const uint8_t likely[] = {0, 0, 0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0xff};
    return prng_chance(prng, 3, 4) ? likely[prng_between(prng, 0, COUNT_OF(likely) - 1)]
                                   : (uint8_t)prng_next(prng);
}

/* For the sanitizers: whatever comes, nothing is read or written that should not be. */
static void arbitrary_bytes_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = 2020;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct small small = small_new();
    struct kv_options options = {
        .sessions_max = 8, .replies_max = 8, .replies_size_max = 1024, .session_ttl_ms = 1};
    uint64_t taken = 0;
    for (uint64_t i = 0; i < 60000; i++) {
        static const size_t cuts[] = {ITEMS_AT, SESSIONS_AT, SMALL_SIZE};
        bool whole = prng_chance(&prng, 3, 4);
        size_t size = whole ? SMALL_SIZE : prng_between(&prng, 0, SMALL_SIZE + 40);
        uint8_t *bytes = memory_new(1, size + 1);
        bool from_good = prng_chance(&prng, 7, 8);
        for (size_t at = 0; at < size; at++) {
            bool good = from_good && at < SMALL_SIZE && !prng_chance(&prng, 1, 150);
            bytes[at] = good ? small.bytes.data[at] : random_byte(&prng);
        }
        struct kv_restore *restore = kv_restore_begin(&options);
        size_t cut = cuts[prng_between(&prng, 0, 2)];
        cut = cut < size ? cut : size;
        int err = kv_restore_chunk(restore, slice_of(bytes, cut));
        if (err == 0 && cut < size) {
            err = kv_restore_chunk(restore, slice_of(bytes + cut, size - cut));
        }
        if (err == 0) {
            struct kv *kv;
            assert_int_equal(kv_restore_end(restore, SMALL_INDEX, i, &kv), KV_ERR_DAMAGED);
            taken++;
        }
        assert_true(err == 0 || err == KV_ERR_DAMAGED || err == KV_ERR_VERSION);
        kv_restore_free(restore);
        free(bytes);
    }
    assert_true(taken > 1000);
    buf_done(&small.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_damage),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(fields_that_no_log_can_make_are_damage),
        cmocka_unit_test(another_format_is_another_version),
        cmocka_unit_test(what_breaks_a_limit_is_damage),
        cmocka_unit_test(the_end_asks_for_everything),
        cmocka_unit_test(nothing_may_follow_but_more_of_the_same),
        cmocka_unit_test(sessions_come_back_in_the_order_of_use),
        cmocka_unit_test(arbitrary_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
