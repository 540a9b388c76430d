/*
 * Redis's commands about the server and its fellows: INFO, ROLE, CLUSTER, SENTINEL. Every way that
 * clients of Redis have to find the master finds the leader, and its followers as replicas.
 */
#include "node/node.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { SLOTS = 16384, ID_SIZE = 41 };

/* ---- the members, as clients of Redis see them ---- */

struct place {
    uint64_t id;
    char host[ADDRESS_SIZE_MAX];
    unsigned port; /* for clients */
};

static bool place_of(const struct kvapp_node *node, uint64_t id, struct place *ret_place)
{
    const struct raft_member *member = id == 0 ? NULL : node_member(node, id);
    char address[ADDRESS_SIZE_MAX];
    if (member == NULL ||
        address_add_port(member->address, node->config.client_port_offset, address) != 0) {
        return false;
    }
    const char *colon = strrchr(address, ':');
    uint64_t port = 0;
    if (colon == NULL || !redis_parse_number(slice_of_string(colon + 1), &port)) {
        return false;
    }
    bool bracketed = address[0] == '[';
    size_t size = (size_t)(colon - address) - (bracketed ? 2 : 0);
    memcpy(ret_place->host, address + (bracketed ? 1 : 0), size);
    ret_place->host[size] = '\0';
    ret_place->id = id;
    ret_place->port = (unsigned)port;
    return true;
}

static bool find_leader(const struct kvapp_node *node, struct place *ret_place)
{
    return place_of(node, raft_leader(node->raft), ret_place);
}

bool redis_leader_address(const struct kvapp_node *node, char ret_address[ADDRESS_SIZE_MAX])
{
    const struct raft_member *leader =
        node->leader == 0 ? NULL : node_member(node, raft_leader(node->raft));
    return leader != NULL &&
           address_add_port(leader->address, node->config.client_port_offset, ret_address) == 0;
}

/* The members but one, 0: all of them. */
static size_t list_places(const struct kvapp_node *node, uint64_t but,
                          struct place places[RAFT_MEMBERS_MAX])
{
    const struct raft_membership *members = &raft_membership(node->raft)->membership;
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        if (members->members[i].id != but &&
            place_of(node, members->members[i].id, &places[count])) {
            count++;
        }
    }
    return count;
}

/* 40 digits, as Redis's ids have: the cluster's id and the member's. */
static void id_of(const struct kvapp_node *node, uint64_t id, char ret_id[ID_SIZE])
{
    (void)snprintf(ret_id, ID_SIZE, "%016" PRIx64 "%08x%016" PRIx64, node->cluster_id, 0u, id);
}

/* ---- INFO ---- */

static void info_server(struct kvapp_node *node, struct buf *out)
{
    char id[ID_SIZE];
    id_of(node, node->config.id, id);
    const char *colon = strrchr(node->config.client_address, ':');
    uint64_t uptime_s = (io_now_us(node->io) - node->started_us) / 1000000;
    buf_print(out, "redis_version:%s\r\nredis_mode:standalone\r\nkvapp_version:%s\r\n",
              REDIS_VERSION_SPOKEN, KVAPP_VERSION);
    buf_print(out, "arch_bits:%zu\r\nmultiplexing_api:%s\r\nprocess_id:%ld\r\nrun_id:%s\r\n",
              8 * sizeof(void *), io_backend_name(node->io), (long)getpid(), id);
    buf_print(out, "tcp_port:%s\r\nuptime_in_seconds:%" PRIu64 "\r\nuptime_in_days:%" PRIu64 "\r\n",
              colon == NULL ? "" : colon + 1, uptime_s, uptime_s / 86400);
}

static void info_clients(struct kvapp_node *node, struct buf *out)
{
    size_t blocked = 0;
    const struct list *waiting = &node->redis_waiting;
    for (const struct list *at = waiting->next; at != waiting; at = at->next) {
        blocked++;
    }
    buf_print(out, "connected_clients:%zu\r\nmaxclients:%d\r\nblocked_clients:%zu\r\n",
              node->client_count, CLIENTS_MAX, blocked);
}

static void info_memory(struct kvapp_node *node, struct buf *out)
{
    buf_print(out, "used_memory:%" PRIu64 "\r\nused_memory_dataset:%" PRIu64 "\r\n",
              kv_memory(node->kv), kv_memory(node->kv));
    buf_print(out, "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n");
}

static void info_persistence(struct kvapp_node *node, struct buf *out)
{
    struct storage_stats stats;
    storage_stats(node->storage, &stats);
    buf_print(out, "loading:0\r\nasync_loading:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n");
    buf_print(out, "log_entries:%" PRIu64 "\r\nlog_bytes:%" PRIu64 "\r\nlog_syncs:%" PRIu64 "\r\n",
              stats.entries, stats.bytes, stats.syncs);
}

static void info_replication(struct kvapp_node *node, struct buf *out)
{
    bool leads = raft_role(node->raft) == RAFT_LEADER;
    struct place leader;
    buf_print(out, "role:%s\r\n", leads ? "master" : "slave");
    if (leads) {
        struct place others[RAFT_MEMBERS_MAX];
        size_t count = list_places(node, node->config.id, others);
        buf_print(out, "connected_slaves:%zu\r\n", count);
        for (size_t i = 0; i < count; i++) {
            buf_print(out, "slave%zu:ip=%s,port=%u,state=%s,offset=%" PRIu64 ",lag=0\r\n", i,
                      others[i].host, others[i].port,
                      peer_is_reachable(node, others[i].id) ? "online" : "wait_bgsave",
                      raft_match_index(node->raft, others[i].id));
        }
    } else if (find_leader(node, &leader)) {
        buf_print(out, "master_host:%s\r\nmaster_port:%u\r\nmaster_link_status:up\r\n", leader.host,
                  leader.port);
        buf_print(out, "slave_read_only:0\r\n");
    } else {
        buf_print(out, "master_host:\r\nmaster_port:0\r\nmaster_link_status:down\r\n");
    }
    buf_print(out, "master_replid:%016" PRIx64 "%024x\r\nmaster_repl_offset:%" PRIu64 "\r\n",
              node->cluster_id, 0u, node->commit_index);
}

static void info_raft(struct kvapp_node *node, struct buf *out)
{
    buf_print(out,
              "raft_id:%" PRIu64 "\r\nraft_term:%" PRIu64 "\r\nraft_leader:%" PRIu64
              "\r\nraft_commit_index:%" PRIu64 "\r\nraft_applied_index:%" PRIu64 "\r\n",
              node->config.id, raft_term(node->raft), raft_leader(node->raft), node->commit_index,
              kv_applied_index(node->kv));
}

static void info_cluster(struct kvapp_node *node, struct buf *out)
{
    (void)node;
    buf_print(out, "cluster_enabled:0\r\n");
}

static void info_keyspace(struct kvapp_node *node, struct buf *out)
{
    if (kv_key_count(node->kv) > 0) {
        buf_print(out, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n",
                  kv_key_count(node->kv), kv_expiring_count(node->kv));
    }
}

struct section {
    const char *name;
    const char *title;
    void (*put)(struct kvapp_node *node, struct buf *out);
};

static const struct section sections[] = {
    {"server", "Server", info_server},
    {"clients", "Clients", info_clients},
    {"memory", "Memory", info_memory},
    {"persistence", "Persistence", info_persistence},
    {"replication", "Replication", info_replication},
    {"raft", "Raft", info_raft},
    {"cluster", "Cluster", info_cluster},
    {"keyspace", "Keyspace", info_keyspace},
};

static bool is_wanted(const struct section *section, const struct resp_request *request)
{
    for (size_t i = 1; i < request->count; i++) {
        struct slice word = request->words[i];
        if (redis_word_is(word, section->name) || redis_word_is(word, "all") ||
            redis_word_is(word, "everything") || redis_word_is(word, "default")) {
            return true;
        }
    }
    return request->count == 1;
}

void redis_info(struct client *client, const struct resp_request *request,
                const struct resp_writer *writer)
{
    struct buf text = {0};
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        if (is_wanted(&sections[i], request)) {
            buf_print(&text, "%s# %s\r\n", text.size == 0 ? "" : "\r\n", sections[i].title);
            sections[i].put(client->node, &text);
        }
    }
    resp_verbatim(writer, buf_slice(&text));
    buf_done(&text);
}

/* ---- ROLE ---- */

static void put_number_text(const struct resp_writer *writer, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, number);
    resp_bulk_string(writer, text);
}

void redis_role(struct kvapp_node *node, const struct resp_writer *writer)
{
    if (raft_role(node->raft) == RAFT_LEADER) {
        struct place others[RAFT_MEMBERS_MAX];
        size_t count = list_places(node, node->config.id, others);
        resp_array(writer, 3);
        resp_bulk_string(writer, "master");
        resp_integer(writer, (int64_t)node->commit_index);
        resp_array(writer, count);
        for (size_t i = 0; i < count; i++) {
            resp_array(writer, 3);
            resp_bulk_string(writer, others[i].host);
            put_number_text(writer, others[i].port);
            put_number_text(writer, raft_match_index(node->raft, others[i].id));
        }
        return;
    }
    struct place leader = {0};
    bool found = find_leader(node, &leader);
    resp_array(writer, 5);
    resp_bulk_string(writer, "slave");
    resp_bulk_string(writer, leader.host);
    resp_integer(writer, leader.port);
    resp_bulk_string(writer, found ? "connected" : "connect");
    resp_integer(writer, (int64_t)node->commit_index);
}

/* ---- CLUSTER: one shard with all slots, its master the leader ---- */

static void cluster_info(struct kvapp_node *node, const struct resp_writer *writer)
{
    struct place leader;
    struct place places[RAFT_MEMBERS_MAX];
    bool ok = find_leader(node, &leader);
    struct buf text = {0};
    buf_print(&text, "cluster_enabled:1\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\n",
              ok ? "ok" : "fail", SLOTS);
    buf_print(&text,
              "cluster_slots_ok:%d\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:%d\r\n"
              "cluster_known_nodes:%zu\r\ncluster_size:1\r\ncluster_current_epoch:%" PRIu64
              "\r\ncluster_my_epoch:%" PRIu64 "\r\n",
              ok ? SLOTS : 0, ok ? 0 : SLOTS, list_places(node, 0, places), raft_term(node->raft),
              raft_term(node->raft));
    resp_verbatim(writer, buf_slice(&text));
    buf_done(&text);
}

static void cluster_nodes(struct kvapp_node *node, const struct resp_writer *writer)
{
    struct place places[RAFT_MEMBERS_MAX];
    size_t count = list_places(node, 0, places);
    uint64_t leader = raft_leader(node->raft);
    char leader_id[ID_SIZE];
    id_of(node, leader, leader_id);
    struct buf text = {0};
    for (size_t i = 0; i < count; i++) {
        char id[ID_SIZE];
        id_of(node, places[i].id, id);
        bool leads = places[i].id == leader;
        buf_print(&text, "%s %s:%u@%u %s%s %s 0 0 %" PRIu64 " %s%s\n", id, places[i].host,
                  places[i].port, places[i].port - node->config.client_port_offset,
                  places[i].id == node->config.id ? "myself," : "", leads ? "master" : "slave",
                  leads || leader == 0 ? "-" : leader_id, raft_term(node->raft),
                  peer_is_reachable(node, places[i].id) ? "connected" : "disconnected",
                  leads ? " 0-16383" : "");
    }
    resp_verbatim(writer, buf_slice(&text));
    buf_done(&text);
}

/* The leader first, as clients expect it; 0: there is none. */
static size_t list_leader_first(struct kvapp_node *node, struct place places[RAFT_MEMBERS_MAX])
{
    if (!find_leader(node, &places[0])) {
        return 0;
    }
    struct place others[RAFT_MEMBERS_MAX];
    size_t count = list_places(node, places[0].id, others);
    memcpy(places + 1, others, count * sizeof *others);
    return count + 1;
}

static void cluster_slots(struct kvapp_node *node, const struct resp_writer *writer)
{
    struct place places[RAFT_MEMBERS_MAX + 1];
    size_t count = list_leader_first(node, places);
    resp_array(writer, count == 0 ? 0 : 1);
    if (count == 0) {
        return;
    }
    resp_array(writer, 2 + count);
    resp_integer(writer, 0);
    resp_integer(writer, SLOTS - 1);
    for (size_t i = 0; i < count; i++) {
        char id[ID_SIZE];
        id_of(node, places[i].id, id);
        resp_array(writer, 4);
        resp_bulk_string(writer, places[i].host);
        resp_integer(writer, places[i].port);
        resp_bulk_string(writer, id);
        resp_array(writer, 0);
    }
}

static void cluster_shards(struct kvapp_node *node, const struct resp_writer *writer)
{
    struct place places[RAFT_MEMBERS_MAX + 1];
    size_t count = list_leader_first(node, places);
    resp_array(writer, count == 0 ? 0 : 1);
    if (count == 0) {
        return;
    }
    resp_map(writer, 2);
    resp_bulk_string(writer, "slots");
    resp_array(writer, 2);
    resp_integer(writer, 0);
    resp_integer(writer, SLOTS - 1);
    resp_bulk_string(writer, "nodes");
    resp_array(writer, count);
    for (size_t i = 0; i < count; i++) {
        char id[ID_SIZE];
        id_of(node, places[i].id, id);
        resp_map(writer, 7);
        resp_bulk_string(writer, "id");
        resp_bulk_string(writer, id);
        resp_bulk_string(writer, "port");
        resp_integer(writer, places[i].port);
        resp_bulk_string(writer, "ip");
        resp_bulk_string(writer, places[i].host);
        resp_bulk_string(writer, "endpoint");
        resp_bulk_string(writer, places[i].host);
        resp_bulk_string(writer, "role");
        resp_bulk_string(writer, i == 0 ? "master" : "replica");
        resp_bulk_string(writer, "replication-offset");
        resp_integer(writer, (int64_t)node->commit_index);
        resp_bulk_string(writer, "health");
        resp_bulk_string(writer, peer_is_reachable(node, places[i].id) ? "online" : "fail");
    }
}

void redis_cluster(struct kvapp_node *node, const struct redis_command *row,
                   const struct resp_request *request, const struct resp_writer *writer)
{
    char id[ID_SIZE];
    switch (row->id) {
    case REDIS_CLUSTER_INFO:
        cluster_info(node, writer);
        break;
    case REDIS_CLUSTER_KEYSLOT:
        resp_integer(writer, redis_slot(request->words[2]));
        break;
    case REDIS_CLUSTER_MYID:
        id_of(node, node->config.id, id);
        resp_bulk_string(writer, id);
        break;
    case REDIS_CLUSTER_NODES:
        cluster_nodes(node, writer);
        break;
    case REDIS_CLUSTER_SHARDS:
        cluster_shards(node, writer);
        break;
    default:
        cluster_slots(node, writer);
        break;
    }
}

/* ---- SENTINEL: every server can tell who leads; any name is that of the one master ---- */

static void put_instance(struct kvapp_node *node, const struct place *place, const char *name,
                         const char *flags, const struct resp_writer *writer)
{
    char id[ID_SIZE];
    id_of(node, place->id, id);
    resp_map(writer, 6);
    resp_bulk_string(writer, "name");
    resp_bulk_string(writer, name);
    resp_bulk_string(writer, "ip");
    resp_bulk_string(writer, place->host);
    resp_bulk_string(writer, "port");
    put_number_text(writer, place->port);
    resp_bulk_string(writer, "runid");
    resp_bulk_string(writer, id);
    resp_bulk_string(writer, "flags");
    resp_bulk_string(writer, flags);
    resp_bulk_string(writer, "link-pending-commands");
    resp_bulk_string(writer, "0");
}

static void put_others(struct kvapp_node *node, uint64_t but, const char *flags,
                       const struct resp_writer *writer)
{
    struct place places[RAFT_MEMBERS_MAX];
    size_t count = list_places(node, but, places);
    resp_array(writer, count);
    for (size_t i = 0; i < count; i++) {
        char name[ADDRESS_SIZE_MAX + 8];
        (void)snprintf(name, sizeof name, "%s:%u", places[i].host, places[i].port);
        put_instance(node, &places[i], name, flags, writer);
    }
}

void redis_sentinel(struct kvapp_node *node, const struct redis_command *row,
                    const struct resp_request *request, const struct resp_writer *writer)
{
    struct place leader = {0};
    bool found = find_leader(node, &leader);
    char name[128] = "kvapp";
    if (request->count > 2 && request->words[2].size < sizeof name) {
        memcpy(name, request->words[2].data, request->words[2].size);
        name[request->words[2].size] = '\0';
    }
    switch (row->id) {
    case REDIS_SENTINEL_ADDRESS:
        if (!found) {
            resp_null_array(writer);
            return;
        }
        resp_array(writer, 2);
        resp_bulk_string(writer, leader.host);
        put_number_text(writer, leader.port);
        break;
    case REDIS_SENTINEL_MASTERS:
        resp_array(writer, found ? 1 : 0);
        if (found) {
            put_instance(node, &leader, name, "master", writer);
        }
        break;
    case REDIS_SENTINEL_MASTER:
        if (found) {
            put_instance(node, &leader, name, "master", writer);
        } else {
            resp_error(writer, "ERR No such master with that name");
        }
        break;
    case REDIS_SENTINEL_REPLICAS:
        put_others(node, leader.id, "slave", writer);
        break;
    default:
        put_others(node, node->config.id, "sentinel", writer);
        break;
    }
}
