/* The disks of the simulated world: what is lost, what is kept, what goes wrong. */
#include "sim_cast.h"

#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = SIM_SECTOR_SIZE, SECTORS = 64, SIZE = SECTORS * SECTOR };

static void set_keep(struct actor *actor, uint32_t keep_ppm, uint32_t torn_ppm,
                     uint32_t garbage_ppm)
{
    struct sim_disk_faults faults = *sim_disk_get(actor->host);
    faults.keep_ppm = keep_ppm;
    faults.torn_ppm = torn_ppm;
    faults.garbage_ppm = garbage_ppm;
    sim_disk_set(actor->host, &faults);
}

/* A durable file of zeros. */
static struct io_file *durable_file(struct actor *actor, const char *path)
{
    static const uint8_t zeros[SIZE];
    struct io_file *file = actor_open(actor, path, IO_OPEN_CREATE);
    assert_int_equal(actor_write(actor, file, 0, zeros, SIZE, IO_WRITE_DURABLE), SIZE);
    actor_sync_names(actor, "/d");
    return file;
}

static void fill(uint8_t *bytes, uint8_t value)
{
    memset(bytes, value, SIZE);
}

/* How many sectors are all `value`. */
static size_t sectors_of(const uint8_t *bytes, uint8_t value)
{
    size_t count = 0;
    for (size_t i = 0; i < SECTORS; i++) {
        const uint8_t *at = bytes + i * SECTOR;
        count += at[0] == value && memcmp(at, at + 1, SECTOR - 1) == 0;
    }
    return count;
}

static void read_file(struct actor *actor, const char *path, uint8_t bytes[SIZE])
{
    struct io_file *file = actor_open(actor, path, IO_OPEN_READ_ONLY);
    assert_int_equal(actor_read(actor, file, 0, bytes, SIZE), SIZE);
    actor_close(actor, file);
}

static void power_cycle(struct actor *actor)
{
    actor_crash(actor, SIM_CRASH_POWER);
    actor_boot(actor);
}

/* ---- power ---- */

static void power_loss_takes_unsynced_sectors_one_by_one(void **state)
{
    (void)state;
    struct cast *cast = cast_new(11, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    set_keep(actor, SIM_PPM / 2, 0, 0);
    struct io_file *file = durable_file(actor, "/d/file");
    fill(bytes, 7);
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, 0), SIZE);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    size_t kept = sectors_of(bytes, 7);
    assert_int_equal(kept + sectors_of(bytes, 0), SECTORS);
    assert_true(kept > SECTORS / 5 && kept < SECTORS * 4 / 5);
    const struct sim_counters *counters = sim_world_counters(cast->world);
    assert_int_equal(counters->faults[SIM_FAULT_SECTOR_KEPT], kept);
    assert_int_equal(counters->faults[SIM_FAULT_SECTOR_LOST], SECTORS - kept);
    cast_free(cast);
}

static void power_loss_never_takes_what_was_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        uint8_t bytes[SIZE];
        set_keep(actor, 100 * 1000, 800 * 1000, 100 * 1000);
        struct io_file *plain = durable_file(actor, "/d/plain");
        struct io_file *durable = durable_file(actor, "/d/durable");
        fill(bytes, 1);
        assert_int_equal(actor_write(actor, plain, 0, bytes, SIZE, 0), SIZE);
        assert_int_equal(actor_sync(actor, plain), 0);
        assert_int_equal(actor_write(actor, durable, 0, bytes, SIZE, IO_WRITE_DURABLE), SIZE);
        power_cycle(actor);
        read_file(actor, "/d/plain", bytes);
        assert_int_equal(sectors_of(bytes, 1), SECTORS);
        read_file(actor, "/d/durable", bytes);
        assert_int_equal(sectors_of(bytes, 1), SECTORS);
        cast_free(cast);
    }
}

static void durable_write_makes_no_other_write_durable(void **state)
{
    (void)state;
    struct cast *cast = cast_new(12, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    set_keep(actor, 0, 0, 0);
    struct io_file *file = durable_file(actor, "/d/file");
    fill(bytes, 3);
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, 0), SIZE);
    fill(bytes, 4);
    assert_int_equal(actor_write(actor, file, 10 * SECTOR, bytes, 2 * SECTOR, IO_WRITE_DURABLE),
                     2 * SECTOR);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(sectors_of(bytes, 4), 2);
    assert_int_equal(sectors_of(bytes, 0), SECTORS - 2);
    cast_free(cast);
}

static void torn_sector_begins_new_and_ends_otherwise(void **state)
{
    (void)state;
    struct cast *cast = cast_new(13, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    set_keep(actor, 0, SIM_PPM, 0);
    struct io_file *file = durable_file(actor, "/d/file");
    fill(bytes, 9);
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, 0), SIZE);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    size_t mixed = SECTORS - sectors_of(bytes, 9) - sectors_of(bytes, 0);
    assert_true(mixed > SECTORS / 2);
    size_t begun = 0;
    for (size_t i = 0; i < SECTORS; i++) {
        begun += bytes[i * SECTOR] == 9;
    }
    assert_true(begun > SECTORS / 2);
    cast_free(cast);
}

/* What was synced and not written again is left alone even inside a torn sector. */
static void torn_sector_keeps_its_synced_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        uint8_t bytes[SIZE];
        set_keep(actor, 0, SIM_PPM, 0);
        struct io_file *file = durable_file(actor, "/d/file");
        assert_int_equal(actor_write(actor, file, 0, "synced", 6, IO_WRITE_DURABLE), 6);
        assert_int_equal(actor_write(actor, file, 6, "not synced", 10, 0), 10);
        power_cycle(actor);
        read_file(actor, "/d/file", bytes);
        assert_memory_equal(bytes, "synced", 6);
        cast_free(cast);
    }
}

static void garbage_sector_is_counted_as_damage(void **state)
{
    (void)state;
    struct cast *cast = cast_new(14, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    set_keep(actor, 0, 0, SIM_PPM);
    struct io_file *file = durable_file(actor, "/d/file");
    assert_int_equal(actor_write(actor, file, 5 * SECTOR + 7, "x", 1, 0), 1);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(sectors_of(bytes, 0), SECTORS - 1);
    assert_int_equal(sim_disk_damage(actor->host), 1);
    cast_free(cast);
}

static void unsynced_growth_may_be_lost(void **state)
{
    (void)state;
    size_t old = 0;
    size_t whole = 0;
    size_t part = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        uint8_t bytes[SIZE];
        struct io_file *file = durable_file(actor, "/d/file");
        fill(bytes, 5);
        assert_int_equal(actor_write(actor, file, SIZE, bytes, SIZE, 0), SIZE);
        power_cycle(actor);
        file = actor_open(actor, "/d/file", 0);
        int64_t size = actor_size(actor, file);
        assert_true(size >= SIZE && size <= 2 * (int64_t)SIZE);
        old += size == SIZE;
        whole += size == 2 * (int64_t)SIZE;
        part += size > SIZE && size < 2 * (int64_t)SIZE;
        /* What lies beyond the end is gone for good. */
        uint8_t one = 0;
        assert_int_equal(actor_write(actor, file, 2 * (uint64_t)SIZE, "z", 1, 0), 1);
        if (size < 2 * (int64_t)SIZE) {
            assert_int_equal(actor_read(actor, file, 2 * (uint64_t)SIZE - 1, &one, 1), 1);
            assert_int_equal(one, 0);
        }
        cast_free(cast);
    }
    assert_true(old > 5);
    assert_true(whole > 5);
    assert_true(part > 5);
}

static void killed_process_leaves_the_page_cache(void **state)
{
    (void)state;
    struct cast *cast = cast_new(15, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    struct io_file *file = actor_open(actor, "/d/file", IO_OPEN_CREATE);
    assert_int_equal(io_lock(actor->io, file), 0);
    fill(bytes, 8);
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, 0), SIZE);
    actor_crash(actor, SIM_CRASH_KILL);
    actor_boot(actor);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(sectors_of(bytes, 8), SECTORS);
    file = actor_open(actor, "/d/file", 0);
    assert_int_equal(io_lock(actor->io, file), 0);
    /* And it still is not on the disk. */
    set_keep(actor, 0, 0, 0);
    power_cycle(actor);
    if (actor_has(actor, "/d/file")) {
        file = actor_open(actor, "/d/file", 0);
        int64_t size = actor_read(actor, file, 0, bytes, SIZE);
        for (int64_t i = 0; i < size; i++) {
            assert_int_equal(bytes[i], 0);
        }
    }
    cast_free(cast);
}

static void write_in_flight_at_a_crash_is_there_in_part_or_not_at_all(void **state)
{
    (void)state;
    size_t none = 0;
    size_t some = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        uint8_t bytes[SIZE];
        struct io_file *file = durable_file(actor, "/d/file");
        fill(bytes, 6);
        struct iovec part = {.iov_base = bytes, .iov_len = SIZE};
        struct errand waited;
        io_write(actor->io, errand(&waited), file, 0, &part, 1, IO_WRITE_DURABLE);
        actor_crash(actor, SIM_CRASH_KILL);
        assert_true(waited.done);
        assert_int_equal(waited.result, -EIO);
        actor_boot(actor);
        read_file(actor, "/d/file", bytes);
        size_t there = 0;
        while (there < SIZE && bytes[there] == 6) {
            there++;
        }
        for (size_t i = there; i < SIZE; i++) {
            assert_int_equal(bytes[i], 0);
        }
        none += there == 0;
        some += there > 0 && there < SIZE;
        cast_free(cast);
    }
    assert_true(none > 5);
    assert_true(some > 5);
}

/* ---- names ---- */

static void file_without_a_synced_name_may_vanish_with_its_content(void **state)
{
    (void)state;
    size_t there = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        struct io_file *file = actor_open(actor, "/d/file", IO_OPEN_CREATE);
        assert_int_equal(actor_write(actor, file, 0, "abc", 3, IO_WRITE_DURABLE), 3);
        power_cycle(actor);
        if (actor_has(actor, "/d/file")) {
            char bytes[3];
            file = actor_open(actor, "/d/file", 0);
            assert_int_equal(actor_read(actor, file, 0, bytes, 3), 3);
            assert_memory_equal(bytes, "abc", 3);
            there++;
        }
        cast_free(cast);
    }
    assert_true(there > 5 && there < 35);
}

/* A new version beside, renamed into place: either the old or the new one is there. */
static void rename_without_directory_sync_may_be_lost(void **state)
{
    (void)state;
    size_t renamed = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        bool synced = seed % 3 == 0;
        struct io_file *old = actor_open(actor, "/d/file", IO_OPEN_CREATE);
        assert_int_equal(actor_write(actor, old, 0, "old", 3, IO_WRITE_DURABLE), 3);
        actor_sync_names(actor, "/d");
        struct io_file *new = actor_open(actor, "/d/new", IO_OPEN_CREATE);
        assert_int_equal(actor_write(actor, new, 0, "new", 3, IO_WRITE_DURABLE), 3);
        assert_int_equal(actor_rename(actor, "/d/new", "/d/file"), 0);
        if (synced) {
            actor_sync_names(actor, "/d");
        }
        power_cycle(actor);
        char bytes[3];
        struct io_file *file = actor_open(actor, "/d/file", 0);
        assert_int_equal(actor_read(actor, file, 0, bytes, 3), 3);
        bool is_new = memcmp(bytes, "new", 3) == 0;
        assert_true(is_new || memcmp(bytes, "old", 3) == 0);
        assert_true(is_new || !synced);
        assert_true(!is_new || !actor_has(actor, "/d/new"));
        renamed += is_new && !synced;
        cast_free(cast);
    }
    assert_true(renamed > 2 && renamed < 38);
}

/* How often a later change of names survives an earlier one that does not. */
static size_t later_without_earlier(bool any_names)
{
    size_t count = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        struct sim_disk_faults faults = *sim_disk_get(actor->host);
        faults.any_names = any_names;
        sim_disk_set(actor->host, &faults);
        actor_close(actor, actor_open(actor, "/d/1", IO_OPEN_CREATE));
        actor_close(actor, actor_open(actor, "/d/2", IO_OPEN_CREATE));
        power_cycle(actor);
        count += actor_has(actor, "/d/2") && !actor_has(actor, "/d/1");
        cast_free(cast);
    }
    return count;
}

static void names_are_lost_in_order_or_as_any_subset(void **state)
{
    (void)state;
    assert_int_equal(later_without_earlier(false), 0);
    assert_true(later_without_earlier(true) > 5);
}

static void unsynced_unlink_may_come_back(void **state)
{
    (void)state;
    size_t back = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        actor_close(actor, durable_file(actor, "/d/file"));
        assert_int_equal(actor_unlink(actor, "/d/file"), 0);
        assert_false(actor_has(actor, "/d/file"));
        power_cycle(actor);
        back += actor_has(actor, "/d/file");
        cast_free(cast);
    }
    assert_true(back > 5 && back < 35);
}

static void sync_of_one_directory_takes_the_other_end_of_a_rename_along(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct cast *cast = cast_new(seed, 1);
        struct actor *actor = &cast->actors[0];
        struct errand waited;
        io_make_directory(actor->io, errand(&waited), "/d/below");
        assert_true(cast_run_until(cast, &waited.done));
        actor_sync_names(actor, "/d");
        actor_close(actor, actor_open(actor, "/d/below/a", IO_OPEN_CREATE));
        assert_int_equal(actor_rename(actor, "/d/below/a", "/d/b"), 0);
        actor_sync_names(actor, "/d");
        power_cycle(actor);
        assert_true(actor_has(actor, "/d/b"));
        assert_false(actor_has(actor, "/d/below/a"));
        cast_free(cast);
    }
}

/* ---- errors ---- */

static void failed_sync_loses_data_and_the_next_one_does_not_help(void **state)
{
    (void)state;
    struct cast *cast = cast_new(16, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    set_keep(actor, SIM_PPM, 0, 0);
    struct io_file *file = durable_file(actor, "/d/file");
    struct sim_disk_faults faults = *sim_disk_get(actor->host);
    fill(bytes, 2);
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, 0), SIZE);
    faults.sync_error_ppm = SIM_PPM;
    sim_disk_set(actor->host, &faults);
    assert_int_equal(actor_sync(actor, file), -EIO);
    faults.sync_error_ppm = 0;
    sim_disk_set(actor->host, &faults);
    assert_int_equal(actor_sync(actor, file), 0);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(sectors_of(bytes, 2), SECTORS);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    assert_true(sectors_of(bytes, 2) < SECTORS);
    assert_true(sectors_of(bytes, 2) > 0);
    cast_free(cast);
}

static void read_and_write_errors_come_as_often_as_asked_for(void **state)
{
    (void)state;
    struct cast *cast = cast_new(17, 1);
    struct actor *actor = &cast->actors[0];
    struct io_file *file = durable_file(actor, "/d/file");
    struct sim_disk_faults faults = *sim_disk_get(actor->host);
    faults.read_error_ppm = SIM_PPM / 4;
    faults.write_error_ppm = SIM_PPM / 4;
    sim_disk_set(actor->host, &faults);
    unsigned reads = 0;
    unsigned writes = 0;
    uint8_t byte = 0;
    for (int i = 0; i < 400; i++) {
        int64_t read = actor_read(actor, file, 0, &byte, 1);
        int64_t written = actor_write(actor, file, 0, &byte, 1, 0);
        assert_true(read == 1 || read == -EIO);
        assert_true(written == 1 || written == -EIO);
        reads += read < 0;
        writes += written < 0;
    }
    assert_true(reads > 60 && reads < 140);
    assert_true(writes > 60 && writes < 140);
    const struct sim_counters *counters = sim_world_counters(cast->world);
    assert_int_equal(counters->faults[SIM_FAULT_READ_ERROR], reads);
    assert_int_equal(counters->faults[SIM_FAULT_WRITE_ERROR], writes);
    cast_free(cast);
}

static void full_disk_heals_when_it_gets_space(void **state)
{
    (void)state;
    struct cast *cast = cast_new(18, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    fill(bytes, 1);
    struct sim_disk_faults faults = *sim_disk_get(actor->host);
    faults.space = 2 * SIZE;
    sim_disk_set(actor->host, &faults);
    struct io_file *file = durable_file(actor, "/d/file");
    assert_int_equal(actor_write(actor, file, SIZE, bytes, SIZE, 0), SIZE);
    assert_int_equal(actor_write(actor, file, 2 * (uint64_t)SIZE, "x", 1, 0), -ENOSPC);
    /* What is there already can be written over. */
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, IO_WRITE_DURABLE), SIZE);
    faults.space = 3 * SIZE;
    sim_disk_set(actor->host, &faults);
    assert_int_equal(actor_write(actor, file, 2 * (uint64_t)SIZE, "x", 1, 0), 1);
    actor_close(actor, file);
    faults.space = 4096;
    sim_disk_set(actor->host, &faults);
    assert_int_equal(actor_unlink(actor, "/d/file"), 0);
    actor_sync_names(actor, "/d");
    file = actor_open(actor, "/d/other", IO_OPEN_CREATE);
    assert_int_equal(actor_write(actor, file, 0, "x", 1, 0), 1);
    cast_free(cast);
}

static void stalled_disk_answers_after_it_healed(void **state)
{
    (void)state;
    struct cast *cast = cast_new(19, 1);
    struct actor *actor = &cast->actors[0];
    struct io_file *file = durable_file(actor, "/d/file");
    struct errand waited;
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    sim_disk_stall(actor->host, UINT64_MAX);
    io_write(actor->io, errand(&waited), file, 0, &part, 1, IO_WRITE_DURABLE);
    cast_run(cast, 60 * (uint64_t)SECOND);
    assert_false(waited.done);
    sim_disk_stall(actor->host, 0);
    cast_run(cast, SECOND / 10);
    assert_true(waited.done);
    assert_int_equal(waited.result, 1);
    sim_disk_stall(actor->host, sim_world_now(cast->world) + SECOND);
    uint64_t before_us = sim_world_now(cast->world);
    assert_int_equal(actor_sync(actor, file), 0);
    assert_true(sim_world_now(cast->world) - before_us >= SECOND);
    cast_free(cast);
}

static void reads_may_stall_alone(void **state)
{
    (void)state;
    struct cast *cast = cast_new(20, 1);
    struct actor *actor = &cast->actors[0];
    struct io_file *file = durable_file(actor, "/d/file");
    assert_int_equal(actor_write(actor, file, 0, "x", 1, 0), 1);
    struct errand waited;
    char byte = 0;
    sim_disk_stall_reads(actor->host, UINT64_MAX);
    io_read(actor->io, errand(&waited), file, 0, &byte, 1);
    assert_int_equal(actor_write(actor, file, 1, "y", 1, IO_WRITE_DURABLE), 1);
    assert_int_equal(actor_sync(actor, file), 0);
    cast_run(cast, 60 * (uint64_t)SECOND);
    assert_false(waited.done);
    sim_disk_stall_reads(actor->host, 0);
    cast_run(cast, SECOND / 10);
    assert_true(waited.done);
    assert_int_equal(byte, 'x');
    cast_free(cast);
}

/* ---- damage ---- */

/* Writes with one fault on, and reads what a reboot shows of it. */
static void write_with_fault(uint32_t lost_ppm, uint32_t misdirect_ppm, uint8_t bytes[SIZE])
{
    struct cast *cast = cast_new(21, 1);
    struct actor *actor = &cast->actors[0];
    struct io_file *file = durable_file(actor, "/d/file");
    struct sim_disk_faults faults = *sim_disk_get(actor->host);
    faults.lost_write_ppm = lost_ppm;
    faults.misdirect_ppm = misdirect_ppm;
    sim_disk_set(actor->host, &faults);
    fill(bytes, 4);
    assert_int_equal(actor_write(actor, file, SIZE / 2, bytes, 4096, IO_WRITE_DURABLE), 4096);
    assert_int_equal(sim_disk_damage(actor->host), 1);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(sectors_of(bytes, 4), 8);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    cast_free(cast);
}

static void lost_and_misdirected_writes_show_only_later(void **state)
{
    (void)state;
    uint8_t bytes[SIZE];
    write_with_fault(SIM_PPM, 0, bytes);
    assert_int_equal(sectors_of(bytes, 0), SECTORS);
    write_with_fault(0, SIM_PPM, bytes);
    assert_int_equal(sectors_of(bytes, 4), 8);
    assert_int_equal(bytes[SIZE / 2], 0);
}

static void flipped_bit_is_read_at_once_and_later(void **state)
{
    (void)state;
    struct cast *cast = cast_new(22, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    actor_close(actor, durable_file(actor, "/d/file"));
    assert_int_equal(sim_disk_flip(actor->host, "/d/absent", 0, 0), -ENOENT);
    assert_int_equal(sim_disk_flip(actor->host, "/d/file", SIZE, 0), -EINVAL);
    assert_int_equal(sim_disk_flip(actor->host, "/d/file", 1000, 3), 0);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(bytes[1000], 8);
    power_cycle(actor);
    read_file(actor, "/d/file", bytes);
    assert_int_equal(bytes[1000], 8);
    assert_int_equal(sim_disk_damage(actor->host), 1);
    cast_free(cast);
}

static void rot_finds_what_is_at_rest_and_says_where(void **state)
{
    (void)state;
    struct cast *cast = cast_new(23, 1);
    struct actor *actor = &cast->actors[0];
    struct sim_place place;
    uint8_t bytes[SIZE];
    struct io_file *file = durable_file(actor, "/d/file");
    assert_false(sim_disk_rot(actor->host, &place));
    assert_int_equal(actor_write(actor, file, 20 * SECTOR, "abc", 3, IO_WRITE_DURABLE), 3);
    read_file(actor, "/d/file", bytes);
    for (int i = 0; i < 10; i++) {
        uint8_t now[SIZE];
        assert_true(sim_disk_rot(actor->host, &place));
        assert_string_equal(place.path, "/d/file");
        assert_int_equal(place.offset / SECTOR, 20);
        read_file(actor, "/d/file", now);
        assert_int_not_equal(now[place.offset], bytes[place.offset]);
        memcpy(bytes, now, SIZE);
    }
    cast_free(cast);
}

static void old_disk_can_be_put_back(void **state)
{
    (void)state;
    struct cast *cast = cast_new(24, 1);
    struct actor *actor = &cast->actors[0];
    uint8_t bytes[SIZE];
    struct io_file *file = durable_file(actor, "/d/file");
    struct sim_image *image = sim_disk_snapshot(actor->host);
    fill(bytes, 1);
    assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, IO_WRITE_DURABLE), SIZE);
    actor_crash(actor, SIM_CRASH_POWER);
    for (int i = 0; i < 2; i++) {
        sim_disk_restore(actor->host, image);
        actor_boot(actor);
        read_file(actor, "/d/file", bytes);
        assert_int_equal(sectors_of(bytes, 0), SECTORS);
        file = actor_open(actor, "/d/file", 0);
        fill(bytes, 1);
        assert_int_equal(actor_write(actor, file, 0, bytes, SIZE, IO_WRITE_DURABLE), SIZE);
        actor_crash(actor, SIM_CRASH_POWER);
    }
    sim_image_free(image);
    sim_disk_wipe(actor->host);
    actor_boot(actor);
    assert_int_equal(actor_open_result(actor, "/d", IO_OPEN_DIRECTORY), -ENOENT);
    cast_free(cast);
}

/* ---- the file system ---- */

static void paths_are_walked_as_unix_does(void **state)
{
    (void)state;
    struct cast *cast = cast_new(25, 1);
    struct actor *actor = &cast->actors[0];
    actor_close(actor, durable_file(actor, "/d/file"));
    assert_int_equal(actor_open_result(actor, "d/../d/./file", 0), 0);
    assert_int_equal(actor_open_result(actor, "//d//file", 0), 0);
    assert_int_equal(actor_open_result(actor, "/", IO_OPEN_DIRECTORY), 0);
    assert_int_equal(actor_open_result(actor, "", 0), -ENOENT);
    assert_int_equal(actor_open_result(actor, "/d/file/x", IO_OPEN_CREATE), -ENOTDIR);
    assert_int_equal(actor_open_result(actor, "/absent/x", IO_OPEN_CREATE), -ENOENT);
    assert_int_equal(actor_open_result(actor, "/d", 0), -EISDIR);
    assert_int_equal(actor_rename(actor, "/d", "/d/e"), -EINVAL);
    assert_int_equal(actor_rename(actor, "/d/file", "/d"), -EISDIR);
    assert_int_equal(actor_unlink(actor, "/d"), -EISDIR);
    struct errand waited;
    io_make_directory(actor->io, errand(&waited), "/absent/x");
    assert_true(cast_run_until(cast, &waited.done));
    assert_int_equal(waited.result, -ENOENT);
    cast_free(cast);
}

static void unlinked_file_lives_until_it_is_closed(void **state)
{
    (void)state;
    struct cast *cast = cast_new(26, 1);
    struct actor *actor = &cast->actors[0];
    struct io_file *file = durable_file(actor, "/d/file");
    assert_int_equal(actor_unlink(actor, "/d/file"), 0);
    actor_sync_names(actor, "/d");
    assert_int_equal(actor_write(actor, file, 0, "still", 5, 0), 5);
    char bytes[5];
    assert_int_equal(actor_read(actor, file, 0, bytes, 5), 5);
    assert_memory_equal(bytes, "still", 5);
    actor_close(actor, file);
    cast_free(cast);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(power_loss_takes_unsynced_sectors_one_by_one),
        cmocka_unit_test(power_loss_never_takes_what_was_synced),
        cmocka_unit_test(durable_write_makes_no_other_write_durable),
        cmocka_unit_test(torn_sector_begins_new_and_ends_otherwise),
        cmocka_unit_test(torn_sector_keeps_its_synced_bytes),
        cmocka_unit_test(garbage_sector_is_counted_as_damage),
        cmocka_unit_test(unsynced_growth_may_be_lost),
        cmocka_unit_test(killed_process_leaves_the_page_cache),
        cmocka_unit_test(write_in_flight_at_a_crash_is_there_in_part_or_not_at_all),
        cmocka_unit_test(file_without_a_synced_name_may_vanish_with_its_content),
        cmocka_unit_test(rename_without_directory_sync_may_be_lost),
        cmocka_unit_test(names_are_lost_in_order_or_as_any_subset),
        cmocka_unit_test(unsynced_unlink_may_come_back),
        cmocka_unit_test(sync_of_one_directory_takes_the_other_end_of_a_rename_along),
        cmocka_unit_test(failed_sync_loses_data_and_the_next_one_does_not_help),
        cmocka_unit_test(read_and_write_errors_come_as_often_as_asked_for),
        cmocka_unit_test(full_disk_heals_when_it_gets_space),
        cmocka_unit_test(stalled_disk_answers_after_it_healed),
        cmocka_unit_test(reads_may_stall_alone),
        cmocka_unit_test(lost_and_misdirected_writes_show_only_later),
        cmocka_unit_test(flipped_bit_is_read_at_once_and_later),
        cmocka_unit_test(rot_finds_what_is_at_rest_and_says_where),
        cmocka_unit_test(old_disk_can_be_put_back),
        cmocka_unit_test(paths_are_walked_as_unix_does),
        cmocka_unit_test(unlinked_file_lives_until_it_is_closed),
    };
    return cmocka_run_group_tests_name("io_sim_disk", cases, NULL, NULL);
}
