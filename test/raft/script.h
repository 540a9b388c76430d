/*
 * Scripts that are lessons: commands, each followed by the recorded trace as the expectation.
 *
 *     # A comment teaches.
 *     propose 1 2
 *         1: proposed 2..3 in term 1              the story that the core tells
 *         1 stores #3: entries 2..3               what the driver is to make durable
 *         1 -> 2: append, term 1, 2..3 after 1:1  a message that leaves
 *
 * Messages stay on their way until they are delivered, and writes wait until they are stored, so
 * that a script decides about every interleaving. cluster.c checks what must hold across servers.
 *
 * Commands. S is a server's number, A->B a directed link, N a number.
 *
 *   cluster N [voters N] [window N] [entries N] [uncommitted N] [stall N] [seed N] [lease 1]
 *                         N servers, down, with empty disks, and what differs from the default:
 *                         only the first so many are members at the beginning
 *   log S [TERM ...]      the terms of the entries on the disk of S
 *   term S N [S]          the term on the disk of S, and whom it voted for in that term
 *   start [S ...]         starts these, or all
 *   tick S [N]            N ms pass (0 when not given), but only for S: each has its own clock
 *   wait N                N ms pass for all, but nobody looks at the clock yet
 *   elect S               all wait until they no longer insist on an old leader, S for an election
 *                         timeout; then settle
 *   propose S N           read S
 *   lease S               shows whether S has a lease
 *   change S ID ... [learners ID ...] [kept ID ...]
 *                         S is asked for this membership: voters, learners, kept learners
 *   transfer S [ID]       S is asked to hand over
 *   step-down S           S is asked to lead no more
 *   deliver A->B [N]      the N oldest messages of the link, or all; deliver all
 *   drop A->B [N]         as deliver, but they are lost
 *   duplicate A->B [N]    the oldest message of the link, or the N-th, is delivered and stays
 *   hold A->B             settle and `deliver all` leave the link alone until release A->B
 *   store S [N]           the N oldest writes of S are done, or all
 *   stall S, unstall S    settle leaves the disk of S alone
 *   compact S N [N]       S has a snapshot up to N; the log up to there, or the second N, leaves
 *   save S                the snapshot that S is receiving is on its disk
 *   install S             ... and its core is told; `install S N`: of an older one, once more
 *   sent A->B N, unsent A->B N    A learns what became of the snapshot up to N for B
 *   crash S, restart S    what was not stored is lost
 *   lose S                the disk of S, which is down, loses its log, up to an entry that is
 * known; `lose S unbounded`: nobody knows up to where pause S, resume S     settle and run leave S
 * alone cut A->B, cut A-B     messages sent there are lost; partition S ... | S ...; heal settle
 * delivers and stores until nothing is left run N                 N ms pass with a fast network and
 * disk; shows only changes of roles state, logs           show the servers; in the logs a bar
 * stands behind the commit index members               show the membership that each server has in
 * force quietly COMMAND       shows only changes of roles
 */
#ifndef TEST_RAFT_SCRIPT_H
#define TEST_RAFT_SCRIPT_H

#include "base/bytes.h"
#include "cluster.h"

enum { LINK_MAX = RAFT_MEMBERS_MAX + 1 };

struct flight {
    struct flight *next;
    struct parcel *parcel;
};

struct stage {
    struct cluster cluster;
    struct buf *out;
    bool quiet;
    bool timed; /* lines begin with the time */
    uint64_t time_base_ms;
    struct flight *flights; /* oldest first */
    bool cut[LINK_MAX][LINK_MAX];
    bool held[LINK_MAX][LINK_MAX];
    bool stalled[LINK_MAX];
    bool paused[LINK_MAX];
};

/* ---- show.c: text ---- */

__attribute__((format(printf, 2, 3))) void show(struct stage *stage, const char *format, ...);
void show_effects(void *context, struct server *server, const struct raft_effects *effects);
void show_trace(void *context, struct server *server, enum trace_level level, const char *line);
void show_message(struct stage *stage, const char *remark, const struct parcel *parcel);
void show_state(struct stage *stage);
void show_logs(struct stage *stage);
void show_members(struct stage *stage);

/* ---- commands.c ---- */

struct stage *stage_new(struct buf *out);
void stage_free(struct stage *stage);

/* Carries out one command line and appends what it shows. False: the line is no command. */
bool stage_command(struct stage *stage, const char *line);

#endif
