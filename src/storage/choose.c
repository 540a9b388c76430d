/*
 * Which snapshot counts, and whether the log fits to it.
 *
 *     newest file ─► verify every byte ──whole──► chosen ─► recover.c ─► judge ─► settle.c
 *          ▲                └──damaged──┐
 *          └──── the one before it ◄────┘
 *
 * A damaged one is set aside (settle.c) only when the log can take its place: it begins right
 * behind the chosen one, or before, and holds the damaged one's last entry. Otherwise entries that
 * this server acknowledged are lost (opening_lose).
 *
 * Between the log and the chosen snapshot, whose last entry is (S, T):
 *
 *     the log holds (S, T), or begins behind it     nothing to do
 *     it ends before S, or has another term at S    it is discarded (see below)
 *     it begins behind S + 1                        entries are missing: lost
 *
 * It is discarded where a crash came between a received snapshot's rename and the log's reset, or
 * this server's disk was behind what others had stored.
 */
#include "storage/opening.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdio.h>

static void verify_next(struct opening *opening);

/* ---- choosing ---- */

static void note_damage(struct opening *opening, const char *name)
{
    struct snapshot_walk *walk = &opening->walk;
    bool newest = opening->snapshot_chosen == opening->snapshot_count;
    if (newest) {
        opening->damaged_term = walk->has_header ? walk->header.term : 0;
        snapshot_sentence(opening->damage, sizeof opening->damage, opening->storage, name,
                          ": damaged at offset %" PRIu64 ": %s", walk->offset, walk->what);
    }
    TRACE(opening->storage->trace, TRACE_WARN, "%s/%s: damaged at offset %" PRIu64 ": %s",
          opening->storage->path, name, walk->offset, walk->what);
    opening->snapshot_chosen--;
    snapshot_walk_done(walk);
    verify_next(opening);
}

static void take_snapshot(struct opening *opening)
{
    struct snapshot_walk *walk = &opening->walk;
    struct snapshots *snapshots = &opening->storage->snapshots;
    size_t chosen = opening->snapshot_chosen - 1;
    snapshots->newest = walk->header;
    snapshots->newest_size = walk->size;
    buf_append_slice(&snapshots->membership, buf_slice(&walk->membership));
    snapshots->older = chosen == 0 ? 0 : opening->snapshots[chosen - 1];
    snapshot_walk_done(walk);
    recover_start(opening);
}

/* The file was gone through: it is whole, or walk->err says what is wrong. */
static void verified(struct opening *opening)
{
    const struct snapshot_walk *walk = &opening->walk;
    uint64_t index = opening->snapshots[opening->snapshot_chosen - 1];
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(index, name);
    if (walk->err == KV_ERR_IO) {
        opening_fail_io(opening, walk->io_result, "reading", name);
    } else if (walk->err == KV_ERR_VERSION) {
        opening_fail(opening, KV_ERR_VERSION,
                     "%s/%s: was written in a format that this version does not know; start the "
                     "version that wrote it",
                     opening->storage->path, name);
    } else if (walk->err != 0) {
        note_damage(opening, name);
    } else {
        take_snapshot(opening);
    }
}

static void verify(struct opening *opening)
{
    struct snapshot_walk *walk = &opening->walk;
    enum snapshot_step step = SNAPSHOT_CHUNK;
    while (step == SNAPSHOT_CHUNK) {
        step = snapshot_walk_step(walk);
        bool renamed = walk->has_header &&
                       walk->header.index != opening->snapshots[opening->snapshot_chosen - 1];
        if (renamed && step != SNAPSHOT_WAIT) {
            walk->err = KV_ERR_DAMAGED;
            walk->what = "it is another snapshot than its name says";
            step = SNAPSHOT_BAD;
        }
    }
    if (step != SNAPSHOT_WAIT) {
        verified(opening);
    }
}

static void walk_ready(struct snapshot_walk *walk)
{
    struct opening *opening = CONTAINER_OF(walk, struct opening, walk);
    if (opening->storage->state != STORAGE_OPENING) {
        storage_moved(opening->storage);
        return;
    }
    verify(opening);
}

static void verify_next(struct opening *opening)
{
    struct storage *storage = opening->storage;
    if (opening->snapshot_chosen == 0) {
        recover_start(opening);
        return;
    }
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(opening->snapshots[opening->snapshot_chosen - 1], name);
    snapshot_walk_init(&opening->walk, storage->io, storage_path(storage, name),
                       storage->identity.cluster_id, walk_ready);
    verify(opening);
}

void choose_start(struct opening *opening)
{
    opening->snapshot_chosen = opening->snapshot_count;
    verify_next(opening);
}

/* ---- judging ---- */

/* The chosen snapshot's name, or what stands for it. */
static void chosen_name(const struct opening *opening, char ret_name[SNAPSHOT_NAME_SIZE])
{
    if (opening->snapshot_chosen == 0) {
        (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "no snapshot");
    } else {
        snapshot_name(opening->snapshots[opening->snapshot_chosen - 1], ret_name);
    }
}

static void refuse_gap(struct opening *opening)
{
    const struct terms *terms = &opening->storage->terms;
    char name[SNAPSHOT_NAME_SIZE];
    chosen_name(opening, name);
    if (opening->damage[0] != '\0') {
        opening_lose(opening,
                     "%s; the log holds entries %" PRIu64 " to %" PRIu64
                     ", which with %s do not replace it",
                     opening->damage, terms->first, terms->next - 1, name);
        return;
    }
    char segment[SEGMENT_NAME_SIZE];
    segment_name(opening->vote.first_segment, segment);
    opening_lose(opening,
                 "%s: the log, from %s on, begins with entry %" PRIu64
                 ", but there is %s%s that leads up to it: entries are missing",
                 opening->storage->path, segment, terms->first,
                 opening->snapshot_chosen == 0 ? "" : "only ", name);
}

/* Whether the log replaces the snapshots that are damaged, the newest among them. */
static bool log_replaces_damaged(const struct opening *opening)
{
    const struct terms *terms = &opening->storage->terms;
    uint64_t index = opening->snapshots[opening->snapshot_count - 1];
    if (index >= terms->next || index + 1 < terms->first) {
        return false;
    }
    return opening->damaged_term == 0 || terms_at(terms, index) == opening->damaged_term;
}

void choose_judge(struct opening *opening)
{
    const struct snapshot_header *newest = &opening->storage->snapshots.newest;
    const struct terms *terms = &opening->storage->terms;
    bool damaged = opening->snapshot_chosen < opening->snapshot_count;
    if (terms->first > newest->index + 1 || (damaged && !log_replaces_damaged(opening))) {
        refuse_gap(opening);
        return;
    }
    bool holds = newest->index < terms->next && terms_at(terms, newest->index) == newest->term;
    if (newest->index == 0 || holds) {
        settle_start(opening);
        return;
    }
    if (damaged || newest->index + 1 == terms->first) {
        /* What was trimmed or lies behind had been stored, and contradicts the snapshot. */
        refuse_gap(opening);
        return;
    }
    opening->discard = true;
    settle_start(opening);
}
