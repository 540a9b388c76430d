#include "app/server.h"

#include <stdio.h>

static void override_ms(const struct options *options, enum option_id id, uint32_t *ms)
{
    if (options_given(options, id)) {
        *ms = (uint32_t)options_number(options, id);
    }
}

/* "must be less than", with both numbers. */
static int check_less(enum option_id small_id, uint32_t small_ms, enum option_id large_id,
                      uint32_t large_ms, const char *mode, char *error, size_t error_size)
{
    if (small_ms < large_ms) {
        return 0;
    }
    (void)snprintf(error, error_size,
                   "--%s (%u ms) must be less than --%s (%u ms); numbers that are not given come "
                   "from the %s mode",
                   option_table[small_id].name, small_ms, option_table[large_id].name, large_ms,
                   mode);
    return KV_ERR_INVALID;
}

/* The mode's numbers first, then the single ones, wherever they stood. */
static int fill_timing(const struct options *options, struct kvapp_timing *ret_timing, char *error,
                       size_t error_size)
{
    struct kvapp_timing timing;
    const char *mode = options_string(options, OPTION_TIMING_MODE);
    int err = kvapp_timing_mode(mode, &timing);
    if (err != 0) {
        (void)snprintf(error, error_size, "there is no timing mode \"%s\"", mode);
        return err;
    }
    override_ms(options, OPTION_EVENT_LOOP_DELAY, &timing.event_loop_ms);
    override_ms(options, OPTION_HEARTBEAT_INTERVAL, &timing.heartbeat_ms);
    override_ms(options, OPTION_ELECTION_TIMEOUT_MIN, &timing.election_min_ms);
    override_ms(options, OPTION_ELECTION_TIMEOUT_MAX, &timing.election_max_ms);
    override_ms(options, OPTION_NETWORK_DELAY, &timing.network_delay_ms);
    override_ms(options, OPTION_CLIENT_DELAY, &timing.client_delay_ms);
    err = check_less(OPTION_ELECTION_TIMEOUT_MIN, timing.election_min_ms,
                     OPTION_ELECTION_TIMEOUT_MAX, timing.election_max_ms, mode, error, error_size);
    if (err == 0) {
        err =
            check_less(OPTION_HEARTBEAT_INTERVAL, timing.heartbeat_ms, OPTION_ELECTION_TIMEOUT_MIN,
                       timing.election_min_ms, mode, error, error_size);
    }
    if (err == 0) {
        *ret_timing = timing;
    }
    return err;
}

static enum kvapp_io io_kind(uint64_t choice)
{
    switch ((enum option_io)choice) {
    case OPTION_IO_URING:
        return KVAPP_IO_URING;
    case OPTION_IO_PORTABLE:
        return KVAPP_IO_PORTABLE;
    case OPTION_IO_AUTO:
        break;
    }
    return KVAPP_IO_AUTO;
}

int server_options_fill(const struct options *options, struct kvapp_node_options *node_options,
                        char *error, size_t error_size)
{
    struct kvapp_timing timing;
    int err = fill_timing(options, &timing, error, error_size);
    if (err != 0) {
        return err;
    }
    const char *bind = options_string(options, OPTION_BIND);
    const char *join = options_string(options, OPTION_JOIN);
    const char *cluster = options_string(options, OPTION_CLUSTER);
    if (join != NULL &&
        (cluster != NULL || bind == NULL || !options_given(options, OPTION_NODE_ID))) {
        (void)snprintf(error, error_size,
                       "--join goes with --node-id and --bind, and not with --cluster");
        return KV_ERR_INVALID;
    }
    if (cluster != NULL && bind == NULL && !options_given(options, OPTION_NODE_ID)) {
        (void)snprintf(error, error_size,
                       "which member of --cluster is this server? Give --node-id or --bind");
        return KV_ERR_INVALID;
    }
    node_options->node_id = options_number(options, OPTION_NODE_ID);
    node_options->bind = bind == NULL && cluster == NULL ? "127.0.0.1:8080" : bind;
    node_options->cluster = cluster;
    node_options->join = join;
    node_options->data_dir = options_string(options, OPTION_DATA_DIR);
    node_options->client_port_offset = (uint32_t)options_number(options, OPTION_CLIENT_PORT_OFFSET);
    node_options->timing = timing;
    node_options->io = io_kind(options_number(options, OPTION_IO));
    node_options->reads = (enum kvapp_reads)options_number(options, OPTION_READS);
    node_options->redis_writes =
        (enum kvapp_redis_writes)options_number(options, OPTION_REDIS_WRITES);
    node_options->segment_size = options_number(options, OPTION_SEGMENT_SIZE);
    node_options->cache_size = options_number(options, OPTION_CACHE_SIZE);
    node_options->snapshot_entries = options_number(options, OPTION_SNAPSHOT_ENTRIES);
    node_options->snapshot_bytes = options_number(options, OPTION_SNAPSHOT_BYTES);
    node_options->snapshot_rate = options_number(options, OPTION_SNAPSHOT_RATE);
    node_options->priority = (uint32_t)options_number(options, OPTION_PRIORITY);
    bool verbose = options_number(options, OPTION_VERBOSE) != 0 || timing.paced;
    node_options->log_level = verbose ? KVAPP_LOG_DEBUG : KVAPP_LOG_INFO;
    return 0;
}
