#include "client_world.h"

#include "base/memory.h"
#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers ---- */

static void flush(struct visit *visit);

/* An answer that is held back for its server's delay. */
struct late {
    struct list link;
    struct io_timer timer;
    struct visit *visit; /* NULL: gone meanwhile */
    struct buf bytes;
};

static void late_free(struct late *late)
{
    list_remove(&late->link);
    buf_done(&late->bytes);
    free(late);
}

static void on_late(struct io_timer *timer)
{
    struct late *late = CONTAINER_OF(timer, struct late, timer);
    if (late->visit != NULL) {
        buf_append_slice(&late->visit->out, buf_slice(&late->bytes));
        flush(late->visit);
    }
    late_free(late);
}

/* Takes what was appended to visit->out beyond `mark` and sends it later. */
static void hold_back(struct visit *visit, size_t mark)
{
    struct world *world = visit->server->world;
    struct late *late = memory_new(1, sizeof *late);
    late->visit = visit;
    list_init(&late->link);
    list_push(&world->late, &late->link);
    buf_append(&late->bytes, visit->out.data + mark, visit->out.size - mark);
    visit->out.size = mark;
    io_timer_init(&late->timer, on_late);
    io_timer_set(world->io, &late->timer, io_now_us(world->io) + visit->server->delay_us);
}

static void on_visit_closed(struct io_close *close)
{
    struct visit *visit = CONTAINER_OF(close, struct visit, close);
    list_remove(&visit->link);
    buf_done(&visit->in);
    buf_done(&visit->out);
    buf_done(&visit->going);
    free(visit);
}

static void close_visit(struct visit *visit)
{
    if (visit->closing) {
        return;
    }
    visit->closing = true;
    struct list *late = &visit->server->world->late;
    for (struct list *link = late->next; link != late; link = link->next) {
        struct late *held = CONTAINER_OF(link, struct late, link);
        held->visit = held->visit == visit ? NULL : held->visit;
    }
    visit->close.done = on_visit_closed;
    io_stream_close(visit->server->world->io, visit->stream, &visit->close);
}

static void on_sent(struct io_send *send, int64_t result)
{
    struct visit *visit = CONTAINER_OF(send, struct visit, send);
    visit->sending = false;
    if (visit->closing) {
        return;
    }
    if (result < 0) {
        close_visit(visit);
        return;
    }
    flush(visit);
}

static void flush(struct visit *visit)
{
    if (visit->closing || visit->sending || visit->out.size == 0) {
        return;
    }
    visit->sending = true;
    size_t size = visit->server->piecemeal ? 1 : visit->out.size;
    buf_clear(&visit->going);
    buf_append(&visit->going, visit->out.data, size);
    buf_consume(&visit->out, size);
    visit->send.done = on_sent;
    visit->send.parts[0] = (struct iovec){.iov_base = visit->going.data, .iov_len = size};
    visit->send.part_count = 1;
    io_send_start(visit->server->world->io, visit->stream, &visit->send);
}

static void respond(struct visit *visit, uint64_t request_id, const struct reply *reply,
                    const char *error)
{
    struct client_response response = {
        .request_id = request_id, .reply = *reply, .error = slice_of_string(error)};
    client_response_encode(&response, &visit->out);
}

static void redirect(struct visit *visit, uint64_t request_id, uint64_t leader)
{
    struct leader_redirect message = {.request_id = request_id,
                                      .text = slice_of_string("ask somebody else")};
    if (leader != 0) {
        message.has_leader = true;
        message.leader_id = leader;
        message.address = slice_of_string(visit->server->world->servers[leader - 1].address);
    }
    leader_redirect_encode(&message, &visit->out);
}

/* ---- requests ---- */

/* Applies a write to the state machine that all servers share; counts what changed. */
static void apply(struct world *world, const struct command *command, struct reply *ret_reply)
{
    if (!operation_is_write(command->operation)) {
        kv_query(world->kv, command, REPLY_SIZE_MAX, ret_reply);
        return;
    }
    struct command question = {.operation = OPERATION_GET, .key = command->key};
    struct reply before = {.revision = 0};
    struct reply after = {.revision = 0};
    if (command->operation == OPERATION_PUT) {
        kv_query(world->kv, &question, REPLY_SIZE_MAX, &before);
    }
    struct buf bytes = {0};
    command_encode(command, &bytes);
    if (command->operation == OPERATION_PUT) {
        struct reply unused;
        world->log_index++;
        kv_apply(world->kv, world->log_index, 1, buf_slice(&bytes), &unused);
        struct reply kept = unused;
        kv_query(world->kv, &question, REPLY_SIZE_MAX, &after);
        world->puts_applied += after.status == 0 && after.revision == world->log_index;
        *ret_reply = kept;
        ret_reply->data = slice_of(NULL, 0);
    } else {
        world->log_index++;
        kv_apply(world->kv, world->log_index, 1, buf_slice(&bytes), ret_reply);
    }
    buf_done(&bytes);
}

static enum fate fate_of(struct server *server, const struct command *command)
{
    struct world *world = server->world;
    return world->fate == NULL ? FATE_ANSWER : world->fate(world, server, command);
}

/* What any server answers. */
static bool answered_here(struct visit *visit, const struct read_request *request,
                          const struct command *command)
{
    struct world *world = visit->server->world;
    if (request->reads != KVAPP_READS_LINEARIZABLE && request->reads != KVAPP_READS_STALE) {
        return false;
    }
    struct reply reply = {.status = 0};
    apply(world, command, &reply);
    if (request->reads == KVAPP_READS_STALE) {
        const struct stale_response response = {.request_id = request->request_id,
                                                .age_ms = STALE_AGE_MS,
                                                .applied_index = kv_applied_index(world->kv),
                                                .reply = reply};
        stale_response_encode(&response, &visit->out);
    } else {
        respond(visit, request->request_id, &reply, "");
    }
    return true;
}

static void meet_fate(struct visit *visit, const struct read_request *request,
                      const struct command *command)
{
    struct world *world = visit->server->world;
    uint64_t request_id = request->request_id;
    struct reply reply = {.status = 0};
    switch (fate_of(visit->server, command)) {
    case FATE_ANSWER:
        if (answered_here(visit, request, command)) {
            return;
        }
        if (world->leader != visit->server->id) {
            redirect(visit, request_id, world->leader);
            return;
        }
        apply(world, command, &reply);
        respond(visit, request_id, &reply, "");
        return;
    case FATE_IGNORE:
        return;
    case FATE_APPLY_SILENT:
        apply(world, command, &reply);
        return;
    case FATE_APPLY_BREAK:
        apply(world, command, &reply);
        close_visit(visit);
        return;
    case FATE_BREAK:
        close_visit(visit);
        return;
    case FATE_NO_LEADER:
        redirect(visit, request_id, 0);
        return;
    case FATE_BUSY:
        respond(visit, request_id, &(struct reply){.status = KV_ERR_BUSY}, "");
        return;
    case FATE_NOT_LEADER:
        respond(visit, request_id, &(struct reply){.status = KV_ERR_NOT_LEADER}, "");
        return;
    case FATE_FULL:
        respond(visit, request_id, &(struct reply){.status = KV_ERR_FULL}, "");
        return;
    case FATE_APPLY_UNKNOWN:
        apply(world, command, &reply);
        respond(visit, request_id, &(struct reply){.status = KV_ERR_OUTCOME_UNKNOWN},
                "lost \x1b leadership");
        return;
    case FATE_UNKNOWN:
        respond(visit, request_id, &(struct reply){.status = KV_ERR_OUTCOME_UNKNOWN},
                "lost \x1b leadership");
        return;
    case FATE_GARBAGE:
        buf_append(&visit->out, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        return;
    }
    fail();
}

static void on_request(struct visit *visit, const struct frame *frame)
{
    struct world *world = visit->server->world;
    struct read_request request = {.reads = KVAPP_READS_DEFAULT};
    struct command command;
    if (frame->type == FRAME_READ_REQUEST) {
        assert_int_equal(read_request_decode(frame->payload, &request), 0);
    } else {
        struct client_request plain;
        assert_int_equal(frame->type, FRAME_CLIENT_REQUEST);
        assert_int_equal(client_request_decode(frame->payload, &plain), 0);
        request.request_id = plain.request_id;
        request.command = plain.command;
    }
    assert_int_equal(command_decode(request.command, &command), 0);
    assert_int_equal(command_check(&command), 0);
    visit->server->requests++;
    if (world->sighting_count < sizeof world->sightings / sizeof world->sightings[0]) {
        world->sightings[world->sighting_count] =
            (struct sighting){.server = visit->server->id, .command = command};
        world->sighting_count++;
    }
    meet_fate(visit, &request, &command);
}

static void answer_admin(struct visit *visit, const struct admin_request *request, int status,
                         const char *text)
{
    struct world *world = visit->server->world;
    struct admin_response response = {
        .request_id = request->request_id,
        .id = visit->server->id,
        .status = status,
        .index = 9,
        .leader = request->verb == ADMIN_TRANSFER ? request->target : world->leader,
        .text = slice_of_string(text),
    };
    response.has_membership = request->verb == ADMIN_LIST || request->verb == ADMIN_CHANGE;
    for (size_t i = 0; response.has_membership && i < world->server_count; i++) {
        struct raft_member *member = &response.membership.members[i];
        *member = (struct raft_member){.id = i + 1, .voter = true};
        (void)snprintf(member->address, sizeof member->address, "127.0.0.1:%u",
                       world->servers[i].port - 1000U);
        response.membership.count++;
        response.members[i].match = world->leader == visit->server->id ? 100 + i : 0;
    }
    if (request->dry_run) {
        response.has_plan = true;
        response.plan = (struct admin_plan){.joint = true,
                                            .before = {.count = 3, .quorum = 2, .ready = 1},
                                            .after = {.count = 2, .quorum = 2, .ready = 2},
                                            .wanted = response.membership};
    }
    admin_response_encode(&response, &visit->out);
}

static void on_admin_request(struct visit *visit, struct slice payload)
{
    struct server *server = visit->server;
    struct world *world = server->world;
    struct admin_request request;
    assert_int_equal(admin_request_decode(payload, &request), 0);
    server->admin_requests++;
    enum fate fate =
        world->admin_fate == NULL ? FATE_ANSWER : world->admin_fate(world, server, &request);
    bool is_for_leader = request.verb == ADMIN_CHANGE || request.verb == ADMIN_TRANSFER;
    if (fate == FATE_BREAK) {
        close_visit(visit);
    } else if (fate == FATE_BUSY) {
        answer_admin(visit, &request, KV_ERR_BUSY, "a change is under way");
    } else if (fate == FATE_UNKNOWN) {
        answer_admin(visit, &request, KV_ERR_OUTCOME_UNKNOWN, "leadership was lost");
    } else if (is_for_leader && world->leader != server->id) {
        redirect(visit, request.request_id, world->leader);
    } else {
        answer_admin(visit, &request, 0, "");
    }
}

static void on_status_request(struct visit *visit, struct slice payload)
{
    struct server *server = visit->server;
    struct world *world = server->world;
    uint64_t request_id;
    assert_int_equal(status_request_decode(payload, &request_id), 0);
    server->status_requests++;
    struct status_response status = {
        .request_id = request_id,
        .cluster_id = 99,
        .id = server->id,
        .address = slice_of_string(server->address),
        .role = world->leader == server->id ? 3 : 0,
        .term = 7,
        .leader = world->leader,
        .commit_index = world->log_index,
        .applied_index = kv_applied_index(world->kv),
        .last_index = world->log_index,
        .digest = kv_digest(world->kv),
        .key_count = kv_key_count(world->kv),
        .io_backend = slice_of_string(io_backend_name(world->io)),
        .version = slice_of_string("a version that is too long"),
    };
    status_response_encode(&status, &visit->out);
}

static void on_backup_read(struct visit *visit, const struct backup_request *request)
{
    struct world *world = visit->server->world;
    struct world_backup *backup = &world->backup;
    struct backup_response response = {.request_id = request->request_id};
    if (backup->not_yet > 0) {
        backup->not_yet--;
        backup_response_encode(&response, &visit->out);
        return;
    }
    backup->pieces++;
    if (backup->pieces == backup->break_at) {
        world->leader = visit->server->id % world->server_count + 1;
        close_visit(visit);
        return;
    }
    size_t offset =
        request->offset < backup->file.size ? (size_t)request->offset : backup->file.size;
    size_t left = backup->file.size - offset;
    response.index = backup->index + (backup->pieces == backup->nonsense_at);
    response.term = 1;
    response.file_size = backup->file.size;
    response.offset = offset;
    response.bytes =
        slice_of(backup->file.data + offset, left < request->size ? left : request->size);
    backup_response_encode(&response, &visit->out);
}

static void on_backup(struct visit *visit, struct slice payload)
{
    struct world *world = visit->server->world;
    struct backup_request request;
    assert_int_equal(backup_request_decode(payload, &request), 0);
    const struct backup_response empty = {.request_id = request.request_id};
    if (request.action == BACKUP_BEGIN && world->leader != visit->server->id) {
        redirect(visit, request.request_id, world->leader);
    } else if (request.action == BACKUP_BEGIN && world->backup.refusal != 0) {
        respond(visit, request.request_id, &(struct reply){.status = world->backup.refusal},
                "the disk is full");
    } else if (request.action == BACKUP_READ && visit->has_backup) {
        on_backup_read(visit, &request);
    } else if (request.action == BACKUP_READ) {
        respond(visit, request.request_id, &(struct reply){.status = KV_ERR_INVALID},
                "no backup was begun");
    } else {
        visit->has_backup = request.action == BACKUP_BEGIN;
        world->backup.begins += visit->has_backup;
        world->backup.ends += !visit->has_backup;
        backup_response_encode(&empty, &visit->out);
    }
}

static void on_received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct visit *visit = CONTAINER_OF(receive, struct visit, receive);
    if (visit->closing) {
        return;
    }
    if (result < 0 || bytes.size == 0) {
        close_visit(visit);
        return;
    }
    visit->server->receives++;
    buf_append_slice(&visit->in, bytes);
    size_t mark = visit->out.size;
    size_t taken = 0;
    struct frame frame;
    size_t size = 0;
    while (!visit->closing && frame_decode(slice_of(visit->in.data + taken, visit->in.size - taken),
                                           &frame, &size) == 0) {
        taken += size;
        if (frame.type == FRAME_STATUS_REQUEST) {
            on_status_request(visit, frame.payload);
        } else if (frame.type == FRAME_ADMIN_REQUEST) {
            on_admin_request(visit, frame.payload);
        } else if (frame.type == FRAME_BACKUP_REQUEST) {
            on_backup(visit, frame.payload);
        } else {
            on_request(visit, &frame);
        }
    }
    buf_consume(&visit->in, taken);
    if (visit->closing) {
        return;
    }
    if (visit->server->delay_us > 0) {
        hold_back(visit, mark);
    }
    flush(visit);
}

/* ---- servers ---- */

static void on_accepted(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    struct server *server = CONTAINER_OF(accept, struct server, accept);
    assert_int_equal(error, 0);
    struct visit *visit = memory_new(1, sizeof *visit);
    visit->server = server;
    visit->stream = stream;
    list_init(&visit->link);
    list_push(&server->visits, &visit->link);
    server->accepted++;
    visit->receive.done = on_received;
    if (!server->stopped) {
        io_receive_start(server->world->io, stream, &visit->receive);
    }
}

static void listen_on(struct server *server, uint16_t port)
{
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    struct io_address resolved;
    assert_int_equal(io_resolve(server->world->io, address, &resolved), 0);
    server->accept.done = on_accepted;
    assert_int_equal(io_listen(server->world->io, &resolved, &server->accept, &server->listener),
                     0);
    server->port = io_listener_port(server->listener);
    (void)snprintf(server->address, sizeof server->address, "127.0.0.1:%u", server->port);
}

void start_servers(struct world *world, size_t count)
{
    assert_in_range(count, 1, SERVERS_MAX);
    world->server_count = count;
    world->leader = 1;
    for (size_t i = 0; i < count; i++) {
        struct server *server = &world->servers[i];
        server->world = world;
        server->id = i + 1;
        list_init(&server->visits);
        listen_on(server, 0);
    }
}

void stop_server(struct server *server)
{
    if (server->listener != NULL) {
        io_listener_close(server->world->io, server->listener);
        server->listener = NULL;
    }
    struct list *next = NULL;
    for (struct list *link = server->visits.next; link != &server->visits; link = next) {
        next = link->next;
        close_visit(CONTAINER_OF(link, struct visit, link));
    }
}

void restart_server(struct server *server)
{
    assert_null(server->listener);
    listen_on(server, server->port);
}

void move_server(struct server *server)
{
    stop_server(server);
    listen_on(server, 0);
}

/* ---- clients ---- */

struct kvapp_client *make_client(struct world *world, const struct kvapp_client_options *options)
{
    struct buf cluster = {0};
    for (size_t i = 0; i < world->server_count; i++) {
        char member[64];
        int size = snprintf(member, sizeof member, "%s127.0.0.1:%u", i > 0 ? "," : "",
                            world->servers[i].port - 1000U);
        buf_append(&cluster, member, (size_t)size);
    }
    buf_put_u8(&cluster, 0);
    struct kvapp_client_options all = *options;
    all.cluster = (const char *)cluster.data;
    all.share_loop_with = world->host;
    struct kvapp_client *client = NULL;
    assert_int_equal(kvapp_client_new(&all, &client), 0);
    buf_done(&cluster);
    return client;
}

void start_client(struct world *world, const struct kvapp_client_options *options)
{
    assert_null(world->client);
    world->client = make_client(world, options);
}

int put(struct world *world, const char *key, const char *value, struct kvapp_reply *ret_reply)
{
    return kvapp_put(world->client, key, strlen(key), value, strlen(value), ret_reply);
}

int get(struct world *world, const char *key, struct kvapp_reply *ret_reply)
{
    return kvapp_get(world->client, key, strlen(key), ret_reply);
}

uint64_t now_ms(struct world *world)
{
    assert_int_equal(io_run(world->io, 0), 0); /* makes the clock fresh */
    return io_now_us(world->io) / 1000;
}

void turn_for_ms(struct world *world, uint32_t ms)
{
    uint64_t until = now_ms(world) + ms;
    while (io_now_us(world->io) / 1000 < until) {
        assert_int_equal(kvapp_client_run(world->host, 10), 0);
    }
}

void assert_mentions(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" does not mention \"%s\"", text, part);
    }
}

static void on_tracked(struct kvapp_request *request, const struct kvapp_reply *reply)
{
    struct tracked *tracked = request->context;
    tracked->status = reply->status;
    tracked->revision = reply->revision;
    tracked->done++;
}

void track(struct world *world, struct tracked *tracked, enum kvapp_request_kind kind,
           unsigned number)
{
    *tracked = (struct tracked){.done = 0};
    (void)snprintf(tracked->key, sizeof tracked->key, "key-%u", number);
    tracked->request = (struct kvapp_request){
        .kind = kind,
        .key = tracked->key,
        .key_size = strlen(tracked->key),
        .value = "v",
        .value_size = 1,
        .done = on_tracked,
        .context = tracked,
    };
    kvapp_submit(world->client, &tracked->request);
}

/* ---- what the servers saw ---- */

unsigned puts_seen(const struct world *world)
{
    unsigned count = 0;
    for (size_t i = 0; i < world->sighting_count; i++) {
        count += world->sightings[i].command.operation == OPERATION_PUT;
    }
    return count;
}

const struct command *nth_put(const struct world *world, unsigned n)
{
    for (size_t i = 0; i < world->sighting_count; i++) {
        if (world->sightings[i].command.operation == OPERATION_PUT && n-- == 0) {
            return &world->sightings[i].command;
        }
    }
    fail_msg("there are not so many puts");
    return NULL;
}

bool is_put(const struct command *command)
{
    return command->operation == OPERATION_PUT;
}

/* ---- the life of a world ---- */

static int setup(void **state)
{
    struct world *world = memory_new(1, sizeof *world);
    world->portable_io = *(const bool *)*state;
    struct kvapp_client_options options = {.cluster = "127.0.0.1:1",
                                           .portable_io = world->portable_io};
    assert_int_equal(kvapp_client_new(&options, &world->host), 0);
    world->io = world->host->loop->io;
    struct kv_options kv_options = kv_options_default;
    kv_options.sessions_max = 100;
    world->kv = kv_new(&kv_options);
    list_init(&world->late);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    kvapp_client_free(world->client);
    bool busy = true;
    for (size_t i = 0; i < world->server_count; i++) {
        stop_server(&world->servers[i]);
    }
    while (busy) {
        assert_int_equal(kvapp_client_run(world->host, 0), 0);
        busy = false;
        for (size_t i = 0; i < world->server_count; i++) {
            busy = busy || !list_empty(&world->servers[i].visits);
        }
    }
    while (!list_empty(&world->late)) {
        struct late *late = CONTAINER_OF(world->late.next, struct late, link);
        io_timer_cancel(world->io, &late->timer);
        late_free(late);
    }
    kv_check(world->kv);
    kv_free(world->kv);
    kvapp_client_free(world->host);
    free(world);
    return 0;
}

int run_client_cases(const char *suite, const struct CMUnitTest *cases, size_t count)
{
    static bool portable[2] = {false, true};
    static const char *const names[2] = {"io_uring", "portable"};
    struct CMUnitTest *tests = memory_new(2 * count, sizeof *tests);
    size_t test_count = 0;
    for (size_t backend = 0; backend < 2; backend++) {
        if (backend == 0) {
            char reason[200];
            struct io *io = NULL;
            if (io_new(IO_BACKEND_URING, reason, sizeof reason, &io) != 0) {
                (void)printf("# left out: %s\n", reason);
                continue;
            }
            io_free(io);
        }
        for (size_t i = 0; i < count; i++) {
            char name[200];
            (void)snprintf(name, sizeof name, "%s_on_%s", cases[i].name, names[backend]);
            tests[test_count] = (struct CMUnitTest){
                .name = memory_copy_string(name),
                .test_func = cases[i].test_func,
                .setup_func = setup,
                .teardown_func = teardown,
                .initial_state = &portable[backend],
            };
            test_count++;
        }
    }
    int failed = _cmocka_run_group_tests(suite, tests, test_count, NULL, NULL);
    for (size_t i = 0; i < test_count; i++) {
        free((void *)tests[i].name);
    }
    free(tests);
    return failed;
}
