/*
 * What a change of the membership would do, before it is proposed: who takes part in the end, how
 * many must answer meanwhile, and whether so many are there. Pure.
 */
#ifndef NODE_PLAN_H
#define NODE_PLAN_H

#include "wire/admin.h"

enum { PLAN_SENTENCE_SIZE = 512 };

/* A member as the leader sees it. */
struct plan_view {
    bool reachable;
    bool caught_up;
};

struct plan_question {
    const struct raft_membership *present;    /* not joint */
    struct plan_view views[RAFT_MEMBERS_MAX]; /* in its order */
    const struct membership_edit *edits;      /* one after the other */
    size_t edit_count;
    uint32_t client_port_offset;
    bool force; /* only what is impossible is refused */
};

/*
 * Returns 0 with the plan; or with a sentence for the operator
 *   KV_ERR_INVALID  an edit does not fit the members, nobody would vote, or too many take part
 *   KV_ERR_REFUSED  with the plan: meanwhile, or after it, fewer voters would be reachable and
 *                   caught up than a quorum needs; or a learner would vote that lags
 */
int plan_make(const struct plan_question *question, struct admin_plan *ret_plan,
              char sentence[PLAN_SENTENCE_SIZE]);

#endif
