/* The client library's backups: whole and in order, whatever becomes of the server. */
#include "client_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_SIZE = 7 * BACKUP_PIECE_SIZE_MAX + 12345 };

/* Where the bytes go. */
struct sink {
    struct kvapp_backup backup;
    struct buf bytes;
    unsigned beginnings;
    size_t room; /* more than so many bytes are not taken */
};

static bool sink_begin(struct kvapp_backup *backup)
{
    struct sink *sink = CONTAINER_OF(backup, struct sink, backup);
    sink->beginnings++;
    buf_clear(&sink->bytes);
    return true;
}

static bool sink_piece(struct kvapp_backup *backup, const void *bytes, size_t size)
{
    struct sink *sink = CONTAINER_OF(backup, struct sink, backup);
    buf_append(&sink->bytes, bytes, size);
    return sink->bytes.size <= sink->room;
}

static struct sink make_sink(size_t room)
{
    return (struct sink){.backup = {.begin = sink_begin, .piece = sink_piece}, .room = room};
}

/* Three servers, of which the first leads, and a file of random bytes, to be freed. */
static uint8_t *begin_world(struct world *world)
{
    uint8_t *file = malloc(FILE_SIZE);
    assert_non_null(file);
    for (size_t i = 0; i < FILE_SIZE; i++) {
        file[i] = (uint8_t)prng_next(&world->prng);
    }
    start_servers(world, 3);
    start_client(world, &(struct kvapp_client_options){.backoff_ms = 1});
    world->backup = (struct world_backup){.file = slice_of(file, FILE_SIZE), .index = 42};
    return file;
}

static void assert_whole(const struct sink *sink, const uint8_t *file)
{
    assert_int_equal(sink->backup.index, 42);
    assert_int_equal(sink->backup.size, FILE_SIZE);
    assert_int_equal(sink->bytes.size, FILE_SIZE);
    assert_memory_equal(sink->bytes.data, file, FILE_SIZE);
}

static void a_backup_comes_whole_when_its_file_is_there(void **state)
{
    struct world *world = *state;
    uint8_t *file = begin_world(world);
    world->backup.not_yet = 3;
    struct sink sink = make_sink(SIZE_MAX);
    assert_int_equal(kvapp_backup(world->client, &sink.backup), 0);
    assert_whole(&sink, file);
    assert_int_equal(sink.beginnings, 1);
    assert_int_equal(world->backup.begins, 1);
    assert_int_equal(world->backup.pieces, 8);
    assert_int_equal(world->backup.ends, 1);
    buf_done(&sink.bytes);
    free(file);
}

static void a_backup_begins_anew_when_its_server_is_lost(void **state)
{
    struct world *world = *state;
    uint8_t *file = begin_world(world);
    const struct world_backup afresh = world->backup;
    for (unsigned break_at = 1; break_at <= 8; break_at++) {
        world->backup = afresh;
        world->backup.not_yet = 1;
        world->backup.break_at = break_at;
        struct sink sink = make_sink(SIZE_MAX);
        assert_int_equal(kvapp_backup(world->client, &sink.backup), 0);
        assert_whole(&sink, file);
        assert_int_equal(world->backup.begins, 2);
        assert_int_equal(sink.beginnings, break_at == 1 ? 1 : 2);
        buf_done(&sink.bytes);
    }
    free(file);
}

static void a_backup_that_its_caller_gives_up_is_ended(void **state)
{
    struct world *world = *state;
    uint8_t *file = begin_world(world);
    struct sink sink = make_sink(3 * BACKUP_PIECE_SIZE_MAX);
    assert_int_equal(kvapp_backup(world->client, &sink.backup), KV_ERR_STOPPED);
    assert_int_equal(sink.bytes.size, 4 * BACKUP_PIECE_SIZE_MAX);
    assert_int_equal(world->backup.begins, 1);
    assert_int_equal(world->backup.ends, 1);
    buf_done(&sink.bytes);
    free(file);
}

static void a_server_without_room_is_believed(void **state)
{
    struct world *world = *state;
    uint8_t *file = begin_world(world);
    world->backup.refusal = KV_ERR_FULL;
    struct sink sink = make_sink(SIZE_MAX);
    assert_int_equal(kvapp_backup(world->client, &sink.backup), KV_ERR_FULL);
    assert_mentions(kvapp_client_error(world->client), "the disk is full");
    assert_int_equal(sink.beginnings, 0);
    free(file);
}

static void a_piece_of_another_file_is_not_taken(void **state)
{
    struct world *world = *state;
    uint8_t *file = begin_world(world);
    world->backup.nonsense_at = 3;
    struct sink sink = make_sink(SIZE_MAX);
    assert_int_equal(kvapp_backup(world->client, &sink.backup), KV_ERR_MALFORMED);
    assert_int_equal(sink.bytes.size, 2 * BACKUP_PIECE_SIZE_MAX);
    buf_done(&sink.bytes);
    free(file);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_backup_comes_whole_when_its_file_is_there),
        cmocka_unit_test(a_backup_begins_anew_when_its_server_is_lost),
        cmocka_unit_test(a_backup_that_its_caller_gives_up_is_ended),
        cmocka_unit_test(a_server_without_room_is_believed),
        cmocka_unit_test(a_piece_of_another_file_is_not_taken),
    };
    return run_client_cases("client_backup", cases, sizeof cases / sizeof cases[0]);
}
