/*
 * What an operator asks of a server, on the client port: who the members are, to change them, to
 * let another one lead, to take a snapshot. docs/PROTOCOL.md has the bytes.
 */
#ifndef WIRE_ADMIN_H
#define WIRE_ADMIN_H

#include "kvapp/raft.h"
#include "wire/native.h"

enum { ADMIN_EDITS_MAX = 16 };

enum admin_verb {
    ADMIN_LIST = 0,     /* any server */
    ADMIN_CHANGE = 1,   /* the leader; answered when it is committed as a whole */
    ADMIN_TRANSFER = 2, /* the leader; answered when another one leads */
    ADMIN_SNAPSHOT = 3, /* any server: of its own state; answered when it is durable */
    ADMIN_VERB_COUNT,
};

enum edit_operation {
    EDIT_ADD_LEARNER = 0, /* becomes a voter by itself once it has caught up */
    EDIT_ADD_KEPT = 1,    /* stays a learner */
    EDIT_PROMOTE = 2,     /* a learner votes from now on */
    EDIT_REMOVE = 3,
    EDIT_MOVE = 4, /* another address */
    EDIT_OPERATION_COUNT,
};

struct membership_edit {
    enum edit_operation operation;
    uint64_t id;                    /* not 0 */
    char address[ADDRESS_SIZE_MAX]; /* raft address, "host:port"; empty: not of this operation */
};

struct admin_request {
    uint64_t request_id;
    enum admin_verb verb;
    bool dry_run;    /* a change: says what it would do, and does nothing */
    bool force;      /* a change: even if it costs the quorum */
    uint64_t target; /* of a transfer; 0: the most up to date voter */
    size_t edit_count;
    struct membership_edit edits[ADMIN_EDITS_MAX]; /* of a change: at least one */
};

/* One set of voters. */
struct admin_voters {
    uint32_t count;
    uint32_t quorum;
    uint32_t ready; /* of them: reachable and caught up, as the leader sees it */
};

/* What a change of the membership means. */
struct admin_plan {
    bool joint; /* meanwhile everything needs a quorum of both sets */
    struct admin_voters before;
    struct admin_voters after;
    struct raft_membership wanted; /* not joint */
};

/* A member as the server that answers sees it. */
struct admin_member {
    bool connected;
    uint32_t priority; /* for leading; of a member that was not heard: 0 */
    uint64_t match;    /* what is known to be stored there; 0 unless a leader answers */
};

struct admin_response {
    uint64_t request_id;
    uint64_t id;       /* of the server that answers */
    int status;        /* 0 or KV_ERR_* */
    uint64_t index;    /* of the membership's entry, 0: the initial one; of the snapshot */
    uint64_t leader;   /* 0: unknown */
    struct slice text; /* borrowed; why not */
    bool has_membership;
    struct raft_membership membership;             /* the newest, which is in force */
    struct admin_member members[RAFT_MEMBERS_MAX]; /* in its order */
    bool has_plan;
    struct admin_plan plan;
};

/* As for the messages in native.h; KV_ERR_MALFORMED too for a membership of a newer version. */
void admin_request_encode(const struct admin_request *request, struct buf *out);
int admin_request_decode(struct slice payload, struct admin_request *ret_request);
void admin_response_encode(const struct admin_response *response, struct buf *out);
int admin_response_decode(struct slice payload, struct admin_response *ret_response);

#endif
