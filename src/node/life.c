/*
 * A node's life: made from its options, recovered from its directory, freed; and the looking in.
 */
#include "node/node.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

STATIC_CHECK((int)RAFT_MEMBERS_MAX == (int)MEMBERS_MAX, "the core takes every cluster");

enum {
    STALL_MS_MIN = 2000,
    SEGMENT_SIZE_MIN = 4 * 1024 * 1024, /* storage.h: every entry fits one */
    PORT_TRIES = 50,                    /* a second in all */
    PORT_PAUSE_US = 20 * 1000,
};

/* ---- the log ---- */

static void log_line(void *context, enum trace_level level, const char *line)
{
    const struct kvapp_node *node = context;
    char text[1100];
    (void)snprintf(text, sizeof text, "node %" PRIu64 ": %s", node->config.id, line);
    node->options.log(node->options.log_context, (enum kvapp_log_level)level, text);
}

/* ---- recovery ---- */

static uint64_t fit(void *context, uint64_t first, uint64_t last)
{
    const struct kvapp_node *node = context;
    uint64_t newest = storage_last_index(node->storage);
    if (first > newest) {
        return first;
    }
    uint64_t known = last < newest ? last : newest;
    uint64_t fits = storage_fit(node->storage, first, known, APPEND_BYTES);
    return fits == known ? last : fits;
}

static int start_raft(struct kvapp_node *node, const struct storage_restored *restored,
                      const struct restored_memberships *memberships)
{
    const struct kvapp_timing *timing = &node->config.timing;
    uint64_t stall_ms = 5 * (uint64_t)timing->election_max_ms;
    struct raft_config config = {
        .id = node->config.id,
        .seed = io_random(node->io),
        .heartbeat_ms = timing->heartbeat_ms,
        .election_min_ms = timing->election_min_ms,
        .election_max_ms = timing->election_max_ms,
        .lease = node->options.reads == KVAPP_READS_LEASE,
        .disk_stall_ms = stall_ms < STALL_MS_MIN ? STALL_MS_MIN : stall_ms,
        .window_appends = APPEND_WINDOW,
        .append_entries_max = 4096,
        .uncommitted_max = UNCOMMITTED_MAX,
        .fit = fit,
        .fit_context = node,
        .trace = &node->trace,
    };
    config.membership = memberships->initial;
    STATIC_CHECK(sizeof(struct raft_run) == sizeof(struct storage_run), "runs are runs");
    struct raft_run *runs = memory_new(restored->run_count, sizeof *runs);
    for (size_t i = 0; i < restored->run_count; i++) {
        runs[i] = (struct raft_run){restored->runs[i].term, restored->runs[i].count};
    }
    const struct raft_restored state = {
        .term = restored->term,
        .voted_for = restored->voted_for,
        .snapshot_index = restored->snapshot_index,
        .snapshot_term = restored->snapshot_term,
        .snapshot_membership = restored->snapshot_index == 0 ? NULL : &memberships->snapshot,
        .first_index = restored->first_index,
        .previous_term = restored->previous_term,
        .runs = runs,
        .run_count = restored->run_count,
        .memberships = memberships->logged,
        .membership_count = memberships->count,
        .lost_until = restored->lost_until,
        .lost_term = restored->lost_term,
    };
    node->stall.limit_ms = config.disk_stall_ms;
    reads_start(&node->reads, io_random(node->io));
    forwards_start(&node->forwards, io_random(node->io));
    scans_start(&node->scans, io_random(node->io));
    int err = raft_new(&config, &state, node_now_ms(node), &node->raft);
    free(runs);
    node->commit_index = restored->snapshot_index;
    TRACE(&node->trace, TRACE_INFO, "recovered %" PRIu64 " log entries, term %" PRIu64,
          restored->last_index + 1 - restored->first_index, restored->term);
    if (restored->torn_bytes > 0) {
        TRACE(&node->trace, TRACE_WARN,
              "a crash had left an unfinished write: its %" PRIu64
              " bytes, never acknowledged, were cut from the log's end",
              restored->torn_bytes);
    }
    return err;
}

/* The state machine is there. */
static void serve(struct kvapp_node *node)
{
    if (node->state != NODE_STARTING) {
        return; /* It was stopped meanwhile. */
    }
    struct storage_restored restored;
    struct restored_memberships memberships;
    storage_restored(node->storage, &restored);
    node->cluster_id = restored.cluster_id;
    node->incarnation = restored.incarnation;
    int err = membership_restore(node, &restored, &memberships);
    if (err == 0) {
        err = start_raft(node, &restored, &memberships);
        membership_start(node, &memberships, restored.snapshot_index);
    }
    free(memberships.logged);
    if (err != 0) {
        node_fail(node, err, kvapp_err_sentence(err));
        return;
    }
    clock_start(node);
    node->state = NODE_SERVING;
    TRACE(&node->trace, TRACE_INFO, "serving clients at %s, members at %s",
          node->config.client_address, node->config.address);
    step_start(node);
    links_follow(node);
    clients_start(node);
}

static void opened(void *context, int err, const char *sentence)
{
    struct kvapp_node *node = context;
    if (err == KV_ERR_NO_IDENTITY) {
        node->joining = node->state == NODE_STARTING;
        if (node->joining) {
            storage_close(node->storage);
        }
        return;
    }
    if (err != 0) {
        node_fail(node, err, sentence);
        return;
    }
    if (node->state != NODE_STARTING) {
        return;
    }
    if (storage_snapshot_newest(node->storage) > 0) {
        restore_begin(node, serve);
    } else {
        node->kv = kv_new(&kv_options_default);
        serve(node);
    }
}

static void stored(void *context, uint64_t ticket)
{
    struct kvapp_node *node = context;
    CHECK(ticket > node->stored_ticket);
    node->stored_ticket = ticket;
}

static void failed(void *context, int err, const char *sentence)
{
    struct kvapp_node *node = context;
    node->stopped_err = err;
    (void)snprintf(node->stopped_by, sizeof node->stopped_by, "%s", sentence);
}

static void closed(void *context)
{
    struct kvapp_node *node = context;
    node->storage = NULL;
    if (node->joining && node->state == NODE_STARTING) {
        join_start(node);
    }
    node->joining = false;
}

static const struct storage_handler storage_events = {opened, stored, failed, closed};

/* A server that joins has others; one that began a cluster of one may have lost the only copy. */
static bool has_others(const struct kvapp_node *node)
{
    return node->config.join[0] != '\0' || node->config.members.count != 1;
}

void node_open_storage(struct kvapp_node *node)
{
    struct buf founders = {0};
    membership_founders(node, &founders);
    const struct storage_options storage = {
        .path = node->config.data_dir,
        .cluster_id = node->cluster_id,
        .node_id = node->config.id,
        .founders = buf_slice(&founders),
        .segment_size = node->options.segment_size,
        .cache_size = node->options.cache_size,
        .may_repair = has_others(node),
        .trace = &node->trace,
        .handler = &storage_events,
        .context = node,
    };
    node->storage = storage_open(node->io, &storage);
    buf_done(&founders);
}

/* ---- making ---- */

static void signalled(struct io_signal *signal, int number)
{
    struct kvapp_node *node = CONTAINER_OF(signal, struct kvapp_node, signal);
    TRACE(&node->trace, TRACE_INFO, "signal %d: ending cleanly", number);
    kvapp_node_stop(node);
}

static void woken(struct io_timer *timer)
{
    (void)timer; /* Waking is all: the turn looks at the time. */
}

/*
 * Listens, waiting for a port that is taken: when a server was killed, the kernel may let go of its
 * listening socket a moment after the process is gone.
 */
static int listen_patiently(struct kvapp_node *node, const struct io_address *address,
                            int (*begin)(struct kvapp_node *, const struct io_address *))
{
    int err = begin(node, address);
    for (int i = 0; i < PORT_TRIES && err == -EADDRINUSE; i++) {
        if (io_run(node->io, io_now_us(node->io) + PORT_PAUSE_US) != 0) {
            return err;
        }
        err = begin(node, address);
    }
    return err;
}

static int listen_on(struct kvapp_node *node, const char *what, const char *address,
                     int (*begin)(struct kvapp_node *, const struct io_address *), char *error,
                     size_t error_size)
{
    struct io_address resolved;
    int err = io_resolve(node->io, address, &resolved);
    if (err != 0) {
        (void)snprintf(error, error_size, "the %s address %s does not resolve to an IP address",
                       what, address);
        return err;
    }
    err = listen_patiently(node, &resolved, begin);
    if (err != 0) {
        (void)snprintf(error, error_size, "cannot listen on the %s address %s: %s", what, address,
                       io_error_sentence(err));
        return KV_ERR_ADDRESS;
    }
    return 0;
}

static int make_io(struct kvapp_node *node, char *error, size_t error_size)
{
    static const enum io_backend backends[] = {
        [KVAPP_IO_AUTO] = IO_BACKEND_AUTO,
        [KVAPP_IO_URING] = IO_BACKEND_URING,
        [KVAPP_IO_PORTABLE] = IO_BACKEND_PORTABLE,
    };
    char reason[256];
    int err = io_new(backends[node->options.io], reason, sizeof reason, &node->io);
    if (err != 0) {
        (void)snprintf(error, error_size, "no way to do I/O: %s", reason);
        return err;
    }
    node->owns_io = true;
    TRACE(&node->trace, TRACE_INFO, "kvapp %s, I/O by %s, %s timing", KVAPP_VERSION, reason,
          node->config.timing.name == NULL ? "own" : node->config.timing.name);
    return 0;
}

static void free_parts(struct kvapp_node *node)
{
    links_done(node);
    tracker_done(&node->tracker);
    reads_done(&node->reads);
    forwards_done(&node->forwards);
    scans_done(&node->scans);
    unit_done(&node->redis_request);
    buf_done(&node->redis_text);
    buf_done(&node->inbox);
    buf_done(&node->received_memberships);
    buf_done(&node->writes);
    raft_free(node->raft);
    snapshot_done(node);
    restore_done(&node->restore);
    kv_free(node->kv);
    if (node->signal_started) {
        io_signal_stop(node->io, &node->signal);
    }
    if (node->owns_io) {
        io_free(node->io);
    }
    free(node);
}

/* Everything that can fail for a reason the user can mend, before anything is begun. */
static int bind_ports(struct kvapp_node *node, char *error, size_t error_size)
{
    int err = listen_on(node, "raft", node->config.address, inbound_listen, error, error_size);
    if (err != 0) {
        return err;
    }
    err = listen_on(node, "client", node->config.client_address, clients_listen, error, error_size);
    if (err != 0) {
        io_listener_close(node->io, node->raft_listener);
        return err;
    }
    if (!node->options.handle_signals) {
        return 0;
    }
    err = io_signal_start(node->io, &node->signal);
    if (err != 0) {
        (void)snprintf(error, error_size, "signals cannot be handled: %s", io_error_sentence(err));
        io_listener_close(node->io, node->raft_listener);
        io_listener_close(node->io, node->client_listener);
        return KV_ERR_IO;
    }
    node->signal_started = true;
    return 0;
}

int kvapp_node_new(const struct kvapp_node_options *options, char *error, size_t error_size,
                   struct kvapp_node **ret_node)
{
    /* The simulator, whose entries are small, may have smaller ones. */
    if (options->segment_size < SEGMENT_SIZE_MIN) {
        (void)snprintf(error, error_size, "log segments must have at least %d bytes, not %" PRIu64,
                       SEGMENT_SIZE_MIN, options->segment_size);
        return KV_ERR_INVALID;
    }
    if (options->snapshot_entries == 0 || options->snapshot_rate == 0) {
        (void)snprintf(
            error, error_size,
            "the entries between snapshots and the rate of sending them must be above 0");
        return KV_ERR_INVALID;
    }
    return node_new_on(NULL, options, error, error_size, ret_node);
}

int node_new_on(struct io *io, const struct kvapp_node_options *options, char *error,
                size_t error_size, struct kvapp_node **ret_node)
{
    struct node_config config;
    int err = node_config_init(options, &config, error, error_size);
    if (err != 0) {
        return err;
    }
    struct kvapp_node *node = memory_new(1, sizeof *node);
    node->config = config;
    node->options = *options;
    node->trace = (struct trace){
        .sink = options->log == NULL ? NULL : log_line,
        .context = node,
        .level = (enum trace_level)options->log_level,
    };
    list_init(&node->clients);
    list_init(&node->dirty);
    list_init(&node->stuck);
    list_init(&node->inbound);
    list_init(&node->redis_waiting);
    list_init(&node->redis_ready);
    reads_init(&node->reads);
    snapshot_init(node);
    backups_init(node);
    tracker_init(&node->tracker, TRACKER_CAPACITY);
    io_timer_init(&node->wake, woken);
    node->signal.done = signalled;
    node->io = io;
    err = io == NULL ? make_io(node, error, error_size) : 0;
    if (err != 0) {
        free_parts(node);
        return err;
    }
    err = bind_ports(node, error, error_size);
    if (err != 0) {
        free_parts(node);
        return err;
    }
    node->started_us = io_now_us(node->io);
    node->cluster_id = config.cluster_id;
    node->own_membership_index = PEER_NO_MEMBERSHIP;
    node_open_storage(node);
    *ret_node = node;
    return 0;
}

void kvapp_node_free(struct kvapp_node *node)
{
    if (node == NULL) {
        return;
    }
    kvapp_node_stop(node);
    (void)kvapp_node_run(node);
    free_parts(node);
}

/* ---- looking in ---- */

const char *kvapp_node_error(const struct kvapp_node *node)
{
    return node->error;
}

uint64_t kvapp_node_id(const struct kvapp_node *node)
{
    return node->config.id;
}

enum raft_role kvapp_node_role(const struct kvapp_node *node)
{
    return node->raft == NULL ? RAFT_FOLLOWER : raft_role(node->raft);
}

uint64_t kvapp_node_term(const struct kvapp_node *node)
{
    return node->raft == NULL ? 0 : raft_term(node->raft);
}

uint64_t kvapp_node_leader(const struct kvapp_node *node)
{
    return node->raft == NULL ? 0 : raft_leader(node->raft);
}

uint64_t kvapp_node_commit_index(const struct kvapp_node *node)
{
    return node->commit_index;
}

uint64_t kvapp_node_applied_index(const struct kvapp_node *node)
{
    return node->kv == NULL ? 0 : kv_applied_index(node->kv);
}

uint64_t kvapp_node_last_index(const struct kvapp_node *node)
{
    return node->raft == NULL ? 0 : raft_last_index(node->raft);
}

uint64_t kvapp_node_digest(const struct kvapp_node *node)
{
    return node->kv == NULL ? 0 : kv_digest(node->kv);
}

bool kvapp_node_is_committed(const struct kvapp_node *node, uint64_t index)
{
    return index > 0 && index <= node->commit_index;
}

int kvapp_node_entry(const struct kvapp_node *node, uint64_t index, struct kvapp_entry *ret_entry)
{
    if (node->raft == NULL || node->storage == NULL) {
        return KV_ERR_NOT_FOUND;
    }
    struct slice encoded;
    int err = storage_get(node->storage, index, &encoded);
    if (err != 0) {
        return err;
    }
    struct entry entry;
    size_t size = 0;
    CHECK(entry_decode(encoded, &entry, &size) == 0);
    *ret_entry = (struct kvapp_entry){
        .index = entry.index,
        .term = entry.term,
        .time_ms = entry.time_ms,
        .command = entry.payload.data,
        .command_size = entry.kind == ENTRY_COMMAND ? entry.payload.size : 0,
    };
    return 0;
}
