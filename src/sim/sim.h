/*
 * The simulator: a whole cluster of production servers and clients in one thread on virtual time,
 * under faults drawn from a seed, watched by checkers. The same seed and options give the same run
 * on every machine, compiler and build, and the same hash.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "base/trace.h"
#include "io/sim.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- what a run may do to a cluster: X(NAME, "word on the command line", "words") ---- */

#define SIMULATION_FAULTS(X)                                                                       \
    X(POWER, "power", "machines lose power")                                                       \
    X(KILL, "kill", "processes are killed")                                                        \
    X(STOP, "stop", "servers end cleanly and start again")                                         \
    X(PAUSE, "pause", "processes stand still")                                                     \
    X(PARTITION, "partition", "links between servers are blocked, in all shapes")                  \
    X(CUT_OFF, "cut-off", "clients cannot reach some servers")                                     \
    X(LINK, "link", "links delay, lose, clog, fragment, corrupt, cut, refuse")                     \
    X(RESET, "reset", "connections are reset")                                                     \
    X(ACCEPT, "accept", "connections are not accepted")                                            \
    X(SLOW, "slow-disk", "disks are slow, with spikes")                                            \
    X(STALL, "stall", "disks stand still")                                                         \
    X(IO_ERROR, "io-error", "disks fail to read, write or sync")                                   \
    X(FULL, "full-disk", "disks are full for a while")                                             \
    X(ROT, "rot", "bits of old log entries flip")                                                  \
    X(CLOCK, "clock", "clocks go too fast, too slowly, not at all")                                \
    X(JUMP, "jump", "wall clocks jump")                                                            \
    X(CLIENT, "client", "clients die and come back")                                               \
    X(MEMBERSHIP, "membership", "servers are added, promoted, removed, replaced, moved")           \
    X(TRANSFER, "transfer", "leaders are asked to hand over")                                      \
    X(WIPE, "wipe", "disks that the cluster knows are wiped")

enum simulation_fault {
#define SIMULATION_FAULT_ENUM(name, word, words) FAULT_##name,
    SIMULATION_FAULTS(SIMULATION_FAULT_ENUM)
#undef SIMULATION_FAULT_ENUM
        FAULT_COUNT
};

enum { FAULTS_ALL = (1 << FAULT_COUNT) - 1 };

const char *simulation_fault_word(enum simulation_fault fault);
const char *simulation_fault_words(enum simulation_fault fault);

/* ---- rare branches that a set of seeds must reach ---- */

#define REACHED_BRANCHES(X)                                                                        \
    X(SPLIT_VOTE, "a term without a winner")                                                       \
    X(PRE_VOTE_YIELDED, "a pre-candidate that yields to a candidate")                              \
    X(DEPOSED, "a leader deposed by a higher term")                                                \
    X(QUORUM_LOST, "a leader that steps down without a majority")                                  \
    X(DISK_LOST, "a leader that steps down for its stalled disk")                                  \
    X(SILENT, "a silent member asked to connect anew")                                             \
    X(TRUNCATED, "a follower's log truncated")                                                     \
    X(OLD_TERM_COMMITTED, "entries of an older term committed by a newer one")                     \
    X(RESTORED, "a state restored from a snapshot")                                                \
    X(INSTALLED, "a snapshot installed over a shorter log")                                        \
    X(TORN_TAIL, "a torn tail cut at a start")                                                     \
    X(SET_ASIDE, "a damaged log set aside")                                                        \
    X(REPAIRED, "a lost log repaired")                                                             \
    X(DISK_FAILED, "a server ended by its failing disk")                                           \
    X(DISK_FULL, "a server that goes on with a full disk")                                         \
    X(PUT_REFUSED, "a put refused for want of space")                                              \
    X(READ_FROM_DISK, "entries applied from the disk")                                             \
    X(FED_FROM_DISK, "a follower fed from the disk")                                               \
    X(WINDOW_FULL, "a window of appends filled")                                                   \
    X(SEGMENT_CHANGED, "a log of more than one segment")                                           \
    X(CLIENT_PAUSED, "a client held back by its server")                                           \
    X(DUPLICATE, "a repeated write answered from its session")                                     \
    X(STALE, "a repeated write older than what its session keeps")                                 \
    X(OUTCOME_UNKNOWN, "a write whose outcome stays unknown")                                      \
    X(TIMEOUT, "a request that timed out")                                                         \
    X(CONDITION, "a condition that did not hold")                                                  \
    X(NO_LEADER, "a cluster without a leader for a second")                                        \
    X(TWO_LEADERS, "two leaders of different terms at once")                                       \
    X(LEADER_PAUSED, "a paused leader that wakes up replaced")                                     \
    X(ALL_DOWN, "all servers down at once")                                                        \
    X(LEASE, "a leader with a lease")                                                              \
    X(OLD_ANSWER, "a stale read that was behind")                                                  \
    X(JOINT_LEFT, "a joint membership entered and left")                                           \
    X(LEADER_REMOVED, "a leader removed")                                                          \
    X(PROMOTED, "a learner promoted")                                                              \
    X(MOVED, "a member moved to another address")                                                  \
    X(CHANGE_INTERRUPTED, "a change of members interrupted by an election")                        \
    X(REMOVED_ENDED, "a removed server that ended")                                                \
    X(WIPED_REFUSED, "a server refused for its wiped disk")                                        \
    X(TRANSFERRED, "a leader that hands over")                                                     \
    X(TRANSFER_FAILED, "a leader that was asked to hand over, and leads on")                       \
    X(CHANGE_ANSWERED, "an operator told that a change is done")                                   \
    X(SNAPSHOT_IN_CHANGE, "a log that begins within a joint membership")                           \
    X(JOINED_BY_SNAPSHOT, "a server that joined by a snapshot")                                    \
    X(LEADER_JUMPED, "a leader whose wall clock jumps")                                            \
    X(TIME_JUDGED, "a time that the clocks of a majority hold")                                    \
    X(EXPIRED, "a key that went by its time")                                                      \
    X(PURGED, "an entry that only tells the time")                                                 \
    X(EXPIRED_READ, "a key not found since its time had come")                                     \
    X(FORWARDED, "a client of Redis answered by a server that does not lead")                      \
    X(CLUSTERDOWN, "a client of Redis told that there is no leader")                               \
    X(LINK_LOST, "a forwarded write whose outcome stays unknown")                                  \
    X(EXECUTED, "a transaction of Redis that was executed")                                        \
    X(WATCH_CONFLICT, "a transaction of Redis that was not, for a key that it watches")

enum reached_branch {
#define REACHED_ENUM(name, words) REACHED_##name,
    REACHED_BRANCHES(REACHED_ENUM)
#undef REACHED_ENUM
        REACHED_COUNT
};

const char *reached_words(enum reached_branch branch);

/* ---- a run ---- */

struct simulation_options {
    uint64_t seed;
    uint32_t servers;          /* 1, 3 or 5; 0: drawn */
    uint32_t duration_s;       /* under faults; healing comes on top */
    uint32_t faults;           /* those that may be drawn: a set of 1 << enum simulation_fault */
    bool beyond;               /* any number of disks may fail for good; then no liveness */
    uint64_t crash_point;      /* one more power loss there, of crash_points; 0: none */
    const struct trace *trace; /* the story; may be NULL */
};

/* Plain data: it may be sent from process to process. */
struct simulation_result {
    bool failed;
    char property[32];     /* which property was broken */
    char sentence[600];    /* how */
    uint64_t step;         /* turns of processes until then */
    uint64_t crash_points; /* each server at each event of the world under faults */
    uint64_t time_us;      /* virtual */
    uint64_t hash;         /* of everything that happened */
    uint32_t faults;       /* those that were drawn */
    uint32_t servers;
    uint64_t injected[SIM_FAULT_COUNT];
    uint64_t reached[REACHED_COUNT];
    uint64_t elections;
    uint64_t crashes;
    uint64_t commits;
    uint64_t operations; /* of clients, invoked */
    uint64_t answered;   /* of these, with a definite answer */
    uint64_t undecided;  /* keys whose history was too tangled for the black box */
};

void simulation_run(const struct simulation_options *options, struct simulation_result *ret_result);

#endif
