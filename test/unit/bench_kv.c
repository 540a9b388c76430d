/*
 * How fast the tree and the state machine are, and what a key costs in memory: run by hand, or by
 * `meson test --benchmark`, on a release build. 10^6 random keys of 16 bytes, values of 100.
 */
#include "base/prng.h"
#include "kv/kv.h"
#include "kv/tree.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 1000000, KEY_SIZE = 16, VALUE_SIZE = 100 };

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void report(const char *what, uint64_t count, double start)
{
    double seconds = now() - start;
    printf("%-40s %10.0f/s  %6.0f ns each\n", what, (double)count / seconds,
           seconds * 1e9 / (double)count);
}

/* The key of a number: the same number gives the same key, and neighbours are far apart. */
static struct slice random_key(uint64_t number, uint8_t room[KEY_SIZE])
{
    struct prng prng;
    prng_init(&prng, number);
    put_u64(room, prng_next(&prng));
    put_u64(room + 8, prng_next(&prng));
    return slice_of(room, KEY_SIZE);
}

/* As people name keys: all begin alike. */
static struct slice named_key(uint64_t number, uint8_t room[KEY_SIZE])
{
    memcpy(room, "bench:0000000000", KEY_SIZE);
    for (unsigned at = KEY_SIZE - 1; number > 0; at--) {
        room[at] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    return slice_of(room, KEY_SIZE);
}

typedef struct slice (*key_fn)(uint64_t number, uint8_t room[KEY_SIZE]);

static uint64_t shuffled(uint64_t i)
{
    return i * 611953 % COUNT; /* a prime that does not divide COUNT */
}

static uint64_t heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void bench_tree(const char *name, key_fn key_of)
{
    printf("tree, %s keys\n", name);
    uint8_t room[KEY_SIZE];
    uint8_t value[VALUE_SIZE] = {0};
    struct item_facts facts = {.create = 1, .modify = 1, .version = 1};
    uint64_t heap = heap_in_use();
    struct tree *tree = tree_new();
    double start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        tree_put(tree, key_of(shuffled(i), room), slice_of(value, VALUE_SIZE), &facts);
    }
    report("put, new", COUNT, start);
    heap = heap_in_use() - heap;
    double payload = KEY_SIZE + VALUE_SIZE;
    printf("%-40s %10.1f (by malloc), %.1f (by tree_memory)\n",
           "bytes for a key beyond key and value", (double)heap / COUNT - payload,
           (double)tree_memory(tree) / COUNT - payload);
    uint64_t found = 0;
    start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        found += tree_get(tree, key_of(shuffled(COUNT - 1 - i), room)) != NULL;
    }
    report("get", found, start);
    start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        tree_put(tree, key_of(shuffled(i), room), slice_of(value, VALUE_SIZE), &facts);
    }
    report("put, over, same size", COUNT, start);
    struct tree_cursor cursor;
    uint64_t bytes = 0;
    start = now();
    tree_seek(tree, slice_of(NULL, 0), &cursor);
    for (uint64_t i = 0; i < COUNT; i++) {
        bytes += tree_cursor_item(&cursor)->value_size;
        tree_cursor_next(&cursor);
    }
    report("iterate", bytes / VALUE_SIZE, start);
    struct tree *frozen = tree_freeze(tree);
    start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        tree_put(tree, key_of(shuffled(i), room), slice_of(value, VALUE_SIZE), &facts);
    }
    report("put, over, while frozen", COUNT, start);
    start = now();
    tree_free(frozen);
    report("free the frozen tree", COUNT, start);
    start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        found += tree_delete(tree, key_of(shuffled(i), room));
    }
    report("delete", found - COUNT, start);
    tree_free(tree);
}

/* Applies a command as the next entry, one millisecond after the last. */
static void apply(struct kv *kv, const struct command *command)
{
    static struct buf bytes;
    buf_clear(&bytes);
    command_encode(command, &bytes);
    struct reply reply;
    uint64_t index = kv_applied_index(kv) + 1;
    kv_apply(kv, index, index, buf_slice(&bytes), &reply);
}

/* Every session writes once; returns the longest of these steps in milliseconds. */
static double use_sessions(struct kv *kv, uint64_t sessions, uint64_t sequence)
{
    double longest = 0;
    for (uint64_t session = 1; session <= sessions; session++) {
        struct command put = {.operation = OPERATION_PUT,
                              .session = session,
                              .sequence = sequence,
                              .key = slice_of_string("key")};
        double start = now();
        apply(kv, &put);
        double took = now() - start;
        longest = took > longest ? took : longest;
    }
    return longest * 1e3;
}

static void bench_freeze_sessions(void)
{
    enum { SESSIONS = 10000, REPLIES = 100 };
    printf("%d sessions with %d replies\n", SESSIONS, REPLIES);
    struct kv *kv = kv_new(&kv_options_default);
    for (uint64_t i = 0; i < SESSIONS; i++) {
        apply(kv, &(struct command){.operation = OPERATION_OPEN_SESSION});
    }
    for (uint64_t sequence = 1; sequence <= REPLIES; sequence++) {
        (void)use_sessions(kv, SESSIONS, sequence);
    }
    double start = now();
    struct kv_snapshot *snapshot = kv_freeze(kv);
    printf("%-40s %10.3f ms\n", "freeze", (now() - start) * 1e3);
    start = now();
    double longest = use_sessions(kv, SESSIONS, REPLIES + 1);
    report("first write of each while frozen", SESSIONS, start);
    printf("%-40s %10.3f ms\n", "the longest of these", longest);
    (void)kv_snapshot_release(snapshot, SIZE_MAX);
    start = now();
    (void)use_sessions(kv, SESSIONS, REPLIES + 2);
    report("write of each while not frozen", SESSIONS, start);
    kv_free(kv);
}

static void put_all(struct kv *kv)
{
    uint8_t room[KEY_SIZE];
    uint8_t value[VALUE_SIZE] = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        apply(kv, &(struct command){.operation = OPERATION_PUT,
                                    .key = random_key(i, room),
                                    .value = slice_of(value, VALUE_SIZE)});
    }
}

static void bench_snapshot(void)
{
    printf("snapshot\n");
    struct kv *kv = kv_new(&kv_options_default);
    put_all(kv);
    struct kv_snapshot *snapshot = kv_freeze(kv);
    uint64_t index = kv_snapshot_index(snapshot);
    uint64_t digest = kv_snapshot_digest(snapshot);
    struct buf bytes = {0};
    double start = now();
    while (kv_snapshot_next(snapshot, &bytes)) {
    }
    report("read a snapshot", COUNT, start);
    (void)kv_snapshot_release(snapshot, SIZE_MAX);
    kv_free(kv);
    struct kv_restore *restore = kv_restore_begin(&kv_options_default);
    start = now();
    int err = kv_restore_chunk(restore, buf_slice(&bytes));
    err = err != 0 ? err : kv_restore_end(restore, index, digest, &kv);
    report(err == 0 ? "restore it" : "restore it: FAILED", COUNT, start);
    buf_done(&bytes);
    snapshot = kv_freeze(kv);
    put_all(kv); /* so that nothing of the snapshot is shared any more */
    double longest = 0;
    start = now();
    for (bool gone = false; !gone;) {
        double step = now();
        gone = kv_snapshot_release(snapshot, 64);
        step = now() - step;
        longest = step > longest ? step : longest;
    }
    report("release all of it, 64 nodes a step", COUNT, start);
    printf("%-40s %10.3f ms\n", "the longest step", longest * 1e3);
    kv_free(kv);
}

static void bench_kv(void)
{
    printf("state machine, named keys\n");
    struct kv *kv = kv_new(&kv_options_default);
    uint8_t room[KEY_SIZE];
    uint8_t value[VALUE_SIZE] = {0};
    struct buf bytes = {0};
    struct reply reply;
    struct command open = {.operation = OPERATION_OPEN_SESSION};
    command_encode(&open, &bytes);
    kv_apply(kv, 1, 1, buf_slice(&bytes), &reply);
    for (uint64_t round = 0; round < 2; round++) {
        double start = now();
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t sequence = round * COUNT + i + 1;
            struct command put = {.operation = OPERATION_PUT,
                                  .session = 1,
                                  .sequence = sequence,
                                  .acknowledged = sequence > 16 ? sequence - 16 : 0,
                                  .key = named_key(shuffled(i), room),
                                  .value = slice_of(value, VALUE_SIZE)};
            buf_clear(&bytes);
            command_encode(&put, &bytes);
            kv_apply(kv, sequence + 1, sequence, buf_slice(&bytes), &reply);
        }
        report(round == 0 ? "apply put, new, in a session" : "apply put, over, in a session", COUNT,
               start);
    }
    uint64_t found = 0;
    double start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        struct command get = {.operation = OPERATION_GET, .key = named_key(shuffled(i), room)};
        kv_query(kv, &get, REPLY_SIZE_MAX, &reply);
        found += reply.status == 0;
    }
    report("query get", found, start);
    buf_done(&bytes);
    kv_free(kv);
}

/* Each key is given an expiry, in an order of their own, and goes. */
static void bench_expiries(void)
{
    printf("keys that expire\n");
    struct kv *kv = kv_new(&kv_options_default);
    uint8_t room[KEY_SIZE];
    struct command command = {.operation = OPERATION_PUT};
    for (uint64_t i = 0; i < COUNT; i++) {
        command.key = named_key(shuffled(i), room);
        apply(kv, &command);
    }
    uint64_t memory = kv_memory(kv);
    command.operation = OPERATION_EXPIRE;
    double start = now();
    for (uint64_t i = 0; i < COUNT; i++) {
        command.key = named_key(i, room);
        command.expiry =
            (struct expiry){.kind = EXPIRY_AT, .ms = (int64_t)(COUNT * 10 + shuffled(i))};
        apply(kv, &command);
    }
    report("apply expire", COUNT, start);
    printf("%-40s %10.1f (by tree_memory)\n", "bytes for the expiry of a key",
           (double)(kv_memory(kv) - memory) / COUNT);
    struct buf bytes = {0};
    command_encode(&(struct command){.operation = OPERATION_PURGE}, &bytes);
    struct reply reply = {.more = true};
    double longest = 0;
    start = now();
    while (reply.more) {
        double step = now();
        kv_apply(kv, kv_applied_index(kv) + 1, COUNT * 20, buf_slice(&bytes), &reply);
        step = now() - step;
        longest = step > longest ? step : longest;
    }
    report("purge, each key", COUNT, start);
    printf("%-40s %10.3f ms\n", "the longest step", longest * 1e3);
    buf_done(&bytes);
    kv_free(kv);
}

int main(void)
{
    bench_tree("random", random_key);
    bench_tree("named", named_key);
    bench_kv();
    bench_expiries();
    bench_snapshot();
    bench_freeze_sessions();
    return EXIT_SUCCESS;
}
