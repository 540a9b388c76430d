/*
 * A cluster in memory for the tests of the core: it drives each core as its header demands and
 * checks what must hold across servers after every step.
 *
 *     raft_step ─► store ─► queue of writes ─(the test decides when)─► disk ─► RAFT_STORED
 *               └► messages ─► on_send ─(the test decides when, or never)─► cluster_receive
 *
 * The disk is honest: what was not completed is lost in a crash, or survives in part, and nothing
 * is reported before it is on the disk. It may lose all but term and vote, and knows it then. A
 * snapshot is what was committed up to an index; it gets on the disk whole, at once. Checked, each
 * ending the process with CHECK:
 *   - at most one leader in a term; its log holds everything that is committed;
 *   - the same index and term mean the same entry and the same entry before it, everywhere;
 *   - a newly committed entry is on the disks of a majority, of the old voters too while there are
 *     any, and never changes; what a disk lost counts as there until it is repaired, and until then
 *     its server has no part in elections; the membership in force is the newest of the log;
 *   - no leader changes the membership before an entry of its term is committed;
 *   - votes, vote requests and acknowledgements leave only when their sender's disk agrees;
 *   - a read is served at or above everything that was committed when it was asked;
 *   - while a leader has a lease nobody leads a later term, and it knows of all that is committed.
 */
#ifndef TEST_RAFT_CLUSTER_H
#define TEST_RAFT_CLUSTER_H

#include "base/prng.h"
#include "base/trace.h"
#include "entry_log.h"
#include "kvapp/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cluster;

struct write {
    struct write *next;
    struct raft_store store;
    struct entry *entries; /* store.append_count of them */
};

struct asked_read {
    uint64_t tag;
    uint64_t index_min; /* what was committed when it was asked */
};

enum { READS_OPEN_MAX = 64 };

struct server {
    struct cluster *cluster;
    uint64_t id;
    struct raft *raft; /* NULL: down */
    struct trace trace;
    uint64_t starts;   /* varies the seed of each life */
    uint64_t ahead_ms; /* its clock against the cluster's: no two machines agree */
    int64_t faster;    /* and by so many percent it goes faster */

    struct entry_log log; /* as the core believes it to be */
    bool initiated;       /* knows the initial membership: was in it, or has a snapshot */

    struct {
        uint64_t term;
        uint64_t voted_for;
        struct entry_log log;
        uint64_t
            snapshot_index; /* of the newest snapshot; it holds what was committed up to there */
    } disk;
    struct {
        uint64_t until; /* as in raft_restored; 0: nothing */
        uint64_t term;
        struct entry_log log; /* what was on the disk */
    } lost;
    struct write *writes; /* oldest first */
    struct write *writes_end;

    uint64_t tag;
    struct asked_read reads[READS_OPEN_MAX];
    size_t read_count;

    uint64_t receiving; /* the snapshot that its core wants ends here; 0: none */

    uint64_t wake_ms; /* by the cluster's clock */
    uint64_t commit_seen;
};

/* A message on its way, with the entries that the sender's driver put in. */
struct parcel {
    struct raft_message message;
    struct entry *entries;
};

struct known_entry {
    struct known_entry *next;
    struct entry entry;
    uint64_t term_before;
};

struct cluster {
    size_t count;
    struct server servers[RAFT_MEMBERS_MAX];
    struct raft_config config; /* of every server, but for id, seed and trace; those that are not
                                  in its membership know of nobody when they are new */
    uint64_t seed;
    uint64_t now_ms;
    uint64_t values;             /* proposed so far */
    struct raft_effects effects; /* of the last step */

    struct raft_membership *memberships; /* that were ever logged, by number - 1 */
    uint64_t membership_count;
    struct entry_log committed;
    struct entry_log commit_terms; /* by index: the term in which the entry was committed */
    struct known_entry **known;    /* by index: every entry that was ever in a log */
    uint64_t known_count;
    uint64_t *leaders; /* by term */
    uint64_t leaders_count;
    uint64_t reads_served;
    uint64_t leases_seen; /* how often server_lease said yes */

    /* Takes the parcel over. */
    void (*on_send)(void *context, struct parcel *parcel);
    /* Shows the effects of a step, before messages are sent. May be NULL. */
    void (*on_effects)(void *context, struct server *server, const struct raft_effects *effects);
    void (*on_trace)(void *context, struct server *server, enum trace_level level,
                     const char *line);
    enum trace_level trace_level;
    void *context;
};

/* The callbacks and config (core_config) are set by the caller before; starts nobody. */
void cluster_init(struct cluster *cluster, size_t count, uint64_t seed);
void cluster_done(struct cluster *cluster);

struct server *cluster_server(struct cluster *cluster, uint64_t id);
void parcel_free(struct parcel *parcel);
struct parcel *parcel_copy(const struct parcel *parcel);

/* Writes a log of these terms, and at least this term, to the disk of a server that is down. */
void server_preset(struct server *server, const uint64_t *terms, size_t count);

void server_start(struct server *server);

/*
 * Power loss: `writes` of the waiting writes survive whole, and of the next one its truncation
 * and `entries` entries, but not its term and vote.
 */
void server_crash(struct server *server, size_t writes, uint64_t entries);

/* The disk of a server that is down loses the log and the snapshot; is it known up to where there
 * were entries? Not again before it is repaired. */
void server_lose_log(struct server *server, bool bounded);

/* Steps; each returns what raft_step returned. */
int server_tick(struct server *server);
int server_propose(struct server *server, uint64_t count);
int server_read(struct server *server);
/* Whether it has a lease now. */
bool server_lease(struct server *server);
/* What its clock shows. */
uint64_t server_clock_ms(const struct server *server);
int server_change(struct server *server, const struct raft_membership *wanted);
int server_transfer(struct server *server, uint64_t to);
int server_step_down(struct server *server);
/* The parcel stays with the caller. A server that is down receives nothing. */
int server_receive(struct server *server, const struct parcel *parcel);

/* An own snapshot of all up to `snapshot_index` is on the disk; the log up to `compacted_index`
 * leaves the core, and the disk when `trimmed`. Only while no write waits, as raft.h demands. */
int server_compact(struct server *server, struct raft_compacted compacted, bool trimmed);
/* The snapshot that was being received is on the disk; the core hears of it in server_installed. */
void server_save_received(struct server *server, uint64_t index);
int server_installed(struct server *server, uint64_t index);
int server_snapshot_ended(struct server *server, struct raft_snapshot_ended ended);

size_t server_writes(const struct server *server);
/* Completes the `count` oldest writes and reports the newest of their tickets. */
int server_store(struct server *server, size_t count);

/* The one server that leads the highest term, or NULL. */
struct server *cluster_leader(struct cluster *cluster);

#endif
