/*
 * The one door: raft_new, raft_step, and the effects of a step.
 *
 *     raft_step:  check the event ──► is the leader still fit? ──► the event ──► timers ──► effects
 *                  (may refuse,        (role_lose_quorum,           (role, election,
 *                   changes nothing)    role_lose_disk)              lead, follow, read)
 *
 * A step either is refused before it changes anything, or succeeds as a whole: the only memory
 * that it may need is reserved first. The fitness of a leader is looked at before the event, so
 * that a process that slept through an election does not take an old answer for a sign of life.
 */
#include "raft/internal.h"

#include "base/assert.h"
#include "kvapp/err.h"

#include <inttypes.h>
#include <stdlib.h>

enum { WINDOW_APPENDS_MAX = 256 };

/* ---- life ---- */

static bool config_is_valid(const struct raft_config *config)
{
    return config->id != 0 && config->heartbeat_ms > 0 &&
           config->heartbeat_ms < config->election_min_ms &&
           config->election_min_ms < config->election_max_ms && config->disk_stall_ms > 0 &&
           config->window_appends > 0 && config->window_appends <= WINDOW_APPENDS_MAX &&
           config->append_entries_max > 0 && config->uncommitted_max > 0;
}

/* Those of the config, or of the snapshot, and of the log behind it. */
static int restore_memberships(const struct raft_config *config,
                               const struct raft_restored *restored, uint64_t last,
                               struct memberships *ret_memberships)
{
    struct raft_logged_membership base = {.membership = config->membership};
    if (base.membership.count > RAFT_MEMBERS_MAX || base.membership.joint) {
        return KV_ERR_INVALID;
    }
    membership_sort(&base.membership);
    if (restored->snapshot_membership != NULL) {
        base.index = restored->snapshot_index;
        base.membership = *restored->snapshot_membership;
    }
    if (!member_restored_is_valid(&base, restored, last)) {
        return KV_ERR_INVALID;
    }
    struct memberships memberships = {.at = NULL};
    int err = memberships_init(&memberships, &base);
    if (err != 0) {
        return err;
    }
    err = memberships_reserve(&memberships, restored->membership_count);
    if (err != 0) {
        memberships_done(&memberships);
        return err;
    }
    for (size_t i = 0; i < restored->membership_count; i++) {
        const struct raft_logged_membership *logged = &restored->memberships[i];
        if (logged->index > base.index) {
            memberships_push(&memberships, logged->index, &logged->membership);
        }
    }
    *ret_memberships = memberships;
    return 0;
}

/* The log and the snapshot must leave no gap and agree where they meet. */
static int restore_trail(const struct raft_restored *restored, struct trail *ret_trail)
{
    if (restored->first_index == 0 || restored->first_index - 1 > restored->snapshot_index) {
        return KV_ERR_INVALID;
    }
    const struct trail_place base = {
        .index = restored->first_index - 1,
        .term = restored->previous_term,
    };
    struct trail trail = {.runs = NULL};
    int err = trail_init(&trail, base, restored->runs, restored->run_count);
    if (err != 0) {
        return err;
    }
    if (restored->snapshot_index > trail.last ||
        trail_term(&trail, restored->snapshot_index) != restored->snapshot_term) {
        trail_done(&trail);
        return KV_ERR_INVALID;
    }
    *ret_trail = trail;
    return 0;
}

int raft_new(const struct raft_config *config, const struct raft_restored *restored,
             uint64_t now_ms, struct raft **ret_raft)
{
    if (!config_is_valid(config) || (restored->voted_for != 0 && restored->term == 0)) {
        return KV_ERR_INVALID;
    }
    struct trail trail = {.runs = NULL};
    int err = restore_trail(restored, &trail);
    if (err != 0) {
        return err;
    }
    struct memberships memberships = {.at = NULL};
    struct raft *raft = NULL;
    uint64_t *windows = NULL;
    err = restore_memberships(config, restored, trail.last, &memberships);
    if (err != 0) {
        goto failed;
    }
    raft = calloc(1, sizeof *raft);
    windows = calloc(RAFT_MEMBERS_MAX * config->window_appends, sizeof *windows);
    if (raft == NULL || windows == NULL) {
        err = KV_ERR_NO_MEMORY;
        goto failed;
    }
    raft->config = *config;
    raft->now_ms = now_ms;
    raft->term = restored->term;
    raft->voted_for = restored->voted_for;
    raft->trail = trail;
    raft->commit_index = restored->snapshot_index;
    raft->snapshot = (struct trail_place){
        .index = restored->snapshot_index,
        .term = restored->snapshot_term,
    };
    uint64_t last_term = trail_term(&trail, trail.last);
    if (last_term > raft->term) {
        /* The crash came after the entries and before their term. Nothing was promised in that
         * term: every promise waits for the ticket, which covers both. */
        raft->term = last_term;
        raft->voted_for = 0;
        raft->term_unstored = true;
    }
    raft->memberships = memberships;
    raft->behind = true;
    raft->windows = windows;
    durable_init(&raft->durable, trail.last);
    prng_init(&raft->prng, config->seed);
    member_start(raft);
    role_start(raft);
    STORY(raft, "starts in term %" PRIu64 " with the log up to %" PRIu64 ":%" PRIu64, raft->term,
          raft->trail.last, trail_term(&raft->trail, raft->trail.last));
    repair_start(raft, restored);
    *ret_raft = raft;
    return 0;
failed:
    free(raft);
    free(windows);
    memberships_done(&memberships);
    trail_done(&trail);
    return err;
}

void raft_free(struct raft *raft)
{
    if (raft == NULL) {
        return;
    }
    trail_done(&raft->trail);
    memberships_done(&raft->memberships);
    free(raft->windows);
    free(raft);
}

/* ---- effects ---- */

/* Only what is read by the driver is set: the array of messages is too large to clear each time. */
static void effects_begin(struct raft *raft, struct raft_effects *effects)
{
    effects->store = (struct raft_store){.flags = 0};
    effects->message_count = 0;
    effects->read_tag = 0;
    effects->read_index = 0;
    effects->snapshot_wanted = false;
    effects->snapshot_index = 0;
    effects->snapshot_term = 0;
    effects->membership_changed = false;
    effects->repaired = false;
    raft->effects = effects;
    if (raft->term_unstored) {
        raft->term_unstored = false;
        effects_store_vote(raft);
    }
}

static uint64_t wake_ms(const struct raft *raft)
{
    return raft->role == RAFT_LEADER ? lead_wake_ms(raft) : raft->election_due_ms;
}

static void effects_end(struct raft *raft)
{
    struct raft_effects *effects = raft->effects;
    struct raft_store *store = &effects->store;
    repair_advance(raft);
    if (store->flags != 0) {
        store->term = raft->term;
        store->voted_for = raft->voted_for;
        bool vote = (store->flags & RAFT_STORE_VOTE) != 0;
        store->ticket = durable_ask(&raft->durable, raft->trail.last, vote, raft->now_ms);
    }
    effects->commit_index = raft->commit_index;
    effects->term = raft->term;
    effects->leader = raft->leader;
    effects->role = raft->role;
    effects->removed = member_is_removed(raft);
    effects->wake_ms = wake_ms(raft);
    raft->effects = NULL;
}

struct raft_message *effects_message(struct raft *raft, enum raft_message_type type, uint64_t to)
{
    CHECK(to != raft->config.id);
    CHECK(raft->effects->message_count < RAFT_MESSAGES_MAX);
    struct raft_message *message = &raft->effects->messages[raft->effects->message_count++];
    message->type = type;
    message->from = raft->config.id;
    message->to = to;
    message->term = raft->term;
    return message;
}

void effects_store_vote(struct raft *raft)
{
    raft->effects->store.flags |= RAFT_STORE_VOTE;
}

void effects_store_entries(struct raft *raft, uint64_t first)
{
    struct raft_store *store = &raft->effects->store;
    CHECK((store->flags & RAFT_STORE_ENTRIES) == 0);
    CHECK(first <= raft->trail.last);
    store->flags |= RAFT_STORE_ENTRIES;
    store->append_first = first;
    store->append_count = raft->trail.last - first + 1;
}

void effects_truncate(struct raft *raft, uint64_t from)
{
    struct raft_store *store = &raft->effects->store;
    CHECK((store->flags & (RAFT_STORE_ENTRIES | RAFT_STORE_TRUNCATE)) == 0);
    CHECK(from > raft->commit_index);
    store->flags |= RAFT_STORE_TRUNCATE;
    store->truncate_from = from;
    trail_truncate(&raft->trail, from);
    durable_truncate(&raft->durable, from);
    member_truncate(raft, from);
}

void effects_reset(struct raft *raft, struct trail_place base,
                   const struct raft_membership *membership)
{
    struct raft_store *store = &raft->effects->store;
    CHECK((store->flags & (RAFT_STORE_ENTRIES | RAFT_STORE_TRUNCATE)) == 0);
    CHECK(base.index > raft->commit_index);
    store->flags |= RAFT_STORE_RESET;
    store->reset_index = base.index;
    store->reset_term = base.term;
    STORY(raft,
          "discards the log up to %" PRIu64 ":%" PRIu64 ", which begins anew after %" PRIu64
          ":%" PRIu64 ", term %" PRIu64,
          raft->trail.last, trail_term(&raft->trail, raft->trail.last), base.index, base.term,
          raft->term);
    /* Of what is on the disk only that stays true which the leader has shown to match. */
    CHECK(raft->verified < base.index);
    durable_truncate(&raft->durable, raft->verified + 1);
    trail_reset(&raft->trail, base);
    member_reset(raft, base.index, membership);
}

/* ---- what several files ask ---- */

bool term_is_durable(const struct raft *raft)
{
    /* A change made by the step under way has no ticket yet. */
    bool changing = raft->effects != NULL && (raft->effects->store.flags & RAFT_STORE_VOTE) != 0;
    return !changing && !raft->term_unstored &&
           raft->durable.ticket_vote <= raft->durable.ticket_stored;
}

bool disk_is_stalled(const struct raft *raft, uint64_t now_ms)
{
    return raft->durable.count > 0 &&
           now_ms - durable_waiting(&raft->durable, 0)->asked_ms >= raft->config.disk_stall_ms;
}

struct peer *peer_find(struct raft *raft, uint64_t id)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id == id) {
            return &raft->peers[i];
        }
    }
    return NULL;
}

bool peer_is_self(const struct raft *raft, const struct peer *peer)
{
    return peer->id == raft->config.id;
}

void commit_to(struct raft *raft, uint64_t index)
{
    CHECK(index > raft->commit_index);
    CHECK(index <= raft->trail.last);
    STORY(raft, "commit %" PRIu64 ":%" PRIu64 " in term %" PRIu64, index,
          trail_term(&raft->trail, index), raft->term);
    uint64_t membership_index = memberships_newest(&raft->memberships)->index;
    if (raft->commit_index < membership_index && membership_index <= index) {
        raft->effects->membership_changed = true;
    }
    raft->commit_index = index;
}

/* ---- the step ---- */

static bool leads_at(const struct raft *raft, uint64_t now_ms)
{
    return raft->role == RAFT_LEADER && !lead_is_lapsed(raft, now_ms) &&
           !disk_is_stalled(raft, now_ms);
}

static int received_check(const struct raft *raft, const struct raft_event *event)
{
    int err = message_check(raft, event->message);
    return err == 0 && !member_received_is_valid(raft, event) ? KV_ERR_INVALID : err;
}

/* Whether the event may be processed; changes nothing. */
static int event_check(const struct raft *raft, const struct raft_event *event)
{
    switch (event->type) {
    case RAFT_RECEIVED:
        return received_check(raft, event);
    case RAFT_MEMBERSHIP_PROPOSED:
        return leads_at(raft, event->now_ms) ? member_check(raft, event->membership)
                                             : KV_ERR_NOT_LEADER;
    case RAFT_TRANSFER_ASKED:
        return leads_at(raft, event->now_ms) ? transfer_check(raft, event->transfer_to)
                                             : KV_ERR_NOT_LEADER;
    case RAFT_PROPOSED:
        if (!leads_at(raft, event->now_ms)) {
            return KV_ERR_NOT_LEADER;
        }
        if (event->propose_count == 0) {
            return KV_ERR_INVALID;
        }
        return event->propose_count <= raft_room(raft) ? 0 : KV_ERR_BUSY;
    case RAFT_READ_ASKED:
    case RAFT_STEP_DOWN_ASKED:
        return leads_at(raft, event->now_ms) ? 0 : KV_ERR_NOT_LEADER;
    case RAFT_COMPACTED:
        return snapshot_check_compacted(raft, &event->compacted);
    case RAFT_INSTALLED:
        return snapshot_check_installed(raft, &event->installed);
    case RAFT_TICKED:
    case RAFT_STORED:
    case RAFT_SNAPSHOT_ENDED:
        return 0;
    }
    return KV_ERR_INVALID;
}

static void lead_while_fit(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) {
        return;
    }
    if (lead_is_lapsed(raft, raft->now_ms)) {
        role_lose_quorum(raft);
    } else if (disk_is_stalled(raft, raft->now_ms)) {
        role_lose_disk(raft);
    }
}

static void receive(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    switch (message->type) {
    case RAFT_VOTE_REQUEST:
        election_vote_request(raft, message);
        break;
    case RAFT_VOTE_RESPONSE:
        election_vote_response(raft, message);
        break;
    case RAFT_APPEND_REQUEST:
        follow_append(raft, event);
        break;
    case RAFT_APPEND_RESPONSE:
        lead_append_response(raft, message);
        break;
    case RAFT_SNAPSHOT_REQUEST:
        snapshot_request(raft, message);
        break;
    case RAFT_TIMEOUT_NOW:
        transfer_timeout_now(raft, message);
        break;
    }
}

static void stored(struct raft *raft)
{
    if (raft->role == RAFT_LEADER) {
        lead_stored(raft);
        return;
    }
    follow_stored(raft);
    election_stored(raft);
}

static void dispatch(struct raft *raft, const struct raft_event *event)
{
    switch (event->type) {
    case RAFT_TICKED:
        break;
    case RAFT_RECEIVED:
        receive(raft, event);
        break;
    case RAFT_PROPOSED:
        lead_propose(raft, event->propose_count);
        break;
    case RAFT_READ_ASKED:
        read_ask(raft, event->read_tag);
        break;
    case RAFT_STORED:
        stored(raft);
        break;
    case RAFT_COMPACTED:
        snapshot_compacted(raft, &event->compacted);
        break;
    case RAFT_SNAPSHOT_ENDED:
        snapshot_ended(raft, &event->snapshot_ended);
        break;
    case RAFT_INSTALLED:
        snapshot_installed(raft, &event->installed);
        break;
    case RAFT_MEMBERSHIP_PROPOSED:
        member_propose(raft, event->membership);
        break;
    case RAFT_TRANSFER_ASKED:
        transfer_begin(raft, event->transfer_to);
        break;
    case RAFT_STEP_DOWN_ASKED:
        transfer_leave(raft);
        role_step_down(raft);
        break;
    }
}

int raft_step(struct raft *raft, const struct raft_event *event, struct raft_effects *ret_effects)
{
    CHECK(event->now_ms >= raft->now_ms);
    int err = event_check(raft, event);
    if (err != 0) {
        return err;
    }
    /* One append brings at most RAFT_RUNS_MAX new terms; a no-op brings one. */
    err = trail_reserve(&raft->trail, RAFT_RUNS_MAX + 1);
    if (err == 0) {
        err = memberships_reserve(&raft->memberships, event->membership_count + 1);
    }
    if (err != 0) {
        return err;
    }
    enum raft_role role = raft->role;
    uint64_t term = raft->term;
    uint64_t leader = raft->leader;
    raft->now_ms = event->now_ms;
    effects_begin(raft, ret_effects);
    if (event->type == RAFT_STORED) {
        /* The disk's own answer is never too late to end what looks like a stall. */
        durable_stored(&raft->durable, event->ticket);
    }
    lead_while_fit(raft);
    dispatch(raft, event);
    if (raft->role == RAFT_LEADER) {
        lead_timer(raft);
        transfer_lead(raft);
        member_lead(raft);
    } else if (event->type == RAFT_TICKED) {
        /* Only here: after a pause the leader's appends may be waiting behind another event. */
        election_timer(raft);
    }
    effects_end(raft);
    ret_effects->role_changed = role != raft->role || term != raft->term || leader != raft->leader;
#ifndef NDEBUG
    raft_check(raft);
#endif
    return 0;
}

/* ---- looking in ---- */

enum raft_role raft_role(const struct raft *raft)
{
    return raft->role;
}

uint64_t raft_id(const struct raft *raft)
{
    return raft->config.id;
}

uint64_t raft_term(const struct raft *raft)
{
    return raft->term;
}

uint64_t raft_voted_for(const struct raft *raft)
{
    return raft->voted_for;
}

uint64_t raft_leader(const struct raft *raft)
{
    return raft->leader;
}

uint64_t raft_commit_index(const struct raft *raft)
{
    return raft->commit_index;
}

uint64_t raft_last_index(const struct raft *raft)
{
    return raft->trail.last;
}

uint64_t raft_durable_index(const struct raft *raft)
{
    return raft->durable.index;
}

uint64_t raft_base_index(const struct raft *raft)
{
    return raft->trail.base.index;
}

uint64_t raft_term_at(const struct raft *raft, uint64_t index)
{
    return trail_term(&raft->trail, index);
}

uint64_t raft_match_index(const struct raft *raft, uint64_t id)
{
    if (raft->role != RAFT_LEADER) {
        return 0;
    }
    if (id == raft->config.id) {
        return raft->durable.index;
    }
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id == id) {
            return raft->peers[i].progress.match;
        }
    }
    return 0;
}

uint64_t raft_room(const struct raft *raft)
{
    uint64_t in_flight = raft->trail.last - raft->commit_index;
    if (raft->role != RAFT_LEADER || raft->transfer.target != 0 ||
        in_flight >= raft->config.uncommitted_max) {
        return 0;
    }
    return raft->config.uncommitted_max - in_flight;
}

const struct raft_logged_membership *raft_membership(const struct raft *raft)
{
    return memberships_newest(&raft->memberships);
}

const struct raft_membership *raft_membership_at(const struct raft *raft, uint64_t index)
{
    return &memberships_at(&raft->memberships, index)->membership;
}

bool raft_is_repairing(const struct raft *raft)
{
    return repair_is_due(raft);
}

bool raft_lease_holds(const struct raft *raft, uint64_t now_ms)
{
    CHECK(now_ms >= raft->now_ms);
    return leads_at(raft, now_ms) && read_lease_holds(raft, now_ms);
}

uint64_t raft_transfer_target(const struct raft *raft)
{
    return raft->transfer.target;
}
