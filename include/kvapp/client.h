/*
 * The client library: connections that stay open, finds the leader and follows it, retries safely.
 *
 * A client is driven by one thread. Calls that wait (kvapp_get, kvapp_put, ...) run it until the
 * answer is there; kvapp_submit starts a request whose `done` is called from kvapp_client_run, so
 * that any number may be in flight.
 *
 * Writes are exactly-once: the client opens a session on first use and numbers its writes, so that
 * a retry after a broken connection or a change of leader is applied once. A write fails with
 * KV_ERR_OUTCOME_UNKNOWN only when it may have been applied and no answer came in time, or the
 * servers have forgotten the session (an hour without use, or 10,000 newer ones); kvapp_outcome
 * asks what became of it. Any other failure: it was not applied, and will not be.
 *
 *     struct kvapp_client *client;
 *     struct kvapp_client_options options = {.cluster = "127.0.0.1:8080,127.0.0.1:8081"};
 *     if (kvapp_client_new(&options, &client) == 0) {
 *         struct kvapp_reply reply;
 *         kvapp_put(client, "key", 3, "value", 5, &reply);
 *         kvapp_client_free(client);
 *     }
 */
#ifndef KVAPP_CLIENT_H
#define KVAPP_CLIENT_H

#include "kvapp/err.h"
#include "kvapp/reads.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvapp_client;

/* Zero means the default given in brackets. */
struct kvapp_client_options {
    const char *cluster; /* raft addresses, "host:port,..." or "1=host:port,..."; required */
    uint32_t timeout_ms; /* of one request with all its retries [5000]; of a write that has to wait
                            for the session to be opened, from then on */
    uint32_t retries;    /* full rounds over the members without an answer [3]; redirects to a
                            leader and waiting for an election do not count, the timeout does */
    uint32_t backoff_ms; /* before a retry, doubled each time, at most 1 s [100] */
    enum kvapp_reads reads; /* how reads are answered; see kvapp/reads.h [what each server does].
                               Linearizable and stale ones go to a member that can be reached,
                               all others to the leader */
    uint32_t
        nearest; /* the place in the cluster's text of the member that is tried first for those,
                    and then those behind it; beyond the last it counts from the first again */
    uint32_t client_port_offset;          /* client port = raft port + this [1000] */
    bool portable_io;                     /* libuv even where io_uring works */
    bool no_session;                      /* writes are not retried once sent; saves the session */
    struct kvapp_client *share_loop_with; /* both use one loop: kvapp_client_run of either runs
                                             both; that one must outlive this one */
};

/*
 * Makes a client; connects on first use. Returns 0, KV_ERR_INVALID (the cluster's text, reads),
 * KV_ERR_ADDRESS (a port beyond 65535, a name that does not resolve) or KV_ERR_IO.
 */
KVAPP_PUBLIC int kvapp_client_new(const struct kvapp_client_options *options,
                                  struct kvapp_client **ret_client);

/* Closes the session (without waiting long for it) and all connections. Requests in flight end
 * with KV_ERR_STOPPED. NULL is fine. */
KVAPP_PUBLIC void kvapp_client_free(struct kvapp_client *client);

/* One more sentence on the last failure: which address, what the system said. Never NULL. */
KVAPP_PUBLIC const char *kvapp_client_error(const struct kvapp_client *client);

/* What a request gave. The data are borrowed until the next call with this client (or, in `done`,
 * until it returns). */
struct kvapp_reply {
    int status;        /* 0, KV_ERR_NOT_FOUND, KV_ERR_CONDITION, or what failed */
    uint64_t revision; /* the key's modify revision; of a write: its own */
    uint64_t count;    /* keys deleted, listed; else as the call says */
    bool more;         /* a list: the page was cut */
    const void *data;  /* the value; of a list: see kvapp_reply_next */
    size_t size;
    uint64_t session; /* of KV_ERR_OUTCOME_UNKNOWN: what kvapp_outcome wants; 0: nobody knows */
    uint64_t sequence;

    /* Of a stale read; else 0. */
    uint64_t age_ms;        /* the answer was the newest at most so long before the server gave it;
                               UINT64_MAX: it does not know */
    uint64_t applied_index; /* of the state that was read */
};

/* Walks the keys of a list or the items of a scan; start with *cursor = 0. Returns false at the
 * end. For a list, the value is empty and the revision 0. */
struct kvapp_item {
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    uint64_t revision;
};
KVAPP_PUBLIC bool kvapp_reply_next(const struct kvapp_reply *reply, bool is_scan, size_t *cursor,
                                   struct kvapp_item *ret_item);

/* ---- calls that wait; each returns reply->status ---- */

KVAPP_PUBLIC int kvapp_get(struct kvapp_client *client, const void *key, size_t key_size,
                           struct kvapp_reply *ret_reply);
KVAPP_PUBLIC int kvapp_put(struct kvapp_client *client, const void *key, size_t key_size,
                           const void *value, size_t value_size, struct kvapp_reply *ret_reply);
/* Puts only if the key's modify revision is `expected` (0: only if it is not there). */
KVAPP_PUBLIC int kvapp_put_if(struct kvapp_client *client, const void *key, size_t key_size,
                              const void *value, size_t value_size, uint64_t expected,
                              struct kvapp_reply *ret_reply);
KVAPP_PUBLIC int kvapp_delete(struct kvapp_client *client, const void *key, size_t key_size,
                              struct kvapp_reply *ret_reply);
KVAPP_PUBLIC int kvapp_delete_if(struct kvapp_client *client, const void *key, size_t key_size,
                                 uint64_t expected, struct kvapp_reply *ret_reply);

/* What must be so before a write. */
enum kvapp_only_if {
    KVAPP_ALWAYS = 0,
    KVAPP_IF_ABSENT,
    KVAPP_IF_PRESENT,
    KVAPP_IF_REVISION, /* the key's modify revision is the given one; 0: it is not there */
};

/* How a key is written; all zeros: as kvapp_put does. */
struct kvapp_how {
    uint64_t ttl_ms; /* it goes so long after it was written, by the cluster's time; 0: never */
    bool keep_ttl;   /* in place of that: it goes when it was to go before */
    enum kvapp_only_if only_if;
    uint64_t revision; /* of KVAPP_IF_REVISION */
};
/*
 * KV_ERR_CONDITION: it was not so, and the reply's revision is the key's present one, 0: not there.
 * The revision of a put that made a key for a while is a fencing token: docs/LOCKS.md.
 */
KVAPP_PUBLIC int kvapp_put_with(struct kvapp_client *client, const void *key, size_t key_size,
                                const void *value, size_t value_size, const struct kvapp_how *how,
                                struct kvapp_reply *ret_reply);

/*
 * Adds to the decimal number of 64 bits that the key's value is; 0 when it is not there. The
 * expiry stays. The reply's count is the new number in two's complement: (int64_t)reply.count.
 * KV_ERR_NOT_INTEGER: the value is no such number. KV_ERR_OVERFLOW: the sum would be none.
 */
KVAPP_PUBLIC int kvapp_add(struct kvapp_client *client, const void *key, size_t key_size,
                           int64_t delta, struct kvapp_reply *ret_reply);

/* Appends to the value, or makes the key; the expiry stays. The count is the new size.
 * KV_ERR_VALUE_TOO_LARGE: it would be too large. */
KVAPP_PUBLIC int kvapp_append(struct kvapp_client *client, const void *key, size_t key_size,
                              const void *value, size_t value_size, struct kvapp_reply *ret_reply);

/* Lets the key go so long from now, 0: never. A write that changes this gives the key a new
 * revision, and a count of 1. KV_ERR_NOT_FOUND: no such key. */
KVAPP_PUBLIC int kvapp_expire(struct kvapp_client *client, const void *key, size_t key_size,
                              uint64_t ttl_ms, struct kvapp_reply *ret_reply);

/* What is known of a key besides its value. */
struct kvapp_stat {
    uint64_t created;  /* the revision that made it */
    uint64_t revision; /* of its last write */
    uint64_t version;  /* the number of its writes */
    uint64_t size;     /* of its value */
    uint64_t ttl_ms;   /* it goes so long from now; UINT64_MAX: never */
};
/* A read. KV_ERR_NOT_FOUND: no such key. */
KVAPP_PUBLIC int kvapp_stat(struct kvapp_client *client, const void *key, size_t key_size,
                            struct kvapp_reply *ret_reply, struct kvapp_stat *ret_stat);

/* ---- batches: writes that happen together, or not at all when a guard does not hold ---- */

enum kvapp_command_kind {
    KVAPP_COMMAND_GUARD, /* how.only_if, how.revision: of `key`, which is not written */
    KVAPP_COMMAND_PUT,   /* value, how */
    KVAPP_COMMAND_DELETE,
    KVAPP_COMMAND_ADD,    /* delta */
    KVAPP_COMMAND_APPEND, /* value */
    KVAPP_COMMAND_EXPIRE, /* how.ttl_ms */
};

/* What its kind does not take is zero. */
struct kvapp_command {
    enum kvapp_command_kind kind;
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    int64_t delta;
    struct kvapp_how how;
};

struct kvapp_batch {
    const struct kvapp_command *commands; /* each sees what those before it did */
    size_t count;                         /* 1 to 16,384; all of them at most 1.25 MiB */
};

/*
 * All guards are looked at before anything is done, wherever they stand. Returns 0: the batch was
 * carried out; or KV_ERR_CONDITION: one of the guards did not hold and nothing was done; then the
 * revision is the present one of its key, 0: not there.
 *
 * A command other than a guard that is refused (an add to what is no number, a delete of what is
 * not there, a put whose own condition is not met) does not stop the others. The count is the
 * number of commands that succeeded, the guards included: batch->count when all did.
 */
KVAPP_PUBLIC int kvapp_batch(struct kvapp_client *client, const struct kvapp_batch *batch,
                             struct kvapp_reply *ret_reply);

/* Ranges: keys >= start, < end, that begin with prefix; empty parts do not restrict. */
struct kvapp_range {
    const void *start;
    size_t start_size;
    const void *end;
    size_t end_size;
    const void *prefix;
    size_t prefix_size;
    uint32_t limit; /* keys in a page; 0: the server's maximum */
    bool values;    /* a scan: with values and revisions */
};
KVAPP_PUBLIC int kvapp_list(struct kvapp_client *client, const struct kvapp_range *range,
                            struct kvapp_reply *ret_reply);
/* A large range is deleted in several writes, each with a timeout of its own; others may come in
 * between. The count is of all of them, also when one of them failed and the rest is left. */
KVAPP_PUBLIC int kvapp_delete_range(struct kvapp_client *client, const struct kvapp_range *range,
                                    struct kvapp_reply *ret_reply);

/*
 * What became of a write whose outcome was unknown, of this client or another. The reply is the
 * write's own: 0, or what it was refused with (KV_ERR_NOT_FOUND, KV_ERR_CONDITION,
 * KV_ERR_NOT_INTEGER, KV_ERR_OVERFLOW, KV_ERR_VALUE_TOO_LARGE), so that it had no effect. Otherwise
 *   KV_ERR_OUTCOME_UNKNOWN   it was not applied so far, but a copy that is on its way may be
 *   KV_ERR_SESSION_UNKNOWN,
 *   KV_ERR_SEQUENCE_STALE    it may have been applied, nobody knows any more; it will not be now
 * or what kept the question from being answered. The first two only until the client that wrote
 * writes again: then a late copy comes too late, and the outcome is forgotten.
 */
KVAPP_PUBLIC int kvapp_outcome(struct kvapp_client *client, uint64_t session, uint64_t sequence,
                               struct kvapp_reply *ret_reply);

/*
 * The same, and a write that was not applied so far never will be: its place is taken, by a write
 * without an effect, and the status is KV_ERR_CONDITION. So after this call nothing is in doubt
 * that is not forgotten. May be repeated, also when it was not answered.
 */
KVAPP_PUBLIC int kvapp_cancel(struct kvapp_client *client, uint64_t session, uint64_t sequence,
                              struct kvapp_reply *ret_reply);

/* ---- status of each member, asked directly ---- */

struct kvapp_member {
    uint64_t id;
    char address[264]; /* raft address */
    bool reachable;    /* false: only id and address are known */
    const char *role;  /* "follower", ... */
    uint64_t cluster_id;
    uint64_t term;
    uint64_t leader;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t last_index;
    uint64_t digest;
    uint64_t key_count;
    uint64_t uptime_ms;
    uint64_t log_writes;
    uint64_t log_syncs;
    uint64_t log_entries;
    uint64_t log_bytes;
    char io_backend[16];
    char version[16];
};
/* Asks all members at once, waits for each at most wait_ms. Fills `members`, which has room for 9,
 * in the order of the cluster's text. */
KVAPP_PUBLIC int kvapp_status(struct kvapp_client *client, uint32_t wait_ms,
                              struct kvapp_member *members, size_t *ret_count);

/* ---- the cluster: its members, who leads, snapshots ---- */

/* A member, as the server sees it that answered. */
struct kvapp_peer {
    uint64_t id;
    char address[264];    /* raft address */
    bool voter;           /* else a learner, or one that is on its way out: */
    bool voter_old;       /* votes in the old set, while voters change */
    bool keep_learner;    /* is never made a voter by itself */
    uint64_t incarnation; /* of its data directory; 0: not known yet */
    bool connected;
    uint32_t priority;
    uint64_t match; /* stored there up to here; 0 unless the leader answered */
};

struct kvapp_peers {
    uint64_t answered; /* the id of who answered */
    uint64_t leader;   /* 0: unknown */
    uint64_t index;    /* of the log entry that made them the members */
    bool joint;        /* voters are changing */
    size_t count;
    struct kvapp_peer at[9]; /* ids rise */
};

/* One set of voters. */
struct kvapp_voters {
    uint32_t count;
    uint32_t quorum;
    uint32_t ready; /* of them: reachable and caught up, as the leader sees it */
};

struct kvapp_plan {
    bool joint; /* meanwhile everything needs a quorum of both sets */
    struct kvapp_voters before;
    struct kvapp_voters after;
    struct kvapp_peers wanted;
};

/* The numbers are those of the protocol. */
enum kvapp_edit_kind {
    KVAPP_ADD_LEARNER = 0, /* becomes a voter by itself once it has caught up */
    KVAPP_ADD_KEPT = 1,    /* stays a learner */
    KVAPP_PROMOTE = 2,
    KVAPP_REMOVE = 3,
    KVAPP_MOVE = 4,
};

struct kvapp_edit {
    enum kvapp_edit_kind kind;
    uint64_t id;
    const char *address; /* raft address; NULL: promote, remove */
};

/* Edits that happen together or not at all. */
struct kvapp_change {
    const struct kvapp_edit *edits;
    size_t edit_count; /* 1 to 16 */
    bool dry_run;      /* what would it do? */
    bool force;        /* even if it costs the quorum */
};

/* What came of a change. */
struct kvapp_change_result {
    struct kvapp_peers peers;
    bool has_plan; /* of a dry run, and with KV_ERR_REFUSED */
    struct kvapp_plan plan;
};

/*
 * These wait, and return 0 or what failed; kvapp_client_error says why. The client remembers the
 * addresses of the members that it learns of. Asks the leader, or, while there is none, whoever
 * answers.
 */
KVAPP_PUBLIC int kvapp_members(struct kvapp_client *client, struct kvapp_peers *ret_peers);

/* Returns when the change is committed as a whole. KV_ERR_OUTCOME_UNKNOWN: kvapp_members shows what
 * became of it; KV_ERR_REFUSED: it would cost the quorum, and is not forced. */
KVAPP_PUBLIC int kvapp_change(struct kvapp_client *client, const struct kvapp_change *change,
                              struct kvapp_change_result *ret_result);

/* Lets the voter `to` lead, 0: the most up to date one. Returns when another server leads than did;
 * KV_ERR_TIMEOUT: the leader leads on. */
KVAPP_PUBLIC int kvapp_transfer(struct kvapp_client *client, uint64_t to, uint64_t *ret_leader);

/* Lets the server at this raft address take a snapshot; it is durable then. The index is that of
 * the last entry it holds. */
KVAPP_PUBLIC int kvapp_snapshot(struct kvapp_client *client, const char *address,
                                uint64_t *ret_index);

/* ---- backup ---- */

/* Embedded by the caller, who fills in the first two. Either returns whether to go on. */
struct kvapp_backup {
    /* `size` bytes are about to come. Comes again when the backup begins anew, since its server was
     * lost: what came before is worth nothing then. */
    bool (*begin)(struct kvapp_backup *backup);
    /* The next bytes, borrowed for the call. */
    bool (*piece)(struct kvapp_backup *backup, const void *bytes, size_t size);
    uint64_t index; /* of the last entry in it */
    uint64_t size;  /* of the whole */
};
/*
 * Fetches a snapshot that the leader takes for this: it holds every write that was acknowledged
 * before the call. The bytes carry checksums of their own, which nobody has checked. Returns 0;
 * KV_ERR_STOPPED when the caller would not go on; KV_ERR_FULL when the server has no room for the
 * snapshot; KV_ERR_TIMEOUT, KV_ERR_CONNECTION.
 */
KVAPP_PUBLIC int kvapp_backup(struct kvapp_client *client, struct kvapp_backup *backup);

/* ---- many requests in flight ---- */

enum kvapp_request_kind {
    KVAPP_GET,
    KVAPP_PUT,
    KVAPP_DELETE,
};

/* Embedded by the caller; key and value stay in place until `done`. */
struct kvapp_request {
    enum kvapp_request_kind kind;
    enum kvapp_reads reads; /* of a get; 0: the client's */
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    void (*done)(struct kvapp_request *request, const struct kvapp_reply *reply);
    void *context;
    void *state; /* the client's, while in flight */
};
/* Starts a request; `done` comes from kvapp_client_run, exactly once. */
KVAPP_PUBLIC void kvapp_submit(struct kvapp_client *client, struct kvapp_request *request);

/* Waits at most wait_ms for something to happen, and calls what is done. */
KVAPP_PUBLIC int kvapp_client_run(struct kvapp_client *client, uint32_t wait_ms);

/* The id of the leader that the client believes in; 0: none. */
KVAPP_PUBLIC uint64_t kvapp_client_leader(const struct kvapp_client *client);

#endif
