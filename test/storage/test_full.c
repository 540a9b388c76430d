/*
 * A disk without space: what is flushed waits for it, nothing fails and nothing is lost. On this
 * disk a write that lengthens a file needs space, and no other.
 */
#include "bench.h"
#include "life.h"

#include "base/memory.h"
#include "kvapp/err.h"
#include "storage/batch.h"
#include "storage/layout.h"

#include <stdlib.h>
#include <string.h>

enum {
    PATIENCE = 600, /* turns of a millisecond: more than one pause of the maker */
    SEGMENT = 4096,
    /* The payload of two entries whose batch fills a segment to its last byte; the first one, which
     * holds a seal. */
    HALF = (SEGMENT - SECTOR_SIZE - BATCH_HEADER_SIZE) / 2 - ENTRY_HEADER_SIZE,
    FIRST_HALF = (SEGMENT - 2 * SECTOR_SIZE - BATCH_HEADER_SIZE) / 2 - ENTRY_HEADER_SIZE,
};

/* ---- at every operation of a script ---- */

/* Returns false once the script ended before the disk was full; counts lives that had to wait. */
static bool full_from(uint64_t number, uint64_t *waits, struct prng *prng)
{
    struct life life = {.model = memory_new(1, sizeof *life.model), .patience = PATIENCE};
    struct moment now = {0};
    struct disk *disk = disk_new();
    model_begin(life.model, &now);
    disk_control(disk)->full_from = number;
    life_begin(&life, disk);
    if (!run_until_opened(&life)) {
        /* A new directory that does not fit is none. */
        assert_int_equal(life.scene.opened_err, KV_ERR_FULL);
        disk_control(disk)->full_from = 0;
        struct disk *left = disk_copy(disk);
        life_end(&life);
        life_begin(&life, left);
        assert_true(run_until_opened(&life));
    }
    assert_true(life_run_script(&life));
    life_check_found(&life, disk_crash(life.disk, DISK_LOSE_SOME, prng), &now);
    assert_true(life_run_script(&life) && life_run_script(&life));
    assert_int_equal(life.scene.failed_count, 0);
    bool happened = disk_control(life.disk)->started >= number;
    *waits += life.waited >= PATIENCE;
    life_check_found(&life, disk_crash(life.disk, DISK_LOSE_ALL, prng), &now);
    assert_int_equal(now.last, model_now(life.model)->last);
    life_end(&life);
    free(life.model);
    return happened;
}

static void a_disk_that_is_full_for_a_while_loses_nothing_and_ends_nothing(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 31);
    uint64_t number = 1;
    uint64_t waits = 0;
    while (full_from(number, &waits, &prng)) {
        number++;
    }
    assert_true(number > 80);
    assert_true(waits > 40);
}

/* ---- moments of it ---- */

struct place {
    struct disk *disk;
    struct io *io;
    struct scene scene;
};

static void place_open(struct place *place, struct disk *disk)
{
    place->disk = disk;
    place->io = disk_io(disk);
    scene_init(&place->scene, place->io, "data");
    place->scene.options.segment_size = SEGMENT;
}

static void run(struct place *place, int turns)
{
    for (int i = 0; i < turns; i++) {
        scene_run_once(&place->scene);
    }
}

/* Appends and flushes two entries; returns whether they are stored. */
static bool append_two(struct place *place, size_t payload_size)
{
    scene_append(&place->scene, 1, payload_size);
    scene_append(&place->scene, 1, payload_size);
    scene_flush(&place->scene);
    run(place, PATIENCE);
    return place->scene.stored == place->scene.ticket;
}

/* A segment's worth. */
static bool append(struct place *place)
{
    return append_two(place, HALF);
}

static int begin(void **state)
{
    struct place *place = memory_new(1, sizeof *place);
    place_open(place, disk_new());
    assert_int_equal(scene_open(&place->scene), 0);
    assert_true(append_two(place, FIRST_HALF));
    *state = place;
    return 0;
}

static int end(void **state)
{
    struct place *place = *state;
    if (!place->scene.closed) {
        scene_close(&place->scene);
    }
    io_free(place->io);
    disk_free(place->disk);
    free(place);
    return 0;
}

static void fill_disk(struct place *place)
{
    run(place, 10); /* The next segment is there. */
    disk_control(place->disk)->full_from = 1;
}

/* The prepared segment is filled, the one behind it cannot be made. */
static void get_stuck(struct place *place)
{
    fill_disk(place);
    assert_false(storage_is_full(place->scene.storage));
    assert_true(append(place));
    assert_true(storage_is_full(place->scene.storage));
    assert_false(append(place));
    assert_int_equal(place->scene.failed_count, 0);
}

static void what_waits_for_space_is_stored_when_there_is_some(void **state)
{
    struct place *place = *state;
    get_stuck(place);
    assert_null(disk_bytes(place->disk, "data/spare.tmp"));
    storage_vote(place->scene.storage, 9, 7);
    scene_flush(&place->scene);
    disk_control(place->disk)->full_from = 0;
    scene_settle(&place->scene);
    assert_int_equal(place->scene.stored, place->scene.ticket);
    run(place, 10);
    assert_false(storage_is_full(place->scene.storage));
    scene_close(&place->scene);
    assert_int_equal(scene_open(&place->scene), 0);
    assert_int_equal(place->scene.term, 9);
    assert_int_equal(storage_last_index(place->scene.storage), 6);
}

static void a_close_does_not_wait_for_space(void **state)
{
    struct place *place = *state;
    get_stuck(place);
    uint64_t stored = place->scene.stored;
    scene_close(&place->scene);
    assert_int_equal(place->scene.failed_count, 0);
    assert_int_equal(place->scene.stored, stored);
    disk_control(place->disk)->full_from = 0;
    assert_int_equal(scene_open(&place->scene), 0);
    assert_int_equal(storage_last_index(place->scene.storage), 4);
}

/* The close tries once more, whenever the next trial would have been. */
static void a_close_stores_what_there_is_space_for_by_then(void **state)
{
    struct place *place = *state;
    get_stuck(place);
    disk_control(place->disk)->full_from = 0;
    scene_close(&place->scene);
    assert_int_equal(place->scene.stored, place->scene.ticket);
    assert_int_equal(scene_open(&place->scene), 0);
    assert_int_equal(storage_last_index(place->scene.storage), 6);
}

static void count_warning(void *context, enum trace_level level, const char *line)
{
    int *warnings = context;
    *warnings += level == TRACE_WARN && strstr(line, "the start waits until there is") != NULL;
}

/* What a crash left at the moment when the log had no room for its seal. */
static void find_stuck(struct place *place)
{
    struct prng prng;
    prng_init(&prng, 1);
    get_stuck(place);
    struct disk *found = disk_crash(place->disk, DISK_LOSE_ALL, &prng);
    scene_close(&place->scene);
    io_free(place->io);
    disk_free(place->disk);
    place_open(place, found);
    disk_control(found)->full_from = 1;
    scene_start(&place->scene);
    run(place, 2 * PATIENCE);
    assert_false(place->scene.opened);
}

static void a_start_without_space_waits_and_says_so_once(void **state)
{
    struct place *place = *state;
    int warnings = 0;
    const struct trace trace = {.sink = count_warning, .context = &warnings, .level = TRACE_WARN};
    find_stuck(place);
    scene_close(&place->scene);
    place->scene.options.trace = &trace;
    scene_start(&place->scene);
    run(place, 2 * PATIENCE);
    assert_false(place->scene.opened);
    assert_int_equal(warnings, 1);
    disk_control(place->disk)->full_from = 0;
    run(place, PATIENCE);
    assert_true(place->scene.opened);
    assert_int_equal(place->scene.opened_err, 0);
    assert_int_equal(storage_last_index(place->scene.storage), 4);
}

static void a_start_that_waits_for_space_can_be_closed(void **state)
{
    struct place *place = *state;
    find_stuck(place);
    scene_close(&place->scene);
    assert_false(place->scene.opened);
}

/* Trimming gives the log what it needs, though the disk stays full. */
static void a_freed_segment_is_taken_at_once(void **state)
{
    struct place *place = *state;
    assert_true(append(place));
    scene_snapshot(&place->scene, 4, 1);
    get_stuck(place);
    storage_trim(place->scene.storage, 5);
    run(place, 20);
    assert_int_equal(place->scene.stored, place->scene.ticket);
    assert_true(append(place));
    assert_false(append(place));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_that_is_full_for_a_while_loses_nothing_and_ends_nothing),
        CASE(what_waits_for_space_is_stored_when_there_is_some),
        CASE(a_close_does_not_wait_for_space),
        CASE(a_close_stores_what_there_is_space_for_by_then),
        CASE(a_start_without_space_waits_and_says_so_once),
        CASE(a_start_that_waits_for_space_can_be_closed),
        CASE(a_freed_segment_is_taken_at_once),
    };
    return cmocka_run_group_tests_name("storage_full", tests, NULL, NULL);
}
