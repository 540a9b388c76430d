/*
 * Damaged snapshots and logs that do not fit to them: what is found must be said, the one before
 * taken where the log makes up for the rest, and the start refused, with nothing changed, where
 * not.
 */
#include "disk.h"
#include "scene.h"
#include "shots.h"

#include "base/hash.h"
#include "base/memory.h"
#include "kvapp/err.h"
#include "storage/snapshot_format.h"

#include <stdlib.h>
#include <string.h>

enum { OLDER = 12, NEWEST = 24, LAST = 30, TERM = 3 };

static const char older_path[] = "data/snapshot-000000000000000c";
static const char newest_path[] = "data/snapshot-0000000000000018";
static const char damaged_path[] = "data/snapshot-0000000000000018.damaged";

/* A disk with 30 entries of one term, snapshots at 12 and 24, the log trimmed behind `trimmed`. */
static struct disk *subject_new(uint64_t trimmed)
{
    struct disk *disk = disk_new();
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    scene.options.segment_size = 4096;
    assert_int_equal(scene_open(&scene), 0);
    for (int i = 0; i < LAST; i++) {
        scene_append(&scene, TERM, 700);
        scene_flush(&scene);
        scene_settle(&scene);
    }
    struct shots shots;
    shots_init(&shots, &scene);
    assert_true(shots_take(&shots, OLDER, TERM));
    assert_true(shots_take(&shots, NEWEST, TERM));
    shots_done(&shots);
    storage_trim(scene.storage, trimmed + 1);
    for (int turn = 0; turn < 200; turn++) {
        scene_run_once(&scene);
    }
    scene_close(&scene);
    io_free(io);
    return disk;
}

static void note_warning(void *context, enum trace_level level, const char *line)
{
    if (level == TRACE_WARN) {
        char *warning = context;
        (void)snprintf(warning, 1024, "%s", line);
    }
}

struct found {
    int err;
    char sentence[1024];
    char warning[1024];
    uint64_t snapshot;
    uint64_t first;
    uint64_t last;
};

/* Opens the disk, which is freed unless `keep`; a snapshot that is found must be right. */
static struct found open_disk(struct disk *disk, bool keep)
{
    struct found found = {0};
    struct trace trace = {.sink = note_warning, .context = found.warning, .level = TRACE_WARN};
    struct disk *before = disk_copy(disk);
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    scene.options.segment_size = 4096;
    scene.options.trace = &trace;
    found.err = scene_open(&scene);
    memcpy(found.sentence, scene.sentence, sizeof found.sentence);
    if (found.err == 0) {
        struct storage_restored restored;
        storage_restored(scene.storage, &restored);
        found.snapshot = restored.snapshot_index;
        found.first = restored.first_index;
        found.last = restored.last_index;
        struct shots shots;
        shots_init(&shots, &scene);
        if (found.snapshot != 0) {
            shots_check(&shots, found.snapshot);
        }
        shots_done(&shots);
    } else {
        assert_true(disk_equal(before, disk));
    }
    scene_close(&scene);
    io_free(io);
    disk_free(before);
    if (!keep) {
        disk_free(disk);
    }
    return found;
}

static void check_fallback(struct disk *disk)
{
    struct found found = open_disk(disk, true);
    assert_int_equal(found.err, 0);
    assert_int_equal(found.snapshot, OLDER);
    assert_true(found.first <= OLDER + 1);
    assert_int_equal(found.last, LAST);
    assert_non_null(strstr(found.warning, newest_path));
    assert_null(disk_bytes(disk, newest_path));
    assert_non_null(disk_bytes(disk, damaged_path));
    disk_free(disk);
}

static void check_refused(struct disk *disk)
{
    struct found found = open_disk(disk, false);
    assert_int_equal(found.err, KV_ERR_DAMAGED);
    assert_non_null(strstr(found.sentence, newest_path));
    assert_non_null(strstr(found.sentence, "offset"));
    assert_non_null(strstr(found.sentence, "leave this server stopped"));
}

/* Each byte of the newest snapshot in turn, on a copy that `check` takes over. */
static void flip_each_byte(struct disk *subject, void (*check)(struct disk *disk))
{
    size_t size = disk_bytes(subject, newest_path)->size;
    for (size_t at = 0; at < size; at++) {
        struct disk *disk = disk_copy(subject);
        disk_bytes(disk, newest_path)->data[at] ^= (uint8_t)(1 << at % 8);
        check(disk);
    }
}

static void every_byte_of_a_snapshot_is_checked_and_the_one_before_takes_its_place(void **state)
{
    (void)state;
    struct disk *subject = subject_new(OLDER);
    struct found found = open_disk(subject, true);
    assert_int_equal(found.snapshot, NEWEST);
    assert_true(found.first > 1);
    flip_each_byte(subject, check_fallback);
    disk_free(subject);
}

/* Bug 18: where the log does not reach back to the one before, it would leave a gap. */
static void a_damaged_snapshot_that_the_log_cannot_replace_is_refused(void **state)
{
    (void)state;
    struct disk *subject = subject_new(NEWEST);
    flip_each_byte(subject, check_refused);
    disk_free(subject);
}

/* Bug 11 for snapshots: cut, zeroed and extended. */
static void a_snapshot_that_was_cut_or_zeroed_or_extended_is_damaged(void **state)
{
    (void)state;
    struct disk *subject = subject_new(OLDER);
    size_t size = disk_bytes(subject, newest_path)->size;
    for (size_t at = 0; at < size; at += at % 64 == 63 ? 1 : 31) {
        struct disk *disk = disk_copy(subject);
        disk_bytes(disk, newest_path)->size = at;
        check_fallback(disk);
        disk = disk_copy(subject);
        struct buf *bytes = disk_bytes(disk, newest_path);
        size_t zeros = size - at < 64 ? size - at : 64;
        memset(bytes->data + at, 0, zeros);
        if (slice_equal(buf_slice(bytes), buf_slice(disk_bytes(subject, newest_path)))) {
            disk_free(disk);
        } else {
            check_fallback(disk);
        }
    }
    struct disk *disk = disk_copy(subject);
    buf_put_u8(disk_bytes(disk, newest_path), 0);
    check_fallback(disk);
    disk_free(subject);
}

static void bytes_of_another_snapshot_do_not_pass(void **state)
{
    (void)state;
    struct disk *subject = subject_new(OLDER);
    /* The other file under this name. */
    struct disk *disk = disk_copy(subject);
    struct buf *newest = disk_bytes(disk, newest_path);
    buf_clear(newest);
    buf_append_slice(newest, buf_slice(disk_bytes(disk, older_path)));
    check_fallback(disk);
    /* The same snapshot taken once more: its chunks, of the same sizes, under this header. */
    struct buf other = {0};
    (void)shots_make(0xc1, NEWEST, TERM, &other);
    disk = disk_copy(subject);
    newest = disk_bytes(disk, newest_path);
    assert_int_equal(other.size, newest->size);
    memcpy(newest->data + SNAPSHOT_HEADER_SIZE, other.data + SNAPSHOT_HEADER_SIZE,
           newest->size - SNAPSHOT_HEADER_SIZE);
    check_fallback(disk);
    /* One of another cluster. */
    (void)shots_make(0xc2, NEWEST, TERM, &other);
    disk = disk_copy(subject);
    newest = disk_bytes(disk, newest_path);
    buf_clear(newest);
    buf_append_slice(newest, buf_slice(&other));
    check_fallback(disk);
    buf_done(&other);
    disk_free(subject);
}

/* The chunks of a snapshot here, and what is forged in them. */
enum {
    CHUNK_MEMBERSHIP,
    CHUNK_FIRST,
    CHUNK_SECOND,
    CHUNK_THIRD,
    CHUNK_END,
    CHUNK_SEQUENCE = 16,
    CHUNK_RAW_SIZE = 24,
};

/* Where the n-th chunk of a snapshot begins; the end is the last one. */
static uint8_t *chunk_at(struct buf *file, size_t wanted, size_t *ret_offset)
{
    size_t offset = SNAPSHOT_HEADER_SIZE;
    struct snapshot_chunk chunk;
    for (size_t i = 0; i < wanted; i++) {
        assert_int_equal(snapshot_chunk_decode(file->data + offset, &chunk), 0);
        offset += SNAPSHOT_CHUNK_HEADER_SIZE + chunk.stored_size;
    }
    *ret_offset = offset;
    return file->data + offset;
}

/* Puts a number into the header of the n-th chunk and makes its checksum right again; returns what
 * stood there. */
static uint64_t forge_chunk(struct buf *file, size_t which, size_t field, uint64_t value)
{
    size_t offset;
    uint8_t *at = chunk_at(file, which, &offset);
    struct snapshot_chunk chunk;
    assert_int_equal(snapshot_chunk_decode(at, &chunk), 0);
    uint64_t old;
    if (field == CHUNK_RAW_SIZE && !chunk.end) {
        old = get_u32(at + field);
        put_u32(at + field, (uint32_t)value);
    } else {
        old = get_u64(at + field);
        put_u64(at + field, value);
    }
    size_t size = SNAPSHOT_CHUNK_HEADER_SIZE - 8 + chunk.stored_size;
    put_u64(at, hash_bytes_seeded(at + 8, size, get_u64(file->data + 16) + offset));
    return old;
}

/* Makes a chunk say that it has other many bytes, and the end that the snapshot has as many more.
 */
static void forge_raw_size(struct buf *file, size_t which, uint64_t value)
{
    uint64_t old = forge_chunk(file, which, CHUNK_RAW_SIZE, value);
    uint64_t all = forge_chunk(file, CHUNK_END, CHUNK_RAW_SIZE, 0);
    (void)forge_chunk(file, CHUNK_END, CHUNK_RAW_SIZE, all - old + value);
}

/* Checksums alone do not make a snapshot whole: what they cover must fit together. */
static void
chunks_that_do_not_fit_together_are_damage_though_their_checksums_are_right(void **state)
{
    (void)state;
    struct disk *subject = subject_new(OLDER);
    struct buf membership = {0};
    shots_membership(NEWEST, &membership);
    size_t size = membership.size;
    buf_done(&membership);
    const struct {
        size_t which;
        size_t field;
        uint64_t value;
    } forged[] = {
        {CHUNK_MEMBERSHIP, CHUNK_SEQUENCE, 1},
        {CHUNK_MEMBERSHIP, CHUNK_RAW_SIZE, size - 1},
        {CHUNK_MEMBERSHIP, CHUNK_RAW_SIZE, size + 1},
        {CHUNK_MEMBERSHIP, CHUNK_RAW_SIZE, STORAGE_MEMBERSHIP_SIZE_MAX + 1},
        {CHUNK_FIRST, CHUNK_SEQUENCE, 2},
        {CHUNK_THIRD, CHUNK_SEQUENCE, 2},
        {CHUNK_SECOND, CHUNK_RAW_SIZE, 0},
        {CHUNK_END, CHUNK_SEQUENCE, CHUNK_END - 1},
        {CHUNK_END, CHUNK_SEQUENCE, CHUNK_END + 1},
        {CHUNK_END, CHUNK_RAW_SIZE, 1},
    };
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        struct disk *disk = disk_copy(subject);
        struct buf *file = disk_bytes(disk, newest_path);
        if (forged[i].field == CHUNK_RAW_SIZE && forged[i].which != CHUNK_END) {
            forge_raw_size(file, forged[i].which, forged[i].value);
        } else {
            (void)forge_chunk(file, forged[i].which, forged[i].field, forged[i].value);
        }
        check_fallback(disk);
    }
    /* An end right behind the header. */
    struct disk *disk = disk_copy(subject);
    struct buf *file = disk_bytes(disk, newest_path);
    struct snapshot_chunk end = {.end = true};
    struct snapshot_place place = {.salt = get_u64(file->data + 16)};
    place.offset = SNAPSHOT_HEADER_SIZE;
    file->size = SNAPSHOT_HEADER_SIZE + SNAPSHOT_CHUNK_HEADER_SIZE;
    snapshot_chunk_encode(&end, place, file->data + SNAPSHOT_HEADER_SIZE);
    check_fallback(disk);
    /* What forging puts back as it was is whole. */
    file = disk_bytes(subject, newest_path);
    (void)forge_chunk(file, CHUNK_SECOND, CHUNK_SEQUENCE, CHUNK_SECOND);
    assert_int_equal(open_disk(subject, false).snapshot, NEWEST);
}

/* The start goes through the chunks as they are stored; what is in one shows when it is read. */
static void a_chunk_that_does_not_decompress_is_damage_when_it_is_read_back(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct disk *disk = subject_new(OLDER);
        size_t offset;
        struct buf *file = disk_bytes(disk, newest_path);
        uint32_t size = get_u32(chunk_at(file, CHUNK_FIRST, &offset) + CHUNK_RAW_SIZE);
        forge_raw_size(file, CHUNK_FIRST, more != 0 ? size + 1 : size - 1);
        struct io *io = disk_io(disk);
        struct scene scene;
        scene_init(&scene, io, "data");
        scene.options.segment_size = 4096;
        assert_int_equal(scene_open(&scene), 0);
        assert_int_equal(storage_snapshot_newest(scene.storage), NEWEST);
        struct shots shots;
        shots_init(&shots, &scene);
        storage_snapshot_read_next(scene.storage, &shots.read);
        assert_true(shots_wait(&shots));
        assert_int_equal(shots.err, KV_ERR_DAMAGED);
        assert_int_equal(shots.bytes.size, 0);
        assert_non_null(strstr(shots.sentence, newest_path));
        assert_non_null(strstr(shots.sentence, "decompressed"));
        shots_done(&shots);
        scene_close(&scene);
        io_free(io);
        disk_free(disk);
    }
}

/* Puts another term into the header and makes its checksum right again. */
static void forge_term(struct buf *file, uint64_t term)
{
    put_u64(file->data + 40, term);
    put_u64(file->data, hash_bytes(file->data + 8, SNAPSHOT_HEADER_SIZE - 8));
}

static void a_snapshot_of_a_later_format_is_refused_as_such(void **state)
{
    (void)state;
    struct disk *disk = subject_new(OLDER);
    uint8_t *at = disk_bytes(disk, newest_path)->data;
    put_u32(at + 12, LAYOUT_VERSION + 1);
    put_u64(at, hash_bytes(at + 8, SNAPSHOT_HEADER_SIZE - 8));
    struct found found = open_disk(disk, false);
    assert_int_equal(found.err, KV_ERR_VERSION);
    assert_non_null(strstr(found.sentence, newest_path));
}

/* The first chunk of it is not read at once with its header. */
static void a_large_snapshot_under_another_name_is_noticed_too(void **state)
{
    (void)state;
    struct disk *disk = subject_new(OLDER);
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    scene.options.segment_size = 4096;
    assert_int_equal(scene_open(&scene), 0);
    struct shots shots;
    shots_init(&shots, &scene);
    shots.chunk_size = SNAPSHOT_CHUNK_SIZE_MAX - 16;
    assert_true(shots_take(&shots, LAST, TERM));
    shots_check(&shots, LAST);
    shots_done(&shots);
    scene_close(&scene);
    io_free(io);
    const char *large_path = "data/snapshot-000000000000001e";
    struct buf *newest = disk_bytes(disk, newest_path);
    buf_clear(newest);
    buf_append_slice(newest, buf_slice(disk_bytes(disk, large_path)));
    disk_remove(disk, large_path);
    struct found found = open_disk(disk, false);
    assert_int_equal(found.err, KV_ERR_DAMAGED);
    assert_non_null(strstr(found.sentence, newest_path));
    assert_non_null(strstr(found.sentence, "another snapshot than its name says"));
}

static void a_log_that_was_trimmed_needs_its_snapshot(void **state)
{
    (void)state;
    struct disk *disk = subject_new(NEWEST);
    disk_remove(disk, newest_path);
    struct found found = open_disk(disk, true);
    assert_int_equal(found.err, KV_ERR_DAMAGED);
    assert_non_null(strstr(found.sentence, "snapshot-000000000000000c"));
    assert_non_null(strstr(found.sentence, "log-"));
    disk_remove(disk, older_path);
    found = open_disk(disk, false);
    assert_int_equal(found.err, KV_ERR_DAMAGED);
    assert_non_null(strstr(found.sentence, "no snapshot"));
}

static void all_snapshots_may_be_damaged_while_the_log_is_whole(void **state)
{
    (void)state;
    struct disk *disk = subject_new(0);
    disk_bytes(disk, newest_path)->data[600] ^= 1;
    disk_bytes(disk, older_path)->data[600] ^= 1;
    struct found found = open_disk(disk, true);
    assert_int_equal(found.err, 0);
    assert_int_equal(found.snapshot, 0);
    assert_int_equal(found.first, 1);
    assert_int_equal(found.last, LAST);
    assert_non_null(disk_bytes(disk, damaged_path));
    /* And once they are out of the way, nothing is wrong. */
    found = open_disk(disk, false);
    assert_int_equal(found.err, 0);
    assert_string_equal(found.warning, "");
}

/* Puts the file of a snapshot into the directory, as if a crash had come right behind its rename.
 */
static void put_snapshot(struct disk *disk, uint64_t index, uint64_t term)
{
    struct buf file = {0};
    (void)shots_make(0xc1, index, term, &file);
    struct io *io = disk_io(disk);
    struct scene scene;
    scene_init(&scene, io, "data");
    scene.options.segment_size = 4096;
    assert_int_equal(scene_open(&scene), 0);
    struct shots shots;
    shots_init(&shots, &scene);
    struct storage_snapshot_offer offer = {.index = index, .term = term, .size = file.size};
    offer.salt = get_u64(file.data + 16);
    assert_true(shots_receive(&shots, &offer, buf_slice(&file), 1000));
    assert_int_equal(shots.err, 0);
    shots_done(&shots);
    scene_close(&scene);
    io_free(io);
    buf_done(&file);
}

/* Bugs 18 and 24: a received snapshot whose log was not reset. */
static void a_log_that_does_not_lead_to_the_snapshot_is_discarded(void **state)
{
    (void)state;
    static const struct {
        uint64_t index;
        uint64_t term;
        uint64_t first;
        uint64_t last;
    } cases[] = {
        {LAST + 10, TERM, LAST + 11, LAST + 10}, /* the log ends below it */
        {28, TERM + 1, 29, 28},                  /* another entry stands there */
        {LAST, TERM + 1, LAST + 1, LAST},
        {28, TERM, 1, LAST}, /* the log leads to it */
        {LAST, TERM, 1, LAST},
    };
    struct disk *subject = subject_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct disk *disk = disk_copy(subject);
        put_snapshot(disk, cases[i].index, cases[i].term);
        /* The second start finds what the first has made of it. */
        for (int start = 0; start < 2; start++) {
            struct found found = open_disk(disk, true);
            assert_int_equal(found.err, 0);
            assert_int_equal(found.snapshot, cases[i].index);
            assert_int_equal(found.first, cases[i].first);
            assert_int_equal(found.last, cases[i].last);
        }
        disk_free(disk);
    }
    disk_free(subject);
}

/* The log may not take the place of a snapshot that it does not lead to. */
static void a_damaged_received_snapshot_does_not_bring_an_old_log_back(void **state)
{
    (void)state;
    struct disk *subject = subject_new(0);
    put_snapshot(subject, LAST + 10, TERM);
    struct buf *bytes = disk_bytes(subject, "data/snapshot-0000000000000028");
    bytes->data[700] ^= 1;
    struct found found = open_disk(subject, true);
    assert_int_equal(found.err, KV_ERR_DAMAGED);
    bytes->data[700] ^= 1;
    assert_int_equal(open_disk(subject, true).first, LAST + 11);
    bytes->data[700] ^= 1;
    assert_int_equal(open_disk(subject, false).err, KV_ERR_DAMAGED);

    subject = subject_new(0);
    put_snapshot(subject, 28, TERM + 1);
    disk_bytes(subject, "data/snapshot-000000000000001c")->data[700] ^= 1;
    assert_int_equal(open_disk(subject, false).err, KV_ERR_DAMAGED);
}

/* What stands right before the log, or below its end, was stored: another term there is damage. */
static void a_log_that_contradicts_its_snapshot_is_refused(void **state)
{
    (void)state;
    struct disk *disk = subject_new(0);
    put_snapshot(disk, LAST + 10, TERM);
    struct found found = open_disk(disk, true);
    assert_int_equal(found.err, 0);
    assert_int_equal(found.first, LAST + 11);
    forge_term(disk_bytes(disk, "data/snapshot-0000000000000028"), TERM + 1);
    found = open_disk(disk, false);
    assert_int_equal(found.err, KV_ERR_DAMAGED);
    assert_non_null(strstr(found.sentence, "snapshot-0000000000000028"));

    /* The log makes up for the damaged one, but not from the one before. */
    disk = subject_new(0);
    disk_bytes(disk, newest_path)->data[700] ^= 1;
    forge_term(disk_bytes(disk, older_path), TERM + 1);
    check_refused(disk);
}

static void snapshots_without_a_log_are_refused(void **state)
{
    (void)state;
    struct disk *disk = subject_new(0);
    disk_remove(disk, "data/VOTE");
    for (unsigned number = 1; number < 64; number++) {
        char path[64];
        (void)snprintf(path, sizeof path, "data/log-%016x", number);
        if (disk_bytes(disk, path) != NULL) {
            disk_remove(disk, path);
        }
    }
    assert_int_equal(open_disk(disk, true).err, KV_ERR_DAMAGED);
    disk_remove(disk, "data/IDENTITY");
    assert_int_equal(open_disk(disk, false).err, KV_ERR_DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_a_snapshot_is_checked_and_the_one_before_takes_its_place),
        cmocka_unit_test(a_damaged_snapshot_that_the_log_cannot_replace_is_refused),
        cmocka_unit_test(a_snapshot_that_was_cut_or_zeroed_or_extended_is_damaged),
        cmocka_unit_test(bytes_of_another_snapshot_do_not_pass),
        cmocka_unit_test(
            chunks_that_do_not_fit_together_are_damage_though_their_checksums_are_right),
        cmocka_unit_test(a_chunk_that_does_not_decompress_is_damage_when_it_is_read_back),
        cmocka_unit_test(a_snapshot_of_a_later_format_is_refused_as_such),
        cmocka_unit_test(a_large_snapshot_under_another_name_is_noticed_too),
        cmocka_unit_test(a_log_that_was_trimmed_needs_its_snapshot),
        cmocka_unit_test(all_snapshots_may_be_damaged_while_the_log_is_whole),
        cmocka_unit_test(a_log_that_does_not_lead_to_the_snapshot_is_discarded),
        cmocka_unit_test(a_damaged_received_snapshot_does_not_bring_an_old_log_back),
        cmocka_unit_test(a_log_that_contradicts_its_snapshot_is_refused),
        cmocka_unit_test(snapshots_without_a_log_are_refused),
    };
    return cmocka_run_group_tests_name("storage_snapshot_damage", tests, NULL, NULL);
}
