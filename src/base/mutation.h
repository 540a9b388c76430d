/*
 * Test hooks: deliberate bugs, at most one of which is compiled in. They measure the tests: a
 * simulator that does not notice one of them lacks a checker. Built by test/sim/mutations.py with
 * the Meson option `mutation`; in every other build MUTATION is a constant false and leaves no
 * trace in the program.
 *
 * The numbers are those of the list of twenty; those above it came later.
 */
#ifndef BASE_MUTATION_H
#define BASE_MUTATION_H

enum mutation {
    MUTATION_none = 0,
    MUTATION_vote_without_sync = 1,
    MUTATION_ack_before_sync = 2,
    MUTATION_ignore_sync_error = 3,
    MUTATION_commit_older_terms = 4, /* by counting */
    MUTATION_unclamped_commit = 5,
    MUTATION_truncate_on_any_append = 6,
    MUTATION_skip_log_check = 7, /* of a vote */
    MUTATION_reset_vote_in_term = 8,
    MUTATION_no_step_down = 9, /* on a higher term */
    MUTATION_quorum_of_half = 10,
    MUTATION_ignore_old_voters = 11, /* in a joint membership */
    MUTATION_count_learners = 12,
    MUTATION_reconfigure_before_noop = 13,
    MUTATION_read_before_noop = 14,
    MUTATION_read_without_round = 15,
    MUTATION_keep_conflicting_log = 16, /* behind an installed snapshot */
    MUTATION_trim_before_sync = 17,     /* of the directory that names the snapshot */
    MUTATION_sessions_out_of_snapshot = 18,
    MUTATION_skip_duplicate_check = 19, /* at the session's last sequence */
    MUTATION_damage_as_tail = 20,
    MUTATION_raw_clock = 21,     /* entries are stamped with the leader's wall clock */
    MUTATION_read_expired = 22,  /* reads do not wait for what tells of expired keys */
    MUTATION_forward_again = 23, /* when the connection to the leader is lost */
};

#ifndef KVAPP_MUTATION
#define KVAPP_MUTATION none
#endif

#define MUTATION_NAME_(name) MUTATION_##name
#define MUTATION_NAME(name) MUTATION_NAME_(name)

/* Whether this is the bug that was asked for: a constant. A name that is not listed is an error. */
#define MUTATION(name) (MUTATION_##name == MUTATION_NAME(KVAPP_MUTATION))

#endif
