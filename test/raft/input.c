/*
 * Whatever arrives, one core keeps its invariants (raft_check runs after every step), refuses what
 * contradicts itself, and changes nothing when it refuses. Also the parts that a whole cluster
 * exercises only by chance: a full ring of tickets, trails of many terms, configurations.
 */
#include "core.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/prng.h"
#include "kvapp/err.h"
#include "kvapp/raft.h"
#include "raft/durable.h"
#include "raft/membership.h"
#include "raft/trail.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct raft *core_of(size_t count)
{
    struct raft_config config = core_config(count);
    struct raft_restored restored = {.first_index = 1};
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &restored, 0, &raft), 0);
    return raft;
}

/* ---- any message ---- */

/* Mostly small numbers, so that they meet; at times one that overflows. */
static uint64_t number(struct prng *prng)
{
    if (prng_chance(prng, 1, 50)) {
        return UINT64_MAX - prng_between(prng, 0, 3);
    }
    return prng_between(prng, 0, 8);
}

static uint64_t near(struct prng *prng, uint64_t middle)
{
    uint64_t value = middle + prng_between(prng, 0, 4);
    return prng_chance(prng, 1, 50) ? number(prng) : value < 2 ? 0 : value - 2;
}

static void any_append(struct prng *prng, const struct raft *raft,
                       struct raft_append_request *append)
{
    append->prev_index = near(prng, raft_last_index(raft));
    append->prev_term = prng_chance(prng, 3, 4) ? raft_term_at(raft, append->prev_index)
                                                : near(prng, raft_term(raft));
    append->commit_index = near(prng, raft_commit_index(raft));
    append->read_round = number(prng);
    append->run_count = prng_between(prng, 0, 3);
    append->entry_count = 0;
    uint64_t term = append->prev_term;
    for (size_t i = 0; i < append->run_count; i++) {
        term += prng_between(prng, 0, 2);
        append->runs[i] = (struct raft_run){.term = term, .count = prng_between(prng, 1, 3)};
        append->entry_count += append->runs[i].count;
    }
    if (prng_chance(prng, 1, 20)) {
        append->entry_count = number(prng);
    }
    if (prng_chance(prng, 1, 50)) {
        append->run_count = number(prng);
    }
}

static struct raft_message any_message(struct prng *prng, const struct raft *raft)
{
    struct raft_message message = {
        .type = prng_chance(prng, 1, 12) ? RAFT_SNAPSHOT_REQUEST
                                         : (enum raft_message_type)prng_between(
                                               prng, 0, prng_chance(prng, 1, 20) ? 14 : 3),
        .from = prng_chance(prng, 1, 30) ? number(prng) : prng_between(prng, 2, 3),
        .to = prng_chance(prng, 1, 30) ? number(prng) : 1,
        .term = raft_term(raft) + (prng_chance(prng, 1, 8) ? prng_between(prng, 0, 2) : 0),
    };
    if (prng_chance(prng, 1, 60)) {
        message.term = prng_between(prng, 0, raft_term(raft));
    }
    switch (message.type) {
    case RAFT_VOTE_REQUEST:
        message.vote_request.pre = prng_chance(prng, 1, 2);
        message.vote_request.last_index = near(prng, raft_last_index(raft));
        message.vote_request.last_term = near(prng, raft_term(raft));
        break;
    case RAFT_VOTE_RESPONSE:
        message.vote_response.pre = prng_chance(prng, 1, 2);
        message.vote_response.granted = prng_chance(prng, 2, 3);
        message.term += message.vote_response.pre && prng_chance(prng, 3, 4) ? 1 : 0;
        break;
    case RAFT_APPEND_REQUEST:
        any_append(prng, raft, &message.append_request);
        break;
    case RAFT_APPEND_RESPONSE:
        message.append_response = (struct raft_append_response){
            .success = prng_chance(prng, 1, 2),
            .lost = prng_chance(prng, 1, 4),
            .prev_index = near(prng, raft_last_index(raft)),
            .match_index = near(prng, raft_last_index(raft)),
            .hint_index = near(prng, raft_last_index(raft)),
            .hint_term = near(prng, raft_term(raft)),
            .read_round = prng_between(prng, 0, 3),
        };
        break;
    case RAFT_SNAPSHOT_REQUEST:
        message.snapshot_request.index = near(prng, raft_commit_index(raft));
        message.snapshot_request.term = near(prng, raft_term(raft));
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    }
    return message;
}

/* Without padding, so that its bytes can be compared. */
struct summary {
    uint64_t role;
    uint64_t term;
    uint64_t voted_for;
    uint64_t leader;
    uint64_t commit_index;
    uint64_t last_index;
    uint64_t durable_index;
    uint64_t membership_index;
    uint64_t transfer_target;
};

static struct summary summary_of(const struct raft *raft)
{
    return (struct summary){
        .role = raft_role(raft),
        .term = raft_term(raft),
        .voted_for = raft_voted_for(raft),
        .leader = raft_leader(raft),
        .commit_index = raft_commit_index(raft),
        .last_index = raft_last_index(raft),
        .durable_index = raft_durable_index(raft),
        .membership_index = raft_membership(raft)->index,
        .transfer_target = raft_transfer_target(raft),
    };
}

static struct raft_event any_snapshot_event(struct prng *prng, const struct raft *raft)
{
    struct raft_event event = {.type = RAFT_COMPACTED};
    uint64_t commit = raft_commit_index(raft);
    switch (prng_between(prng, 0, 2)) {
    case 0:
        event.compacted.snapshot_index = near(prng, commit);
        event.compacted.compacted_index = near(prng, event.compacted.snapshot_index);
        break;
    case 1:
        event.type = RAFT_INSTALLED;
        event.installed.index = near(prng, commit + prng_between(prng, 0, 3));
        event.installed.term = near(prng, raft_term(raft));
        event.installed.membership = &raft_membership(raft)->membership;
        break;
    default:
        event.type = RAFT_SNAPSHOT_ENDED;
        event.snapshot_ended.id = prng_between(prng, 0, 4);
        event.snapshot_ended.index = near(prng, raft_base_index(raft));
        event.snapshot_ended.ok = prng_chance(prng, 1, 2);
        break;
    }
    return event;
}

/* Often one that can be, at times nonsense. */
static struct raft_membership any_membership(struct prng *prng)
{
    struct raft_membership membership = {.joint = prng_chance(prng, 1, 4)};
    for (uint64_t id = 1; id <= 4; id++) {
        if (prng_chance(prng, 1, 4)) {
            continue;
        }
        struct raft_member *member = &membership.members[membership.count++];
        member->id = prng_chance(prng, 1, 50) ? number(prng) : id;
        member->voter = prng_chance(prng, 2, 3);
        member->voter_old = membership.joint && prng_chance(prng, 2, 3);
        member->keep_learner = prng_chance(prng, 1, 8);
    }
    if (prng_chance(prng, 1, 100)) {
        membership.count = number(prng);
    }
    return membership;
}

/* The memberships of an append: some that may follow what is there, some that may not. */
static void any_logged(struct prng *prng, const struct raft *raft, struct raft_event *event,
                       struct raft_logged_membership *logged)
{
    const struct raft_append_request *append = &event->message->append_request;
    uint64_t prev = append->prev_index;
    struct raft_membership present = raft_membership(raft)->membership;
    logged->index = near(prng, prev + 2);
    logged->membership = any_membership(prng);
    struct raft_membership next;
    if (present.joint && prng_chance(prng, 3, 4)) {
        membership_leave(&present, &logged->membership);
    } else if (!present.joint && membership_is_valid(&logged->membership) &&
               !logged->membership.joint &&
               membership_enter(&present, &logged->membership, &next)) {
        logged->membership = next;
    }
    event->memberships = logged;
    event->membership_count = 1;
}

struct counts {
    uint64_t changed;
    uint64_t compacted;
    uint64_t installed;
    uint64_t accepted;
    uint64_t refused;
    uint64_t led;
    uint64_t committed;
};

static void any_history(uint64_t seed, struct counts *counts)
{
    printf("# seed %" PRIu64 "\n", seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct raft *raft = core_of(3);
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    uint64_t now_ms = 0;
    uint64_t ticket = 0;
    uint64_t tag = 0;
    for (int i = 0; i < 400; i++) {
        now_ms += prng_chance(&prng, 1, 4) ? prng_between(&prng, 0, 120) : 0;
        struct raft_message message;
        struct raft_membership wanted;
        struct raft_logged_membership logged;
        struct raft_event event = {.type = RAFT_RECEIVED, .now_ms = now_ms};
        uint64_t kind = prng_between(&prng, 0, 21);
        if (kind <= 1) {
            event.type = RAFT_TICKED;
        } else if (kind <= 3) {
            event.type = RAFT_PROPOSED;
            event.propose_count = number(&prng);
        } else if (kind <= 5) {
            event.type = RAFT_READ_ASKED;
            event.read_tag = ++tag;
        } else if (kind == 6) {
            event = any_snapshot_event(&prng, raft);
            event.now_ms = now_ms;
        } else if (kind <= 8) {
            event.type = RAFT_STORED;
            event.ticket = ticket;
        } else if (kind == 9) {
            wanted = any_membership(&prng);
            event.type = RAFT_MEMBERSHIP_PROPOSED;
            event.membership = &wanted;
        } else if (kind == 10) {
            event.type = prng_chance(&prng, 1, 4) ? RAFT_STEP_DOWN_ASKED : RAFT_TRANSFER_ASKED;
            event.transfer_to = prng_between(&prng, 0, 4);
        } else {
            message = any_message(&prng, raft);
            event.message = &message;
            if (message.type == RAFT_APPEND_REQUEST && prng_chance(&prng, 1, 3)) {
                any_logged(&prng, raft, &event, &logged);
            }
        }
        struct summary before = summary_of(raft);
        if (raft_step(raft, &event, effects) != 0) {
            struct summary after = summary_of(raft);
            assert_memory_equal(&before, &after, sizeof before);
            counts->refused++;
            continue;
        }
        counts->accepted++;
        counts->changed += effects->membership_changed;
        counts->compacted += event.type == RAFT_COMPACTED;
        counts->installed += event.type == RAFT_INSTALLED;
        if (effects->store.flags != 0) {
            ticket = effects->store.ticket;
        }
        counts->led += effects->role_changed && effects->role == RAFT_LEADER;
        assert_true(event.type != RAFT_TICKED || effects->wake_ms > now_ms);
    }
    counts->committed += raft_commit_index(raft);
    free(effects);
    raft_free(raft);
}

static void any_message_keeps_the_invariants_or_is_refused_without_a_trace(void **state)
{
    (void)state;
    struct counts counts = {.accepted = 0};
    uint64_t seeds = getenv("RAFT_SEEDS") == NULL ? 400 : strtoull(getenv("RAFT_SEEDS"), NULL, 10);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        any_history(seed, &counts);
    }
    assert_true(counts.accepted > 100 * seeds);
    assert_true(counts.refused > 20 * seeds);
    assert_true(counts.changed > seeds);
    assert_true(counts.compacted > seeds);
    assert_true(counts.installed > seeds);
    assert_true(counts.led > seeds / 4);
    assert_true(counts.committed > seeds);
}

/* ---- single things ---- */

static int receive(struct raft *raft, const struct raft_message *message)
{
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    struct raft_event event = {.type = RAFT_RECEIVED, .now_ms = 1000, .message = message};
    int err = raft_step(raft, &event, effects);
    free(effects);
    return err;
}

static void two_leaders_in_one_term_are_not_both_believed(void **state)
{
    (void)state;
    struct raft *raft = core_of(3);
    struct raft_message heartbeat = {
        .type = RAFT_APPEND_REQUEST, .from = 2, .to = 1, .term = 5, .append_request = {0}};
    assert_int_equal(receive(raft, &heartbeat), 0);
    assert_int_equal(raft_leader(raft), 2);
    heartbeat.from = 3;
    assert_int_equal(receive(raft, &heartbeat), KV_ERR_INVALID);
    assert_int_equal(raft_leader(raft), 2);
    raft_free(raft);
}

static void a_leader_cannot_take_back_what_is_committed(void **state)
{
    (void)state;
    struct raft *raft = core_of(3);
    struct raft_message append = {
        .type = RAFT_APPEND_REQUEST,
        .from = 2,
        .to = 1,
        .term = 5,
        .append_request = {.commit_index = 2,
                           .entry_count = 2,
                           .run_count = 1,
                           .runs = {{.term = 5, .count = 2}}},
    };
    assert_int_equal(receive(raft, &append), 0);
    assert_int_equal(raft_commit_index(raft), 2);
    append.term = 6;
    append.append_request.runs[0].term = 6;
    assert_int_equal(receive(raft, &append), KV_ERR_INVALID);
    assert_int_equal(raft_term(raft), 5);
    assert_int_equal(raft_term_at(raft, 1), 5);
    raft_free(raft);
}

static void a_core_of_entries_newer_than_its_term_takes_their_term_and_stores_it(void **state)
{
    (void)state;
    struct raft_config config = core_config(3);
    const struct raft_run runs[] = {{.term = 1, .count = 2}, {.term = 4, .count = 1}};
    struct raft_restored restored = {
        .first_index = 1, .term = 2, .voted_for = 3, .runs = runs, .run_count = 2};
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &restored, 0, &raft), 0);
    assert_int_equal(raft_term(raft), 4);
    assert_int_equal(raft_voted_for(raft), 0);
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    struct raft_event event = {.type = RAFT_TICKED};
    assert_int_equal(raft_step(raft, &event, effects), 0);
    assert_int_equal(effects->store.flags, RAFT_STORE_VOTE);
    assert_int_equal(effects->store.term, 4);
    free(effects);
    raft_free(raft);
}

static void configurations_and_recovered_logs_are_checked(void **state)
{
    (void)state;
    struct raft *raft = NULL;
    struct raft_restored empty = {.first_index = 1};
    struct raft_config config = core_config(3);
    config.id = 0;
    assert_int_equal(raft_new(&config, &empty, 0, &raft), KV_ERR_INVALID);
    config = core_config(3);
    config.membership.members[2].id = 2;
    assert_int_equal(raft_new(&config, &empty, 0, &raft), KV_ERR_INVALID);
    config = core_config(3);
    config.heartbeat_ms = config.election_min_ms;
    assert_int_equal(raft_new(&config, &empty, 0, &raft), KV_ERR_INVALID);
    config = core_config(3);
    config.window_appends = 257;
    assert_int_equal(raft_new(&config, &empty, 0, &raft), KV_ERR_INVALID);
    config = core_config(3);
    const struct raft_run falling[] = {{.term = 3, .count = 1}, {.term = 2, .count = 1}};
    struct raft_restored fallen = {.first_index = 1, .term = 3, .runs = falling, .run_count = 2};
    assert_int_equal(raft_new(&config, &fallen, 0, &raft), KV_ERR_INVALID);
    assert_null(raft);
}

static void a_full_ring_of_tickets_learns_of_durability_later_never_earlier(void **state)
{
    (void)state;
    struct durable *durable = memory_new(1, sizeof *durable);
    durable_init(durable, 0);
    uint64_t ticket = 0;
    for (uint64_t index = 1; index <= DURABLE_WAITING_MAX + 10; index++) {
        ticket = durable_ask(durable, index, false, index);
        assert_int_equal(ticket, index);
    }
    durable_stored(durable, DURABLE_WAITING_MAX - 1);
    assert_int_equal(durable->index, DURABLE_WAITING_MAX - 1);
    durable_stored(durable, DURABLE_WAITING_MAX + 5);
    assert_int_equal(durable->index, DURABLE_WAITING_MAX - 1);
    durable_stored(durable, ticket);
    assert_int_equal(durable->index, DURABLE_WAITING_MAX + 10);
    free(durable);
}

static void a_rewritten_index_is_durable_only_by_the_ticket_that_rewrote_it(void **state)
{
    (void)state;
    struct durable *durable = memory_new(1, sizeof *durable);
    durable_init(durable, 3);
    uint64_t old = durable_ask(durable, 8, false, 0);
    durable_truncate(durable, 3);
    uint64_t new = durable_ask(durable, 8, false, 0);
    assert_int_equal(durable->index, 2);
    durable_stored(durable, old);
    assert_int_equal(durable->index, 2);
    durable_stored(durable, new);
    assert_int_equal(durable->index, 8);
    free(durable);
}

/* Against a plain array of terms. */
static void a_trail_answers_like_an_array_of_terms(void **state)
{
    (void)state;
    enum { LONGEST = 300 };
    uint64_t terms[LONGEST + 1] = {0};
    uint64_t last = 0;
    uint64_t base = 0;
    struct prng prng;
    prng_init(&prng, 11);
    struct trail trail;
    assert_int_equal(trail_init(&trail, (struct trail_place){0, 0}, NULL, 0), 0);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(trail_reserve(&trail, 1), 0);
        if (last < LONGEST - 4 && prng_chance(&prng, 3, 4)) {
            uint64_t term = terms[last] + prng_between(&prng, last == 0 ? 1 : 0, 2);
            uint64_t count = prng_between(&prng, 1, 4);
            trail_append(&trail, term, count);
            for (uint64_t j = 0; j < count; j++) {
                terms[++last] = term;
            }
        } else if (prng_chance(&prng, 3, 4)) {
            uint64_t from = prng_between(&prng, base + 1, last + 1);
            trail_truncate(&trail, from);
            last = from - 1;
        } else if (last < LONGEST - 4) {
            base = prng_between(&prng, base, prng_between(&prng, base, last));
            trail_compact(&trail, base);
        } else {
            base = 0;
            last = 0;
            trail_reset(&trail, (struct trail_place){0, 0});
        }
        assert_int_equal(trail.last, last);
        assert_int_equal(trail.base.index, base);
        uint64_t index = prng_between(&prng, 0, last + 2);
        bool known = index >= base && index <= last;
        assert_int_equal(trail_term(&trail, index), known ? terms[index] : 0);
        uint64_t term = prng_between(&prng, 0, terms[last] + 1);
        uint64_t expected = index > last ? last : index;
        while (expected > 0 && expected >= base && terms[expected] > term) {
            expected--;
        }
        assert_int_equal(trail_at_most(&trail, index, term), expected);
        if (last > base) {
            uint64_t first = prng_between(&prng, base + 1, last);
            struct raft_run runs[RAFT_RUNS_MAX];
            size_t count = 0;
            uint64_t end = trail_runs(&trail, first, last, runs, &count);
            assert_true(end == last || count == RAFT_RUNS_MAX);
            assert_int_equal(trail_first_new(&trail, first, runs, count), end + 1);
            runs[count - 1].term++;
            uint64_t changed = end + 1 - runs[count - 1].count;
            assert_int_equal(trail_first_new(&trail, first, runs, count), changed);
            for (size_t j = 0; j + 1 < count; j++) {
                assert_int_equal(runs[j].term, terms[first]);
                first += runs[j].count;
            }
        }
    }
    trail_done(&trail);
}

/* ---- memory ---- */

/* Linked in place of the library's own; the calls after which memory runs out, -1: never. */
static int allocations_left = -1;

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool allocation_fails(void)
{
    if (allocations_left > 0) {
        allocations_left--;
        return false;
    }
    return allocations_left == 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}

static void running_out_of_memory_refuses_and_changes_nothing(void **state)
{
    (void)state;
    enum { TERMS = 60 }; /* the first step needs a larger trail */
    struct raft_run runs[TERMS];
    for (uint64_t i = 0; i < TERMS; i++) {
        runs[i] = (struct raft_run){.term = i + 1, .count = 2};
    }
    struct raft_config config = core_config(3);
    struct raft_restored restored = {
        .first_index = 1, .term = TERMS, .runs = runs, .run_count = TERMS};
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    struct raft *raft = NULL;
    int failures = 0;
    while (raft == NULL) {
        allocations_left = failures;
        int err = raft_new(&config, &restored, 0, &raft);
        assert_int_equal(err, raft == NULL ? KV_ERR_NO_MEMORY : 0);
        failures++;
    }
    assert_int_equal(failures, 5);
    struct summary before = summary_of(raft);
    struct raft_event event = {.type = RAFT_TICKED, .now_ms = 400};
    allocations_left = 0;
    assert_int_equal(raft_step(raft, &event, effects), KV_ERR_NO_MEMORY);
    struct summary after = summary_of(raft);
    assert_memory_equal(&before, &after, sizeof before);
    allocations_left = -1;
    assert_int_equal(raft_step(raft, &event, effects), 0);
    assert_int_equal(raft_role(raft), RAFT_PRE_CANDIDATE);
    free(effects);
    raft_free(raft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_message_keeps_the_invariants_or_is_refused_without_a_trace),
        cmocka_unit_test(two_leaders_in_one_term_are_not_both_believed),
        cmocka_unit_test(a_leader_cannot_take_back_what_is_committed),
        cmocka_unit_test(a_core_of_entries_newer_than_its_term_takes_their_term_and_stores_it),
        cmocka_unit_test(configurations_and_recovered_logs_are_checked),
        cmocka_unit_test(a_full_ring_of_tickets_learns_of_durability_later_never_earlier),
        cmocka_unit_test(a_rewritten_index_is_durable_only_by_the_ticket_that_rewrote_it),
        cmocka_unit_test(a_trail_answers_like_an_array_of_terms),
        cmocka_unit_test(running_out_of_memory_refuses_and_changes_nothing),
    };
    return cmocka_run_group_tests_name("raft input", tests, NULL, NULL);
}
