/* Frames and messages: what is encoded is decoded, and nothing else is. */
#include "messages.h"

#include "base/hash.h"
#include "wire/membership.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* KVAPP_TEST_SEED repeats a run. */
static uint64_t seed(void)
{
    const char *text = getenv("KVAPP_TEST_SEED");
    uint64_t value = text != NULL ? strtoull(text, NULL, 10) : 20260101;
    print_message("# seed %llu\n", (unsigned long long)value);
    return value;
}

/* An exact copy on the heap, so that the sanitizer sees a read one byte beyond it. */
static struct slice tight(struct slice bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    assert_non_null(copy);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return slice_of(copy, bytes.size);
}

static void loose(struct slice bytes)
{
    free((void *)bytes.data);
}

/* What a receiver makes of the bytes: the frame's verdict, then the message's. */
static int decode(struct slice bytes, struct message *ret_message, size_t *ret_size)
{
    struct frame frame;
    int err = frame_decode(bytes, &frame, ret_size);
    return err != 0 ? err : message_decode(&frame, ret_message);
}

/* A frame of `type` with a right checksum around any payload. */
static void put_frame(struct buf *out, uint8_t type, struct slice payload)
{
    buf_clear(out);
    size_t mark = frame_begin(out, type);
    buf_append_slice(out, payload);
    frame_end(out, mark);
}

static struct slice payload_of(const struct buf *frame)
{
    return slice_of(frame->data + FRAME_HEADER_SIZE, frame->size - FRAME_HEADER_SIZE);
}

/* ---- what is right ---- */

static void every_message_survives_the_round_trip(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, seed());
    struct buf arena = {0};
    struct buf out = {0};
    struct buf again = {0};
    for (int round = 0; round < 500; round++) {
        for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
            if (!message_kind_is_known(kind)) {
                continue;
            }
            struct message sent;
            message_random(&prng, (enum message_kind)kind, &arena, &sent);
            buf_clear(&out);
            message_encode(&sent, &out);
            struct message got;
            size_t size = 0;
            assert_int_equal(decode(buf_slice(&out), &got, &size), 0);
            assert_int_equal(size, out.size);
            assert_true(message_equal(&sent, &got));
            buf_clear(&again);
            message_encode(&got, &again);
            assert_true(slice_equal(buf_slice(&out), buf_slice(&again)));
        }
    }
    buf_done(&arena);
    buf_done(&out);
    buf_done(&again);
}

static void a_stream_gives_the_same_frames_however_it_is_cut(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, seed());
    struct buf arena = {0};
    struct buf stream = {0};
    enum { COUNT = 60 };
    size_t ends[COUNT];
    for (int i = 0; i < COUNT; i++) {
        struct message message;
        message_random(&prng, message_kind_random(&prng), &arena, &message);
        message_encode(&message, &stream);
        ends[i] = stream.size;
    }
    size_t from = 0;
    int seen = 0;
    for (size_t to = 0; to <= stream.size; to++) {
        struct frame frame;
        size_t size = 0;
        int err = frame_decode(slice_of(stream.data + from, to - from), &frame, &size);
        if (err == 0) {
            assert_int_equal(from + size, to);
            assert_int_equal(to, ends[seen]);
            from = to;
            seen++;
        } else {
            assert_int_equal(err, KV_ERR_INCOMPLETE);
        }
    }
    assert_int_equal(seen, COUNT);
    buf_done(&arena);
    buf_done(&stream);
}

static void unknown_types_are_left_to_the_caller(void **state)
{
    (void)state;
    struct buf out = {0};
    for (int type = 0; type < 256; type++) {
        put_frame(&out, (uint8_t)type, slice_of("?", 1));
        struct frame frame;
        size_t size;
        assert_int_equal(frame_decode(buf_slice(&out), &frame, &size), 0);
        assert_int_equal(frame.type, type);
        assert_true(slice_equal(frame.payload, slice_of("?", 1)));
    }
    buf_done(&out);
}

/* Makes the hash of a header right again that was changed. */
static void seal_header(uint8_t *header)
{
    put_u64(header + 16, hash_bytes(header, 16));
}

static int decode_header(const uint8_t *header)
{
    struct frame frame;
    size_t size;
    return frame_decode(slice_of(header, FRAME_HEADER_SIZE), &frame, &size);
}

static void the_largest_frame_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;
    struct buf out = {0};
    size_t mark = frame_begin(&out, FRAME_CLIENT_REQUEST);
    memset(buf_extend(&out, FRAME_SIZE_MAX), 'x', FRAME_SIZE_MAX);
    frame_end(&out, mark);
    struct frame frame;
    size_t size;
    assert_int_equal(frame_decode(buf_slice(&out), &frame, &size), 0);
    assert_int_equal(frame.payload.size, FRAME_SIZE_MAX);

    /* The header alone condemns it, before a byte of the payload is there. */
    put_u32(out.data + 4, FRAME_SIZE_MAX + 1);
    seal_header(out.data);
    assert_int_equal(decode_header(out.data), KV_ERR_MALFORMED);
    put_u32(out.data + 4, UINT32_MAX);
    seal_header(out.data);
    assert_int_equal(decode_header(out.data), KV_ERR_MALFORMED);
    buf_done(&out);
}

static void a_request_encoded_from_a_command_is_the_same_as_from_its_bytes(void **state)
{
    (void)state;
    struct command command = {
        .operation = OPERATION_PUT, .session = 5, .sequence = 2, .key = slice_of("k", 1)};
    struct buf direct = {0};
    client_request_encode_command(77, &command, &direct);
    struct buf bytes = {0};
    command_encode(&command, &bytes);
    struct client_request request = {.request_id = 77, .command = buf_slice(&bytes)};
    struct buf detour = {0};
    client_request_encode(&request, &detour);
    assert_true(slice_equal(buf_slice(&direct), buf_slice(&detour)));
    buf_done(&direct);
    buf_done(&bytes);
    buf_done(&detour);
}

/* ---- what is wrong: frames ---- */

static void every_prefix_of_a_frame_is_incomplete(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, seed());
    struct buf arena = {0};
    struct buf out = {0};
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_kind_is_known(kind)) {
            continue;
        }
        struct message message;
        message_random(&prng, (enum message_kind)kind, &arena, &message);
        buf_clear(&out);
        message_encode(&message, &out);
        for (size_t size = 0; size < out.size; size++) {
            struct slice prefix = tight(slice_of(out.data, size));
            struct frame frame;
            size_t whole;
            assert_int_equal(frame_decode(prefix, &frame, &whole), KV_ERR_INCOMPLETE);
            loose(prefix);
        }
    }
    buf_done(&arena);
    buf_done(&out);
}

static void every_flipped_bit_is_detected(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, seed());
    struct buf arena = {0};
    struct buf out = {0};
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_kind_is_known(kind)) {
            continue;
        }
        struct message message;
        message_random(&prng, (enum message_kind)kind, &arena, &message);
        buf_clear(&out);
        message_encode(&message, &out);
        for (size_t bit = 0; bit < out.size * 8; bit++) {
            out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            struct frame frame;
            size_t size;
            /* A damaged size too: the header's own hash shows it, so nobody waits for it. */
            int err = frame_decode(buf_slice(&out), &frame, &size);
            assert_int_not_equal(err, 0);
            assert_int_not_equal(err, KV_ERR_INCOMPLETE);
            out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    buf_done(&arena);
    buf_done(&out);
}

static void a_wrong_header_is_refused_before_its_payload(void **state)
{
    (void)state;
    struct frame frame;
    size_t size;
    const uint8_t redis[] = {'*'};
    assert_int_equal(frame_decode(slice_of(redis, 1), &frame, &size), KV_ERR_MALFORMED);
    const uint8_t version[] = {FRAME_MAGIC, FRAME_VERSION + 1};
    assert_int_equal(frame_decode(slice_of(version, 2), &frame, &size), KV_ERR_VERSION);
    uint8_t reserved[FRAME_HEADER_SIZE] = {FRAME_MAGIC, FRAME_VERSION, FRAME_CLIENT_REQUEST, 1};
    seal_header(reserved);
    assert_int_equal(decode_header(reserved), KV_ERR_MALFORMED);
    assert_int_equal(frame_decode(slice_of(NULL, 0), &frame, &size), KV_ERR_INCOMPLETE);
}

/* ---- what is wrong: messages ---- */

/* In these kinds the last field runs to the end, and what is in it is for somebody else. */
static bool ends_open(const struct message *message)
{
    return message->kind == MESSAGE_CLIENT_REQUEST || message->kind == MESSAGE_READ_REQUEST ||
           (message->kind == MESSAGE_APPEND_REQUEST && message->entries.size > 0);
}

static void a_payload_cut_short_or_with_a_byte_too_many_is_malformed(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, seed());
    struct buf arena = {0};
    struct buf out = {0};
    struct buf cut = {0};
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_kind_is_known(kind)) {
            continue;
        }
        struct message sent;
        message_random(&prng, (enum message_kind)kind, &arena, &sent);
        buf_clear(&out);
        message_encode(&sent, &out);
        buf_put_u8(&out, 0);
        for (size_t size = 0; size <= out.size - FRAME_HEADER_SIZE; size++) {
            put_frame(&cut, out.data[2], slice_of(payload_of(&out).data, size));
            struct slice bytes = tight(buf_slice(&cut));
            struct message got;
            size_t whole;
            int err = decode(bytes, &got, &whole);
            if (size + 1 == out.size - FRAME_HEADER_SIZE) {
                assert_int_equal(err, 0);
            } else if (err == 0) {
                assert_true(ends_open(&sent));
                assert_false(message_equal(&sent, &got));
            } else {
                assert_int_equal(err, KV_ERR_MALFORMED);
            }
            loose(bytes);
        }
    }
    buf_done(&arena);
    buf_done(&out);
    buf_done(&cut);
}

/* Damage that a checksum cannot see, since it was made before it: by a bug or by malice. What is
 * still accepted must mean what its bytes say. */
static void damaged_payloads_are_refused_or_mean_exactly_their_bytes(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, seed());
    struct buf arena = {0};
    struct buf out = {0};
    struct buf again = {0};
    int accepted = 0;
    int refused = 0;
    for (int round = 0; round < 20000; round++) {
        struct message sent;
        message_random(&prng, message_kind_random(&prng), &arena, &sent);
        buf_clear(&out);
        message_encode(&sent, &out);
        for (uint64_t n = prng_between(&prng, 1, 4); n > 0; n--) {
            size_t at = prng_between(&prng, FRAME_HEADER_SIZE, out.size - 1);
            out.data[at] = prng_chance(&prng, 1, 3) ? 0xff : (uint8_t)prng_next(&prng);
        }
        frame_end(&out, 0);
        struct slice bytes = tight(buf_slice(&out));
        struct message got;
        size_t size;
        int err = decode(bytes, &got, &size);
        if (err == 0) {
            buf_clear(&again);
            message_encode(&got, &again);
            assert_true(slice_equal(bytes, buf_slice(&again)));
            accepted++;
        } else {
            assert_int_equal(err, KV_ERR_MALFORMED);
            refused++;
        }
        loose(bytes);
    }
    assert_true(accepted > 1000);
    assert_true(refused > 1000);
    buf_done(&arena);
    buf_done(&out);
    buf_done(&again);
}

/* One byte of a good payload changed to something that cannot be. */
struct damage {
    size_t offset; /* in the payload */
    uint8_t value;
};

static void assert_each_damage_refused(const struct message *good, const struct damage *damages,
                                       size_t count)
{
    struct buf out = {0};
    for (size_t i = 0; i < count; i++) {
        buf_clear(&out);
        message_encode(good, &out);
        struct message got;
        size_t size;
        assert_int_equal(decode(buf_slice(&out), &got, &size), 0);
        uint8_t *at = out.data + FRAME_HEADER_SIZE + damages[i].offset;
        assert_int_not_equal(*at, damages[i].value);
        *at = damages[i].value;
        frame_end(&out, 0);
        assert_int_equal(decode(buf_slice(&out), &got, &size), KV_ERR_MALFORMED);
    }
    buf_done(&out);
}

static void client_messages_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message redirect = {
        .kind = MESSAGE_LEADER_REDIRECT,
        .redirect = {
            .request_id = 1, .has_leader = true, .leader_id = 2, .address = slice_of("a:1", 3)}};
    /* No leader but its id; a flag that is no bool; a reserved byte; id 0; a blank, a NUL and a
     * control character in the address. */
    const struct damage redirects[] = {{8, 0},    {8, 2},  {9, 1},   {12, 0},
                                       {24, ' '}, {25, 0}, {26, 127}};
    assert_each_damage_refused(&redirect, redirects, sizeof redirects / sizeof redirects[0]);

    struct message response = {
        .kind = MESSAGE_CLIENT_RESPONSE,
        .response = {.request_id = 1, .reply = {.status = -1}, .error = slice_of("e", 1)}};
    /* An error's sentence that is longer than the payload. */
    const struct damage responses[] = {{8, 200}, {11, 255}};
    assert_each_damage_refused(&response, responses, sizeof responses / sizeof responses[0]);

    struct message status = {.kind = MESSAGE_STATUS_RESPONSE,
                             .status = {.id = 1, .role = 3, .address = slice_of("a:1", 3)}};
    /* Id 0, a role that is none, a reserved byte. */
    const struct damage statuses[] = {{16, 0}, {24, 4}, {31, 1}};
    assert_each_damage_refused(&status, statuses, sizeof statuses / sizeof statuses[0]);
}

static void an_address_fills_its_string_and_no_more(void **state)
{
    (void)state;
    char address[ADDRESS_SIZE_MAX + 1];
    memset(address, 'a', sizeof address);
    struct buf payload = {0};
    struct buf out = {0};
    for (size_t size = ADDRESS_SIZE_MAX - 1; size <= ADDRESS_SIZE_MAX; size++) {
        buf_clear(&payload);
        buf_put_u64(&payload, 1);
        buf_put_u32(&payload, 1);
        buf_put_u64(&payload, 2);
        buf_put_sized(&payload, slice_of(address, size));
        buf_put_sized(&payload, slice_of(NULL, 0));
        put_frame(&out, FRAME_LEADER_REDIRECT, buf_slice(&payload));
        struct message got;
        size_t whole;
        int expected = size < ADDRESS_SIZE_MAX ? 0 : KV_ERR_MALFORMED;
        assert_int_equal(decode(buf_slice(&out), &got, &whole), expected);
    }
    buf_done(&payload);
    buf_done(&out);
}

static void a_command_over_its_limit_is_refused_before_it_is_looked_at(void **state)
{
    (void)state;
    struct buf payload = {0};
    buf_put_u64(&payload, 1);
    memset(buf_extend(&payload, COMMAND_SIZE_MAX), 0, COMMAND_SIZE_MAX);
    struct client_request request;
    assert_int_equal(client_request_decode(buf_slice(&payload), &request), 0);
    buf_put_u8(&payload, 0);
    assert_int_equal(client_request_decode(buf_slice(&payload), &request), KV_ERR_MALFORMED);
    buf_done(&payload);
}

static void handshakes_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message hello = {.kind = MESSAGE_PEER_HELLO,
                            .hello = {.protocol_min = 1,
                                      .protocol_max = 2,
                                      .cluster_id = 9,
                                      .from = 1,
                                      .to = 2,
                                      .address = slice_of_string("h:1")}};
    /* Version 0, min over max, no purpose, nobody calls, nobody is called, a call to oneself,
     * one that joins and knows all, no address, a NUL in it. */
    const struct damage hellos[] = {{0, 0},  {0, 3},  {4, PEER_PURPOSE_COUNT}, {5, 1}, {16, 0},
                                    {24, 0}, {24, 1}, {4, PEER_JOIN},          {8, 0}, {72, 0},
                                    {52, 4}, {77, 0}};
    assert_each_damage_refused(&hello, hellos, sizeof hellos / sizeof hellos[0]);

    struct message welcome = {.kind = MESSAGE_PEER_WELCOME,
                              .welcome = {.status = 0, .protocol = 1, .cluster_id = 9, .id = 2}};
    /* A status that is none, none chosen though welcome, a reserved byte, nobody answers. */
    const struct damage welcomes[] = {{0, 1}, {4, 0}, {6, 1}, {16, 0}};
    assert_each_damage_refused(&welcome, welcomes, sizeof welcomes / sizeof welcomes[0]);
}

static void snapshot_and_digest_messages_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message offer = {
        .kind = MESSAGE_SNAPSHOT_OFFER,
        .offer = {.from = 1, .to = 2, .term = 3, .index = 4, .index_term = 2, .size = 5}};
    /* Nobody, nobody, to itself, a term below the entry's, index 0, term 0, no bytes. */
    const struct damage offers[] = {{0, 0}, {8, 0}, {8, 1}, {16, 1}, {24, 0}, {32, 0}, {40, 0}};
    assert_each_damage_refused(&offer, offers, sizeof offers / sizeof offers[0]);

    struct message bytes = {
        .kind = MESSAGE_SNAPSHOT_BYTES,
        .bytes = {.offset = UINT64_MAX - 255, .bytes = slice_of_string("piece")}};
    const struct damage pieces[] = {{0, 0xff}}; /* beyond what can be counted */
    assert_each_damage_refused(&bytes, pieces, sizeof pieces / sizeof pieces[0]);

    struct message status = {.kind = MESSAGE_SNAPSHOT_STATUS, .snapshot = {.offset = 9}};
    const struct damage states[] = {{0, SNAPSHOT_STATE_COUNT}, {1, 1}, {4, 1}, {16, 1}};
    assert_each_damage_refused(&status, states, sizeof states / sizeof states[0]);

    struct message digest = {.kind = MESSAGE_STATE_DIGEST, .digest = {.index = 1, .digest = 2}};
    const struct damage digests[] = {{0, 0}}; /* of nothing */
    assert_each_damage_refused(&digest, digests, sizeof digests / sizeof digests[0]);
}

static void admin_messages_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message change = {.kind = MESSAGE_ADMIN_REQUEST};
    change.admin = (struct admin_request){
        .verb = ADMIN_CHANGE,
        .edit_count = 1,
        .edits = {{.operation = EDIT_MOVE, .id = 4, .address = "h:1"}},
    };
    /* A verb that is none, edits of a list, flags that are none, a target of a change, no edits
     * and too many, an operation that is none, an address of a removal, no id, no port, a NUL. */
    const struct damage changes[] = {{8, ADMIN_VERB_COUNT},
                                     {8, ADMIN_LIST},
                                     {12, 4},
                                     {16, 1},
                                     {24, 0},
                                     {24, ADMIN_EDITS_MAX + 1},
                                     {28, EDIT_OPERATION_COUNT},
                                     {28, EDIT_REMOVE},
                                     {32, 0},
                                     {46, 'x'},
                                     {44, 0}};
    assert_each_damage_refused(&change, changes, sizeof changes / sizeof changes[0]);

    struct message list = {.kind = MESSAGE_ADMIN_REQUEST, .admin = {.verb = ADMIN_LIST}};
    /* A list that is forced, one that is only tried, a change without edits. */
    const struct damage lists[] = {{12, 2}, {12, 1}, {8, ADMIN_CHANGE}};
    assert_each_damage_refused(&list, lists, sizeof lists / sizeof lists[0]);

    struct message answer = {.kind = MESSAGE_ADMIN_RESPONSE,
                             .admin_answer = {.id = 1, .status = -1}};
    answer.admin_answer.has_membership = true;
    answer.admin_answer.membership = (struct raft_membership){
        .count = 1, .members = {{.id = 1, .voter = true, .address = "h:1"}}};
    answer.admin_answer.has_plan = true;
    answer.admin_answer.plan.wanted = answer.admin_answer.membership;
    /* No id; a status that is none; flags; a membership of another version, of a size that is not
     * its own, and with a member too few; flags of a member and of the plan; the plan's membership.
     */
    const struct damage answers[] = {{8, 0},  {19, 1}, {20, 4}, {48, 2},  {44, 30},
                                     {50, 0}, {79, 2}, {95, 2}, {127, 2}, {129, 0}};
    assert_each_damage_refused(&answer, answers, sizeof answers / sizeof answers[0]);
}

static void backup_messages_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message read = {.kind = MESSAGE_BACKUP_REQUEST,
                           .backup = {.action = BACKUP_READ, .size = BACKUP_PIECE_SIZE_MAX}};
    /* No action, a read without a size and one that is too large, an offset beyond any file; a
     * begin and an end with a size. */
    const struct damage reads[] = {{8, BACKUP_ACTION_COUNT}, {14, 0},        {12, 1}, {23, 0x80},
                                   {8, BACKUP_BEGIN},        {8, BACKUP_END}};
    assert_each_damage_refused(&read, reads, sizeof reads / sizeof reads[0]);

    struct message piece = {
        .kind = MESSAGE_BACKUP_RESPONSE,
        .piece = {
            .index = 1, .term = 1, .file_size = 9, .offset = 4, .bytes = slice_of("piece", 5)}};
    /* No index, no term, a file of no size and one that is too small, one beyond any file, an
     * offset behind the end. */
    const struct damage pieces[] = {{8, 0}, {16, 0}, {24, 0}, {24, 8}, {31, 0x80}, {32, 5}};
    assert_each_damage_refused(&piece, pieces, sizeof pieces / sizeof pieces[0]);
}

static void raft_messages_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message vote = {.kind = MESSAGE_VOTE_REQUEST,
                           .raft = {.type = RAFT_VOTE_REQUEST, .from = 1, .to = 2, .term = 3}};
    const struct damage votes[] = {{0, 0}, {8, 0}, {8, 1}, {24, 3}, {24, 4}, {31, 1}};
    assert_each_damage_refused(&vote, votes, sizeof votes / sizeof votes[0]);

    struct message answer = {.kind = MESSAGE_VOTE_RESPONSE,
                             .raft = {.type = RAFT_VOTE_RESPONSE, .from = 1, .to = 2, .term = 3}};
    const struct damage answers[] = {{24, 4}, {25, 1}};
    assert_each_damage_refused(&answer, answers, sizeof answers / sizeof answers[0]);

    struct message ack = {.kind = MESSAGE_APPEND_RESPONSE,
                          .raft = {.type = RAFT_APPEND_RESPONSE, .from = 1, .to = 2, .term = 3}};
    const struct damage acks[] = {{24, 8}, {30, 1}};
    assert_each_damage_refused(&ack, acks, sizeof acks / sizeof acks[0]);
}

static void reads_that_contradict_themselves_are_malformed(void **state)
{
    (void)state;
    struct message read = {.kind = MESSAGE_READ_REQUEST,
                           .read = {.reads = KVAPP_READS_STALE, .command = slice_of("c", 1)}};
    /* A way to read that is none; reserved bytes. */
    const struct damage reads[] = {{8, KVAPP_READS_COUNT}, {9, 1}, {15, 1}};
    assert_each_damage_refused(&read, reads, sizeof reads / sizeof reads[0]);

    /* No tag. */
    const struct damage tags[] = {{0, 0}};
    struct message question = {.kind = MESSAGE_READ_INDEX_REQUEST, .question = {.tag = 9}};
    assert_each_damage_refused(&question, tags, 1);
    struct message index = {.kind = MESSAGE_READ_INDEX_RESPONSE, .index = {.tag = 9, .index = 5}};
    assert_each_damage_refused(&index, tags, 1);
}

static void runs_that_do_not_add_up_are_malformed(void **state)
{
    (void)state;
    struct message append = {.kind = MESSAGE_APPEND_REQUEST, .entries = slice_of("12345", 5)};
    append.raft = (struct raft_message){.type = RAFT_APPEND_REQUEST, .from = 1, .to = 2, .term = 8};
    append.raft.append_request = (struct raft_append_request){
        .prev_index = 10,
        .prev_term = 4,
        .entry_count = 5,
        .run_count = 2,
        .runs = {{.term = 5, .count = 2}, {.term = 7, .count = 3}},
    };
    /* Offsets: prev_index 24, entry_count 56, run_count 64, runs at 72 and 88. */
    const struct damage damages[] = {
        {56, 4},   /* more in the runs than entries */
        {56, 6},   /* fewer */
        {64, 1},   /* fewer runs, and the rest taken for entries */
        {64, 17},  /* more runs than may be */
        {64, 255}, /* more than bytes */
        {72, 3},   /* a term below the one before the entries */
        {72, 8},   /* terms that fall */
        {72, 0},   /* no term */
        {88, 9},   /* a term beyond the leader's */
        {80, 0},   /* an empty run */
        {96, 0},   /* an empty last run */
        {87, 255}, /* counts that overflow */
    };
    assert_each_damage_refused(&append, damages, sizeof damages / sizeof damages[0]);

    /* Indices that pass the largest number. */
    struct buf out = {0};
    message_encode(&append, &out);
    put_u64(out.data + FRAME_HEADER_SIZE + 24, UINT64_MAX - 4);
    frame_end(&out, 0);
    struct message got;
    size_t size;
    assert_int_equal(decode(buf_slice(&out), &got, &size), KV_ERR_MALFORMED);

    /* Entries without a count, and a count without entries. */
    append.raft.append_request.entry_count = 0;
    append.raft.append_request.run_count = 0;
    buf_clear(&out);
    message_encode(&append, &out);
    assert_int_equal(decode(buf_slice(&out), &got, &size), KV_ERR_MALFORMED);
    append.raft.append_request.entry_count = 5;
    append.raft.append_request.run_count = 2;
    append.entries = slice_of(NULL, 0);
    buf_clear(&out);
    message_encode(&append, &out);
    assert_int_equal(decode(buf_slice(&out), &got, &size), KV_ERR_MALFORMED);
    buf_done(&out);
}

/* ---- memberships ---- */

static const struct raft_membership some_membership = {
    .count = 3,
    .joint = true,
    .members = {{.id = 1, .voter_old = true, .incarnation = 77, .address = "127.0.0.1:8080"},
                {.id = 2, .voter = true, .voter_old = true, .address = "[::1]:8081"},
                {.id = 9, .keep_learner = true, .address = "host:1"}},
};

static void a_membership_survives_the_round_trip(void **state)
{
    (void)state;
    struct buf out = {0};
    membership_encode(&some_membership, &out);
    struct raft_membership got;
    assert_int_equal(membership_decode(buf_slice(&out), &got), 0);
    assert_memory_equal(&got, &some_membership, sizeof got);
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(membership_decode(slice_of(out.data, size), &got), KV_ERR_MALFORMED);
    }
    buf_put_u8(&out, 0);
    assert_int_equal(membership_decode(buf_slice(&out), &got), KV_ERR_MALFORMED);
    buf_done(&out);
}

static void memberships_that_cannot_be_are_malformed(void **state)
{
    (void)state;
    /* Flags, too many, ids that do not rise, a member's flags, a NUL and a port that is none. */
    const struct damage damages[] = {{1, 2}, {2, 10}, {3, 1}, {4, 10}, {20, 8}, {30, 0}, {41, 'x'}};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct buf out = {0};
        membership_encode(&some_membership, &out);
        struct raft_membership got;
        assert_int_not_equal(out.data[damages[i].offset], damages[i].value);
        out.data[damages[i].offset] = damages[i].value;
        assert_int_equal(membership_decode(buf_slice(&out), &got), KV_ERR_MALFORMED);
        out.data[0] = 2;
        assert_int_equal(membership_decode(buf_slice(&out), &got), KV_ERR_VERSION);
        buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_the_round_trip),
        cmocka_unit_test(a_membership_survives_the_round_trip),
        cmocka_unit_test(memberships_that_cannot_be_are_malformed),
        cmocka_unit_test(a_stream_gives_the_same_frames_however_it_is_cut),
        cmocka_unit_test(unknown_types_are_left_to_the_caller),
        cmocka_unit_test(the_largest_frame_passes_and_one_byte_more_does_not),
        cmocka_unit_test(a_request_encoded_from_a_command_is_the_same_as_from_its_bytes),
        cmocka_unit_test(every_prefix_of_a_frame_is_incomplete),
        cmocka_unit_test(every_flipped_bit_is_detected),
        cmocka_unit_test(a_wrong_header_is_refused_before_its_payload),
        cmocka_unit_test(a_payload_cut_short_or_with_a_byte_too_many_is_malformed),
        cmocka_unit_test(damaged_payloads_are_refused_or_mean_exactly_their_bytes),
        cmocka_unit_test(client_messages_that_contradict_themselves_are_malformed),
        cmocka_unit_test(an_address_fills_its_string_and_no_more),
        cmocka_unit_test(a_command_over_its_limit_is_refused_before_it_is_looked_at),
        cmocka_unit_test(handshakes_that_contradict_themselves_are_malformed),
        cmocka_unit_test(snapshot_and_digest_messages_that_contradict_themselves_are_malformed),
        cmocka_unit_test(admin_messages_that_contradict_themselves_are_malformed),
        cmocka_unit_test(backup_messages_that_contradict_themselves_are_malformed),
        cmocka_unit_test(raft_messages_that_contradict_themselves_are_malformed),
        cmocka_unit_test(reads_that_contradict_themselves_are_malformed),
        cmocka_unit_test(runs_that_do_not_add_up_are_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
