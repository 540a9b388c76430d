/*
 * Storage on real files: the behaviour that its users rely on. Through the portable io, or through
 * io_uring when STORAGE_IO is "uring".
 */
#include "scene.h"

#include "base/memory.h"
#include "kvapp/err.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct place {
    struct io *io;
    char root[256];
    char path[300];
};

static enum io_backend wanted_backend(void)
{
    const char *wanted = getenv("STORAGE_IO");
    return wanted != NULL && strcmp(wanted, "uring") == 0 ? IO_BACKEND_URING : IO_BACKEND_PORTABLE;
}

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
    return io_new(wanted_backend(), reason, sizeof reason, &place->io);
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

static void a_rewritten_suffix_is_what_comes_back(void **state)
{
    struct place *place = *state;
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    assert_int_equal(scene_open(&scene), 0);
    for (int i = 0; i < 50; i++) {
        scene_append(&scene, 1, 120);
    }
    scene_flush(&scene);
    storage_truncate(scene.storage, 21);
    scene_append(&scene, 2, 77);
    scene_flush(&scene);
    scene_settle(&scene);
    storage_truncate(scene.storage, 11);
    scene_flush(&scene);
    scene_settle(&scene);
    scene_close(&scene);

    assert_int_equal(scene_open(&scene), 0);
    assert_int_equal(storage_last_index(scene.storage), 10);
    for (int i = 0; i < 10; i++) {
        scene_append(&scene, 3, 33);
    }
    scene_flush(&scene);
    scene_settle(&scene);
    scene_close(&scene);

    assert_int_equal(scene_open(&scene), 0);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.last_index, 20);
    assert_int_equal(restored.run_count, 2);
    assert_int_equal(restored.runs[0].count, 10);
    assert_int_equal(restored.runs[1].term, 3);
    check_all(&scene, 1, 20);
    scene_close(&scene);
}

static void a_second_server_on_the_directory_is_refused(void **state)
{
    struct place *place = *state;
    struct scene first;
    struct scene second;
    scene_init(&first, place->io, place->path);
    scene_init(&second, place->io, place->path);
    assert_int_equal(scene_open(&first), 0);
    assert_int_equal(scene_open(&second), KV_ERR_LOCKED);
    assert_non_null(strstr(second.sentence, "another server uses the data directory"));
    assert_non_null(strstr(second.sentence, place->path));
    scene_close(&second);
    scene_append(&first, 1, 10);
    scene_flush(&first);
    scene_settle(&first);
    scene_close(&first);
    assert_int_equal(scene_open(&second), 0);
    assert_int_equal(storage_last_index(second.storage), 1);
    scene_close(&second);
}

static void a_directory_of_another_node_is_refused(void **state)
{
    struct place *place = *state;
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    assert_int_equal(scene_open(&scene), 0);
    scene_close(&scene);
    scene.options.node_id = 8;
    assert_int_equal(scene_open(&scene), KV_ERR_MISMATCH);
    assert_non_null(strstr(scene.sentence, "belongs to node 7 of cluster 00000000000000c1"));
    assert_non_null(strstr(scene.sentence, "node 8"));
    scene_close(&scene);
}

/* The directory knows better than who opens it. */
static void a_directory_tells_its_cluster_and_incarnation(void **state)
{
    struct place *place = *state;
    struct scene scene;
    struct storage_restored made;
    struct storage_restored found;
    scene_init(&scene, place->io, place->path);
    assert_int_equal(scene_open(&scene), 0);
    storage_restored(scene.storage, &made);
    assert_int_equal(made.cluster_id, 0xc1);
    assert_true(made.incarnation != 0);
    scene_close(&scene);
    const uint64_t named[] = {0xc1, 0xc2, 0};
    for (size_t i = 0; i < 3; i++) {
        scene.options.cluster_id = named[i];
        assert_int_equal(scene_open(&scene), 0);
        storage_restored(scene.storage, &found);
        assert_int_equal(found.cluster_id, 0xc1);
        assert_true(found.incarnation == made.incarnation);
        scene_close(&scene);
    }
}

static void the_largest_entries_come_back_from_the_disk_and_after_a_restart(void **state)
{
    struct place *place = *state;
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    scene.options.segment_size = 4 * 1024 * 1024;
    scene.options.cache_size = 512 * 1024;
    assert_int_equal(scene_open(&scene), 0);
    /* Far more than one batch, in one flush. */
    for (int i = 0; i < 8; i++) {
        scene_append(&scene, 1, COMMAND_SIZE_MAX);
        scene_append(&scene, 1, 1);
    }
    scene_flush(&scene);
    scene_settle(&scene);
    assert_int_equal(scene.stored_count, 1);
    assert_true(storage_cached_from(scene.storage) > 1);
    check_all(&scene, 1, 16);
    scene_close(&scene);
    assert_int_equal(scene_open(&scene), 0);
    assert_int_equal(storage_last_index(scene.storage), 16);
    check_all(&scene, 1, 16);
    scene_close(&scene);
}

static int count_segments(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;
    for (struct dirent *at = readdir(directory); at != NULL; at = readdir(directory)) {
        count += strncmp(at->d_name, "log-", 4) == 0;
    }
    closedir(directory);
    return count;
}

static void trimmed_segments_are_used_again(void **state)
{
    struct place *place = *state;
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    scene.options.cache_size = 0;
    assert_int_equal(scene_open(&scene), 0);
    for (int i = 1; i <= 400; i++) {
        scene_append(&scene, 1, 1000);
        scene_flush(&scene);
        scene_settle(&scene);
        if (i % 20 == 0) {
            scene_snapshot(&scene, storage_last_index(scene.storage) - 6, 1);
            storage_trim(scene.storage, storage_last_index(scene.storage) - 5);
        }
    }
    /* 400 KB went through files of 16 KiB. */
    assert_true(count_segments(place->path) <= 6);
    uint64_t last = storage_last_index(scene.storage);
    check_all(&scene, last - 5, last);
    scene_close(&scene);
    assert_int_equal(scene_open(&scene), 0);
    struct storage_restored restored;
    storage_restored(scene.storage, &restored);
    assert_int_equal(restored.last_index, 400);
    assert_int_equal(restored.previous_term, 1);
    assert_true(count_segments(place->path) <= 5);
    assert_true(restored.first_index > 1);
    assert_true(restored.first_index <= 395);
    assert_int_equal(restored.torn_bytes, 0);
    check_all(&scene, restored.first_index, 400);
    scene_close(&scene);
}

static void a_write_the_system_refuses_stops_storage_with_its_reason(void **state)
{
    struct place *place = *state;
    struct scene scene;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    scene_init(&scene, place->io, place->path);
    scene.options.segment_size = 256 * 1024;
    assert_int_equal(scene_open(&scene), 0);
    struct rlimit small = {.rlim_cur = 64 * 1024, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 100 && scene.failed_count == 0; i++) {
        scene_append(&scene, 1, 3000);
        scene_flush(&scene);
        scene_settle(&scene);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(scene.failed_count, 1);
    assert_int_equal(scene.failed_err, KV_ERR_IO);
    assert_non_null(strstr(scene.sentence, place->path));
    assert_non_null(strstr(scene.sentence, io_error_sentence(-EFBIG)));
    uint64_t stored = scene.stored;
    scene_close(&scene);
    /* What was stored before is there. */
    assert_int_equal(scene_open(&scene), 0);
    assert_true(storage_last_index(scene.storage) >= stored);
    check_all(&scene, 1, storage_last_index(scene.storage));
    scene_close(&scene);
}

static void a_path_that_is_no_directory_is_refused_with_its_name(void **state)
{
    struct place *place = *state;
    char path[300];
    (void)snprintf(path, sizeof path, "%s/file", place->root);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    struct scene scene;
    scene_init(&scene, place->io, path);
    assert_int_equal(scene_open(&scene), KV_ERR_IO);
    assert_non_null(strstr(scene.sentence, path));
    scene_close(&scene);
}

/* ---- a handler that goes on at once ---- */

struct relay {
    struct scene scene;
    uint64_t last; /* the log ends with it */
};

static void append_next(struct relay *relay)
{
    scene_append(&relay->scene, 1, 300);
    scene_flush(&relay->scene);
}

static void on_relay_opened(void *context, int err, const char *sentence)
{
    struct relay *relay = context;
    assert_int_equal(err, 0);
    assert_string_equal(sentence, "");
    relay->scene.opened = true;
}

static void on_relay_stored(void *context, uint64_t ticket)
{
    struct relay *relay = context;
    struct storage_stats stats;
    storage_stats(relay->scene.storage, &stats);
    assert_int_equal(ticket, relay->scene.stored + 1);
    assert_int_equal(stats.durable_index, ticket);
    relay->scene.stored = ticket;
    if (storage_last_index(relay->scene.storage) < relay->last) {
        append_next(relay);
    }
}

static void on_relay_failed(void *context, int err, const char *sentence)
{
    (void)context;
    fail_msg("%d: %s", err, sentence);
}

static void on_relay_closed(void *context)
{
    struct relay *relay = context;
    relay->scene.closed = true;
}

static void what_is_flushed_by_the_answer_to_a_flush_is_stored_in_turn(void **state)
{
    static const struct storage_handler handler = {
        .opened = on_relay_opened,
        .stored = on_relay_stored,
        .failed = on_relay_failed,
        .closed = on_relay_closed,
    };
    struct place *place = *state;
    struct relay relay = {.last = 20};
    scene_init(&relay.scene, place->io, place->path);
    relay.scene.options.handler = &handler;
    relay.scene.options.context = &relay;
    relay.scene.storage = storage_open(place->io, &relay.scene.options);
    for (int turn = 0; turn < 100000 && !relay.scene.opened; turn++) {
        scene_run_once(&relay.scene);
    }
    assert_true(relay.scene.opened);
    append_next(&relay);
    scene_settle(&relay.scene);
    assert_int_equal(relay.scene.stored, 20);
    scene_close(&relay.scene);
    struct scene scene;
    scene_init(&scene, place->io, place->path);
    assert_int_equal(scene_open(&scene), 0);
    assert_int_equal(storage_last_index(scene.storage), 20);
    check_all(&scene, 1, 20);
    scene_close(&scene);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_directory_is_made_with_its_parents_and_is_empty),
        CASE(entries_and_votes_come_back_after_a_restart),
        CASE(a_rewritten_suffix_is_what_comes_back),
        CASE(a_second_server_on_the_directory_is_refused),
        CASE(a_directory_of_another_node_is_refused),
        CASE(a_directory_tells_its_cluster_and_incarnation),
        CASE(the_largest_entries_come_back_from_the_disk_and_after_a_restart),
        CASE(trimmed_segments_are_used_again),
        CASE(a_write_the_system_refuses_stops_storage_with_its_reason),
        CASE(a_path_that_is_no_directory_is_refused_with_its_name),
        CASE(what_is_flushed_by_the_answer_to_a_flush_is_stored_in_turn),
    };
    struct io *io;
    char reason[256];
    if (io_new(wanted_backend(), reason, sizeof reason, &io) != 0) {
        (void)printf("1..0 # SKIP %s\n", reason);
        return wanted_backend() == IO_BACKEND_URING ? 0 : 1;
    }
    io_free(io);
    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
