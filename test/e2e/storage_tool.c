/*
 * A data directory written and judged by src/storage alone, without a server, so that a test can
 * make logs that are trimmed or began anew, in segments of 64 KiB.
 *
 *     storage_tool DIR [of CLUSTER NODE]
 *                      [append COUNT TERM | membership BYTES TERM | truncate FROM | trim BELOW |
 *                       forge | crash] ...
 *
 * BYTES are the entry's payload in hexadecimal digits. Prints "opened TORN_BYTES" or "refused:
 * why", then does what the words say and closes cleanly. `of` names whose directory it is, in
 * decimal. `forge` puts a snapshot of an empty state, in which nothing is wrong but its contents,
 * in the place of the newest one. `crash` ends at once. Exit status: 0 opened, 1 refused, 2
 * anything else.
 */
#include "base/assert.h"
#include "kv/kv.h"
#include "storage/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TOOL_REFUSED = 1,
    TOOL_FAILED = 2,
    SEGMENT_SIZE = 64 * 1024,
    PAYLOAD_SIZE = 500,
    BATCH_ENTRIES = 7,
    TRIM_US = 200000, /* trimming reports nothing, so it is given a while */
};

struct tool {
    struct io *io;
    struct storage *storage;
    bool opened;
    bool refused;
    bool closed;
    uint64_t ticket;
    uint64_t stored;
    struct storage_snapshot_taking taking;
    bool took; /* the last call for the snapshot */
};

static void on_opened(void *context, int err, const char *sentence)
{
    struct tool *tool = context;
    tool->opened = true;
    tool->refused = err != 0;
    if (err != 0) {
        printf("refused: %s\n", sentence);
    }
}

static void on_stored(void *context, uint64_t ticket)
{
    struct tool *tool = context;
    tool->stored = ticket;
}

static void on_failed(void *context, int err, const char *sentence)
{
    (void)context;
    (void)fprintf(stderr, "error %d: %s\n", err, sentence);
    _exit(TOOL_FAILED);
}

static void on_closed(void *context)
{
    struct tool *tool = context;
    tool->closed = true;
}

static const struct storage_handler handler = {
    .opened = on_opened,
    .stored = on_stored,
    .failed = on_failed,
    .closed = on_closed,
};

static void turn(struct tool *tool)
{
    CHECK(io_run(tool->io, UINT64_MAX) == 0);
}

static void flush(struct tool *tool)
{
    storage_flush(tool->storage, ++tool->ticket);
    while (tool->stored < tool->ticket) {
        turn(tool);
    }
}

static void append(struct tool *tool, uint64_t count, uint64_t term)
{
    static const uint8_t payload[PAYLOAD_SIZE];
    for (uint64_t i = 1; i <= count; i++) {
        struct entry entry = {
            .index = storage_last_index(tool->storage) + 1,
            .term = term,
            .kind = ENTRY_COMMAND,
            .payload = slice_of(payload, sizeof payload),
        };
        storage_append(tool->storage, &entry);
        if (i % BATCH_ENTRIES == 0 || i == count) {
            flush(tool);
        }
    }
}

/* The value of a hexadecimal digit. */
static uint8_t digit(char character)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = strchr(digits, character);
    CHECK(at != NULL && character != '\0');
    return (uint8_t)(at - digits);
}

static void append_membership(struct tool *tool, const char *digits, uint64_t term)
{
    uint8_t payload[PAYLOAD_SIZE];
    size_t size = strlen(digits) / 2;
    CHECK(size <= sizeof payload);
    for (size_t i = 0; i < size; i++) {
        payload[i] = (uint8_t)(digit(digits[2 * i]) << 4 | digit(digits[2 * i + 1]));
    }
    struct entry entry = {
        .index = storage_last_index(tool->storage) + 1,
        .term = term,
        .kind = ENTRY_MEMBERSHIP,
        .payload = slice_of(payload, size),
    };
    storage_append(tool->storage, &entry);
    flush(tool);
}

static void trim(struct tool *tool, uint64_t below)
{
    storage_trim(tool->storage, below);
    uint64_t until = io_now_us(tool->io) + TRIM_US;
    while (io_now_us(tool->io) < until) {
        CHECK(io_run(tool->io, until) == 0);
    }
}

static void on_took(struct storage_snapshot_taking *taking, int err, const char *sentence)
{
    struct tool *tool = CONTAINER_OF(taking, struct tool, taking);
    if (err != 0) {
        on_failed(NULL, err, sentence);
    }
    tool->took = true;
}

static void wait_for_snapshot(struct tool *tool)
{
    while (!tool->took) {
        turn(tool);
    }
    tool->took = false;
}

/* The state after so many entries without a command. */
static struct kv_snapshot *freeze_empty(uint64_t index, struct kv **ret_kv)
{
    struct kv *kv = kv_new(&kv_options_default);
    for (uint64_t i = 1; i <= index; i++) {
        struct reply reply;
        kv_apply(kv, i, 0, slice_of(NULL, 0), &reply);
    }
    *ret_kv = kv;
    return kv_freeze(kv);
}

static void forge(struct tool *tool)
{
    struct storage_restored restored;
    storage_restored(tool->storage, &restored);
    struct kv *kv = NULL;
    struct kv_snapshot *snapshot = freeze_empty(restored.snapshot_index, &kv);
    const struct storage_snapshot_meta meta = {
        .index = restored.snapshot_index,
        .term = restored.snapshot_term,
        .digest = kv_snapshot_digest(snapshot),
        .membership = restored.membership,
    };
    tool->taking.done = on_took;
    storage_snapshot_begin(tool->storage, &tool->taking, &meta);
    wait_for_snapshot(tool);
    struct buf chunk = {0};
    while (kv_snapshot_next(snapshot, &chunk)) {
        storage_snapshot_chunk(tool->storage, buf_slice(&chunk));
        wait_for_snapshot(tool);
        buf_clear(&chunk);
    }
    storage_snapshot_commit(tool->storage);
    wait_for_snapshot(tool);
    buf_done(&chunk);
    CHECK(kv_snapshot_release(snapshot, SIZE_MAX));
    kv_free(kv);
}

/* Does what stands at the front of the words; returns how many it used. */
static int obey(struct tool *tool, char **words, int count)
{
    if (strcmp(words[0], "append") == 0 && count >= 3) {
        append(tool, strtoull(words[1], NULL, 10), strtoull(words[2], NULL, 10));
        return 3;
    }
    if (strcmp(words[0], "membership") == 0 && count >= 3) {
        append_membership(tool, words[1], strtoull(words[2], NULL, 10));
        return 3;
    }
    if (strcmp(words[0], "truncate") == 0 && count >= 2) {
        storage_truncate(tool->storage, strtoull(words[1], NULL, 10));
        flush(tool);
        return 2;
    }
    if (strcmp(words[0], "trim") == 0 && count >= 2) {
        trim(tool, strtoull(words[1], NULL, 10));
        return 2;
    }
    if (strcmp(words[0], "forge") == 0) {
        forge(tool);
        return 1;
    }
    (void)fflush(stdout);
    _exit(strcmp(words[0], "crash") == 0 ? 0 : TOOL_FAILED);
}

int main(int argc, char **argv)
{
    struct tool tool = {0};
    char reason[256];
    if (argc < 2 || io_new(IO_BACKEND_PORTABLE, reason, sizeof reason, &tool.io) != 0) {
        return TOOL_FAILED;
    }
    const bool named = argc >= 5 && strcmp(argv[2], "of") == 0;
    struct trace trace = {0};
    struct storage_options options = {
        .path = argv[1],
        .cluster_id = named ? strtoull(argv[3], NULL, 10) : 77,
        .node_id = named ? strtoull(argv[4], NULL, 10) : 1,
        .segment_size = SEGMENT_SIZE,
        .cache_size = SEGMENT_SIZE,
        .trace = &trace,
        .handler = &handler,
        .context = &tool,
    };
    tool.storage = storage_open(tool.io, &options);
    while (!tool.opened) {
        turn(&tool);
    }
    if (!tool.refused) {
        struct storage_restored restored;
        storage_restored(tool.storage, &restored);
        printf("opened %" PRIu64 "\n", restored.torn_bytes);
        for (int at = named ? 5 : 2; at < argc;) {
            at += obey(&tool, argv + at, argc - at);
        }
    }
    storage_close(tool.storage);
    while (!tool.closed) {
        turn(&tool);
    }
    io_free(tool.io);
    return tool.refused ? TOOL_REFUSED : 0;
}
