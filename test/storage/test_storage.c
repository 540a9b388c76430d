/* Storage on real files, through the portable io: the behaviour that its users rely on. */
#include "scene.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    struct io *io;
    char root[256];
    char path[300];
};

static int set_up(void **state)
{
    struct place *place = memory_new(1, sizeof *place);
    const char *base = getenv("TMPDIR");
    (void)snprintf(place->root, sizeof place->root, "%s/kvapp-storage-XXXXXX",
                   base == NULL ? "/tmp" : base);
    if (mkdtemp(place->root) == NULL) {
        return -1;
    }
    (void)snprintf(place->path, sizeof place->path, "%s/some/where", place->root);
    char reason[256];
    *state = place;
    return io_new(IO_BACKEND_PORTABLE, reason, sizeof reason, &place->io);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct place *place = *state;
    io_free(place->io);
    int err = nftw(place->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(place);
    return err;
}

static void check_all(struct scene *scene, uint64_t first, uint64_t last)
{
    struct scene_read read = {0};
    uint64_t index = first;
    while (index <= last) {
        assert_int_equal(scene_read(scene, &read, index, last, 64 * 1024), 0);
        assert_true(read.count >= 1);
        size_t at = 0;
        for (uint64_t i = 0; i < read.count; i++) {
            struct slice rest = slice_of(read.entries.data + at, read.entries.size - at);
            scene_check_made(rest, index);
            at += entry_encoded_size(get_u32(rest.data + ENTRY_SIZE_OFFSET));
            index++;
        }
        assert_int_equal(at, read.entries.size);
    }
    assert_int_equal(index, last + 1);
    buf_done(&read.entries);
}

static void a_new_directory_is_made_with_its_parents_and_is_empty(void **state)
{
    struct place *place = *state;
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    assert_int_equal(scene_open(&scene), 0);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.last_index, 0);
    assert_int_equal(restored.term, 0);
    assert_int_equal(restored.run_count, 0);
    assert_int_equal(storage_last_index(scene.storage), 0);
    assert_int_equal(storage_cached_from(scene.storage), 1);
    scene_close(&scene);
}

static void entries_and_votes_come_back_after_a_restart(void **state)
{
    struct place *place = *state;
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    assert_int_equal(scene_open(&scene), 0);
    storage_vote(scene.storage, 3, 7);
    for (uint64_t i = 1; i <= 200; i++) {
        scene_append(&scene, i <= 150 ? 2 : 3, i % 300);
        if (i % 10 == 0) {
            scene_flush(&scene);
        }
        if (i % 40 == 0) {
            scene_settle(&scene);
        }
    }
    scene_settle(&scene);
    check_all(&scene, 1, 200);
    scene_close(&scene);

    assert_int_equal(scene_open(&scene), 0);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.term, 3);
    assert_int_equal(restored.voted_for, 7);
    assert_int_equal(restored.first_index, 1);
    assert_int_equal(restored.last_index, 200);
    assert_int_equal(restored.torn_bytes, 0);
    assert_int_equal(restored.run_count, 2);
    assert_int_equal(restored.runs[0].term, 2);
    assert_int_equal(restored.runs[0].count, 150);
    assert_int_equal(restored.runs[1].term, 3);
    assert_int_equal(restored.runs[1].count, 50);
    for (uint64_t i = 1; i <= 200; i++) {
        struct slice encoded;
        assert_int_equal(storage_get(scene.storage, i, &encoded), 0);
        scene_check_entry(encoded, i, i <= 150 ? 2 : 3, i % 300);
    }
    struct slice none;
    assert_int_equal(storage_get(scene.storage, 201, &none), KV_ERR_NOT_FOUND);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_directory_is_made_with_its_parents_and_is_empty,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_and_votes_come_back_after_a_restart, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
