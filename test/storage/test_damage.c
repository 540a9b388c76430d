/*
 * Damage: every byte of short logs (every third of longer ones) is flipped, zeroed from there on,
 * cut off there; every byte of
 * VOTE and IDENTITY too. Each time the verdict must be the right one: whole, torn (and then exactly
 * the entries before the torn batch), or damaged (and then nothing is touched).
 */
#include "batches.h"
#include "scene.h"
#include "storage/vote.h"

#include "base/hash.h"
#include "base/memory.h"
#include "kvapp/err.h"

#include <stdlib.h>
#include <string.h>

static const char directory[] = "data";

struct subject {
    struct disk *disk; /* as found after the script */
    struct batches batches;
    uint64_t segment_size;
};

/* ---- making short logs ---- */

static void write_some(struct scene *scene, uint64_t term)
{
    storage_vote(scene->storage, term, 7);
    scene_append(scene, term, 0);
    scene_flush(scene);
    scene_settle(scene);
    scene_append(scene, term, 20);
    scene_append(scene, term, 300);
    scene_append(scene, term, 700);
    scene_flush(scene);
    scene_settle(scene);
}

static void truncate_some(struct scene *scene, uint64_t term)
{
    storage_vote(scene->storage, term, 7);
    storage_truncate(scene->storage, storage_last_index(scene->storage) - 1);
    scene_append(scene, term, 64);
    scene_flush(scene);
    scene_settle(scene);
    storage_truncate(scene->storage, storage_last_index(scene->storage));
    scene_flush(scene);
    scene_settle(scene);
    scene_append(scene, term, 100);
    scene_flush(scene);
    scene_settle(scene);
}

enum ending { BY_CLOSE, BY_CRASH };

/* One session; returns the disk as it is found afterwards, and frees the one given. */
static struct disk *session(struct disk *disk, uint64_t segment_size, uint64_t term,
                            enum ending ending)
{
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, directory);
    scene.options.segment_size = segment_size;
    assert_int_equal(scene_open(&scene), 0);
    write_some(&scene, term);
    truncate_some(&scene, term + 1);
    struct prng prng;
    prng_init(&prng, 1);
    struct disk *found = NULL;
    if (ending == BY_CRASH) {
        found = disk_crash(disk, DISK_LOSE_ALL, &prng);
    }
    scene_close(&scene);
    if (ending == BY_CLOSE) {
        found = disk_copy(disk);
    }
    io_free(io);
    disk_free(disk);
    return found;
}

static struct subject *subject_new(uint64_t segment_size, size_t sessions,
                                   const enum ending *endings)
{
    struct subject *subject = memory_new(1, sizeof *subject);
    subject->disk = disk_new();
    subject->segment_size = segment_size;
    for (size_t i = 0; i < sessions; i++) {
        subject->disk = session(subject->disk, segment_size, 1 + 2 * i, endings[i]);
    }
    batches_read(&subject->batches, subject->disk, directory);
    return subject;
}

static void subject_free(struct subject *subject)
{
    disk_free(subject->disk);
    free(subject);
}

/* ---- the verdict on a damaged copy ---- */

static void check_log(struct scene *scene, const struct batches *batches, size_t left)
{
    struct storage_restored restored;
    storage_restored(scene->storage, &restored);
    const struct placed_batch *last = left == 0 ? NULL : &batches->at[left - 1];
    uint64_t last_index = last == NULL ? 0 : last->last;
    assert_int_equal(restored.last_index, last_index);
    uint64_t run_total = 0;
    for (size_t i = 0; i < restored.run_count; i++) {
        run_total += restored.runs[i].count;
    }
    assert_int_equal(restored.first_index, left == 0 ? 1 : batches->first_index);
    assert_int_equal(run_total, last_index + 1 - restored.first_index);
    for (uint64_t index = restored.first_index; index <= last_index; index++) {
        struct slice encoded;
        assert_int_equal(storage_get(scene->storage, index, &encoded), 0);
        assert_int_equal(get_u64(encoded.data + ENTRY_TERM_OFFSET), last->terms[index - 1]);
        scene_check_made(encoded, index);
    }
}

/* After a cut the log can be written and read again. */
static void check_going_on(struct disk *disk, const struct subject *subject, size_t left)
{
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, directory);
    scene.options.segment_size = subject->segment_size;
    assert_int_equal(scene_open(&scene), 0);
    check_log(&scene, &subject->batches, left);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.torn_bytes, 0);
    scene_append(&scene, 90, 200);
    scene_flush(&scene);
    scene_settle(&scene);
    struct prng prng;
    prng_init(&prng, 1);
    struct disk *found = disk_crash(disk, DISK_LOSE_ALL, &prng);
    uint64_t last = storage_last_index(scene.storage);
    scene_close(&scene);
    io_free(io);

    io = disk_io(found);
    scene.io = io;
    assert_int_equal(scene_open(&scene), 0);
    assert_int_equal(storage_last_index(scene.storage), last);
    struct slice encoded;
    assert_int_equal(storage_get(scene.storage, last, &encoded), 0);
    scene_check_entry(encoded, last, 90, 200);
    scene_close(&scene);
    io_free(io);
    disk_free(found);
}

/* With peers to repair it, a damaged log is set aside; its end is known, or that it is not. */
static void check_repair(const struct subject *subject, struct disk *damaged)
{
    struct io *io = disk_io(damaged);
    struct scene scene;
    scene_init(&scene, io, directory);
    scene.options.segment_size = subject->segment_size;
    scene.options.may_repair = true;
    assert_int_equal(scene_open(&scene), 0);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.last_index, 0);
    assert_int_equal(restored.voted_for, subject->batches.voted_for);
    assert_int_equal(restored.lost_term, subject->batches.term);
    assert_true(restored.lost_until >= subject->batches.at[subject->batches.count - 1].last);
    scene_close(&scene);
    io_free(io);
    disk_free(damaged);
}

/* Opens the damaged disk, checks everything, frees it. Returns the verdict that was right. */
static enum verdict check_verdict(const struct subject *subject, struct disk *damaged, bool go_on)
{
    size_t left = 0;
    enum verdict verdict = batches_verdict(&subject->batches, subject->disk, damaged, &left);
    struct disk *before = disk_copy(damaged);
    struct io *io = disk_io(damaged);
    struct scene scene;
    scene_init(&scene, io, directory);
    scene.options.segment_size = subject->segment_size;
    int err = scene_open(&scene);
    if (verdict == VERDICT_DAMAGED) {
        assert_int_equal(err, KV_ERR_DAMAGED);
        assert_non_null(strstr(scene.sentence, "data/"));
        assert_true(disk_equal(before, damaged));
        if (go_on) {
            check_repair(subject, disk_copy(damaged));
        }
    } else {
        assert_int_equal(err, 0);
        check_log(&scene, &subject->batches, left);
        struct storage_restored restored;
        storage_restored(scene.storage, &restored);
        assert_int_equal(restored.term, subject->batches.term);
        assert_int_equal(restored.voted_for, subject->batches.voted_for);
    }
    struct prng prng;
    prng_init(&prng, 1);
    struct disk *found = disk_crash(damaged, DISK_LOSE_ALL, &prng);
    scene_close(&scene);
    if (verdict == VERDICT_DAMAGED) {
        assert_true(disk_equal(before, damaged));
    }
    io_free(io);
    if (go_on && verdict != VERDICT_DAMAGED) {
        check_going_on(found, subject, left);
    }
    disk_free(found);
    disk_free(before);
    disk_free(damaged);
    return verdict;
}

/* ---- all the ways to damage every byte of the log ---- */

struct tally {
    size_t whole;
    size_t torn;
    size_t damaged;
};

static void count(struct tally *tally, enum verdict verdict)
{
    tally->whole += verdict == VERDICT_WHOLE;
    tally->torn += verdict == VERDICT_TORN;
    tally->damaged += verdict == VERDICT_DAMAGED;
}

/* Flipping, zeroing from, and cutting at one byte. */
static void damage_byte(const struct subject *subject, const char *path, size_t at,
                        struct tally *tally)
{
    bool go_on = at % 61 == 0;
    struct disk *disk = disk_copy(subject->disk);
    struct buf *bytes = disk_bytes(disk, path);
    bytes->data[at] ^= (uint8_t)(1 << (at % 8));
    count(tally, check_verdict(subject, disk, go_on));

    disk = disk_copy(subject->disk);
    bytes = disk_bytes(disk, path);
    bool zero_changes = bytes->data[at] != 0;
    memset(bytes->data + at, 0, bytes->size - at);
    if (zero_changes) {
        count(tally, check_verdict(subject, disk, go_on));
    } else {
        disk_free(disk);
    }

    if (at % 16 == 0) {
        disk = disk_copy(subject->disk);
        disk_bytes(disk, path)->size = at;
        count(tally, check_verdict(subject, disk, go_on));
    }
}

/* Bytes behind the last batch of a segment are all alike; a few of them will do. */
static bool is_worth_it(const struct subject *subject, const char *path, size_t at)
{
    const struct buf *bytes = disk_bytes(subject->disk, path);
    size_t end = bytes->size;
    while (end > 0 && bytes->data[end - 1] == 0) {
        end--;
    }
    return at < end + 2 * SECTOR_SIZE || at % 251 == 0;
}

/* Every `step`-th byte of each segment, beginning with a different one in each. */
static struct tally damage_bytes(const struct subject *subject, size_t step)
{
    struct tally tally = {0};
    for (size_t i = 0; i < subject->batches.segment_count; i++) {
        const struct placed_segment *segment = &subject->batches.segments[i];
        for (size_t at = i % step; at < segment->size; at += step) {
            if (is_worth_it(subject, segment->path, at)) {
                damage_byte(subject, segment->path, at, &tally);
            }
        }
    }
    return tally;
}

/* Bugs 11 and 12: a torn tail is cut, whatever else is damaged is refused. */
static void every_byte_of_a_crashed_log_gets_the_right_verdict(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CRASH});
    struct tally tally = damage_bytes(subject, 1);
    assert_true(tally.whole > 0);
    assert_true(tally.torn > 0);
    assert_true(tally.damaged > 0);
    subject_free(subject);
}

static void every_byte_of_a_sealed_log_gets_the_right_verdict(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    struct tally tally = damage_bytes(subject, 1);
    assert_true(tally.whole > 0);
    /* Nothing in a sealed log can be taken for a torn write. */
    assert_int_equal(tally.torn, 0);
    assert_true(tally.damaged > 0);
    subject_free(subject);
}

static void bytes_all_over_a_log_of_several_segments_get_the_right_verdict(void **state)
{
    (void)state;
    struct subject *subject = subject_new(3072, 2, (enum ending[]){BY_CRASH, BY_CRASH});
    assert_true(subject->batches.segment_count > 3);
    struct tally tally = damage_bytes(subject, 3);
    assert_true(tally.torn > 0);
    assert_true(tally.damaged > 0);
    subject_free(subject);
}

static uint64_t term_of(const struct storage_restored *restored, uint64_t index)
{
    uint64_t next = restored->first_index;
    size_t run = 0;
    while (next + restored->runs[run].count <= index) {
        next += restored->runs[run++].count;
    }
    return restored->runs[run].term;
}

static void bytes_all_over_a_trimmed_log_get_the_right_verdict(void **state)
{
    (void)state;
    struct subject *subject = memory_new(1, sizeof *subject);
    struct disk *disk = disk_new();
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, directory);
    subject->segment_size = 3072;
    scene.options.segment_size = 3072;
    struct storage_restored restored;
    assert_int_equal(scene_open(&scene), 0);
    for (uint64_t term = 1; term < 9; term += 2) {
        write_some(&scene, term);
        truncate_some(&scene, term + 1);
    }
    uint64_t trimmed = storage_last_index(scene.storage) - 5;
    storage_restored(scene.storage, &restored);
    scene_snapshot(&scene, trimmed - 1, term_of(&restored, trimmed - 1));
    storage_trim(scene.storage, trimmed);
    for (int turn = 0; turn < 100; turn++) {
        scene_run_once(&scene);
    }
    scene_append(&scene, 8, 30);
    scene_flush(&scene);
    scene_settle(&scene);
    struct prng prng;
    prng_init(&prng, 1);
    subject->disk = disk_crash(disk, DISK_LOSE_ALL, &prng);
    scene_close(&scene);
    io_free(io);
    disk_free(disk);
    batches_read(&subject->batches, subject->disk, directory);
    assert_true(subject->batches.first_index > 1);
    assert_true(subject->batches.segment_count >= 3);

    struct tally tally = damage_bytes(subject, 3);
    assert_true(tally.whole > 0);
    assert_true(tally.torn > 0);
    assert_true(tally.damaged > 0);

    /* All of the first segment's batches at once: the next one must not pass for the beginning. */
    disk = disk_copy(subject->disk);
    struct buf *bytes = disk_bytes(disk, subject->batches.segments[0].path);
    memset(bytes->data + SECTOR_SIZE, 0, bytes->size - SECTOR_SIZE);
    assert_int_equal(check_verdict(subject, disk, false), VERDICT_DAMAGED);
    subject_free(subject);
}

static void a_missing_segment_is_damage(void **state)
{
    (void)state;
    struct subject *subject = subject_new(3072, 1, (enum ending[]){BY_CRASH});
    /* The last one may be the spare, which holds nothing. */
    for (size_t i = 0; i + 2 < subject->batches.segment_count; i++) {
        struct disk *disk = disk_copy(subject->disk);
        disk_remove(disk, subject->batches.segments[i].path);
        assert_int_equal(check_verdict(subject, disk, false), VERDICT_DAMAGED);
    }
    subject_free(subject);
}

/* ---- VOTE and IDENTITY ---- */

static int open_copy(struct disk *disk, struct storage_restored *ret_restored)
{
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, directory);
    scene.options.segment_size = 8192;
    int err = scene_open(&scene);
    if (err == 0) {
        storage_restored(scene.storage, ret_restored);
        ret_restored->runs = NULL;
    } else {
        assert_non_null(strstr(scene.sentence, "data"));
    }
    scene_close(&scene);
    io_free(io);
    disk_free(disk);
    return err;
}

static void either_vote_slot_may_be_damaged_but_not_both(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    struct storage_restored restored;
    for (size_t at = 0; at < VOTE_FILE_SIZE; at += at % 4096 < 80 ? 1 : 97) {
        struct disk *disk = disk_copy(subject->disk);
        disk_bytes(disk, "data/VOTE")->data[at] ^= 0x10;
        assert_int_equal(open_copy(disk, &restored), 0);
        assert_int_equal(restored.term, 2);
        assert_int_equal(restored.voted_for, 7);

        disk = disk_copy(subject->disk);
        disk_bytes(disk, "data/VOTE")->size = at;
        assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    }
    for (size_t at = 0; at < VOTE_RECORD_SIZE; at++) {
        struct disk *disk = disk_copy(subject->disk);
        disk_bytes(disk, "data/VOTE")->data[at] ^= 0x10;
        disk_bytes(disk, "data/VOTE")->data[at / 2 + VOTE_SLOT_SPACING] ^= 1;
        assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    }
    subject_free(subject);
}

static void a_stored_vote_survives_damage_to_its_slot_without_a_clean_end(void **state)
{
    (void)state;
    struct disk *disk = disk_new();
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, directory);
    scene.options.segment_size = 8192;
    assert_int_equal(scene_open(&scene), 0);
    storage_vote(scene.storage, 41, 3);
    scene_flush(&scene);
    scene_settle(&scene);
    for (int turn = 0; turn < 20; turn++) {
        scene_run_once(&scene);
    }
    struct prng prng;
    prng_init(&prng, 1);
    for (size_t slot = 0; slot < 2; slot++) {
        struct disk *found = disk_crash(disk, DISK_LOSE_ALL, &prng);
        disk_bytes(found, "data/VOTE")->data[slot * VOTE_SLOT_SPACING + 30] ^= 1;
        struct storage_restored restored;
        assert_int_equal(open_copy(found, &restored), 0);
        assert_int_equal(restored.term, 41);
        assert_int_equal(restored.voted_for, 3);
    }
    scene_close(&scene);
    io_free(io);
    disk_free(disk);
}

static void an_older_vote_file_is_damage(void **state)
{
    (void)state;
    struct disk *old = session(disk_new(), 8192, 1, BY_CLOSE);
    struct disk *new = session(disk_copy(old), 8192, 5, BY_CRASH);
    struct buf *vote = disk_bytes(new, "data/VOTE");
    memcpy(vote->data, disk_bytes(old, "data/VOTE")->data, vote->size);
    struct storage_restored restored;
    assert_int_equal(open_copy(new, &restored), KV_ERR_DAMAGED);
    disk_free(old);
}

static void a_damaged_identity_is_refused(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    struct storage_restored restored;
    size_t size = disk_bytes(subject->disk, "data/IDENTITY")->size;
    assert_true(size > IDENTITY_HEADER_SIZE);
    for (size_t at = 0; at < size; at++) {
        struct disk *disk = disk_copy(subject->disk);
        disk_bytes(disk, "data/IDENTITY")->data[at] ^= 0x40;
        assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
        disk = disk_copy(subject->disk);
        disk_bytes(disk, "data/IDENTITY")->size = at;
        assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    }
    subject_free(subject);
}

static void a_log_without_its_identity_votes_or_segments_is_refused(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    struct storage_restored restored;
    const char *paths[] = {"data/IDENTITY", "data/VOTE", "data/log-0000000000000001"};
    for (size_t i = 0; i < 3; i++) {
        struct disk *disk = disk_copy(subject->disk);
        disk_remove(disk, paths[i]);
        assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    }
    struct disk *disk = disk_copy(subject->disk);
    for (size_t i = 0; i < subject->batches.segment_count; i++) {
        disk_remove(disk, subject->batches.segments[i].path);
    }
    assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    subject_free(subject);
}

/* ---- what is whole, but cannot be ---- */

static const char first_segment[] = "data/log-0000000000000001";

/* Another version, under a right checksum. */
static void change_version(uint8_t *at, size_t size, uint64_t seed)
{
    put_u32(at + 12, LAYOUT_VERSION + 1);
    put_u64(at, hash_bytes_seeded(at + 8, size - 8, seed));
}

static void a_later_format_is_refused_as_such(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    struct storage_restored restored;
    struct identity identity = {.cluster_id = 0xc1, .node_id = 7};
    struct disk *disk = disk_copy(subject->disk);
    struct buf *identity_file = disk_bytes(disk, "data/IDENTITY");
    change_version(identity_file->data, identity_file->size, 0);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_VERSION);

    disk = disk_copy(subject->disk);
    change_version(disk_bytes(disk, "data/VOTE")->data, VOTE_RECORD_SIZE, 0);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_VERSION);

    disk = disk_copy(subject->disk);
    uint8_t *bytes = disk_bytes(disk, first_segment)->data;
    struct segment segment;
    assert_int_equal(segment_decode(bytes, &identity, &segment), 0);
    change_version(bytes + SECTOR_SIZE, BATCH_HEADER_SIZE, segment.salt + SECTOR_SIZE);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_VERSION);

    disk = disk_copy(subject->disk);
    change_version(disk_bytes(disk, first_segment)->data, SEGMENT_HEADER_SIZE, 0);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_VERSION);
    subject_free(subject);
}

static void files_of_another_server_are_refused(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    struct storage_restored restored;
    struct identity own = {.cluster_id = 0xc1, .node_id = 7};
    struct identity other = {.cluster_id = 0xc1, .node_id = 8};

    struct disk *disk = disk_copy(subject->disk);
    uint8_t *bytes = disk_bytes(disk, first_segment)->data;
    struct segment segment;
    assert_int_equal(segment_decode(bytes, &own, &segment), 0);
    segment_encode(&segment, &other, bytes);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);

    disk = disk_copy(subject->disk);
    bytes = disk_bytes(disk, "data/VOTE")->data;
    struct vote vote = {.sequence = 1, .first_segment = 1};
    vote_encode(&vote, &other, bytes);
    vote_encode(&vote, &other, bytes + VOTE_SLOT_SPACING);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    subject_free(subject);
}

/* A batch of one entry behind the last, whole by all its checksums. */
static void add_batch(struct disk *disk, const struct batches *batches, uint64_t index,
                      uint64_t term, uint64_t previous_term)
{
    const struct placed_batch *last = &batches->at[batches->count - 1];
    struct identity identity = {.cluster_id = 0xc1, .node_id = 7};
    uint8_t *bytes = disk_bytes(disk, last->path)->data;
    struct segment segment;
    assert_int_equal(segment_decode(bytes, &identity, &segment), 0);
    struct batch_place place = {
        .salt = segment.salt,
        .offset = last->offset + batch_disk_size(&last->batch),
    };
    uint8_t *at = bytes + place.offset;
    struct entry entry = {.index = index, .term = term, .kind = ENTRY_NOOP};
    entry_encode(&entry, at + BATCH_HEADER_SIZE);
    struct batch batch = {
        .size = ENTRY_HEADER_SIZE,
        .count = 1,
        .sequence = last->batch.sequence + 1,
        .first_index = index,
        .segment = segment.number,
        .binding = batch_bind(0, get_u64(at + BATCH_HEADER_SIZE)),
        .previous_term = previous_term,
    };
    batch_encode(&batch, place, at);
}

static void a_whole_batch_that_does_not_follow_is_damage(void **state)
{
    (void)state;
    struct subject *subject = subject_new(8192, 1, (enum ending[]){BY_CLOSE});
    const struct batches *batches = &subject->batches;
    uint64_t last = batches->at[batches->count - 1].last;
    uint64_t last_term = batches->at[batches->count - 1].terms[last - 1];
    struct storage_restored restored;
    struct disk *disk = disk_copy(subject->disk);
    add_batch(disk, batches, last + 1, 9, last_term);
    assert_int_equal(open_copy(disk, &restored), 0);
    assert_int_equal(restored.last_index, last + 1);
    /* An index left out, a term that falls, and another term before it. */
    disk = disk_copy(subject->disk);
    add_batch(disk, batches, last + 2, 9, last_term);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    disk = disk_copy(subject->disk);
    add_batch(disk, batches, last + 1, 1, last_term);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    disk = disk_copy(subject->disk);
    add_batch(disk, batches, last + 1, 9, last_term + 1);
    assert_int_equal(open_copy(disk, &restored), KV_ERR_DAMAGED);
    subject_free(subject);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_a_crashed_log_gets_the_right_verdict),
        cmocka_unit_test(every_byte_of_a_sealed_log_gets_the_right_verdict),
        cmocka_unit_test(bytes_all_over_a_log_of_several_segments_get_the_right_verdict),
        cmocka_unit_test(bytes_all_over_a_trimmed_log_get_the_right_verdict),
        cmocka_unit_test(a_missing_segment_is_damage),
        cmocka_unit_test(either_vote_slot_may_be_damaged_but_not_both),
        cmocka_unit_test(a_stored_vote_survives_damage_to_its_slot_without_a_clean_end),
        cmocka_unit_test(an_older_vote_file_is_damage),
        cmocka_unit_test(a_damaged_identity_is_refused),
        cmocka_unit_test(a_later_format_is_refused_as_such),
        cmocka_unit_test(files_of_another_server_are_refused),
        cmocka_unit_test(a_whole_batch_that_does_not_follow_is_damage),
        cmocka_unit_test(a_log_without_its_identity_votes_or_segments_is_refused),
    };
    return cmocka_run_group_tests_name("storage_damage", tests, NULL, NULL);
}
