/* What the tests of snapshots share: random entries, a snapshot's bytes, and back. */
#ifndef TEST_KV_SNAPSHOTS_H
#define TEST_KV_SNAPSHOTS_H

#include "base/prng.h"
#include "kv_driver.h"

#include <stdio.h>

/* Small enough that everything is forgotten now and then. */
static inline struct kv_options small_options(void)
{
    return (struct kv_options){.sessions_max = 40,
                               .replies_max = 200,
                               .replies_size_max = 6000 * KV_REPLY_SIZE,
                               .session_ttl_ms = 200000};
}

/* A random command, often in one of the sessions that were opened last. */
static inline struct command random_command(struct prng *prng, const uint64_t *opened,
                                            size_t opened_count, char key[16])
{
    struct command command = {.operation = OPERATION_PUT};
    uint64_t dice = prng_between(prng, 0, 99);
    size_t back = prng_between(prng, 1, opened_count < 50 ? opened_count + 1 : 50);
    uint64_t session = back <= opened_count ? opened[opened_count - back] : 0;
    if (dice < 1) {
        return (struct command){.operation = OPERATION_OPEN_SESSION};
    }
    if (dice < 2 && session != 0 && prng_chance(prng, 1, 3)) {
        return (struct command){.operation = OPERATION_CLOSE_SESSION, .session = session};
    }
    (void)snprintf(key, 16, "key-%03d", (int)prng_between(prng, 0, 999));
    command.key = slice_of_string(key);
    if (session != 0 && dice < 90) {
        command.session = session;
        command.sequence = prng_between(prng, 1, 400);
        command.acknowledged = prng_chance(prng, 1, 60) ? command.sequence / 3 : 0;
    }
    if (prng_chance(prng, 1, 200)) {
        command.operation = OPERATION_DELETE_RANGE;
        command.prefix = slice_of(key, 6);
        return command;
    }
    if (prng_chance(prng, 1, 4)) {
        command.operation = OPERATION_DELETE;
        return command;
    }
    static const uint8_t bytes[400];
    command.value = slice_of(bytes, prng_between(prng, 0, sizeof bytes));
    return command;
}

/* A log of random entries, applied to one state machine or several alike. */
struct history {
    struct prng prng;
    uint64_t opened[1000];
    size_t opened_count;
};

/* Applies the next entry to both; `other` may be NULL. Returns whether the replies are equal. */
static inline bool history_step(struct history *history, struct driver *driver,
                                struct driver *other)
{
    char key[16];
    struct command command =
        random_command(&history->prng, history->opened, history->opened_count, key);
    driver->time_ms += prng_between(&history->prng, 0, 2000);
    struct reply reply = apply(driver, command);
    if (command.operation == OPERATION_OPEN_SESSION && history->opened_count < 1000) {
        history->opened[history->opened_count] = reply.revision;
        history->opened_count++;
    }
    if (other == NULL) {
        return true;
    }
    other->time_ms = driver->time_ms;
    struct reply twin = apply(other, command);
    return reply.status == twin.status && reply.revision == twin.revision &&
           reply.count == twin.count && reply.more == twin.more;
}

/* Reads the rest of a snapshot. */
static inline void read_snapshot(struct kv_snapshot *snapshot, struct buf *bytes)
{
    while (kv_snapshot_next(snapshot, bytes)) {
    }
}

/* A state machine from a snapshot's bytes; NULL and the error: there was something wrong. */
static inline struct kv *restore_bytes(const struct kv_options *options, struct slice bytes,
                                       uint64_t index, uint64_t digest, int *ret_err)
{
    struct kv_restore *restore = kv_restore_begin(options);
    struct kv *kv = NULL;
    *ret_err = kv_restore_chunk(restore, bytes);
    if (*ret_err == 0) {
        *ret_err = kv_restore_end(restore, index, digest, &kv);
    }
    if (*ret_err != 0) {
        kv_restore_free(restore);
    }
    return kv;
}

#endif
