/*
 * Every order of events of a small world: three servers, two elections, two entries, one crash.
 *
 * Enumerated, from three new servers on, by depth-first search over small.h's world:
 *   - every order in which messages arrive, among them every message that never does (it stays on
 *     its way until the end) and every one that is overtaken;
 *   - every order in which writes become durable, one or several at once, before and after
 *     everything else;
 *   - every moment at which an election timer may expire on any server, and a follower that heard
 *     its leader lets go of it or not, whatever the others' clocks say;
 *   - every moment at which a leader is given an entry, asked for a read, or sends heartbeats;
 *   - every moment at which any server may take a snapshot of all that is committed and let that
 *     leave its log, at which a sent one gets on the disk, the core hears of it, and the leader;
 *   - every moment at which a leader may be asked for a membership in which one server, perhaps
 *     itself, goes or comes back;
 *   - every moment at which any server may crash, with every prefix of its unfinished writes
 *     surviving, down to single entries;
 *   - every moment at which any server may crash and find that its disk lost the log, when no other
 *     has, with and without a bound on what was lost.
 * All invariants are checked in every state: those of each core (raft_check, in builds with
 * assertions) and those across servers that small.c lists.
 *
 * A state that was seen before, under whatever names of the servers (small_key.c), is not entered
 * again, nor is one that differs from such a state only in that fewer messages are on their way:
 * whatever can happen in it could happen there. States are remembered by 64 bits of hash: that two
 * of ten million are mistaken for one has a chance of one in 370000.
 *
 * Cut off: more than the scope's number of each kind of event (an expired timer counts as an
 * election, even when its pre-vote fails); the same message twice; a server that stays down (that
 * is a restart and messages that never arrive); disk stalls; a leader that steps down because
 * nobody answers; more than one append with entries in flight to one follower. A scope that is
 * "led" begins when server 1 was elected in term 1 and nothing went wrong: of two elections, the
 * first is then as it always is.
 *
 *     exhaustive                   the scopes below, in seconds
 *     exhaustive LED ELECTIONS ENTRIES CRASHES HEARTBEATS READS [COMPACTIONS [CHANGES [LOSSES]]]
 *                                  one scope, however large
 *
 * "exhaustive 1 1 2 1 0 0", the second of two elections, two entries and one crash in any order,
 * has 15132224 states and 87146073 transitions; without sanitizers it took two minutes, and about
 * a hundred bytes of memory a state. "exhaustive 1 1 0 1 0 0 0 1", a change of the membership, a
 * crash and a second election, took forty seconds. "exhaustive 1 1 1 0 0 0 0 0 1", a lost log, an
 * entry and a second election, has 664903 states.
 *
 * The search runs in a process of its own and keeps its path where the parent sees it. When a
 * check ends the search, the parent tells the path's story, step by step, up to the same check.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "small.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DEPTH_MAX = 160,
    SEEN_FIRST = 1 << 16, /* a power of two */
};

/* Shared by the search and its parent. */
struct path {
    size_t length;
    struct small_event events[DEPTH_MAX];
    uint64_t states;
    uint64_t transitions;
    uint64_t depth;
    uint64_t committed; /* states in which something was committed */
};

/* ---- what was seen ---- */

struct seen_flights {
    struct seen_flights *next; /* of the same state */
    size_t count;
    uint32_t flights[];
};

struct seen_state {
    uint64_t state; /* 0: free */
    struct seen_flights *flights;
};

struct seen {
    struct seen_state *slots; /* open addressing */
    uint64_t capacity;
    uint64_t count;
};

static struct seen_state *seen_slot(const struct seen *seen, uint64_t state)
{
    uint64_t at = state & (seen->capacity - 1);
    while (seen->slots[at].state != 0 && seen->slots[at].state != state) {
        at = (at + 1) & (seen->capacity - 1);
    }
    return &seen->slots[at];
}

static void seen_grow(struct seen *seen)
{
    struct seen larger = {.capacity = seen->capacity == 0 ? SEEN_FIRST : seen->capacity * 2,
                          .count = seen->count};
    larger.slots = memory_new(larger.capacity, sizeof *larger.slots);
    for (uint64_t i = 0; i < seen->capacity; i++) {
        if (seen->slots[i].state != 0) {
            *seen_slot(&larger, seen->slots[i].state) = seen->slots[i];
        }
    }
    free(seen->slots);
    *seen = larger;
}

static void seen_done(struct seen *seen)
{
    for (uint64_t i = 0; i < seen->capacity; i++) {
        while (seen->slots[i].flights != NULL) {
            struct seen_flights *next = seen->slots[i].flights->next;
            free(seen->slots[i].flights);
            seen->slots[i].flights = next;
        }
    }
    free(seen->slots);
}

/* Whether the state is new: never seen with at least these messages on their way. */
static bool seen_add(struct seen *seen, struct small_key *key)
{
    if (seen->count * 3 >= seen->capacity * 2) {
        seen_grow(seen);
    }
    key->state = key->state == 0 ? 1 : key->state;
    struct seen_state *slot = seen_slot(seen, key->state);
    for (const struct seen_flights *at = slot->flights; at != NULL; at = at->next) {
        if (small_key_covers(key, at->flights, at->count)) {
            return false;
        }
    }
    size_t bytes = key->flight_count * sizeof *key->flights;
    struct seen_flights *flights = memory_new(1, sizeof *flights + bytes);
    flights->next = slot->flights;
    flights->count = key->flight_count;
    memcpy(flights->flights, key->flights, bytes);
    seen->count += slot->state == 0;
    *slot = (struct seen_state){.state = key->state, .flights = flights};
    return true;
}

/* ---- the search ---- */

struct frame {
    struct small_snapshot snapshot;
    struct small_event events[SMALL_EVENTS_MAX];
    size_t count;
    size_t next;
};

static void enter(const struct small *small, struct frame *frame, struct path *path)
{
    small_save(small, &frame->snapshot);
    frame->count = small_events(small, frame->events);
    frame->next = 0;
    path->states++;
    path->committed += small->world.committed.last > 0;
    path->depth = path->length > path->depth ? path->length : path->depth;
}

static void search(const struct small_budget *budget, struct path *path)
{
    struct small *small = memory_new(1, sizeof *small);
    struct frame *frames = memory_new(DEPTH_MAX + 1, sizeof *frames);
    struct seen seen = {.slots = NULL};
    struct small_key key;
    small_init(small, budget, NULL);
    small_key(small, &key);
    (void)seen_add(&seen, &key);
    enter(small, &frames[0], path);
    while (true) {
        struct frame *frame = &frames[path->length];
        if (frame->next == frame->count) {
            if (path->length == 0) {
                break;
            }
            path->length--;
            continue;
        }
        CHECK(path->length < DEPTH_MAX);
        const struct small_event *event = &frame->events[frame->next++];
        path->events[path->length++] = *event;
        small_load(small, &frame->snapshot);
        small_step(small, event);
        small_forget(small);
        path->transitions++;
        small_key(small, &key);
        if (seen_add(&seen, &key)) {
            enter(small, &frames[path->length], path);
        } else {
            path->length--;
        }
    }
    seen_done(&seen);
    free(frames);
    small_done(small);
    free(small);
}

/* ---- the story of a path that ended badly ---- */

static void tell(void *context, enum trace_level level, const char *line)
{
    const uint64_t *id = context;
    (void)level;
    printf("#        %" PRIu64 ": %s\n", *id, line);
}

static void tell_path(const struct small_budget *budget, const struct path *path)
{
    struct small *small = memory_new(1, sizeof *small);
    char line[128];
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    small_init(small, budget, tell);
    for (size_t i = 0; i < path->length; i++) {
        small_describe(small, &path->events[i], line, sizeof line);
        printf("# %3zu  %s\n", i + 1, line);
        small_step(small, &path->events[i]);
        small_forget(small);
    }
    small_done(small);
    free(small);
}

/* ---- cases ---- */

static void every_order_is_safe(void **state)
{
    const struct small_budget *budget = *state;
    printf("# %s, then %u elections, %u entries, %u crashes, %u heartbeats, %u reads, "
           "%u compactions, %u changes, %u losses",
           budget->led ? "server 1 leads" : "new servers", budget->elections, budget->entries,
           budget->crashes, budget->heartbeats, budget->reads, budget->compactions, budget->changes,
           budget->losses);
    (void)fflush(stdout);
    struct path *path =
        mmap(NULL, sizeof *path, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(path != MAP_FAILED);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* A search whose parent was stopped would go on for as long as its scope is large. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        search(budget, path);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    printf(": %" PRIu64 " states, %" PRIu64 " transitions, up to %" PRIu64 " events\n",
           path->states, path->transitions, path->depth);
    if (status != 0) {
        tell_path(budget, path);
    }
    assert_int_equal(status, 0);
    /* A search in which nothing is ever committed would prove nothing. */
    assert_true(budget->elections == 0 || path->committed > 0);
    (void)munmap(path, sizeof *path);
}

static uint8_t scope_number(const char *text)
{
    unsigned long number = strtoul(text, NULL, 10);
    CHECK(number <= 4);
    return (uint8_t)number;
}

int main(int argc, char **argv)
{
    struct small_budget chosen = {.elections = 0};
    if (argc >= 7 && argc <= 10) {
        chosen = (struct small_budget){
            .led = scope_number(argv[1]) > 0,
            .elections = scope_number(argv[2]),
            .entries = scope_number(argv[3]),
            .crashes = scope_number(argv[4]),
            .heartbeats = scope_number(argv[5]),
            .reads = scope_number(argv[6]),
            .compactions = argc >= 8 ? scope_number(argv[7]) : 0,
            .changes = argc >= 9 ? scope_number(argv[8]) : 0,
            .losses = argc == 10 ? scope_number(argv[9]) : 0,
        };
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(every_order_is_safe, &chosen),
        };
        return cmocka_run_group_tests_name("a scope of raft", tests, NULL, NULL);
    }
    struct small_budget scopes[] = {
        {.elections = 1, .entries = 1, .crashes = 1},
        {.led = true, .elections = 1, .entries = 1},
        {.led = true, .elections = 1, .crashes = 1},
        {.led = true, .entries = 2, .crashes = 1},
        {.led = true, .entries = 1, .crashes = 1, .heartbeats = 1},
        {.led = true, .elections = 1, .reads = 1},
        {.led = true, .crashes = 1, .heartbeats = 1, .compactions = 1},
        {.led = true, .elections = 1, .compactions = 1},
        {.led = true, .compactions = 1, .changes = 1},
        {.led = true, .crashes = 1, .changes = 1},
        {.led = true, .elections = 1, .changes = 1},
        {.led = true, .elections = 1, .losses = 1},
    };
    const struct CMUnitTest tests[] = {
        {.name = "one_election_one_entry_and_a_crash_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[0]},
        {.name = "a_second_election_and_an_entry_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[1]},
        {.name = "a_second_election_and_a_crash_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[2]},
        {.name = "two_entries_and_a_crash_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[3]},
        {.name = "an_entry_a_crash_and_heartbeats_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[4]},
        {.name = "a_read_and_a_second_election_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[5]},
        {.name = "a_compaction_a_crash_and_heartbeats_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[6]},
        {.name = "a_compaction_and_a_second_election_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[7]},
        {.name = "a_change_of_the_membership_and_a_snapshot_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[8]},
        {.name = "a_change_of_the_membership_and_a_crash_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[9]},
        {.name = "a_change_of_the_membership_and_an_election_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[10]},
        {.name = "a_lost_log_and_a_second_election_in_every_order_are_safe",
         .test_func = every_order_is_safe,
         .initial_state = &scopes[11]},
    };
    return cmocka_run_group_tests_name("every order of a small raft", tests, NULL, NULL);
}
