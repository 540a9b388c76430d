/*
 * Applies edits to a copy of the membership, one by one, and counts voters: those of the old set
 * and those of the new one. While voters change, a quorum of both is needed (§6).
 *
 * A voter that moves does not count as ready: nobody hears it until it answers at its new address.
 */
#include "node/plan.h"

#include "base/assert.h"
#include "base/members.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct draft {
    const struct plan_question *question;
    struct raft_membership wanted;
    bool moved[RAFT_MEMBERS_MAX]; /* of the present ones */
    uint64_t lagging;             /* is promoted all the same; 0: nobody */
    char *sentence;
};

__attribute__((format(printf, 3, 4))) static int say(struct draft *draft, int err,
                                                     const char *format, ...);

static int say(struct draft *draft, int err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(draft->sentence, PLAN_SENTENCE_SIZE, format, arguments);
    va_end(arguments);
    return err;
}

static const size_t nowhere = SIZE_MAX;

static size_t place_of(const struct raft_membership *membership, uint64_t id)
{
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->members[i].id == id) {
            return i;
        }
    }
    return nowhere;
}

static bool is_ready(const struct draft *draft, uint64_t id)
{
    size_t place = place_of(draft->question->present, id);
    return place != nowhere && draft->question->views[place].reachable &&
           draft->question->views[place].caught_up && !draft->moved[place];
}

/* ---- edits ---- */

/* Whether a member can be at this address. */
static int check_address(struct draft *draft, const struct membership_edit *edit)
{
    char client[ADDRESS_SIZE_MAX];
    if (address_add_port(edit->address, draft->question->client_port_offset, client) != 0) {
        return say(draft, KV_ERR_INVALID,
                   "%s cannot be used: clients are served at its port plus %" PRIu32
                   ", which must be at most 65535",
                   edit->address, draft->question->client_port_offset);
    }
    for (size_t i = 0; i < draft->wanted.count; i++) {
        if (strcmp(draft->wanted.members[i].address, edit->address) == 0) {
            return say(draft, KV_ERR_INVALID, "%s is the address of node %" PRIu64, edit->address,
                       draft->wanted.members[i].id);
        }
    }
    return 0;
}

static int add(struct draft *draft, const struct membership_edit *edit)
{
    struct raft_membership *wanted = &draft->wanted;
    size_t place = place_of(wanted, edit->id);
    if (place != nowhere) {
        return say(draft, KV_ERR_INVALID, "node %" PRIu64 " is a member already, at %s", edit->id,
                   wanted->members[place].address);
    }
    if (wanted->count == RAFT_MEMBERS_MAX) {
        return say(draft, KV_ERR_INVALID, "a cluster has at most %d members", RAFT_MEMBERS_MAX);
    }
    int err = check_address(draft, edit);
    if (err != 0) {
        return err;
    }
    place = wanted->count;
    while (place > 0 && wanted->members[place - 1].id > edit->id) {
        wanted->members[place] = wanted->members[place - 1];
        place--;
    }
    wanted->count++;
    wanted->members[place] = (struct raft_member){
        .id = edit->id,
        .keep_learner = edit->operation == EDIT_ADD_KEPT,
    };
    memcpy(wanted->members[place].address, edit->address, sizeof edit->address);
    return 0;
}

static int promote(struct draft *draft, struct raft_member *member)
{
    if (member->voter) {
        return say(draft, KV_ERR_INVALID, "node %" PRIu64 " is a voter already", member->id);
    }
    member->voter = true;
    member->keep_learner = false;
    if (!is_ready(draft, member->id)) {
        draft->lagging = member->id;
    }
    return 0;
}

static int move(struct draft *draft, struct raft_member *member, const struct membership_edit *edit)
{
    if (strcmp(member->address, edit->address) == 0) {
        return say(draft, KV_ERR_INVALID, "node %" PRIu64 " is at %s already", member->id,
                   edit->address);
    }
    int err = check_address(draft, edit);
    if (err != 0) {
        return err;
    }
    memcpy(member->address, edit->address, sizeof edit->address);
    size_t place = place_of(draft->question->present, member->id);
    if (place != nowhere) {
        draft->moved[place] = true;
    }
    return 0;
}

static void drop(struct raft_membership *wanted, size_t place)
{
    for (size_t i = place; i + 1 < wanted->count; i++) {
        wanted->members[i] = wanted->members[i + 1];
    }
    wanted->count--;
}

static int apply(struct draft *draft, const struct membership_edit *edit)
{
    if (edit->operation == EDIT_ADD_LEARNER || edit->operation == EDIT_ADD_KEPT) {
        return add(draft, edit);
    }
    size_t place = place_of(&draft->wanted, edit->id);
    if (place == nowhere) {
        return say(draft, KV_ERR_INVALID, "node %" PRIu64 " is no member", edit->id);
    }
    if (edit->operation == EDIT_PROMOTE) {
        return promote(draft, &draft->wanted.members[place]);
    }
    if (edit->operation == EDIT_MOVE) {
        return move(draft, &draft->wanted.members[place], edit);
    }
    CHECK(edit->operation == EDIT_REMOVE);
    drop(&draft->wanted, place);
    return 0;
}

/* ---- counting ---- */

static struct admin_voters count_voters(const struct draft *draft,
                                        const struct raft_membership *membership)
{
    struct admin_voters voters = {.count = 0};
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->members[i].voter) {
            voters.count++;
            voters.ready += is_ready(draft, membership->members[i].id);
        }
    }
    voters.quorum = voters.count / 2 + 1;
    return voters;
}

/* Whether some that vote in the one membership do not in the other. */
static bool some_leave(const struct raft_membership *from, const struct raft_membership *to)
{
    for (size_t i = 0; i < from->count; i++) {
        size_t place = place_of(to, from->members[i].id);
        if (from->members[i].voter && (place == nowhere || !to->members[place].voter)) {
            return true;
        }
    }
    return false;
}

static int check_members(struct draft *draft, const struct admin_plan *plan)
{
    const struct raft_membership *present = draft->question->present;
    size_t meanwhile = draft->wanted.count;
    if (plan->after.count == 0) {
        return say(draft, KV_ERR_INVALID,
                   "nobody would be left to vote: a cluster needs at least one voter");
    }
    for (size_t i = 0; i < present->count; i++) {
        const struct raft_member *before = &present->members[i];
        size_t place = place_of(&draft->wanted, before->id);
        meanwhile += before->voter && place == nowhere;
        if (before->voter && place != nowhere && !draft->wanted.members[place].voter) {
            return say(draft, KV_ERR_INVALID,
                       "node %" PRIu64 " cannot leave and come back in one change: remove it first",
                       before->id);
        }
    }
    if (meanwhile > RAFT_MEMBERS_MAX) {
        return say(draft, KV_ERR_INVALID,
                   "meanwhile %zu servers would take part, and at most %d can: remove one first",
                   meanwhile, RAFT_MEMBERS_MAX);
    }
    return 0;
}

/* A set of voters is not there; the sentence names those of it that are not ready. */
static int refuse(struct draft *draft, const char *when, const struct raft_membership *membership,
                  const struct admin_voters *voters)
{
    char missing[128] = "";
    size_t size = 0;
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        if (member->voter && !is_ready(draft, member->id) && size < sizeof missing) {
            int more = snprintf(missing + size, sizeof missing - size, "%s%" PRIu64,
                                size == 0 ? "" : ", ", member->id);
            size += more > 0 ? (size_t)more : 0;
        }
    }
    return say(draft, KV_ERR_REFUSED,
               "%s %" PRIu32 " of %" PRIu32 " voters must answer, and only %" PRIu32
               " would be reachable and caught up: not node %s",
               when, voters->quorum, voters->count, voters->ready, missing);
}

static int check_quorums(struct draft *draft, const struct admin_plan *plan)
{
    const struct raft_membership *present = draft->question->present;
    const struct admin_voters old = count_voters(draft, present);
    if (draft->lagging != 0) {
        size_t place = place_of(present, draft->lagging);
        bool lags = place != nowhere && draft->question->views[place].reachable;
        return say(draft, KV_ERR_REFUSED, "node %" PRIu64 " %s: it would vote before it can",
                   draft->lagging, lags ? "has not caught up yet" : "is not reachable");
    }
    if (plan->after.ready < plan->after.quorum) {
        return refuse(draft, "after the change", &draft->wanted, &plan->after);
    }
    if (plan->joint && old.ready < old.quorum) {
        return refuse(draft, "during the change", present, &old);
    }
    return 0;
}

int plan_make(const struct plan_question *question, struct admin_plan *ret_plan,
              char sentence[PLAN_SENTENCE_SIZE])
{
    CHECK(!question->present->joint);
    struct draft draft = {.question = question, .wanted = *question->present, .sentence = sentence};
    struct admin_plan plan = {.before = count_voters(&draft, question->present)};
    for (size_t i = 0; i < question->edit_count; i++) {
        int err = apply(&draft, &question->edits[i]);
        if (err != 0) {
            return err;
        }
    }
    plan.wanted = draft.wanted;
    plan.after = count_voters(&draft, &draft.wanted);
    plan.joint = some_leave(question->present, &draft.wanted) ||
                 some_leave(&draft.wanted, question->present);
    int err = check_members(&draft, &plan);
    if (err != 0) {
        return err;
    }
    *ret_plan = plan;
    sentence[0] = '\0';
    return question->force ? 0 : check_quorums(&draft, &plan);
}
