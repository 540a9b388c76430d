/*
 * Every link graph of three servers, and many of five (RELIABILITY bug 33): as long as a majority
 * can talk to each other in both directions, whatever the other links do, there is a leader, it
 * commits, and it stays. The graphs appear in the midst of the life of a healthy cluster.
 */
#include "base/assert.h"
#include "base/prng.h"
#include "script.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>

enum {
    SETTLE_MS = 4000,
    STEADY_MS = 3000,
    FIVE_GRAPHS = 150,
};

static bool both_ways(const bool cut[LINK_MAX][LINK_MAX], size_t a, size_t b)
{
    return !cut[a][b] && !cut[b][a];
}

/* Whether more than half of the servers, `set` being some of them, all reach each other. */
static bool is_working_majority(const bool cut[LINK_MAX][LINK_MAX], size_t count, unsigned set)
{
    size_t size = 0;
    for (size_t a = 1; a <= count; a++) {
        if ((set & (1u << a)) == 0) {
            continue;
        }
        size++;
        for (size_t b = 1; b < a; b++) {
            if ((set & (1u << b)) != 0 && !both_ways(cut, a, b)) {
                return false;
            }
        }
    }
    return size > count / 2;
}

static bool has_working_majority(const bool cut[LINK_MAX][LINK_MAX], size_t count)
{
    for (unsigned set = 0; set < 1u << (count + 1); set += 2) {
        if (is_working_majority(cut, count, set)) {
            return true;
        }
    }
    return false;
}

static void command(struct stage *stage, const char *line)
{
    CHECK(stage_command(stage, line));
}

/* Cuts the links of the graph: bit i is the i-th pair (a, b) with a != b. */
static void cut_links(struct stage *stage, size_t count, uint64_t graph)
{
    for (size_t a = 1; a <= count; a++) {
        for (size_t b = 1; b <= count; b++) {
            if (a != b) {
                stage->cut[a][b] = (graph & 1) != 0;
                graph >>= 1;
            }
        }
    }
}

static uint64_t committed_after_proposal(struct stage *stage)
{
    struct server *leader = cluster_leader(&stage->cluster);
    assert_non_null(leader);
    assert_int_equal(server_propose(leader, 1), 0);
    command(stage, "run 500");
    return stage->cluster.committed.last;
}

/* False: the graph has no working majority, so nothing is promised. */
static bool run_graph(size_t count, uint64_t graph, const char *elect, struct buf *story)
{
    struct stage *stage = stage_new(story);
    char line[64];
    (void)snprintf(line, sizeof line, "cluster %zu", count);
    command(stage, line);
    command(stage, "start");
    command(stage, elect);
    command(stage, "run 200");
    cut_links(stage, count, graph);
    bool works = has_working_majority((const bool(*)[LINK_MAX])stage->cut, count);
    if (works) {
        (void)snprintf(line, sizeof line, "run %d", SETTLE_MS);
        command(stage, line);
        uint64_t before = stage->cluster.committed.last;
        assert_true(committed_after_proposal(stage) > before);
        struct server *leader = cluster_leader(&stage->cluster);
        uint64_t term = raft_term(leader->raft);
        (void)snprintf(line, sizeof line, "run %d", STEADY_MS);
        command(stage, line);
        assert_ptr_equal(cluster_leader(&stage->cluster), leader);
        assert_int_equal(raft_term(leader->raft), term);
        before = stage->cluster.committed.last;
        assert_true(committed_after_proposal(stage) > before);
    }
    stage_free(stage);
    return works;
}

static void every_link_graph_of_three_servers_with_a_working_pair_has_a_lasting_leader(void **state)
{
    (void)state;
    struct buf story = {.data = NULL};
    size_t works = 0;
    for (uint64_t graph = 0; graph < 64; graph++) {
        buf_clear(&story);
        works += run_graph(3, graph, "quietly elect 1", &story);
        buf_clear(&story);
        works += run_graph(3, graph, "quietly elect 2", &story);
    }
    /* Of the 64 graphs 37 have at least one pair of links in both directions: 64 - 27. */
    assert_int_equal(works, 2 * 37);
    buf_done(&story);
}

static void link_graphs_of_five_servers_with_a_working_majority_have_a_lasting_leader(void **state)
{
    (void)state;
    struct buf story = {.data = NULL};
    struct prng prng;
    prng_init(&prng, 33);
    size_t works = 0;
    while (works < FIVE_GRAPHS) {
        /* Each link is cut with a chance of five in sixteen. */
        uint64_t a = prng_next(&prng);
        uint64_t b = prng_next(&prng);
        uint64_t c = prng_next(&prng);
        buf_clear(&story);
        works += run_graph(5, (a & b) | (a & c & ~b & prng_next(&prng)), "quietly elect 1", &story);
    }
    buf_done(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            every_link_graph_of_three_servers_with_a_working_pair_has_a_lasting_leader),
        cmocka_unit_test(link_graphs_of_five_servers_with_a_working_majority_have_a_lasting_leader),
    };
    return cmocka_run_group_tests_name("raft on every link graph", tests, NULL, NULL);
}
