/*
 * Redis's commands about the connection: who it is, what it speaks, what the server is configured
 * to. None of them looks at keys, so each is answered on the spot, or in its turn within EXEC.
 */
#include "node/node.h"

#include "base/glob.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAME_SIZE_MAX = 256 };

/* See answer_config. */
struct parameter {
    const char *name;
    const char *value;
};

/* What clients and tools ask for; nothing of it can be set. */
static const struct parameter parameters[] = {
    {"appendfsync", "always"},  {"appendonly", "yes"}, {"databases", "1"},
    {"io-threads", "1"},        {"maxmemory", "0"},    {"maxmemory-policy", "noeviction"},
    {"proto-max-bulk-len", ""}, {"save", ""},          {"tcp-keepalive", "300"},
    {"timeout", "0"},           {"maxclients", ""},
};

static bool word_is(const struct resp_request *request, size_t place, const char *text)
{
    return place < request->count && redis_word_is(request->words[place], text);
}

static void keep(struct buf *kept, struct slice word)
{
    buf_clear(kept);
    buf_append_slice(kept, word);
}

/* What may stand in a list of clients without breaking it. */
static bool is_name(struct slice word)
{
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] < '!' || word.data[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool set_name(struct redis *redis, struct slice name, const struct resp_writer *writer)
{
    if (name.size > NAME_SIZE_MAX) {
        resp_error(writer, "ERR Client names cannot be longer than %d bytes.", NAME_SIZE_MAX);
        return false;
    }
    if (!is_name(name)) {
        resp_error(writer,
                   "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    keep(&redis->name, name);
    return true;
}

/* ---- HELLO, AUTH ---- */

/* There are no passwords: the one user needs none, and any will do for it. */
static bool is_default_user(struct slice user, const struct resp_writer *writer)
{
    if (!slice_equal(user, slice_of_string("default"))) {
        resp_error(writer, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    return true;
}

static void answer_auth(const struct resp_request *request, const struct resp_writer *writer)
{
    if (request->count > 3) {
        resp_error(writer, "ERR syntax error");
    } else if (request->count == 2) {
        resp_error(writer, "ERR AUTH <password> called without any password configured for the "
                           "default user. Are you sure your configuration is correct?");
    } else if (is_default_user(request->words[1], writer)) {
        resp_status(writer, "OK");
    }
}

/* The options of HELLO; false: an error was appended. */
static bool take_hello(struct redis *redis, const struct resp_request *request,
                       const struct resp_writer *writer)
{
    int64_t version = redis->version;
    if (request->count > 1) {
        if (!number_parse(request->words[1], &version)) {
            resp_error(writer, "ERR Protocol version is not an integer or out of range");
            return false;
        }
        if (version != 2 && version != 3) {
            resp_error(writer, "NOPROTO unsupported protocol version");
            return false;
        }
    }
    for (size_t i = 2; i < request->count; i++) {
        size_t left = request->count - 1 - i;
        if (word_is(request, i, "auth") && left >= 2) {
            if (!is_default_user(request->words[i + 1], writer)) {
                return false;
            }
            i += 2;
        } else if (word_is(request, i, "setname") && left >= 1) {
            if (!set_name(redis, request->words[i + 1], writer)) {
                return false;
            }
            i += 1;
        } else {
            resp_error(writer, "ERR Syntax error in HELLO option '%.*s'",
                       (int)request->words[i].size, (const char *)request->words[i].data);
            return false;
        }
    }
    redis->version = (unsigned)version;
    return true;
}

static void answer_hello(struct client *client, const struct resp_request *request,
                         const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    if (!take_hello(redis, request, writer)) {
        return;
    }
    const struct resp_writer answer = {.out = writer->out, .version = redis->version};
    bool leads = raft_role(client->node->raft) == RAFT_LEADER;
    resp_map(&answer, 7);
    resp_bulk_string(&answer, "server");
    resp_bulk_string(&answer, "redis");
    resp_bulk_string(&answer, "version");
    resp_bulk_string(&answer, REDIS_VERSION_SPOKEN);
    resp_bulk_string(&answer, "proto");
    resp_integer(&answer, (int64_t)redis->version);
    resp_bulk_string(&answer, "id");
    resp_integer(&answer, (int64_t)redis->id);
    resp_bulk_string(&answer, "mode");
    resp_bulk_string(&answer, "standalone");
    resp_bulk_string(&answer, "role");
    resp_bulk_string(&answer, leads ? "master" : "replica");
    resp_bulk_string(&answer, "modules");
    resp_array(&answer, 0);
}

/* ---- CLIENT ---- */

static void put_client(const struct client *client, struct buf *out)
{
    const struct redis *redis = client->redis;
    char peer[ADDRESS_SIZE_MAX];
    io_stream_peer(client->stream, peer);
    buf_print(out, "id=%" PRIu64 " addr=%s laddr=%s name=", redis->id, peer,
              client->node->config.client_address);
    buf_append_slice(out, buf_slice(&redis->name));
    buf_print(out, " age=%" PRIu64 " idle=0 flags=%s db=0 sub=0 psub=0 ssub=0 multi=%d qbuf=%zu ",
              (node_now_ms(client->node) - redis->began_ms) / 1000, redis->multi ? "x" : "N",
              redis->multi ? (int)(redis->queued.pieces.size / sizeof(struct redis_piece)) : -1,
              redis->kept.size);
    buf_print(out, "obl=0 oll=0 omem=%zu events=r cmd=%s user=default redir=-1 resp=%u lib-name=",
              outbox_size(&client->outbox), redis->last, redis->version);
    buf_append_slice(out, buf_slice(&redis->library));
    buf_print(out, " lib-ver=");
    buf_append_slice(out, buf_slice(&redis->library_version));
    buf_print(out, "\n");
}

/* Whether CLIENT LIST's words ask for that connection. */
static bool is_listed(const struct redis *redis, const struct resp_request *request)
{
    if (request->count == 2 || word_is(request, 2, "type")) {
        return true;
    }
    for (size_t i = 3; i < request->count; i++) {
        int64_t id = 0;
        if (number_parse(request->words[i], &id) && id >= 0 && (uint64_t)id == redis->id) {
            return true;
        }
    }
    return false;
}

static bool check_list(const struct resp_request *request, const struct resp_writer *writer,
                       bool *ret_none)
{
    *ret_none = false;
    if (word_is(request, 2, "type") && request->count == 4) {
        static const char *const others[] = {"master", "replica", "slave", "pubsub"};
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            *ret_none = *ret_none || word_is(request, 3, others[i]);
        }
        if (!*ret_none && !word_is(request, 3, "normal")) {
            resp_error(writer, "ERR Unknown client type '%.*s'", (int)request->words[3].size,
                       (const char *)request->words[3].data);
            return false;
        }
        return true;
    }
    if (word_is(request, 2, "id") && request->count >= 4) {
        int64_t id = 0; /* Also one that no client can have. */
        for (size_t i = 3; i < request->count; i++) {
            if (!number_parse(request->words[i], &id)) {
                resp_error(writer, "ERR Invalid client ID");
                return false;
            }
        }
        return true;
    }
    if (request->count != 2) {
        resp_error(writer, "ERR syntax error");
        return false;
    }
    return true;
}

static void answer_list(struct client *client, const struct resp_request *request,
                        const struct resp_writer *writer)
{
    bool none;
    if (!check_list(request, writer, &none)) {
        return;
    }
    struct buf text = {0};
    const struct list *clients = &client->node->clients;
    for (const struct list *at = clients->next; at != clients && !none; at = at->next) {
        const struct client *other = CONTAINER_OF(at, struct client, link);
        if (other->redis != NULL && other->stream != NULL && is_listed(other->redis, request)) {
            put_client(other, &text);
        }
    }
    resp_verbatim(writer, buf_slice(&text));
    buf_done(&text);
}

static void answer_setinfo(struct redis *redis, const struct resp_request *request,
                           const struct resp_writer *writer)
{
    bool is_name_of = word_is(request, 2, "lib-name");
    if (!is_name_of && !word_is(request, 2, "lib-ver")) {
        resp_error(writer, "ERR Unrecognized option '%.*s'", (int)request->words[2].size,
                   (const char *)request->words[2].data);
    } else if (!is_name(request->words[3]) || request->words[3].size > NAME_SIZE_MAX) {
        resp_error(writer, "ERR %s cannot contain spaces, newlines or special characters.",
                   is_name_of ? "lib-name" : "lib-ver");
    } else {
        keep(is_name_of ? &redis->library : &redis->library_version, request->words[3]);
        resp_status(writer, "OK");
    }
}

static void answer_reply(struct redis *redis, const struct resp_request *request,
                         const struct resp_writer *writer)
{
    if (word_is(request, 2, "on")) {
        redis->reply_off = false;
        redis->reply_skip = false;
        resp_status(writer, "OK");
    } else if (word_is(request, 2, "off")) {
        redis->reply_off = true;
    } else if (word_is(request, 2, "skip")) {
        redis->reply_skip = !redis->reply_off;
    } else {
        resp_error(writer, "ERR syntax error");
    }
}

static void answer_client(struct client *client, const struct redis_command *row,
                          const struct resp_request *request, const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    switch (row->id) {
    case REDIS_CLIENT_ID:
        resp_integer(writer, (int64_t)redis->id);
        break;
    case REDIS_CLIENT_GETNAME:
        if (redis->name.size == 0) {
            resp_null(writer);
        } else {
            resp_bulk(writer, buf_slice(&redis->name));
        }
        break;
    case REDIS_CLIENT_SETNAME:
        if (set_name(redis, request->words[2], writer)) {
            resp_status(writer, "OK");
        }
        break;
    case REDIS_CLIENT_SETINFO:
        answer_setinfo(redis, request, writer);
        break;
    case REDIS_CLIENT_LIST:
        answer_list(client, request, writer);
        break;
    case REDIS_CLIENT_INFO: {
        struct buf text = {0};
        put_client(client, &text);
        resp_verbatim(writer, buf_slice(&text));
        buf_done(&text);
        break;
    }
    case REDIS_CLIENT_NO_EVICT:
        if (word_is(request, 2, "on") || word_is(request, 2, "off")) {
            resp_status(writer, "OK"); /* Nothing is ever evicted here. */
        } else {
            resp_error(writer, "ERR syntax error");
        }
        break;
    case REDIS_CLIENT_REPLY:
        answer_reply(redis, request, writer);
        break;
    default:
        UNREACHABLE();
    }
}

/* ---- CONFIG ---- */

static void put_value(const struct parameter *parameter, const struct resp_writer *writer)
{
    char number[24];
    const char *value = parameter->value;
    if (strcmp(parameter->name, "maxclients") == 0) {
        (void)snprintf(number, sizeof number, "%d", CLIENTS_MAX);
        value = number;
    } else if (strcmp(parameter->name, "proto-max-bulk-len") == 0) {
        (void)snprintf(number, sizeof number, "%d", VALUE_SIZE_MAX);
        value = number;
    }
    resp_bulk_string(writer, parameter->name);
    resp_bulk_string(writer, value);
}

static bool is_asked(const struct parameter *parameter, const struct resp_request *request)
{
    for (size_t i = 2; i < request->count; i++) {
        if (glob_matches(request->words[i], slice_of_string(parameter->name))) {
            return true;
        }
    }
    return false;
}

static void answer_config(const struct redis_command *row, const struct resp_request *request,
                          const struct resp_writer *writer)
{
    const size_t total = sizeof parameters / sizeof parameters[0];
    if (row->id == REDIS_CONFIG_SET) {
        bool known = false;
        for (size_t i = 0; i < total; i++) {
            known = known || word_is(request, 2, parameters[i].name);
        }
        struct slice name = request->words[2];
        if (known) {
            resp_error(writer,
                       "ERR CONFIG SET failed (possibly related to argument '%.*s') - can't set "
                       "immutable config",
                       (int)name.size, (const char *)name.data);
        } else {
            resp_error(writer, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                       (int)name.size, (const char *)name.data);
        }
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < total; i++) {
        count += is_asked(&parameters[i], request) ? 1 : 0;
    }
    resp_map(writer, count);
    for (size_t i = 0; i < total; i++) {
        if (is_asked(&parameters[i], request)) {
            put_value(&parameters[i], writer);
        }
    }
}

/* ---- the rest ---- */

static void answer_reset(struct redis *redis, const struct resp_writer *writer)
{
    multi_reset(redis);
    buf_clear(&redis->name);
    redis->version = 2;
    redis->reply_off = false;
    redis->reply_skip = false;
    resp_status(writer, "RESET");
}

static void answer_time(struct client *client, const struct resp_writer *writer)
{
    char text[24];
    uint64_t now_ms = clock_now_ms(client->node);
    resp_array(writer, 2);
    (void)snprintf(text, sizeof text, "%" PRIu64, now_ms / 1000);
    resp_bulk_string(writer, text);
    (void)snprintf(text, sizeof text, "%" PRIu64, now_ms % 1000 * 1000);
    resp_bulk_string(writer, text);
}

static void answer_select(const struct resp_request *request, const struct resp_writer *writer)
{
    int64_t number = 0;
    if (!number_parse(request->words[1], &number)) {
        resp_error(writer, "ERR value is not an integer or out of range");
    } else if (number < INT32_MIN || number > INT32_MAX) {
        resp_error(writer, "ERR value is out of range, value must between %d and %d",
                   -INT32_MAX - 1, INT32_MAX);
    } else if (number != 0) {
        resp_error(writer, "ERR DB index is out of range");
    } else {
        resp_status(writer, "OK");
    }
}

static void answer_wait(struct client *client, const struct resp_request *request,
                        const struct resp_writer *writer)
{
    int64_t wanted = 0;
    int64_t timeout_ms = 0;
    uint64_t count = 0;
    if (!number_parse(request->words[1], &wanted)) {
        resp_error(writer, "ERR value is not an integer or out of range");
    } else if (!number_parse(request->words[2], &timeout_ms)) {
        resp_error(writer, "ERR timeout is not an integer or out of range");
    } else if (timeout_ms < 0) {
        resp_error(writer, "ERR timeout is negative");
    } else if (!redis_wait(client, wanted, (uint64_t)timeout_ms, &count)) {
        resp_integer(writer, (int64_t)count);
    }
}

static void answer_ping(const struct resp_request *request, const struct resp_writer *writer)
{
    if (request->count > 2) {
        resp_error(writer, "ERR wrong number of arguments for 'ping' command");
    } else if (request->count == 2) {
        resp_bulk(writer, request->words[1]);
    } else {
        resp_status(writer, "PONG");
    }
}

/* What is about the server, not about this connection; else it is a CLIENT. */
static void answer_about_server(struct client *client, const struct redis_command *row,
                                const struct resp_request *request,
                                const struct resp_writer *writer)
{
    switch (row->id) {
    case REDIS_ROLE:
        redis_role(client->node, writer);
        break;
    case REDIS_INFO:
        redis_info(client, request, writer);
        break;
    case REDIS_CONFIG_GET:
    case REDIS_CONFIG_SET:
        answer_config(row, request, writer);
        break;
    case REDIS_COMMAND:
    case REDIS_COMMAND_COUNT:
    case REDIS_COMMAND_DOCS:
    case REDIS_COMMAND_GETKEYS:
    case REDIS_COMMAND_INFO:
    case REDIS_COMMAND_LIST:
        redis_describe(row, request, writer);
        break;
    case REDIS_CLUSTER_INFO:
    case REDIS_CLUSTER_KEYSLOT:
    case REDIS_CLUSTER_MYID:
    case REDIS_CLUSTER_NODES:
    case REDIS_CLUSTER_SHARDS:
    case REDIS_CLUSTER_SLOTS:
        redis_cluster(client->node, row, request, writer);
        break;
    case REDIS_SENTINEL_ADDRESS:
    case REDIS_SENTINEL_MASTER:
    case REDIS_SENTINEL_MASTERS:
    case REDIS_SENTINEL_REPLICAS:
    case REDIS_SENTINEL_SENTINELS:
        redis_sentinel(client->node, row, request, writer);
        break;
    default:
        answer_client(client, row, request, writer);
        break;
    }
}

void redis_local(struct client *client, const struct redis_command *row,
                 const struct resp_request *request, const struct resp_writer *writer)
{
    struct redis *redis = client->redis;
    switch (row->id) {
    case REDIS_PING:
        answer_ping(request, writer);
        break;
    case REDIS_ECHO:
        resp_bulk(writer, request->words[1]);
        break;
    case REDIS_HELLO:
        answer_hello(client, request, writer);
        break;
    case REDIS_AUTH:
        answer_auth(request, writer);
        break;
    case REDIS_SELECT:
        answer_select(request, writer);
        break;
    case REDIS_QUIT:
        redis->last_one = true;
        resp_status(writer, "OK");
        break;
    case REDIS_RESET:
        answer_reset(redis, writer);
        break;
    case REDIS_UNWATCH:
        if (!redis->executing) { /* Else EXEC has ended the watching before. */
            buf_clear(&redis->watched);
            redis->watched_count = 0;
            redis->unwatched = false;
        }
        resp_status(writer, "OK");
        break;
    case REDIS_TIME:
        answer_time(client, writer);
        break;
    case REDIS_WAIT:
        answer_wait(client, request, writer);
        break;
    case REDIS_READONLY:
    case REDIS_READWRITE:
        resp_status(writer, "OK"); /* Any server answers reads, and rightly. */
        break;
    default:
        answer_about_server(client, row, request, writer);
        break;
    }
}
