#include "cli/peers.h"

#include "base/assert.h"
#include "cli/table.h"

#include <inttypes.h>

enum { COLUMN_COUNT = 6 };

static const char *const titles[COLUMN_COUNT] = {"ID",        "ADDRESS",  "ROLE",
                                                 "CONNECTED", "PRIORITY", "STORED"};

static const bool is_number[COLUMN_COUNT] = {true, false, false, false, true, true};

const struct kvapp_peer *peers_find(const struct kvapp_peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->at[i].id == id) {
            return &peers->at[i];
        }
    }
    return NULL;
}

static const char *role_of(const struct kvapp_peers *peers, const struct kvapp_peer *peer)
{
    if (peer->id == peers->leader) {
        return "leader";
    }
    if (peer->voter) {
        return peers->joint && !peer->voter_old ? "joining voter" : "voter";
    }
    if (peer->voter_old) {
        return "leaving voter";
    }
    return peer->keep_learner ? "kept learner" : "learner";
}

/* ---- JSON ---- */

static void set(json_t *object, const char *name, json_t *value)
{
    CHECK(json_object_set_new(object, name, value) == 0);
}

static json_t *number_of(uint64_t number)
{
    return json_integer((json_int_t)number);
}

static json_t *peer_object(const struct kvapp_peers *peers, const struct kvapp_peer *peer)
{
    json_t *object = json_object();
    set(object, "id", number_of(peer->id));
    set(object, "address", json_string(peer->address));
    set(object, "role", json_string(role_of(peers, peer)));
    set(object, "voter", json_boolean(peer->voter));
    set(object, "connected", json_boolean(peer->connected));
    set(object, "priority", number_of(peer->priority));
    set(object, "stored", number_of(peer->match));
    return object;
}

static json_t *members_array(const struct kvapp_peers *peers)
{
    json_t *array = json_array();
    for (size_t i = 0; i < peers->count; i++) {
        CHECK(json_array_append_new(array, peer_object(peers, &peers->at[i])) == 0);
    }
    return array;
}

static json_t *peers_object(const struct kvapp_peers *peers)
{
    json_t *object = json_object();
    set(object, "ok", json_true());
    set(object, "answered", number_of(peers->answered));
    set(object, "leader", peers->leader == 0 ? json_null() : number_of(peers->leader));
    set(object, "index", number_of(peers->index));
    set(object, "joint", json_boolean(peers->joint));
    set(object, "members", members_array(peers));
    return object;
}

static json_t *voters_object(const struct kvapp_voters *voters)
{
    json_t *object = json_object();
    set(object, "voters", number_of(voters->count));
    set(object, "quorum", number_of(voters->quorum));
    set(object, "ready", number_of(voters->ready));
    return object;
}

/* ---- the members ---- */

static void add_row(struct table *table, const struct kvapp_peers *peers,
                    const struct kvapp_peer *peer)
{
    size_t row = table_row(table);
    table_set_number(table, row, 0, peer->id);
    table_set_text(table, row, 1, peer->address);
    table_set_text(table, row, 2, role_of(peers, peer));
    table_set_text(table, row, 3, peer->connected ? "yes" : "no");
    table_set_number(table, row, 4, peer->priority);
    if (peers->answered == peers->leader) {
        table_set_number(table, row, 5, peer->match);
    } else {
        table_set_text(table, row, 5, "-");
    }
}

void peers_print(struct output *output, const struct kvapp_peers *peers)
{
    if (output->json) {
        output_json(output, peers_object(peers));
        return;
    }
    struct table table;
    table_init(&table, titles, is_number, COLUMN_COUNT);
    for (size_t i = 0; i < peers->count; i++) {
        add_row(&table, peers, &peers->at[i]);
    }
    table_print(&table, output->out);
    if (peers->answered != peers->leader) {
        (void)fprintf(output->out, "as node %llu sees it; it knows of no leader that answers\n",
                      (unsigned long long)peers->answered);
    }
}

/* ---- what a change means ---- */

/* "Now: 3 voters (1, 2, 3 not connected), of which 2 must answer" */
static void print_voters(FILE *out, const char *when, const struct kvapp_voters *voters,
                         const struct kvapp_peers *peers)
{
    (void)fprintf(out, "%s%" PRIu32 " %s (", when, voters->count,
                  voters->count == 1 ? "voter" : "voters");
    const char *comma = "";
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->at[i].voter) {
            (void)fprintf(out, "%s%llu%s", comma, (unsigned long long)peers->at[i].id,
                          peers->at[i].connected ? "" : " not connected");
            comma = ", ";
        }
    }
    (void)fprintf(out, "), of which %" PRIu32 " must answer", voters->quorum);
}

static uint32_t spare(const struct kvapp_voters *voters)
{
    return voters->ready < voters->quorum ? 0 : voters->ready - voters->quorum;
}

static void print_spare(FILE *out, const struct kvapp_voters *voters)
{
    (void)fprintf(out, "; %" PRIu32 " would: ", voters->ready);
    if (voters->ready < voters->quorum) {
        (void)fprintf(out, "%" PRIu32 " too few\n", voters->quorum - voters->ready);
    } else {
        (void)fprintf(out, "%" PRIu32 " of them may fail\n", spare(voters));
    }
}

static void print_meanwhile(FILE *out, const struct kvapp_plan *plan)
{
    if (!plan->joint) {
        (void)fprintf(out, "Meanwhile:  as now; the change is one entry of the log\n");
        return;
    }
    uint32_t before = spare(&plan->before);
    uint32_t after = spare(&plan->after);
    (void)fprintf(out, "Meanwhile:  both of these must have their quorum; ");
    if (plan->before.ready < plan->before.quorum || plan->after.ready < plan->after.quorum) {
        (void)fprintf(out, "one of them has too few\n");
    } else {
        (void)fprintf(out, "%" PRIu32 " may fail\n", before < after ? before : after);
    }
}

/* Learners that become voters by themselves. */
static void print_later(FILE *out, const struct kvapp_plan *plan)
{
    uint32_t voters = plan->after.count;
    for (size_t i = 0; i < plan->wanted.count; i++) {
        const struct kvapp_peer *peer = &plan->wanted.at[i];
        voters += !peer->voter && !peer->keep_learner;
    }
    if (voters > plan->after.count) {
        (void)fprintf(out,
                      "Later:      %" PRIu32 " voters, of which %" PRIu32
                      " must answer, once the learners have "
                      "caught up\n",
                      voters, voters / 2 + 1);
    }
}

void peers_print_plan(struct output *output, const struct kvapp_change_result *result)
{
    const struct kvapp_plan *plan = &result->plan;
    if (output->json) {
        json_t *object = json_object();
        set(object, "ok", json_true());
        set(object, "joint", json_boolean(plan->joint));
        set(object, "before", voters_object(&plan->before));
        set(object, "after", voters_object(&plan->after));
        set(object, "members", members_array(&plan->wanted));
        output_json(output, object);
        return;
    }
    print_voters(output->out, "Now:        ", &plan->before, &result->peers);
    print_spare(output->out, &plan->before);
    print_meanwhile(output->out, plan);
    print_voters(output->out, "Afterwards: ", &plan->after, &plan->wanted);
    print_spare(output->out, &plan->after);
    print_later(output->out, plan);
}

void peers_print_changed(struct output *output, const struct kvapp_peers *peers)
{
    if (output->json) {
        output_json(output, peers_object(peers));
        return;
    }
    struct kvapp_voters voters = {.count = 0};
    for (size_t i = 0; i < peers->count; i++) {
        voters.count += peers->at[i].voter;
    }
    voters.quorum = voters.count / 2 + 1;
    print_voters(output->out, "OK, ", &voters, peers);
    (void)fputc('\n', output->out);
}
