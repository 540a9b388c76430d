/*
 * The recorded bytes of every message. client.txt and peer.txt hold, for each sample below, its
 * name, its meaning and a dump of its frame; a layout that changes shows up as a difference. Run
 * with --rewrite after a change that is meant, and review the files like code.
 *
 * docs/PROTOCOL.md explains some of these samples byte by byte: a code block behind a line
 * "<!-- bytes: NAME -->", hexadecimal pairs at the left of each line, two blanks, an explanation.
 * The pairs must be the recorded bytes, so that the document cannot be wrong.
 *
 * Usage: test_recorded DIRECTORY PROTOCOL.md [--rewrite]
 */
#include "messages.h"

#include "base/memory.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct place {
    const char *directory;
    const char *document;
    bool rewrite;
};

/* ---- dumps ---- */

static void put_dump(struct buf *out, struct slice bytes)
{
    for (size_t from = 0; from < bytes.size; from += 16) {
        buf_print(out, "%04zx ", from);
        for (size_t at = from; at < from + 16; at++) {
            if (at < bytes.size) {
                buf_print(out, " %02x", bytes.data[at]);
            } else {
                buf_print(out, "   ");
            }
        }
        buf_print(out, "  |");
        for (size_t at = from; at < from + 16 && at < bytes.size; at++) {
            buf_print(out, "%c", isprint(bytes.data[at]) ? bytes.data[at] : '.');
        }
        buf_print(out, "|\n");
    }
}

static void record(struct buf *out, const char *name, const char *meaning,
                   const struct message *message)
{
    struct buf frame = {0};
    message_encode(message, &frame);
    buf_print(out, "%s: %s\n", name, meaning);
    put_dump(out, buf_slice(&frame));
    buf_print(out, "\n");
    buf_done(&frame);
}

/* ---- the samples ---- */

static void record_request(struct buf *out, const char *name, const char *meaning,
                           uint64_t request_id, const struct command *command)
{
    assert_int_equal(command_check(command), 0);
    struct buf bytes = {0};
    command_encode(command, &bytes);
    struct message message = {
        .kind = MESSAGE_CLIENT_REQUEST,
        .request = {.request_id = request_id, .command = buf_slice(&bytes)},
    };
    record(out, name, meaning, &message);
    buf_done(&bytes);
}

static void record_response(struct buf *out, const char *name, const char *meaning,
                            const struct client_response *response)
{
    struct message message = {.kind = MESSAGE_CLIENT_RESPONSE, .response = *response};
    record(out, name, meaning, &message);
}

static void record_requests(struct buf *out)
{
    record_request(out, "open_session_request", "asks for a session", 1,
                   &(struct command){.operation = OPERATION_OPEN_SESSION});
    record_response(
        out, "open_session_response", "the session's id is 7",
        &(struct client_response){.request_id = 1, .reply = {.revision = 7, .count = 0}});
    record_request(out, "put_request", "puts \"hello\" at \"greeting\", the session's first write",
                   2,
                   &(struct command){.operation = OPERATION_PUT,
                                     .session = 7,
                                     .sequence = 1,
                                     .acknowledged = 0,
                                     .key = slice_of_string("greeting"),
                                     .value = slice_of_string("hello")});
    record_response(out, "put_response", "done, at revision 8",
                    &(struct client_response){.request_id = 2, .reply = {.revision = 8}});
    record_request(out, "put_if_request", "puts \"\" at \"greeting\" if its revision is 8", 3,
                   &(struct command){.operation = OPERATION_PUT,
                                     .session = 7,
                                     .sequence = 2,
                                     .acknowledged = 1,
                                     .has_expected = true,
                                     .expected_revision = 8,
                                     .key = slice_of_string("greeting")});
    record_request(
        out, "get_request", "gets \"greeting\"", 4,
        &(struct command){.operation = OPERATION_GET, .key = slice_of_string("greeting")});
    record_response(out, "get_response", "\"hello\", written at revision 8",
                    &(struct client_response){
                        .request_id = 4,
                        .reply = {.revision = 8, .data = slice_of_string("hello")},
                    });
    record_request(
        out, "delete_request", "deletes \"greeting\" without a session", 5,
        &(struct command){.operation = OPERATION_DELETE, .key = slice_of_string("greeting")});
    record_response(out, "not_found_response", "no such key, as of revision 9",
                    &(struct client_response){
                        .request_id = 5,
                        .reply = {.status = KV_ERR_NOT_FOUND, .revision = 9},
                    });
    record_request(out, "list_request", "the first 2 keys from \"b\" to before \"x\"", 6,
                   &(struct command){.operation = OPERATION_LIST,
                                     .limit = 2,
                                     .key = slice_of_string("b"),
                                     .end = slice_of_string("x")});
    record_response(out, "list_response", "\"b\", \"cc\", and there are more",
                    &(struct client_response){
                        .request_id = 6,
                        .reply = {.more = true,
                                  .revision = 9,
                                  .count = 2,
                                  .data = slice_of("\1\0\0\0b\2\0\0\0cc", 11)},
                    });
    record_request(
        out, "scan_request", "keys that begin with \"user/\", with values", 7,
        &(struct command){.operation = OPERATION_SCAN, .prefix = slice_of_string("user/")});
}

/* Locks, counters, what is together: the session's next writes. */
static void record_lock(struct buf *out)
{
    record_request(out, "take_request", "puts \"me\" at \"lock\" for 10 s, if it is not there", 21,
                   &(struct command){.operation = OPERATION_PUT,
                                     .session = 7,
                                     .sequence = 3,
                                     .acknowledged = 2,
                                     .key = slice_of_string("lock"),
                                     .value = slice_of_string("me"),
                                     .options = OPTION_ABSENT,
                                     .expiry = {EXPIRY_AFTER, 10000}});
    record_response(out, "take_response", "taken: 17 is the fencing token",
                    &(struct client_response){.request_id = 21, .reply = {.revision = 17}});
    struct buf commands = {0};
    const struct command guard = {.operation = OPERATION_GUARD,
                                  .has_expected = true,
                                  .expected_revision = 17,
                                  .key = slice_of_string("lock"),
                                  .number = 2};
    const struct command put = {
        .operation = OPERATION_PUT, .key = slice_of_string("data"), .value = slice_of_string("v")};
    const struct command add = {
        .operation = OPERATION_ADD, .key = slice_of_string("n"), .number = -1};
    command_encode_into_batch(&guard, &commands);
    command_encode_into_batch(&put, &commands);
    command_encode_into_batch(&add, &commands);
    record_request(out, "batch_request",
                   "if the lock is still at 17: puts \"data\", takes 1 off \"n\"", 22,
                   &(struct command){.operation = OPERATION_BATCH,
                                     .session = 7,
                                     .sequence = 4,
                                     .acknowledged = 3,
                                     .commands = buf_slice(&commands)});
    buf_done(&commands);
    record_response(
        out, "batch_response", "all three succeeded",
        &(struct client_response){.request_id = 22, .reply = {.revision = 18, .count = 3}});
    record_response(out, "batch_refused_response", "the lock is at 21 by now, and nothing was done",
                    &(struct client_response){
                        .request_id = 22, .reply = {.status = KV_ERR_CONDITION, .revision = 21}});
}

static void record_values(struct buf *out)
{
    record_request(
        out, "add_request", "takes 5 off \"n\"", 23,
        &(struct command){.operation = OPERATION_ADD, .key = slice_of_string("n"), .number = -5});
    record_response(out, "add_response", "it is -6 now",
                    &(struct client_response){.request_id = 23,
                                              .reply = {.revision = 19, .count = (uint64_t)-6}});
    record_request(out, "append_request", "appends \"!\" to \"greeting\"", 24,
                   &(struct command){.operation = OPERATION_APPEND,
                                     .key = slice_of_string("greeting"),
                                     .value = slice_of_string("!")});
    record_request(out, "expire_request", "\"greeting\" goes in the middle of November 2023", 25,
                   &(struct command){.operation = OPERATION_EXPIRE,
                                     .key = slice_of_string("greeting"),
                                     .expiry = {EXPIRY_AT, 1700000000123}});
    record_request(
        out, "stat_request", "what is known of \"greeting\"?", 26,
        &(struct command){.operation = OPERATION_STAT, .key = slice_of_string("greeting")});
    struct buf bytes = {0};
    key_stat_encode(&(struct key_stat){.create = 8,
                                       .modify = 20,
                                       .version = 3,
                                       .expires_ms = 1700000000123,
                                       .now_ms = 1699999999123},
                    &bytes);
    record_response(
        out, "stat_response", "made at 8, written 3 times, 6 bytes, and gone in a second",
        &(struct client_response){
            .request_id = 26, .reply = {.revision = 20, .count = 6, .data = buf_slice(&bytes)}});
    buf_done(&bytes);
}

static void record_answers(struct buf *out)
{
    record_response(out, "outcome_unknown_response", "leadership was lost on the way",
                    &(struct client_response){
                        .request_id = 8,
                        .reply = {.status = KV_ERR_OUTCOME_UNKNOWN},
                        .error = slice_of_string("leadership was lost in term 5"),
                    });
    struct message redirect = {
        .kind = MESSAGE_LEADER_REDIRECT,
        .redirect = {.request_id = 9,
                     .has_leader = true,
                     .leader_id = 2,
                     .address = slice_of_string("127.0.0.1:9081"),
                     .text = slice_of_string("not the leader")},
    };
    record(out, "redirect", "server 2 leads", &redirect);
    redirect.redirect = (struct leader_redirect){
        .request_id = 9, .text = slice_of_string("an election is under way")};
    record(out, "redirect_without_leader", "nobody leads", &redirect);
    struct message status = {.kind = MESSAGE_STATUS_REQUEST, .status_request_id = 10};
    record(out, "status_request", "how are you?", &status);
    status = (struct message){
        .kind = MESSAGE_STATUS_RESPONSE,
        .status = {.request_id = 10,
                   .cluster_id = 0x1122334455667788,
                   .id = 2,
                   .address = slice_of_string("127.0.0.1:8081"),
                   .role = RAFT_LEADER,
                   .term = 5,
                   .leader = 2,
                   .commit_index = 101,
                   .applied_index = 100,
                   .last_index = 102,
                   .digest = 0xfedcba9876543210,
                   .key_count = 42,
                   .uptime_ms = 60000,
                   .log_writes = 30,
                   .log_syncs = 31,
                   .log_entries = 103,
                   .log_bytes = 20480,
                   .io_backend = slice_of_string("io_uring"),
                   .version = slice_of_string("0.1.0")},
    };
    record(out, "status_response", "server 2 leads in term 5", &status);
}

static void record_admin(struct buf *out)
{
    struct message message = {.kind = MESSAGE_ADMIN_REQUEST};
    message.admin = (struct admin_request){.request_id = 11, .verb = ADMIN_LIST};
    record(out, "admin_list_request", "who are the members?", &message);
    message.admin = (struct admin_request){
        .request_id = 12,
        .verb = ADMIN_CHANGE,
        .dry_run = true,
        .edit_count = 2,
        .edits = {{.operation = EDIT_PROMOTE, .id = 4},
                  {.operation = EDIT_MOVE, .id = 3, .address = "127.0.0.1:8085"}},
    };
    record(out, "admin_change_request", "what if 4 voted and 3 were elsewhere?", &message);
    message.admin = (struct admin_request){.request_id = 13, .verb = ADMIN_TRANSFER, .target = 2};
    record(out, "admin_transfer_request", "server 2 shall lead", &message);

    message = (struct message){.kind = MESSAGE_ADMIN_RESPONSE};
    struct admin_response *answer = &message.admin_answer;
    *answer = (struct admin_response){.request_id = 12, .id = 1, .index = 17, .leader = 1};
    answer->has_membership = true;
    answer->membership = (struct raft_membership){
        .count = 2,
        .members = {{.id = 1, .voter = true, .incarnation = 7, .address = "127.0.0.1:8080"},
                    {.id = 4, .keep_learner = true, .address = "127.0.0.1:8084"}},
    };
    answer->members[0] = (struct admin_member){.connected = true, .priority = 1, .match = 20};
    answer->members[1] = (struct admin_member){.match = 19};
    answer->has_plan = true;
    answer->plan = (struct admin_plan){
        .joint = true,
        .before = {.count = 1, .quorum = 1, .ready = 1},
        .after = {.count = 2, .quorum = 2, .ready = 1},
        .wanted = answer->membership,
    };
    answer->plan.wanted.members[1].keep_learner = false;
    answer->plan.wanted.members[1].voter = true;
    record(out, "admin_plan_response", "4 would vote, and is not there", &message);
    *answer = (struct admin_response){.request_id = 13,
                                      .id = 1,
                                      .status = KV_ERR_BUSY,
                                      .text = slice_of_string("a change is under way")};
    record(out, "admin_busy_response", "not now", &message);
}

static void record_backup(struct buf *out)
{
    struct message request = {
        .kind = MESSAGE_BACKUP_REQUEST,
        .backup = {.request_id = 11, .action = BACKUP_BEGIN},
    };
    record(out, "backup_begin", "begins a backup", &request);
    struct message response = {
        .kind = MESSAGE_BACKUP_RESPONSE,
        .piece = {.request_id = 11},
    };
    record(out, "backup_not_yet", "the snapshot is being taken", &response);
    request.backup = (struct backup_request){
        .request_id = 12, .action = BACKUP_READ, .size = 262144, .offset = 512};
    record(out, "backup_read", "wants 256 KiB of it, from offset 512 on", &request);
    response.piece = (struct backup_response){.request_id = 12,
                                              .index = 1000,
                                              .term = 5,
                                              .file_size = 519,
                                              .offset = 512,
                                              .bytes = slice_of_string("<bytes>")};
    record(out, "backup_piece", "the last 7 bytes of the snapshot up to entry 1000", &response);
    request.backup = (struct backup_request){.request_id = 13, .action = BACKUP_END};
    record(out, "backup_end", "has all of it", &request);
}

static void record_reads(struct buf *out)
{
    struct buf command = {0};
    command_encode(
        &(struct command){.operation = OPERATION_GET, .key = slice_of_string("greeting")},
        &command);
    struct message message = {
        .kind = MESSAGE_READ_REQUEST,
        .read = {.request_id = 11, .reads = KVAPP_READS_STALE, .command = buf_slice(&command)},
    };
    record(out, "stale_read_request", "gets \"greeting\", even if it is old", &message);
    message = (struct message){
        .kind = MESSAGE_STALE_RESPONSE,
        .stale = {.request_id = 11,
                  .age_ms = 40,
                  .applied_index = 9,
                  .reply = {.revision = 8, .data = slice_of_string("hello")}},
    };
    record(out, "stale_read_response", "at most 40 ms old", &message);
    buf_done(&command);
}

static void client_messages_are_as_recorded(struct buf *out)
{
    record_requests(out);
    record_lock(out);
    record_values(out);
    record_reads(out);
    record_answers(out);
    record_admin(out);
    record_backup(out);
}

static void record_handshake(struct buf *out)
{
    struct message hello = {
        .kind = MESSAGE_PEER_HELLO,
        .hello = {.protocol_min = 1,
                  .protocol_max = 2,
                  .cluster_id = 0x1122334455667788,
                  .from = 1,
                  .to = 3,
                  .incarnation = 0x99aabbccddeeff00,
                  .membership_index = 17,
                  .priority = 1,
                  .term = 5,
                  .last_index = 40,
                  .address = slice_of_string("127.0.0.1:8080")},
    };
    record(out, "hello", "server 1 speaks 1 to 2 and wants server 3", &hello);
    struct message welcome = {
        .kind = MESSAGE_PEER_WELCOME,
        .welcome = {.protocol = 1, .cluster_id = 0x1122334455667788, .id = 3},
    };
    record(out, "welcome", "server 3 chose protocol 1", &welcome);
    welcome.welcome.status = KV_ERR_FOREIGN;
    welcome.welcome.protocol = 0;
    welcome.welcome.text = slice_of_string("another cluster");
    record(out, "welcome_refused", "server 3 is of another cluster", &welcome);
}

static void record_snapshot(struct buf *out)
{
    struct message message = {
        .kind = MESSAGE_SNAPSHOT_OFFER,
        .offer = {.from = 1,
                  .to = 2,
                  .term = 6,
                  .index = 1000,
                  .index_term = 5,
                  .size = 70000,
                  .salt = 0x1122334455667788,
                  .time_ms = 1700000000123},
    };
    record(out, "snapshot_offer", "server 1 has a snapshot up to entry 1000 of term 5", &message);
    message = (struct message){.kind = MESSAGE_SNAPSHOT_BYTES};
    message.bytes = (struct snapshot_bytes){.offset = 512, .bytes = slice_of_string("<bytes>")};
    record(out, "snapshot_bytes", "a piece of its file", &message);
    message = (struct message){.kind = MESSAGE_SNAPSHOT_STATUS};
    message.snapshot = (struct snapshot_status){.state = SNAPSHOT_WANTED, .offset = 512};
    record(out, "snapshot_wanted", "server 2 has its first 512 bytes", &message);
    message = (struct message){.kind = MESSAGE_STATE_DIGEST};
    message.digest = (struct state_digest){.index = 1000, .digest = 0x1122334455667788};
    record(out, "state_digest", "the state of a leader that has applied entry 1000", &message);
    message = (struct message){.kind = MESSAGE_CLOCK, .wall_ms = 1700000000123};
    record(out, "clock", "a voter's wall clock, late on 14 November 2023", &message);
}

static void record_votes(struct buf *out)
{
    struct message message = {.kind = MESSAGE_VOTE_REQUEST};
    message.raft = (struct raft_message){.type = RAFT_VOTE_REQUEST, .from = 1, .to = 2, .term = 6};
    message.raft.vote_request = (struct raft_vote_request){.last_index = 102, .last_term = 5};
    record(out, "vote_request", "server 1 wants server 2's vote in term 6", &message);
    message.raft.vote_request.pre = true;
    record(out, "pre_vote_request", "the same, only asking", &message);
    message.raft.vote_request.pre = false;
    message.raft.vote_request.transfer = true;
    record(out, "transfer_vote_request", "the same, as its leader wants", &message);

    message = (struct message){.kind = MESSAGE_VOTE_RESPONSE};
    message.raft = (struct raft_message){.type = RAFT_VOTE_RESPONSE, .from = 2, .to = 1, .term = 6};
    message.raft.vote_response = (struct raft_vote_response){.granted = true};
    record(out, "vote_granted", "it is given", &message);
    message.raft.vote_response = (struct raft_vote_response){.pre = true};
    record(out, "pre_vote_denied", "a pre-vote is denied", &message);

    message = (struct message){.kind = MESSAGE_TIMEOUT_NOW};
    message.raft = (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 3, .to = 1, .term = 5};
    record(out, "timeout_now", "leader 3 wants server 1 to campaign at once", &message);
}

static void record_appends(struct buf *out)
{
    struct message message = {.kind = MESSAGE_APPEND_REQUEST};
    message.raft =
        (struct raft_message){.type = RAFT_APPEND_REQUEST, .from = 1, .to = 2, .term = 6};
    message.raft.append_request = (struct raft_append_request){
        .prev_index = 102, .prev_term = 5, .commit_index = 101, .read_round = 9};
    record(out, "heartbeat", "nothing new after entry 102 of term 5", &message);
    message.raft.append_request.entry_count = 3;
    message.raft.append_request.run_count = 2;
    message.raft.append_request.runs[0] = (struct raft_run){.term = 5, .count = 2};
    message.raft.append_request.runs[1] = (struct raft_run){.term = 6, .count = 1};
    message.entries = slice_of_string("<103><104><105>");
    record(out, "append_request", "entries 103 and 104 of term 5, 105 of term 6", &message);

    message = (struct message){.kind = MESSAGE_APPEND_RESPONSE};
    message.raft =
        (struct raft_message){.type = RAFT_APPEND_RESPONSE, .from = 2, .to = 1, .term = 6};
    message.raft.append_response = (struct raft_append_response){
        .success = true, .prev_index = 102, .match_index = 105, .read_round = 9};
    record(out, "append_success", "stored up to 105", &message);
    message.raft.append_response = (struct raft_append_response){
        .prev_index = 102, .hint_index = 90, .hint_term = 4, .read_round = 9};
    record(out, "append_failure", "the log ends at 90, of term 4", &message);
    message.raft.append_response =
        (struct raft_append_response){.lost = true, .prev_index = 102, .read_round = 9};
    record(out, "append_lost", "the disk lost the log", &message);
    message.raft.append_response = (struct raft_append_response){
        .success = true, .prev_index = 102, .match_index = 102, .read_round = 9, .lease = true};
    record(out, "append_promise", "the same place, and a promise to vote for nobody else",
           &message);
}

static void record_read_index(struct buf *out)
{
    struct message message = {.kind = MESSAGE_READ_INDEX_REQUEST, .question = {.tag = 1007}};
    record(out, "read_index_request", "which index, for all reads up to tag 1007?", &message);
    message =
        (struct message){.kind = MESSAGE_READ_INDEX_RESPONSE, .index = {.tag = 1007, .index = 102}};
    record(out, "read_index_response", "entry 102 must be applied", &message);
}

static void record_forward(struct buf *out)
{
    struct buf command = {0};
    command_encode(
        &(struct command){.operation = OPERATION_DELETE, .key = slice_of_string("greeting")},
        &command);
    struct message message = {
        .kind = MESSAGE_FORWARD_REQUEST,
        .forward = {.tag = 2007, .command = buf_slice(&command)},
    };
    record(out, "forward_request", "a client of Redis wants \"greeting\" deleted", &message);
    message = (struct message){
        .kind = MESSAGE_FORWARD_RESPONSE,
        .forward_answer = {.tag = 2007, .reply = {.revision = 9, .count = 1}},
    };
    record(out, "forward_response", "it was, at revision 9", &message);
    buf_done(&command);
}

static void peer_messages_are_as_recorded(struct buf *out)
{
    record_handshake(out);
    record_snapshot(out);
    record_votes(out);
    record_appends(out);
    record_read_index(out);
    record_forward(out);
}

/* ---- against the files ---- */

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s; --rewrite makes it", path);
    }
    char piece[4096];
    size_t size = 0;
    while ((size = fread(piece, 1, sizeof piece, file)) > 0) {
        buf_append(out, piece, size);
    }
    assert_int_equal(fclose(file), 0);
}

static void write_file(const char *path, struct slice text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.size, file), text.size);
    assert_int_equal(fclose(file), 0);
}

static void path_of(const struct place *place, const char *name, char ret_path[1024])
{
    assert_true((size_t)snprintf(ret_path, 1024, "%s/%s", place->directory, name) < 1024);
}

static void compare(const struct place *place, const char *name, void (*samples)(struct buf *))
{
    char path[1024];
    path_of(place, name, path);
    struct buf now = {0};
    samples(&now);
    if (place->rewrite) {
        write_file(path, buf_slice(&now));
    }
    struct buf recorded = {0};
    read_file(path, &recorded);
    buf_put_u8(&now, 0);
    buf_put_u8(&recorded, 0);
    assert_string_equal((const char *)now.data, (const char *)recorded.data);
    buf_done(&now);
    buf_done(&recorded);
}

static void client_messages_have_the_recorded_bytes(void **state)
{
    compare(*state, "client.txt", client_messages_are_as_recorded);
}

static void peer_messages_have_the_recorded_bytes(void **state)
{
    compare(*state, "peer.txt", peer_messages_are_as_recorded);
}

/* ---- reading what was recorded ---- */

/* Appends the bytes of the pairs at the front of `line`, up to two blanks or the end. */
static void put_pairs(struct buf *out, const char *line)
{
    unsigned value = 0;
    while (sscanf(line, "%2x", &value) == 1 && isxdigit((unsigned char)line[0]) &&
           isxdigit((unsigned char)line[1])) {
        buf_put_u8(out, (uint8_t)value);
        line += 2;
        if (line[0] != ' ' || line[1] == ' ') {
            return;
        }
        line++;
    }
}

/* Appends the frame of sample `name` to `out`; a dump ends with an empty line. */
static bool recorded_frame(char *text, const char *name, struct buf *out)
{
    size_t name_size = strlen(name);
    bool inside = false;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (inside && line[0] == '\0') {
            return true;
        }
        if (inside && strlen(line) > 6) {
            put_pairs(out, line + 6);
        }
        inside = inside || (strncmp(line, name, name_size) == 0 && line[name_size] == ':');
    }
    return inside;
}

static void recorded_bytes_still_decode(void **state)
{
    const char *const files[] = {"client.txt", "peer.txt"};
    unsigned seen = 0;
    for (size_t i = 0; i < 2; i++) {
        char path[1024];
        path_of(*state, files[i], path);
        struct buf text = {0};
        read_file(path, &text);
        buf_put_u8(&text, 0);
        char *rest = (char *)text.data;
        struct buf bytes = {0};
        for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
            if (line[0] != '\0' && isxdigit((unsigned char)line[0]) && line[4] == ' ') {
                put_pairs(&bytes, line + 6);
            } else if (line[0] == '\0' && bytes.size > 0) {
                struct frame frame;
                size_t size;
                struct message message;
                assert_int_equal(frame_decode(buf_slice(&bytes), &frame, &size), 0);
                assert_int_equal(size, bytes.size);
                assert_int_equal(message_decode(&frame, &message), 0);
                seen |= 1U << message.kind;
                buf_clear(&bytes);
            }
        }
        buf_done(&bytes);
        buf_done(&text);
    }
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        assert_int_equal(seen >> kind & 1, message_kind_is_known(kind));
    }
}

/* ---- the document ---- */

/* The bytes of the code block at `block`, which begins with a line of three backquotes. */
static void put_block(struct buf *out, char *block)
{
    char *rest = block;
    char *line = strsep(&rest, "\n");
    assert_non_null(line);
    assert_int_equal(strncmp(line, "```", 3), 0);
    for (line = strsep(&rest, "\n"); line != NULL && strncmp(line, "```", 3) != 0;
         line = strsep(&rest, "\n")) {
        put_pairs(out, line);
    }
    assert_non_null(line);
}

static void the_document_shows_the_recorded_bytes(void **state)
{
    const struct place *place = *state;
    char path[1024];
    path_of(place, "client.txt", path);
    struct buf document = {0};
    read_file(place->document, &document);
    buf_put_u8(&document, 0);
    const char *const samples[] = {"put_request", "put_response", "redirect", "batch_request"};
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        struct buf text = {0};
        read_file(path, &text);
        buf_put_u8(&text, 0);
        struct buf recorded = {0};
        assert_true(recorded_frame((char *)text.data, samples[i], &recorded));

        char marker[64];
        snprintf(marker, sizeof marker, "<!-- bytes: %s -->\n", samples[i]);
        const char *at = strstr((const char *)document.data, marker);
        if (at == NULL) {
            fail_msg("%s has no line %s", place->document, marker);
            return;
        }
        char *block = memory_copy_string(at + strlen(marker));
        struct buf shown = {0};
        put_block(&shown, block);
        assert_int_equal(shown.size, recorded.size);
        assert_memory_equal(shown.data, recorded.data, recorded.size);
        free(block);
        buf_done(&shown);
        buf_done(&recorded);
        buf_done(&text);
    }
    buf_done(&document);
}

static void the_document_lists_every_error(void **state)
{
    const struct place *place = *state;
    struct buf document = {0};
    read_file(place->document, &document);
    buf_put_u8(&document, 0);
    for (int err = -1; strcmp(kvapp_err_name(err), "UNKNOWN") != 0; err--) {
        char row[256];
        snprintf(row, sizeof row, "\n| %d | %s | %s | ", err, kvapp_err_name(err),
                 kvapp_err_sentence(err));
        if (strstr((const char *)document.data, row) == NULL) {
            fail_msg("%s has no row%s", place->document, row);
        }
    }
    buf_done(&document);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s DIRECTORY PROTOCOL.md [--rewrite]\n", argv[0]);
        return 2;
    }
    struct place place = {
        .directory = argv[1],
        .document = argv[2],
        .rewrite = argc > 3 && strcmp(argv[3], "--rewrite") == 0,
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(client_messages_have_the_recorded_bytes, &place),
        cmocka_unit_test_prestate(peer_messages_have_the_recorded_bytes, &place),
        cmocka_unit_test_prestate(recorded_bytes_still_decode, &place),
        cmocka_unit_test_prestate(the_document_shows_the_recorded_bytes, &place),
        cmocka_unit_test_prestate(the_document_lists_every_error, &place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
