/* What sessions forget, and when: expiry, eviction, dropped replies; and what can still be asked.
 */
#include "base/prng.h"
#include "kv_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { MINUTE_MS = 60 * 1000 };

static struct reply outcome(struct driver *driver, uint64_t session, uint64_t sequence)
{
    return query(
        driver,
        (struct command){.operation = OPERATION_OUTCOME, .session = session, .sequence = sequence});
}

static void nothing(struct driver *driver)
{
    (void)apply_bytes(driver, slice_of(NULL, 0));
}

/* ---- examples ---- */

static void a_session_expires_when_it_is_not_used_for_its_time(void **state)
{
    (void)state;
    struct kv_options options = kv_options_default;
    options.session_ttl_ms = 1000;
    struct driver driver = driver_with(&options);
    uint64_t used = open_session(&driver);
    uint64_t idle = open_session(&driver);
    driver.time_ms += 999;
    assert_int_equal(put_once(&driver, (struct stamp){used, 1, 0}, "a", "v").status, 0);
    assert_int_equal(kv_session_count(driver.kv), 2);
    driver.time_ms += 1;
    assert_int_equal(put_once(&driver, (struct stamp){idle, 1, 0}, "a", "w").status,
                     KV_ERR_SESSION_UNKNOWN);
    assert_int_equal(kv_session_count(driver.kv), 1);
    /* Sending the same write once more is use, but asking for its outcome is not. */
    driver.time_ms += 900;
    assert_int_equal(put_once(&driver, (struct stamp){used, 1, 0}, "a", "v").revision, 3);
    driver.time_ms += 900;
    assert_int_equal(outcome(&driver, used, 1).count, 1);
    nothing(&driver);
    assert_int_equal(kv_session_count(driver.kv), 1);
    driver.time_ms += 100;
    nothing(&driver);
    assert_int_equal(kv_session_count(driver.kv), 0);
    driver_done(&driver);
}

/* Bug 39: a leader whose clock is wrong by an hour, or goes back by one. */
static void a_clock_that_jumps_ends_no_session(void **state)
{
    (void)state;
    struct kv_options options = kv_options_default;
    options.session_ttl_ms = 10 * MINUTE_MS;
    struct driver driver = driver_with(&options);
    uint64_t session = open_session(&driver);
    const uint64_t right = driver.time_ms;
    for (uint64_t i = 1; i <= 9; i++) {
        driver.time_ms = right + i * 60 * MINUTE_MS;
        nothing(&driver);
        driver.time_ms = right;
        nothing(&driver);
    }
    assert_int_equal(kv_session_count(driver.kv), 1);
    assert_int_equal(put_once(&driver, (struct stamp){session, 1, 0}, "a", "v").status, 0);
    driver_done(&driver);
}

static void an_entry_ends_no_more_than_sixteen_sessions(void **state)
{
    (void)state;
    struct kv_options options = kv_options_default;
    options.session_ttl_ms = 1000;
    struct driver driver = driver_with(&options);
    uint64_t last = 0;
    for (int i = 0; i < 40; i++) {
        last = open_session(&driver);
    }
    driver.time_ms += 1000;
    static const uint64_t left[] = {24, 8};
    for (size_t i = 0; i < 2; i++) {
        nothing(&driver);
        assert_int_equal(kv_session_count(driver.kv), left[i]);
    }
    /* One that is late to be removed is used as if nothing was, and stays. */
    struct driver other = driver_with(&options);
    for (int i = 0; i < 40; i++) {
        last = open_session(&other);
    }
    other.time_ms += 1000;
    assert_int_equal(put_once(&other, (struct stamp){last, 1, 0}, "a", "v").status, 0);
    nothing(&other);
    nothing(&other);
    assert_int_equal(kv_session_count(other.kv), 1);
    driver_done(&driver);
    driver_done(&other);
}

static void too_many_replies_cost_the_least_recently_used_session_its_oldest(void **state)
{
    (void)state;
    struct kv_options options = kv_options_default;
    options.replies_size_max = 4 * KV_REPLY_SIZE + KV_REPLY_SIZE - 1;
    struct driver driver = driver_with(&options);
    uint64_t one = open_session(&driver);
    uint64_t two = open_session(&driver);
    (void)put_once(&driver, (struct stamp){one, 1, 0}, "a", "v");
    (void)put_once(&driver, (struct stamp){one, 2, 0}, "a", "v");
    for (uint64_t sequence = 1; sequence <= 3; sequence++) {
        (void)put_once(&driver, (struct stamp){two, sequence, 0}, "a", "v");
    }
    assert_int_equal(outcome(&driver, one, 1).status, KV_ERR_SEQUENCE_STALE);
    assert_int_equal(outcome(&driver, one, 2).count, 1);
    (void)put_once(&driver, (struct stamp){two, 4, 0}, "a", "v");
    assert_int_equal(outcome(&driver, one, 2).status, KV_ERR_SEQUENCE_STALE);
    assert_int_equal(outcome(&driver, two, 1).count, 1);
    /* Now it is alone, and loses its own. */
    (void)put_once(&driver, (struct stamp){two, 5, 0}, "a", "v");
    assert_int_equal(outcome(&driver, two, 1).status, KV_ERR_SEQUENCE_STALE);
    assert_int_equal(outcome(&driver, two, 2).count, 1);
    assert_int_equal(put_once(&driver, (struct stamp){one, 1, 0}, "a", "w").status,
                     KV_ERR_SEQUENCE_STALE);
    driver_done(&driver);
}

static void the_outcome_of_a_write_is_its_reply(void **state)
{
    (void)state;
    struct driver driver = driver_new(4, 4);
    uint64_t session = open_session(&driver);
    struct command missing = {.operation = OPERATION_DELETE,
                              .session = session,
                              .sequence = 2,
                              .key = slice_of_string("none")};
    (void)apply(&driver, missing);
    struct reply reply = outcome(&driver, session, 2);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 1);
    assert_int_equal(reply.revision, 2);
    struct reply stored;
    assert_int_equal(reply_decode(reply.data, &stored), 0);
    assert_int_equal(stored.status, KV_ERR_NOT_FOUND);
    assert_int_equal(stored.revision, 2);

    reply = outcome(&driver, session, 1);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.revision, 2);
    assert_int_equal(reply.data.size, 0);

    (void)put_once(&driver, (struct stamp){session, 3, 2}, "a", "v");
    assert_int_equal(outcome(&driver, session, 1).status, KV_ERR_SEQUENCE_STALE);
    assert_int_equal(outcome(&driver, session, 2).status, KV_ERR_SEQUENCE_STALE);
    reply = outcome(&driver, session + 1, 1);
    assert_int_equal(reply.status, KV_ERR_SESSION_UNKNOWN);
    assert_int_equal(reply.revision, 0);
    driver_done(&driver);
}

/* ---- a model ---- */

enum {
    SESSIONS_MAX = 6,
    REPLIES_MAX = 5,
    REPLIES_ALL_MAX = 12,
    TTL_MS = 2 * MINUTE_MS,
    SEQUENCES = 64,
    OPENED_MAX = 4096,
};

struct model_session {
    uint64_t id;
    uint64_t used;
    uint64_t used_ms;
    uint64_t floor;
    uint64_t revisions[SEQUENCES]; /* of the stored replies; 0: none */
    bool gone;
};

struct model {
    struct model_session sessions[OPENED_MAX];
    size_t opened;
    uint64_t clock_ms;
    uint64_t evicted;
    uint64_t expired;
    uint64_t dropped; /* replies, because those of all sessions were too many */
};

static uint64_t replies_of(const struct model_session *session)
{
    uint64_t count = 0;
    for (size_t sequence = 0; sequence < SEQUENCES; sequence++) {
        count += !session->gone && session->revisions[sequence] != 0;
    }
    return count;
}

/* The least recently used session that is there, has replies or need not; counts what there is. */
static struct model_session *model_oldest(struct model *model, bool with_replies,
                                          uint64_t *ret_sessions, uint64_t *ret_replies)
{
    struct model_session *oldest = NULL;
    *ret_sessions = 0;
    *ret_replies = 0;
    for (size_t i = 0; i < model->opened; i++) {
        struct model_session *session = &model->sessions[i];
        uint64_t replies = replies_of(session);
        *ret_sessions += !session->gone;
        *ret_replies += replies;
        if (!session->gone && (replies > 0 || !with_replies) &&
            (oldest == NULL || session->used < oldest->used)) {
            oldest = session;
        }
    }
    return oldest;
}

static void model_floor(struct model_session *session, uint64_t floor)
{
    session->floor = floor > session->floor ? floor : session->floor;
    for (uint64_t sequence = 0; sequence <= session->floor; sequence++) {
        session->revisions[sequence] = 0;
    }
}

static void model_drop_lowest(struct model_session *session)
{
    uint64_t lowest = 0;
    while (session->revisions[lowest] == 0) {
        lowest++;
    }
    model_floor(session, lowest);
}

static void model_advance(struct model *model, uint64_t elapsed_ms)
{
    model->clock_ms += elapsed_ms < MINUTE_MS ? elapsed_ms : MINUTE_MS;
    for (size_t i = 0; i < model->opened; i++) {
        struct model_session *session = &model->sessions[i];
        if (!session->gone && model->clock_ms >= session->used_ms + TTL_MS) {
            session->gone = true;
            model->expired++;
        }
    }
}

static void model_open(struct model *model, uint64_t index)
{
    uint64_t sessions;
    uint64_t replies;
    struct model_session *oldest = model_oldest(model, false, &sessions, &replies);
    if (sessions == SESSIONS_MAX) {
        oldest->gone = true;
        model->evicted++;
    }
    model->sessions[model->opened] =
        (struct model_session){.id = index, .used = index, .used_ms = model->clock_ms};
    model->opened++;
}

static int model_outcome(const struct model_session *session, uint64_t sequence)
{
    if (session->gone) {
        return KV_ERR_SESSION_UNKNOWN;
    }
    return sequence <= session->floor ? KV_ERR_SEQUENCE_STALE : 0;
}

/* The reply of a put. */
static struct reply model_put(struct model *model, struct model_session *session, uint64_t index,
                              const struct stamp *stamp)
{
    if (session->gone) {
        return (struct reply){.status = KV_ERR_SESSION_UNKNOWN};
    }
    session->used = index;
    session->used_ms = model->clock_ms;
    model_floor(session, stamp->acknowledged);
    int err = model_outcome(session, stamp->sequence);
    if (err != 0) {
        return (struct reply){.status = err};
    }
    if (session->revisions[stamp->sequence] != 0) {
        return (struct reply){.revision = session->revisions[stamp->sequence]};
    }
    session->revisions[stamp->sequence] = index;
    uint64_t sessions;
    uint64_t replies;
    struct model_session *oldest = model_oldest(model, true, &sessions, &replies);
    if (replies_of(session) > REPLIES_MAX) {
        model_drop_lowest(session);
    } else if (replies > REPLIES_ALL_MAX) {
        model_drop_lowest(oldest);
        model->dropped++;
    }
    return (struct reply){.revision = index};
}

static void assert_outcomes(struct driver *driver, const struct model *model)
{
    size_t first = model->opened > 20 ? model->opened - 20 : 0;
    for (size_t i = first; i < model->opened; i++) {
        const struct model_session *session = &model->sessions[i];
        for (uint64_t sequence = 1; sequence < SEQUENCES; sequence++) {
            struct reply reply = outcome(driver, session->id, sequence);
            assert_int_equal(reply.status, model_outcome(session, sequence));
            bool stored = reply.status == 0 && session->revisions[sequence] != 0;
            assert_int_equal(reply.count, stored);
            if (stored) {
                struct reply kept;
                assert_int_equal(reply_decode(reply.data, &kept), 0);
                assert_int_equal(kept.status, 0);
                assert_true(kept.revision == session->revisions[sequence]);
            }
        }
    }
}

static struct stamp random_stamp(struct prng *prng, const struct model_session *session)
{
    struct stamp stamp = {.session = session->id};
    uint64_t highest = session->floor + 8 < SEQUENCES ? session->floor + 8 : SEQUENCES - 1;
    stamp.sequence = prng_between(prng, 1, highest);
    if (prng_chance(prng, 1, 10)) {
        stamp.acknowledged = prng_between(prng, 0, stamp.sequence - 1);
    }
    return stamp;
}

static void random_sessions_are_forgotten_as_in_the_model(void **state)
{
    (void)state;
    uint64_t seed = 4321;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct kv_options options = {.sessions_max = SESSIONS_MAX,
                                 .replies_max = REPLIES_MAX,
                                 .replies_size_max = REPLIES_ALL_MAX * KV_REPLY_SIZE,
                                 .session_ttl_ms = TTL_MS};
    struct driver driver = driver_with(&options);
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    for (uint64_t index = 1; index <= 30000; index++) {
        uint64_t elapsed_ms = prng_between(&prng, 0, prng_chance(&prng, 1, 30) ? 100000 : 8000);
        driver.time_ms += elapsed_ms;
        model_advance(model, index == 1 ? driver.time_ms : elapsed_ms);
        if (model->opened == 0 || (model->opened < OPENED_MAX && prng_chance(&prng, 1, 8))) {
            model_open(model, index);
            assert_true(open_session(&driver) == index);
            continue;
        }
        uint64_t back = prng_between(&prng, 1, model->opened < 10 ? model->opened : 10);
        struct model_session *session = &model->sessions[model->opened - back];
        struct stamp stamp = random_stamp(&prng, session);
        struct reply expected = model_put(model, session, index, &stamp);
        struct reply reply = put_once(&driver, stamp, "k", "v");
        assert_int_equal(reply.status, expected.status);
        assert_true(reply.revision == expected.revision);
        if (index % 100 == 0) {
            assert_outcomes(&driver, model);
            kv_check(driver.kv);
        }
    }
    assert_true(model->evicted > 100);
    assert_true(model->expired > 100);
    assert_true(model->dropped > 100);
    driver_done(&driver);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_expires_when_it_is_not_used_for_its_time),
        cmocka_unit_test(a_clock_that_jumps_ends_no_session),
        cmocka_unit_test(an_entry_ends_no_more_than_sixteen_sessions),
        cmocka_unit_test(too_many_replies_cost_the_least_recently_used_session_its_oldest),
        cmocka_unit_test(the_outcome_of_a_write_is_its_reply),
        cmocka_unit_test(random_sessions_are_forgotten_as_in_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
