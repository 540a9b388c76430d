/*
 * The snapshots: each gone through by snapshot_walk.h, as a starting server does with the newest,
 * and each chunk decompressed besides. Which of them counts, and what becomes of a damaged one, is
 * what src/storage/choose.c decides.
 */
#include "app/inspect.h"
#include "app/snapshot_reading.h"

#include "base/memory.h"
#include "io/io.h"
#include "storage/terms.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void note_wrong(struct snapshot_file *snapshot, int err, uint64_t offset, const char *what)
{
    snapshot->err = err;
    snapshot->offset = offset;
    (void)snprintf(snapshot->what, sizeof snapshot->what, "%s", what);
}

/* Of the cluster that the directory belongs to; when IDENTITY cannot say it, of the file's own. */
static uint64_t cluster_of(const struct inspection *inspection, const char *name)
{
    if (inspection->has_identity && inspection->identity_err == 0) {
        return inspection->identity.cluster_id;
    }
    struct pieces pieces = {.file = -1};
    struct snapshot_header header = {0};
    if (pieces_open(&pieces, inspection, name) == 0) {
        const uint8_t *at = pieces_at(&pieces, 0, SNAPSHOT_HEADER_SIZE);
        if (at != NULL) {
            (void)snapshot_header_decode(at, &header);
        }
    }
    pieces_done(&pieces);
    return header.cluster_id;
}

static void read_one(struct inspection *inspection, struct snapshot_file *snapshot, struct io *io)
{
    struct snapshot_reading reading;
    struct snapshot_walk *walk = &reading.walk;
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(snapshot->index, name);
    size_t size = strlen(inspection->path) + sizeof name + 1;
    char *path = memory_new(1, size);
    (void)snprintf(path, size, "%s/%s", inspection->path, name);
    snapshot_reading_init(&reading, io, path, cluster_of(inspection, name));
    free(path);
    struct buf raw = {0};
    enum snapshot_step step = SNAPSHOT_CHUNK;
    while (step == SNAPSHOT_CHUNK && snapshot->err == 0) {
        uint64_t offset = walk->offset;
        step = snapshot_reading_next(&reading);
        if (step == SNAPSHOT_CHUNK &&
            !snapshot_decompress(walk->stored, walk->chunk.raw_size, &raw)) {
            note_wrong(snapshot, KV_ERR_DAMAGED, offset, "a chunk cannot be decompressed");
        }
    }
    buf_done(&raw);
    snapshot->readable = walk->has_header;
    snapshot->header = walk->header;
    snapshot->chunks = walk->sequence;
    snapshot->raw_size = walk->raw_size;
    buf_append_slice(&snapshot->membership, buf_slice(&walk->membership));
    if (step == SNAPSHOT_BAD && walk->io_result == -ENOENT) {
        note_wrong(snapshot, KV_ERR_NOT_FOUND, UINT64_MAX, "was removed meanwhile");
    } else if (step == SNAPSHOT_BAD) {
        note_wrong(snapshot, walk->err, walk->offset, walk->what);
    } else if (snapshot->err == 0 && walk->header.index != snapshot->index) {
        note_wrong(snapshot, KV_ERR_DAMAGED, 0, "it is another snapshot than its name says");
    }
    snapshot_walk_done(walk);
    inspection->bytes_read += snapshot->size;
    if (inspection->progress != NULL) {
        inspection->progress(inspection);
    }
}

void inspection_read_snapshots(struct inspection *inspection)
{
    if (inspection->snapshot_count == 0) {
        return;
    }
    char reason[256];
    struct io *io;
    int err = io_new(IO_BACKEND_PORTABLE, reason, sizeof reason, &io);
    for (size_t i = 0; i < inspection->snapshot_count; i++) {
        struct snapshot_file *snapshot = &inspection->snapshots[i];
        if (err != 0) {
            note_wrong(snapshot, err, UINT64_MAX, reason);
            continue;
        }
        read_one(inspection, snapshot, io);
        if (snapshot->err == 0) {
            inspection->snapshot_chosen = i + 1;
        }
    }
    if (err == 0) {
        io_free(io);
    }
}

/* ---- what a server does about them ---- */

/* Whether the log holds what the newest snapshot held; see log_replaces_damaged of choose.c. */
static bool log_replaces(const struct inspection *inspection, const struct terms *terms)
{
    CHECK(inspection->snapshots != NULL);
    const struct snapshot_file *newest = &inspection->snapshots[inspection->snapshot_count - 1];
    if (newest->index >= terms->next || newest->index + 1 < terms->first) {
        return false;
    }
    return !newest->readable || terms_at(terms, newest->index) == newest->header.term;
}

static void find_damaged(struct inspection *inspection, bool replaced)
{
    for (size_t i = 0; i < inspection->snapshot_count; i++) {
        const struct snapshot_file *snapshot = &inspection->snapshots[i];
        char name[SNAPSHOT_NAME_SIZE];
        snapshot_name(snapshot->index, name);
        bool newer = i >= inspection->snapshot_chosen;
        bool fatal = newer && (snapshot->err == KV_ERR_VERSION || snapshot->err == KV_ERR_IO);
        bool removed = snapshot->err == KV_ERR_NOT_FOUND && inspection->server_running;
        if (snapshot->err == 0 && i + 2 < inspection->snapshot_chosen) {
            inspection_note(inspection,
                            "%s: is older than the two that are kept; the next start removes it",
                            name);
        } else if (snapshot->err != 0 && !removed) {
            inspection_find(inspection,
                            fatal || (newer && !replaced) ? VERDICT_REFUSED
                            : newer                       ? VERDICT_ASIDE
                                                          : VERDICT_UNUSED,
                            name, snapshot->offset, "%s", snapshot->what);
        }
    }
}

/* Whether something was found that stops a start. */
static bool is_refused(const struct inspection *inspection)
{
    for (size_t i = 0; i < inspection->finding_count && i < FINDINGS_MAX; i++) {
        if (inspection->findings[i].verdict == VERDICT_REFUSED) {
            return true;
        }
    }
    return false;
}

void inspection_judge_snapshots(struct inspection *inspection, const struct terms *terms)
{
    size_t count = inspection->snapshot_count;
    size_t chosen = inspection->snapshot_chosen;
    const struct snapshot_file *newest = chosen > 0 ? &inspection->snapshots[chosen - 1] : NULL;
    uint64_t index = newest == NULL ? 0 : newest->index;
    uint64_t term = newest == NULL ? 0 : newest->header.term;
    bool gap = terms->first > index + 1;
    bool damaged = chosen < count;
    bool holds =
        !gap && index < terms->next && index + 1 >= terms->first && terms_at(terms, index) == term;
    bool replaced = !gap && damaged && (index == 0 || holds) && log_replaces(inspection, terms);
    bool unclear = is_refused(inspection) || inspection->server_running;
    find_damaged(inspection, replaced);
    if (unclear) {
        /* Where the log begins and ends is not known, or moves. */
        return;
    }
    if (gap) {
        inspection_find(inspection, VERDICT_REFUSED, "log-*", UINT64_MAX,
                        "the log begins with entry %" PRIu64
                        ", and no whole snapshot leads up to it",
                        terms->first);
    } else if (!holds && index != 0 && !damaged && index + 1 == terms->first) {
        inspection_find(inspection, VERDICT_REFUSED, "log-*", UINT64_MAX,
                        "the log begins behind entry %" PRIu64
                        ", which has another term in the snapshot",
                        index);
    } else if (!holds && index != 0 && !damaged) {
        inspection_note(inspection,
                        "log-*: ends before entry %" PRIu64
                        " of the newest snapshot, or has another term there; the next start "
                        "discards it",
                        index);
    }
}
