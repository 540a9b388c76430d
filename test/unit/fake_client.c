#include "fake_client.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { FAKE_MEMBERS_MAX = 9, FAKE_QUEUE_MAX = 100000 };

struct item {
    struct buf key;
    struct buf value;
    uint64_t revision;
    uint64_t ttl_ms; /* its time stands still; 0: it stays */
};

struct store {
    struct item *items;
    size_t count;
    size_t capacity;
    uint64_t revision;
    struct kvapp_request **queue;
    size_t queued;
    uint64_t replies;
};

struct kvapp_client {
    struct store *store;
    bool owns_store;
    int next_status;
    uint64_t next_session;
    uint64_t next_sequence;
    char detail[128];
    struct buf page;
    struct kvapp_member members[FAKE_MEMBERS_MAX];
    size_t member_count;
    struct kvapp_peers peers;
    uint64_t growth;
    int refuse_status;
    char changes[256];
    uint64_t pages;
    uint32_t limit_max;
};

/* Set before a program that makes its own clients is called. */
static enum fake_fault chosen_fault;
static uint64_t fault_period;

void fake_client_set_fault(enum fake_fault fault, uint64_t period)
{
    chosen_fault = fault;
    fault_period = period;
}

void fake_client_fail(struct kvapp_client *client, int status, const char *detail)
{
    client->next_status = status;
    (void)snprintf(client->detail, sizeof client->detail, "%s", detail);
}

void fake_client_set_members(struct kvapp_client *client, const struct kvapp_member *members,
                             size_t count)
{
    memcpy(client->members, members, count * sizeof *members);
    client->member_count = count;
}

void fake_client_set_peers(struct kvapp_client *client, const struct kvapp_peers *peers,
                           uint64_t growth)
{
    client->peers = *peers;
    client->growth = growth;
}

void fake_client_refuse(struct kvapp_client *client, int status, const char *detail)
{
    client->refuse_status = status;
    (void)snprintf(client->detail, sizeof client->detail, "%s", detail);
}

const char *fake_client_changes(const struct kvapp_client *client)
{
    return client->changes;
}

uint64_t fake_client_pages(const struct kvapp_client *client)
{
    return client->pages;
}

uint32_t fake_client_limit_max(const struct kvapp_client *client)
{
    return client->limit_max;
}

int kvapp_client_new(const struct kvapp_client_options *options, struct kvapp_client **ret_client)
{
    struct kvapp_client *client = memory_new(1, sizeof *client);
    client->owns_store = options->share_loop_with == NULL;
    if (client->owns_store) {
        client->store = memory_new(1, sizeof *client->store);
        client->store->queue = memory_new(FAKE_QUEUE_MAX, sizeof(struct kvapp_request *));
    } else {
        client->store = options->share_loop_with->store;
    }
    client->members[0] = (struct kvapp_member){.id = 1,
                                               .address = "127.0.0.1:8080",
                                               .reachable = true,
                                               .role = "leader",
                                               .term = 1,
                                               .leader = 1,
                                               .io_backend = "fake",
                                               .version = "0"};
    client->member_count = 1;
    *ret_client = client;
    return 0;
}

static void remove_item(struct store *store, size_t at)
{
    buf_done(&store->items[at].key);
    buf_done(&store->items[at].value);
    store->count--;
    memmove(&store->items[at], &store->items[at + 1], (store->count - at) * sizeof store->items[0]);
}

void kvapp_client_free(struct kvapp_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->owns_store) {
        while (client->store->count > 0) {
            remove_item(client->store, client->store->count - 1);
        }
        free(client->store->items);
        free(client->store->queue);
        free(client->store);
    }
    buf_done(&client->page);
    free(client);
}

const char *kvapp_client_error(const struct kvapp_client *client)
{
    return client->detail;
}

uint64_t kvapp_client_leader(const struct kvapp_client *client)
{
    return client->members[0].leader;
}

/* The place of the key, or where it would be. */
static size_t find(const struct store *store, struct slice key, bool *ret_found)
{
    size_t low = 0;
    size_t high = store->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(buf_slice(&store->items[middle].key), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_found = low < store->count && slice_equal(buf_slice(&store->items[low].key), key);
    return low;
}

static bool must_fail(struct kvapp_client *client, struct kvapp_reply *ret_reply)
{
    *ret_reply = (struct kvapp_reply){
        .status = client->next_status,
        .session = client->next_session,
        .sequence = client->next_sequence,
    };
    client->next_status = 0;
    client->next_session = 0;
    client->next_sequence = 0;
    return ret_reply->status != 0;
}

static void get_key(const struct store *store, struct slice key, struct kvapp_reply *ret_reply)
{
    bool found;
    size_t at = find(store, key, &found);
    *ret_reply = (struct kvapp_reply){.status = KV_ERR_NOT_FOUND};
    if (found) {
        const struct item *item = &store->items[at];
        *ret_reply = (struct kvapp_reply){
            .revision = item->revision, .data = item->value.data, .size = item->value.size};
    }
}

static void put_key(struct store *store, struct slice key, struct slice value,
                    struct kvapp_reply *ret_reply)
{
    bool found;
    size_t at = find(store, key, &found);
    if (!found) {
        if (store->count == store->capacity) {
            store->capacity = store->capacity == 0 ? 64 : 2 * store->capacity;
            store->items = memory_grow(store->items, store->capacity * sizeof store->items[0]);
        }
        memmove(&store->items[at + 1], &store->items[at],
                (store->count - at) * sizeof store->items[0]);
        store->count++;
        store->items[at] = (struct item){0};
        buf_append_slice(&store->items[at].key, key);
    }
    buf_clear(&store->items[at].value);
    buf_append_slice(&store->items[at].value, value);
    store->items[at].revision = ++store->revision;
    store->items[at].ttl_ms = 0;
    *ret_reply = (struct kvapp_reply){.revision = store->revision};
}

static void delete_key(struct store *store, struct slice key, struct kvapp_reply *ret_reply)
{
    bool found;
    size_t at = find(store, key, &found);
    *ret_reply = (struct kvapp_reply){.status = KV_ERR_NOT_FOUND};
    if (found) {
        remove_item(store, at);
        *ret_reply = (struct kvapp_reply){.revision = ++store->revision, .count = 1};
    }
}

/* Whether the key is at the expected revision; otherwise the reply says where it is. */
static bool meets(const struct store *store, struct slice key, uint64_t expected,
                  struct kvapp_reply *ret_reply)
{
    get_key(store, key, ret_reply);
    uint64_t revision = ret_reply->status == 0 ? ret_reply->revision : 0;
    *ret_reply = (struct kvapp_reply){.status = KV_ERR_CONDITION, .revision = revision};
    return revision == expected;
}

void fake_client_doubt(struct kvapp_client *client, uint64_t session, uint64_t sequence)
{
    fake_client_fail(client, KV_ERR_OUTCOME_UNKNOWN, "");
    client->next_session = session;
    client->next_sequence = sequence;
}

int kvapp_outcome(struct kvapp_client *client, uint64_t session, uint64_t sequence,
                  struct kvapp_reply *ret_reply)
{
    if (!must_fail(client, ret_reply)) {
        *ret_reply = (struct kvapp_reply){.revision = session + sequence};
    }
    return ret_reply->status;
}

int kvapp_cancel(struct kvapp_client *client, uint64_t session, uint64_t sequence,
                 struct kvapp_reply *ret_reply)
{
    return kvapp_outcome(client, session, sequence, ret_reply);
}

int kvapp_get(struct kvapp_client *client, const void *key, size_t key_size,
              struct kvapp_reply *ret_reply)
{
    if (!must_fail(client, ret_reply)) {
        get_key(client->store, slice_of(key, key_size), ret_reply);
    }
    return ret_reply->status;
}

int kvapp_put(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
              size_t value_size, struct kvapp_reply *ret_reply)
{
    if (!must_fail(client, ret_reply)) {
        put_key(client->store, slice_of(key, key_size), slice_of(value, value_size), ret_reply);
    }
    return ret_reply->status;
}

int kvapp_put_if(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
                 size_t value_size, uint64_t expected, struct kvapp_reply *ret_reply)
{
    struct slice name = slice_of(key, key_size);
    if (!must_fail(client, ret_reply) && meets(client->store, name, expected, ret_reply)) {
        put_key(client->store, name, slice_of(value, value_size), ret_reply);
    }
    return ret_reply->status;
}

int kvapp_delete(struct kvapp_client *client, const void *key, size_t key_size,
                 struct kvapp_reply *ret_reply)
{
    if (!must_fail(client, ret_reply)) {
        delete_key(client->store, slice_of(key, key_size), ret_reply);
    }
    return ret_reply->status;
}

int kvapp_delete_if(struct kvapp_client *client, const void *key, size_t key_size,
                    uint64_t expected, struct kvapp_reply *ret_reply)
{
    struct slice name = slice_of(key, key_size);
    if (!must_fail(client, ret_reply) && meets(client->store, name, expected, ret_reply)) {
        delete_key(client->store, name, ret_reply);
    }
    return ret_reply->status;
}

/* ---- how a key is written ---- */

static struct item *item_of(struct kvapp_client *client, struct slice key)
{
    bool found;
    size_t at = find(client->store, key, &found);
    return found ? &client->store->items[at] : NULL;
}

int kvapp_put_with(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
                   size_t value_size, const struct kvapp_how *how, struct kvapp_reply *ret_reply)
{
    struct slice name = slice_of(key, key_size);
    uint64_t expected = how->only_if == KVAPP_IF_REVISION ? how->revision : 0;
    if (!must_fail(client, ret_reply) &&
        (how->only_if == KVAPP_ALWAYS || meets(client->store, name, expected, ret_reply))) {
        put_key(client->store, name, slice_of(value, value_size), ret_reply);
        item_of(client, name)->ttl_ms = how->ttl_ms;
    }
    return ret_reply->status;
}

/* Only for as long as the numbers are small and nothing overflows. */
int kvapp_add(struct kvapp_client *client, const void *key, size_t key_size, int64_t delta,
              struct kvapp_reply *ret_reply)
{
    struct slice name = slice_of(key, key_size);
    if (must_fail(client, ret_reply)) {
        return ret_reply->status;
    }
    const struct item *item = item_of(client, name);
    char text[32] = "";
    if (item != NULL) {
        (void)snprintf(text, sizeof text, "%.*s", (int)item->value.size,
                       (const char *)item->value.data);
    }
    char *end = text;
    int64_t sum = strtoll(text, &end, 10) + delta;
    if (*end != '\0') {
        *ret_reply = (struct kvapp_reply){.status = KV_ERR_NOT_INTEGER};
        return KV_ERR_NOT_INTEGER;
    }
    (void)snprintf(text, sizeof text, "%lld", (long long)sum);
    put_key(client->store, name, slice_of_string(text), ret_reply);
    ret_reply->count = (uint64_t)sum;
    return 0;
}

int kvapp_append(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
                 size_t value_size, struct kvapp_reply *ret_reply)
{
    struct slice name = slice_of(key, key_size);
    if (must_fail(client, ret_reply)) {
        return ret_reply->status;
    }
    struct buf whole = {0};
    const struct item *item = item_of(client, name);
    if (item != NULL) {
        buf_append_slice(&whole, buf_slice(&item->value));
    }
    buf_append(&whole, value, value_size);
    put_key(client->store, name, buf_slice(&whole), ret_reply);
    ret_reply->count = whole.size;
    buf_done(&whole);
    return 0;
}

int kvapp_expire(struct kvapp_client *client, const void *key, size_t key_size, uint64_t ttl_ms,
                 struct kvapp_reply *ret_reply)
{
    if (must_fail(client, ret_reply)) {
        return ret_reply->status;
    }
    struct item *item = item_of(client, slice_of(key, key_size));
    *ret_reply = (struct kvapp_reply){.status = KV_ERR_NOT_FOUND};
    if (item != NULL) {
        item->ttl_ms = ttl_ms;
        item->revision = ++client->store->revision;
        *ret_reply = (struct kvapp_reply){.revision = item->revision, .count = 1};
    }
    return ret_reply->status;
}

int kvapp_stat(struct kvapp_client *client, const void *key, size_t key_size,
               struct kvapp_reply *ret_reply, struct kvapp_stat *ret_stat)
{
    if (must_fail(client, ret_reply)) {
        return ret_reply->status;
    }
    struct item *item = item_of(client, slice_of(key, key_size));
    *ret_reply = (struct kvapp_reply){.status = KV_ERR_NOT_FOUND};
    if (item != NULL) {
        *ret_reply = (struct kvapp_reply){.revision = item->revision};
        *ret_stat = (struct kvapp_stat){.created = 1,
                                        .revision = item->revision,
                                        .version = 2,
                                        .size = item->value.size,
                                        .ttl_ms = item->ttl_ms == 0 ? UINT64_MAX : item->ttl_ms};
    }
    return ret_reply->status;
}

static bool in_range(const struct kvapp_range *range, struct slice key)
{
    return slice_has_prefix(key, slice_of(range->prefix, range->prefix_size)) &&
           slice_compare(key, slice_of(range->start, range->start_size)) >= 0 &&
           (range->end_size == 0 || slice_compare(key, slice_of(range->end, range->end_size)) < 0);
}

int kvapp_list(struct kvapp_client *client, const struct kvapp_range *range,
               struct kvapp_reply *ret_reply)
{
    client->pages++;
    client->limit_max = range->limit > client->limit_max ? range->limit : client->limit_max;
    if (must_fail(client, ret_reply)) {
        return ret_reply->status;
    }
    buf_clear(&client->page);
    struct kvapp_reply reply = {0};
    for (size_t i = 0; i < client->store->count; i++) {
        const struct item *item = &client->store->items[i];
        if (!in_range(range, buf_slice(&item->key))) {
            continue;
        }
        if (range->limit != 0 && reply.count == range->limit) {
            reply.more = true;
            break;
        }
        buf_put_sized(&client->page, buf_slice(&item->key));
        if (range->values) {
            buf_put_sized(&client->page, buf_slice(&item->value));
            buf_put_u64(&client->page, item->revision);
        }
        reply.count++;
    }
    reply.data = client->page.data;
    reply.size = client->page.size;
    *ret_reply = reply;
    return 0;
}

bool kvapp_reply_next(const struct kvapp_reply *reply, bool is_scan, size_t *cursor,
                      struct kvapp_item *ret_item)
{
    if (*cursor == reply->size) {
        return false;
    }
    const uint8_t *data = reply->data;
    struct reader reader = reader_of(slice_of(data + *cursor, reply->size - *cursor));
    struct slice key = reader_sized(&reader);
    struct slice value = is_scan ? reader_sized(&reader) : slice_of(NULL, 0);
    uint64_t revision = is_scan ? reader_u64(&reader) : 0;
    *ret_item = (struct kvapp_item){.key = key.data,
                                    .key_size = key.size,
                                    .value = value.data,
                                    .value_size = value.size,
                                    .revision = revision};
    *cursor = reply->size - reader.left;
    return true;
}

int kvapp_delete_range(struct kvapp_client *client, const struct kvapp_range *range,
                       struct kvapp_reply *ret_reply)
{
    if (must_fail(client, ret_reply)) {
        return ret_reply->status;
    }
    struct kvapp_reply reply = {0};
    for (size_t i = client->store->count; i > 0; i--) {
        if (in_range(range, buf_slice(&client->store->items[i - 1].key))) {
            remove_item(client->store, i - 1);
            reply.count++;
        }
    }
    *ret_reply = reply;
    return 0;
}

int kvapp_status(struct kvapp_client *client, uint32_t wait_ms, struct kvapp_member *members,
                 size_t *ret_count)
{
    (void)wait_ms;
    if (client->next_status != 0) {
        return client->next_status;
    }
    memcpy(members, client->members, client->member_count * sizeof *members);
    *ret_count = client->member_count;
    return 0;
}

/* ---- members ---- */

static struct kvapp_peer *find_peer(struct kvapp_peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->at[i].id == id) {
            return &peers->at[i];
        }
    }
    return NULL;
}

int kvapp_members(struct kvapp_client *client, struct kvapp_peers *ret_peers)
{
    const struct kvapp_peer *leader = find_peer(&client->peers, client->peers.leader);
    if (client->next_status != 0) {
        return client->next_status;
    }
    for (size_t i = 0; leader != NULL && i < client->peers.count; i++) {
        struct kvapp_peer *peer = &client->peers.at[i];
        peer->match += peer == leader ? 0 : client->growth;
        peer->match = peer->match > leader->match ? leader->match : peer->match;
        peer->connected = peer->connected || client->growth > 0;
    }
    *ret_peers = client->peers;
    return 0;
}

static void edit_peers(struct kvapp_peers *peers, const struct kvapp_edit *edit)
{
    struct kvapp_peer *peer = find_peer(peers, edit->id);
    switch (edit->kind) {
    case KVAPP_ADD_LEARNER:
    case KVAPP_ADD_KEPT:
        peer = &peers->at[peers->count++];
        *peer = (struct kvapp_peer){.id = edit->id, .keep_learner = edit->kind == KVAPP_ADD_KEPT};
        (void)snprintf(peer->address, sizeof peer->address, "%s", edit->address);
        break;
    case KVAPP_PROMOTE:
        peer->voter = true;
        peer->keep_learner = false;
        break;
    case KVAPP_MOVE:
        (void)snprintf(peer->address, sizeof peer->address, "%s", edit->address);
        break;
    case KVAPP_REMOVE:
        *peer = peers->at[--peers->count];
        break;
    }
}

static struct kvapp_voters count_voters(const struct kvapp_peers *peers)
{
    struct kvapp_voters voters = {.count = 0};
    for (size_t i = 0; i < peers->count; i++) {
        voters.count += peers->at[i].voter;
        voters.ready += peers->at[i].voter && peers->at[i].connected;
    }
    voters.quorum = voters.count / 2 + 1;
    return voters;
}

static void note_change(struct kvapp_client *client, const struct kvapp_change *change)
{
    size_t size = strlen(client->changes);
    char *at = client->changes + size;
    (void)snprintf(at, sizeof client->changes - size, "%s%s%s", size == 0 ? "" : " ",
                   change->dry_run ? "?" : "", change->force ? "!" : "");
    for (size_t i = 0; i < change->edit_count; i++) {
        size = strlen(client->changes);
        (void)snprintf(client->changes + size, sizeof client->changes - size, "%c%llu",
                       "akprm"[change->edits[i].kind], (unsigned long long)change -> edits[i].id);
    }
}

int kvapp_change(struct kvapp_client *client, const struct kvapp_change *change,
                 struct kvapp_change_result *ret_result)
{
    struct kvapp_peers wanted = client->peers;
    *ret_result = (struct kvapp_change_result){.peers = client->peers};
    note_change(client, change);
    if (client->next_status != 0) {
        return client->next_status;
    }
    for (size_t i = 0; i < change->edit_count; i++) {
        edit_peers(&wanted, &change->edits[i]);
    }
    int status = change->dry_run ? 0 : client->refuse_status;
    if (change->dry_run || status == KV_ERR_REFUSED) {
        ret_result->has_plan = true;
        ret_result->plan.before = count_voters(&client->peers);
        ret_result->plan.after = count_voters(&wanted);
        ret_result->plan.joint = ret_result->plan.before.count != ret_result->plan.after.count;
        ret_result->plan.wanted = wanted;
    } else if (status == 0) {
        client->peers = wanted;
        ret_result->peers = wanted;
    }
    return status;
}

int kvapp_transfer(struct kvapp_client *client, uint64_t to, uint64_t *ret_leader)
{
    if (client->next_status == 0) {
        *ret_leader = to == 0 ? 2 : to;
    }
    return client->next_status;
}

int kvapp_snapshot(struct kvapp_client *client, const char *address, uint64_t *ret_index)
{
    for (size_t i = 0; i < client->peers.count; i++) {
        const struct kvapp_peer *peer = &client->peers.at[i];
        if (strcmp(peer->address, address) == 0 && peer->connected) {
            *ret_index = peer->match;
            return 0;
        }
    }
    (void)snprintf(client->detail, sizeof client->detail, "%s does not answer", address);
    return KV_ERR_TIMEOUT;
}

int kvapp_backup(struct kvapp_client *client, struct kvapp_backup *backup)
{
    static const char bytes[] = "the state";
    backup->index = 9;
    backup->size = sizeof bytes - 1;
    /* Its server is lost once on the way. */
    if (!backup->begin(backup) || !backup->piece(backup, bytes, 5) || !backup->begin(backup)) {
        return KV_ERR_STOPPED;
    }
    if (client->next_status != 0) {
        return client->next_status;
    }
    for (size_t at = 0; at < backup->size; at += 3) {
        if (!backup->piece(backup, bytes + at, 3)) {
            return KV_ERR_STOPPED;
        }
    }
    return 0;
}

void kvapp_submit(struct kvapp_client *client, struct kvapp_request *request)
{
    if (client->store->queued == FAKE_QUEUE_MAX) {
        abort();
    }
    client->store->queue[client->store->queued++] = request;
}

static void spoil(struct kvapp_request *request, struct kvapp_reply *reply)
{
    static const char foreign[] = "0000000000000001";
    bool is_get = request->kind == KVAPP_GET;
    if (chosen_fault == FAKE_FOREIGN_VALUE && is_get) {
        reply->data = foreign;
        reply->size = reply->size < sizeof foreign ? reply->size : sizeof foreign;
    } else if (chosen_fault == FAKE_STALE_VALUE && is_get) {
        reply->revision = 1;
    } else if (chosen_fault == FAKE_NOT_FOUND && is_get) {
        *reply = (struct kvapp_reply){.status = KV_ERR_NOT_FOUND};
    } else if (chosen_fault == FAKE_LOST_WRITE && !is_get) {
        reply->revision = 1;
    }
}

/* Answers what is queued now; what the answers bring waits for the next call. */
int kvapp_client_run(struct kvapp_client *client, uint32_t wait_ms)
{
    (void)wait_ms;
    struct store *store = client->store;
    size_t count = store->queued;
    for (size_t i = 0; i < count; i++) {
        struct kvapp_request *request = store->queue[i];
        struct slice key = slice_of(request->key, request->key_size);
        struct kvapp_reply reply;
        if (client->next_status != 0) {
            reply = (struct kvapp_reply){.status = client->next_status};
        } else if (request->kind == KVAPP_GET) {
            get_key(store, key, &reply);
        } else if (request->kind == KVAPP_PUT) {
            put_key(store, key, slice_of(request->value, request->value_size), &reply);
        } else {
            delete_key(store, key, &reply);
        }
        if (fault_period != 0 && ++store->replies % fault_period == 0) {
            spoil(request, &reply);
        }
        request->done(request, &reply);
    }
    store->queued -= count;
    memmove(store->queue, store->queue + count, store->queued * sizeof store->queue[0]);
    return 0;
}
