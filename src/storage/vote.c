#include "storage/vote.h"

#include "base/hash.h"
#include "kvapp/err.h"
#include "storage/store.h"

enum {
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_SEQUENCE = 16,
    AT_TERM = 24,
    AT_VOTED = 32,
    AT_SYNCED = 40,
    AT_SEGMENT = 48,
    AT_CLUSTER = 56,
    AT_NODE = 64,
    AT_LOST_UNTIL = 72,
    AT_LOST_TERM = 80,
    AT_ASIDE = 88,
    AT_OUTDATED = 96,
};

STATIC_CHECK(VOTE_RECORD_SIZE == AT_OUTDATED + 8, "the mark of an older copy ends the record");
STATIC_CHECK((int)VOTE_RECORD_SIZE <= (int)SECTOR_SIZE, "a slot is written whole or not at all");

void vote_lose_log(struct vote *vote, uint64_t last, uint64_t aside)
{
    CHECK(aside != 0);
    vote->lost_until = vote->lost_until > last ? vote->lost_until : last;
    if (vote->lost_until == 0) {
        vote->lost_until = 1; /* A log without entries; 0 would say that nothing is lost. */
    }
    vote->lost_term = vote->term;
    vote->aside = aside;
}

void vote_encode(const struct vote *vote, const struct identity *identity, uint8_t at[SECTOR_SIZE])
{
    CHECK(vote->sequence > 0);
    memset(at, 0, SECTOR_SIZE);
    put_u32(at + AT_MAGIC, VOTE_MAGIC);
    put_u32(at + AT_VERSION, LAYOUT_VERSION);
    put_u64(at + AT_SEQUENCE, vote->sequence);
    put_u64(at + AT_TERM, vote->term);
    put_u64(at + AT_VOTED, vote->voted_for);
    put_u64(at + AT_SYNCED, vote->synced_sequence);
    put_u64(at + AT_SEGMENT, vote->first_segment);
    put_u64(at + AT_CLUSTER, identity->cluster_id);
    put_u64(at + AT_NODE, identity->node_id);
    put_u64(at + AT_LOST_UNTIL, vote->lost_until);
    put_u64(at + AT_LOST_TERM, vote->lost_term);
    put_u64(at + AT_ASIDE, vote->aside);
    put_u64(at + AT_OUTDATED, vote->outdated ? 1 : 0);
    put_u64(at, hash_bytes(at + AT_MAGIC, VOTE_RECORD_SIZE - AT_MAGIC));
}

int vote_decode(const uint8_t at[SECTOR_SIZE], const struct identity *identity,
                struct vote *ret_vote)
{
    if (get_u32(at + AT_MAGIC) != VOTE_MAGIC ||
        hash_bytes(at + AT_MAGIC, VOTE_RECORD_SIZE - AT_MAGIC) != get_u64(at)) {
        return KV_ERR_DAMAGED;
    }
    if (get_u32(at + AT_VERSION) != LAYOUT_VERSION) {
        return KV_ERR_VERSION;
    }
    if (identity != NULL && (get_u64(at + AT_CLUSTER) != identity->cluster_id ||
                             get_u64(at + AT_NODE) != identity->node_id)) {
        return KV_ERR_MISMATCH;
    }
    *ret_vote = (struct vote){
        .sequence = get_u64(at + AT_SEQUENCE),
        .term = get_u64(at + AT_TERM),
        .voted_for = get_u64(at + AT_VOTED),
        .synced_sequence = get_u64(at + AT_SYNCED),
        .first_segment = get_u64(at + AT_SEGMENT),
        .lost_until = get_u64(at + AT_LOST_UNTIL),
        .lost_term = get_u64(at + AT_LOST_TERM),
        .aside = get_u64(at + AT_ASIDE),
        .outdated = get_u64(at + AT_OUTDATED) != 0,
    };
    return 0;
}

int vote_choose(struct slice file, const struct identity *identity, struct vote *ret_vote,
                unsigned *ret_slot, bool *ret_echoed)
{
    if (file.size != VOTE_FILE_SIZE) {
        return KV_ERR_DAMAGED;
    }
    struct vote votes[2];
    int errors[2];
    for (unsigned slot = 0; slot < 2; slot++) {
        errors[slot] = vote_decode(file.data + slot * VOTE_SLOT_SPACING, identity, &votes[slot]);
    }
    if (errors[0] == KV_ERR_VERSION || errors[1] == KV_ERR_VERSION) {
        return KV_ERR_VERSION;
    }
    if (errors[0] != 0 && errors[1] != 0) {
        return errors[0];
    }
    bool second = errors[0] != 0 || (errors[1] == 0 && votes[1].sequence > votes[0].sequence);
    *ret_vote = votes[second ? 1 : 0];
    *ret_slot = second ? 1 : 0;
    *ret_echoed = errors[0] == 0 && errors[1] == 0 && votes[0].term == votes[1].term &&
                  votes[0].voted_for == votes[1].voted_for &&
                  votes[0].first_segment == votes[1].first_segment &&
                  votes[0].lost_until == votes[1].lost_until && votes[0].aside == votes[1].aside &&
                  votes[0].outdated == votes[1].outdated;
    return 0;
}

static void slot_write(struct vote_file *vote);

void vote_pump(struct vote_file *vote)
{
    if (vote->busy || vote->storage->error != 0) {
        return;
    }
    bool wanted = vote->generation > vote->generation_done;
    if (!wanted && !vote->echo_wanted) {
        return;
    }
    vote->busy = true;
    vote->echoing = !wanted;
    vote->generation_sent = vote->generation;
    slot_write(vote);
}

static void slot_written(struct io_file_op *op, int64_t result)
{
    struct vote_file *vote = CONTAINER_OF(op, struct vote_file, op);
    struct storage *storage = vote->storage;
    vote->busy = false;
    if (result < 0) {
        storage_fail(storage, result, "writing", "VOTE");
        storage_moved(storage);
        return;
    }
    CHECK(vote_decode(vote->bytes, &storage->identity, &vote->newest) == 0);
    vote->slot ^= 1;
    if (!vote->echoing) {
        vote->content = vote->newest.sequence;
        vote->generation_done = vote->generation_sent;
    }
    vote->echo_wanted = !vote->echoing;
    storage->stats.writes++;
    storage->stats.syncs++;
    storage->stats.bytes += SECTOR_SIZE;
    storage_moved(storage);
    vote_pump(vote);
}

/* Over the slot that is not the newest: that one must survive a torn write. */
static void slot_write(struct vote_file *vote)
{
    struct vote record = vote->echoing ? vote->newest : vote->wanted;
    CHECK(record.term >= vote->newest.term);
    record.sequence = vote->newest.sequence + 1;
    record.synced_sequence = vote->storage->writer.synced_sequence;
    vote_encode(&record, &vote->storage->identity, vote->bytes);
    vote->part = (struct iovec){.iov_base = vote->bytes, .iov_len = SECTOR_SIZE};
    vote->op.done = slot_written;
    io_write(vote->storage->io, &vote->op, vote->file,
             (uint64_t)(vote->slot ^ 1) * VOTE_SLOT_SPACING, &vote->part, 1, IO_WRITE_DURABLE);
}

uint64_t vote_store(struct vote_file *vote)
{
    vote->generation++;
    vote_pump(vote);
    return vote->generation;
}
