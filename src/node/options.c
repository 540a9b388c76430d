#include "node/options.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

static const struct kvapp_timing timing_modes[] = {
    {.name = "fast",
     .event_loop_ms = 10,
     .heartbeat_ms = 50,
     .election_min_ms = 150,
     .election_max_ms = 300},
    {.name = "debug",
     .event_loop_ms = 100,
     .heartbeat_ms = 500,
     .election_min_ms = 1500,
     .election_max_ms = 3000,
     .network_delay_ms = 50,
     .client_delay_ms = 25,
     .paced = true},
    {.name = "demo",
     .event_loop_ms = 1000,
     .heartbeat_ms = 2000,
     .election_min_ms = 5000,
     .election_max_ms = 10000,
     .network_delay_ms = 500,
     .client_delay_ms = 200,
     .paced = true},
};

int kvapp_timing_mode(const char *name, struct kvapp_timing *ret_timing)
{
    for (size_t i = 0; i < sizeof timing_modes / sizeof timing_modes[0]; i++) {
        if (strcmp(name, timing_modes[i].name) == 0) {
            *ret_timing = timing_modes[i];
            return 0;
        }
    }
    return KV_ERR_INVALID;
}

void kvapp_node_options_init(struct kvapp_node_options *ret_options)
{
    *ret_options = (struct kvapp_node_options){
        .data_dir = "./data",
        .client_port_offset = 1000,
        .timing = timing_modes[0],
        .segment_size = 16 * 1024 * 1024,
        .cache_size = 8 * 1024 * 1024,
        .snapshot_entries = 2 * 1000 * 1000,
        .snapshot_bytes = 64 * 1024 * 1024,
        .snapshot_rate = 64 * 1024 * 1024,
        .priority = 1,
        .reads = KVAPP_READS_LEADER,
        .log_level = KVAPP_LOG_INFO,
    };
}

static int check_timing(const struct kvapp_timing *timing, char *error, size_t error_size)
{
    if (timing->event_loop_ms == 0 || timing->heartbeat_ms == 0) {
        (void)snprintf(error, error_size,
                       "event loop delay (%u ms) and heartbeat interval (%u ms) must be above 0",
                       timing->event_loop_ms, timing->heartbeat_ms);
        return KV_ERR_INVALID;
    }
    if (timing->election_min_ms >= timing->election_max_ms) {
        (void)snprintf(error, error_size,
                       "election timeout minimum (%u ms) must be less than its maximum (%u ms)",
                       timing->election_min_ms, timing->election_max_ms);
        return KV_ERR_INVALID;
    }
    if (timing->heartbeat_ms >= timing->election_min_ms) {
        (void)snprintf(error, error_size,
                       "heartbeat interval (%u ms) must be less than the election timeout minimum "
                       "(%u ms)",
                       timing->heartbeat_ms, timing->election_min_ms);
        return KV_ERR_INVALID;
    }
    return 0;
}

/* Finds which member this server is: by id, by address, or by both, which must agree. */
static int find_self(const struct kvapp_node_options *options, const struct members *members,
                     const struct member **ret_self, char *error, size_t error_size)
{
    const struct member *by_id = members_find(members, options->node_id);
    const struct member *by_address =
        options->bind == NULL ? NULL : members_find_address(members, options->bind);
    if (options->node_id != 0 && by_id == NULL) {
        (void)snprintf(error, error_size,
                       "node id %llu is not one of the %zu members of the cluster",
                       (unsigned long long)options->node_id, members->count);
        return KV_ERR_INVALID;
    }
    if (options->bind != NULL && by_address == NULL) {
        (void)snprintf(error, error_size,
                       "the bind address %s is not in the list of members: write it as it stands "
                       "there",
                       options->bind);
        return KV_ERR_INVALID;
    }
    if (by_id != NULL && by_address != NULL && by_id != by_address) {
        (void)snprintf(error, error_size,
                       "node id %llu is %s in the list of members, but the bind address is %s",
                       (unsigned long long)options->node_id, by_id->address, options->bind);
        return KV_ERR_INVALID;
    }
    *ret_self = by_id != NULL ? by_id : by_address;
    if (*ret_self == NULL) {
        (void)snprintf(error, error_size,
                       "which member is this server? Give its node id or its bind address");
        return KV_ERR_INVALID;
    }
    return 0;
}

static int check_ports(const struct members *members, uint32_t offset, char *error,
                       size_t error_size)
{
    for (size_t i = 0; i < members->count; i++) {
        char client_address[ADDRESS_SIZE_MAX];
        if (address_add_port(members->at[i].address, offset, client_address) != 0) {
            (void)snprintf(error, error_size,
                           "the client port of %s would be beyond 65535: its raft port plus the "
                           "client port offset of %u",
                           members->at[i].address, offset);
            return KV_ERR_ADDRESS;
        }
    }
    return 0;
}

static int check_reads(enum kvapp_reads reads, char *error, size_t error_size)
{
    if ((size_t)reads < KVAPP_READS_STALE) {
        return 0;
    }
    (void)snprintf(error, error_size,
                   "a server's own way to answer reads is leader, linearizable or lease; stale "
                   "reads are for the clients that ask for them");
    return KV_ERR_INVALID;
}

static int copy_text(const char *what, const char *text, char *to, size_t to_size, char *error,
                     size_t error_size)
{
    if (strlen(text) >= to_size) {
        (void)snprintf(error, error_size, "the %s is longer than %zu bytes", what, to_size - 1);
        return KV_ERR_INVALID;
    }
    memcpy(to, text, strlen(text) + 1);
    return 0;
}

/* The members of a new cluster, and which of them this server is. */
static int take_list(const struct kvapp_node_options *options, struct node_config *config,
                     char *error, size_t error_size)
{
    const char *cluster = options->cluster;
    char alone[ADDRESS_SIZE_MAX + 32];
    if (cluster == NULL) {
        if (options->bind == NULL) {
            (void)snprintf(error, error_size, "a bind address is needed, such as 127.0.0.1:8080");
            return KV_ERR_INVALID;
        }
        (void)snprintf(alone, sizeof alone, "%llu=%s",
                       (unsigned long long)(options->node_id == 0 ? 1 : options->node_id),
                       options->bind);
        cluster = alone;
    }
    int err = members_parse(cluster, &config->members, error, error_size);
    if (err != 0) {
        return err;
    }
    const struct member *self = NULL;
    err = find_self(options, &config->members, &self, error, error_size);
    if (err != 0) {
        return err;
    }
    config->id = self->id;
    memcpy(config->address, self->address, sizeof config->address);
    for (size_t i = 0; i < config->members.count; i++) {
        const struct member *member = &config->members.at[i];
        config->cluster_id ^=
            hash_bytes_seeded(member->address, strlen(member->address), member->id);
    }
    return check_ports(&config->members, options->client_port_offset, error, error_size);
}

/* This server will be, or is, a member of a cluster whose other members it need not know. */
static int take_join(const struct kvapp_node_options *options, struct node_config *config,
                     char *error, size_t error_size)
{
    if (options->cluster != NULL || options->node_id == 0 || options->bind == NULL) {
        (void)snprintf(error, error_size,
                       "a server that joins needs its node id and its bind address, and no list "
                       "of members");
        return KV_ERR_INVALID;
    }
    char same[ADDRESS_SIZE_MAX];
    if (address_add_port(options->join, 0, same) != 0) {
        (void)snprintf(error, error_size,
                       "the address to join, \"%.200s\", is no host:port such as 127.0.0.1:8080",
                       options->join);
        return KV_ERR_INVALID;
    }
    config->members.count = 1;
    config->members.at[0].id = options->node_id;
    config->id = options->node_id;
    int err = copy_text("address to join", options->join, config->join, sizeof config->join, error,
                        error_size);
    if (err == 0) {
        err = copy_text("bind address", options->bind, config->address, sizeof config->address,
                        error, error_size);
    }
    if (err == 0) {
        memcpy(config->members.at[0].address, config->address, sizeof config->address);
        err = check_ports(&config->members, options->client_port_offset, error, error_size);
    }
    return err;
}

int node_config_init(const struct kvapp_node_options *options, struct node_config *ret_config,
                     char *error, size_t error_size)
{
    struct node_config config = {
        .timing = options->timing,
        .client_port_offset = options->client_port_offset,
    };
    int err = options->join != NULL ? take_join(options, &config, error, error_size)
                                    : take_list(options, &config, error, error_size);
    if (err == 0) {
        err = check_timing(&config.timing, error, error_size);
    }
    if (err == 0) {
        err = check_reads(options->reads, error, error_size);
    }
    if (err == 0) {
        err = copy_text("path of the data directory", options->data_dir, config.data_dir,
                        sizeof config.data_dir, error, error_size);
    }
    if (err != 0) {
        return err;
    }
    CHECK(address_add_port(config.address, options->client_port_offset, config.client_address) ==
          0);
    *ret_config = config;
    return 0;
}
