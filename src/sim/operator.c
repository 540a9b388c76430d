#include "sim/operator.h"

#include "base/assert.h"
#include "base/memory.h"
#include "client/client.h"
#include "node/plan.h"
#include "raft/membership.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/roster.h"
#include "sim/workload.h"
#include "wire/admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SECOND_US = 1000 * 1000,
    TIMEOUT_MS_MIN = 1000,
    TIMEOUT_MS_MAX = 12 * 1000,
    DOUBT_US = 20 * SECOND_US, /* bytes of a request may be on their way for so long */
    TEND_US = SECOND_US / 2,
    LATER_US_MAX = 3 * SECOND_US,
    RESTART_US_MAX = 2 * SECOND_US,
    JOINING_TENDS = 6, /* then whom it asks is looked up again */
    TRIES = 8,         /* of drawing a change that is possible */
    PORT_MOVED = 100,  /* between two addresses of one server */
};

/* A request on its way. */
struct errand {
    struct operator* operator;
    bool busy;
    struct admin_request request;
};

struct operator
{
    struct simulation *simulation;
    struct sim_host *host;
    struct io *io;
    struct kvapp_client *client; /* NULL: no command has been given yet */
    struct errand change;
    struct errand transfer;
    struct raft_membership wanted; /* by the last change */
    uint64_t doubt_until_us;       /* until then it may still come to be */
    struct sim_event tend;
    struct sim_event next; /* the next change of a series */
    unsigned joining[SERVERS_MAX];
};

/* ---- its processes ---- */

static void die(struct operator* operator)
{
    if (operator->client != NULL) {
        sim_host_crash(operator->host, SIM_CRASH_KILL);
        kvapp_client_free(operator->client);
        io_free(operator->io);
        operator->client = NULL;
        operator->io = NULL;
    }
}

/* One for each command, unless the one before is still at work. */
static void begin_process(struct operator* operator)
{
    struct simulation *simulation = operator->simulation;
    if (!operator_is_idle(operator)) {
        return;
    }
    die(operator);
    sim_host_boot(operator->host, &operator->io);
    char members[ROSTER_TEXT_SIZE];
    const struct kvapp_client_options options = {
        .cluster = roster_text(simulation->cluster, members),
        .timeout_ms = (uint32_t)simulation_draw_wide(simulation, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        .no_session = true,
    };
    CHECK(client_new_on(operator->io, &options, &operator->client) == 0);
}

bool operator_turn(struct operator* operator, const struct sim_host * host)
{
    if (host != operator->host) {
        return false;
    }
    (void)kvapp_client_run(operator->client, 0);
    if (!list_empty(&operator->client->loop->marked)) {
        sim_host_wake(operator->host);
    }
    return true;
}

/* ---- answers ---- */

bool operator_is_in_doubt(const struct operator* operator)
{
    return operator->change.busy || sim_world_now(operator->simulation->world) <
           operator->doubt_until_us;
}

static bool holds(const struct raft_membership *members, const struct membership_edit *made)
{
    const struct raft_member *member = membership_find(members, made->id);
    switch (made->operation) {
    case EDIT_REMOVE:
        return member == NULL;
    case EDIT_PROMOTE:
        return member != NULL && member->voter;
    case EDIT_MOVE:
        return member != NULL && strcmp(member->address, made->address) == 0;
    default:
        return member != NULL;
    }
}

/* What is said to be done is done for good. */
static void check_done(const struct operator* operator)
{
    struct simulation *simulation = operator->simulation;
    const struct admin_request *request = &operator->change.request;
    const struct record *committed = simulation->ledger->membership;
    simulation_reached(simulation, REACHED_CHANGE_ANSWERED);
    for (size_t i = 0; i < request->edit_count; i++) {
        if (!holds(committed->membership, &request->edits[i])) {
            char text[MEMBERSHIP_TEXT_SIZE];
            simulation_fail(simulation, "membership",
                            "an operator is told that its change is done, also to server %" PRIu64
                            ", but the committed members are those of %" PRIu64 ": %s",
                            request->edits[i].id, committed->index,
                            membership_text(committed->membership, text));
        }
    }
}

static void answered(void *context, const struct kvapp_reply *reply)
{
    struct errand *errand = context;
    struct operator* operator= errand->operator;
    struct simulation *simulation = operator->simulation;
    errand->busy = false;
    TELL(simulation, "operator", "%s: %s",
         errand == &operator->change ? "the change of members" : "the transfer",
         kvapp_err_name(reply->status));
    if (errand == &operator->transfer) {
        return;
    }
    uint64_t now_us = sim_world_now(simulation->world);
    bool is_unknown = reply->status == KV_ERR_OUTCOME_UNKNOWN || reply->status == KV_ERR_TIMEOUT;
    if (is_unknown) {
        operator->doubt_until_us = now_us + DOUBT_US;
    }
    if (reply->status == 0) {
        check_done(operator);
        if (!simulation->healed && simulation_chance(simulation, 40)) {
            sim_world_schedule(simulation->world, &operator->next, now_us + 1);
        }
    }
}

static void ask(struct errand *errand)
{
    struct operator* operator= errand->operator;
    begin_process(operator);
    errand->busy = true;
    (void)client_submit_admin(operator->client, &errand->request, answered, errand);
    sim_host_wake(operator->host);
}

/* ---- what to change ---- */

static const struct raft_membership *present_of(const struct operator* operator)
{
    return operator->simulation->ledger->membership->membership;
}

static struct server *server_of(const struct operator* operator, uint64_t id)
{
    return &operator->simulation->cluster->servers[id - 1];
}

/* One edit for each server. */
static void edit(struct admin_request *request, enum edit_operation operation, uint64_t id,
                 const char *address)
{
    if (request->edit_count > 0 && request->edits[0].id == id) {
        return;
    }
    struct membership_edit *made = &request->edits[request->edit_count++];
    *made = (struct membership_edit){.operation = operation, .id = id};
    (void)snprintf(made->address, sizeof made->address, "%s", address);
}

static uint64_t any_member(struct operator* operator)
{
    const struct raft_membership *present = present_of(operator);
    return present->members[simulation_draw(operator->simulation, 0, present->count - 1)].id;
}

/* A member that does not vote; 0: there is none, or the draw met another. */
static uint64_t any_learner(struct operator* operator)
{
    uint64_t id = any_member(operator);
    const struct raft_member *member = membership_find(present_of(operator), id);
    return member->voter ? 0 : id;
}

/* Who shall go: the leader, one whose disk is broken, or anyone. */
static uint64_t any_leaving(struct operator* operator)
{
    struct simulation *simulation = operator->simulation;
    const struct server *leader = cluster_leader(simulation->cluster);
    uint64_t drawn = simulation_draw(simulation, 0, 99);
    if (drawn < 30 && leader != NULL) {
        return leader->number + 1;
    }
    for (size_t i = 0; i < simulation->cluster->count && drawn < 65; i++) {
        if ((roster_broken(simulation->cluster) >> i & 1) != 0 &&
            membership_find(present_of(operator), i + 1) != NULL) {
            return i + 1;
        }
    }
    return any_member(operator);
}

/* A server that joins may be started before it is added, or after. */
static void add(struct operator* operator, struct admin_request * request, bool kept)
{
    struct simulation *simulation = operator->simulation;
    struct server *server = cluster_enlist(simulation->cluster);
    if (server == NULL) {
        return;
    }
    edit(request, kept ? EDIT_ADD_KEPT : EDIT_ADD_LEARNER, server->number + 1, server->address);
    cluster_start_later(server, simulation_draw(simulation, 0, LATER_US_MAX));
}

static void replace(struct operator* operator, struct admin_request * request)
{
    uint64_t learner = any_learner(operator);
    if (learner == 0) {
        return;
    }
    edit(request, EDIT_PROMOTE, learner, "");
    edit(request, EDIT_REMOVE, any_leaving(operator), "");
}

/* The address of a server that it has not had before; of the same machine. */
static void next_address(const struct server *server, char address[ADDRESS_SIZE_MAX])
{
    CHECK(address_add_port(server->address, PORT_MOVED, address) == 0);
}

/* Started at another address it is told no list of members any more: it must have one in its log.
 */
static bool may_move_now(const struct operator* operator, const struct server * server)
{
    const struct view *view = &server->view;
    return server->node != NULL && view->membership_count > 0 &&
           view->memberships[0]->index <= view->durable &&
           ledger_has_committed(operator->simulation->ledger, view->memberships[0]);
}

static void move(struct operator* operator, struct admin_request * request)
{
    struct simulation *simulation = operator->simulation;
    struct server *server = server_of(operator, any_member(operator));
    char address[ADDRESS_SIZE_MAX];
    next_address(server, address);
    edit(request, EDIT_MOVE, server->number + 1, address);
    if (may_move_now(operator, server) && simulation_chance(simulation, 30)) {
        cluster_move(server, address, simulation_draw(simulation, 1, RESTART_US_MAX));
    }
}

static void draw_edits(struct operator* operator, struct admin_request * request)
{
    struct simulation *simulation = operator->simulation;
    uint64_t drawn = simulation_draw(simulation, 0, 99);
    if (drawn < 20) {
        add(operator, request, false);
    } else if (drawn < 35) {
        add(operator, request, true);
    } else if (drawn < 60) {
        replace(operator, request);
    } else if (drawn < 75) {
        edit(request, EDIT_REMOVE, any_leaving(operator), "");
    } else if (drawn < 80) {
        edit(request, EDIT_REMOVE, any_leaving(operator), "");
        edit(request, EDIT_REMOVE, any_member(operator), "");
    } else if (drawn < 90) {
        edit(request, EDIT_PROMOTE, any_member(operator), "");
    } else {
        move(operator, request);
    }
}

static size_t count_voters(const struct raft_membership *membership)
{
    size_t count = 0;
    for (size_t i = 0; i < membership->count; i++) {
        count += membership->members[i].voter;
    }
    return count;
}

/* Whether the change is possible, and the cluster bears it; it rarely leaves fewer than it had. */
static bool is_careful(struct operator* operator, const struct admin_request * request)
{
    const struct raft_membership *present = present_of(operator);
    struct plan_question question = {
        .present = present,
        .edits = request->edits,
        .edit_count = request->edit_count,
        .client_port_offset = 1000,
        .force = true,
    };
    struct admin_plan plan;
    struct raft_membership first;
    char sentence[PLAN_SENTENCE_SIZE];
    if (request->edit_count == 0 || present->joint || plan_make(&question, &plan, sentence) != 0 ||
        !membership_enter(present, &plan.wanted, &first)) {
        return false;
    }
    bool takes_away = plan.wanted.count < present->count || plan.joint;
    bool is_thin = count_voters(&plan.wanted) < operator->simulation->cluster->first_count;
    if (is_thin && simulation_chance(operator->simulation, 85)) {
        return false;
    }
    uint32_t broken = roster_broken(operator->simulation->cluster);
    if ((takes_away && operator_is_in_doubt(operator)) || !roster_bears(&first, broken) ||
        !roster_bears(&plan.wanted, broken)) {
        return false;
    }
    operator->wanted = plan.wanted;
    return true;
}

static void strike_membership(struct operator* operator)
{
    struct simulation *simulation = operator->simulation;
    struct errand *errand = &operator->change;
    if (errand->busy) {
        return;
    }
    for (int i = 0; i < TRIES; i++) {
        errand->request = (struct admin_request){.verb = ADMIN_CHANGE};
        errand->request.force = simulation_chance(simulation, 40);
        draw_edits(operator, & errand->request);
        if (is_careful(operator, & errand->request)) {
            char text[MEMBERSHIP_TEXT_SIZE];
            TELL(simulation, "operator", "wants the members %s",
                 membership_text(&operator->wanted, text));
            ask(errand);
            return;
        }
    }
}

static void strike_transfer(struct operator* operator)
{
    struct errand *errand = &operator->transfer;
    if (errand->busy) {
        return;
    }
    bool anyone = simulation_chance(operator->simulation, 30);
    errand->request = (struct admin_request){
        .verb = ADMIN_TRANSFER,
        .target = anyone ? 0 : any_member(operator),
    };
    TELL(operator->simulation, "operator", "wants %" PRIu64 " to lead", errand->request.target);
    ask(errand);
}

void operator_strike(struct operator* operator, enum simulation_fault kind)
{
    if (kind == FAULT_MEMBERSHIP) {
        strike_membership(operator);
    } else {
        CHECK(kind == FAULT_TRANSFER);
        strike_transfer(operator);
    }
}

static void next(struct sim_event *event)
{
    strike_membership(CONTAINER_OF(event, struct operator, next));
}

/* ---- servers are set right ---- */

/*
 * The membership of the most complete log. It need not be committed, but who has it may be needed
 * to elect a leader, and looks for the others where it says.
 */
static const struct raft_membership *newest_of(const struct operator* operator)
{
    const struct cluster *cluster = operator->simulation->cluster;
    const struct raft_membership *newest = present_of(operator);
    const struct record *last = NULL;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        const struct view *view = &server->view;
        if (!server_is_sound(server) || view->membership_count == 0) {
            continue;
        }
        const struct record *own = view->log[view->log_count - 1];
        if (last == NULL || own->term > last->term ||
            (own->term == last->term && own->index > last->index)) {
            last = own;
            newest = view->memberships[view->membership_count - 1]->membership;
        }
    }
    return newest;
}

/* A member is started where the others look for it. */
static void tend_member(struct operator* operator, const struct raft_member * member)
{
    struct simulation *simulation = operator->simulation;
    struct server *server = server_of(operator, member->id);
    bool is_misplaced = strcmp(server->address, member->address) != 0;
    if (is_misplaced && (!operator->change.busy || simulation_chance(simulation, 20))) {
        cluster_move(server, member->address, simulation_draw(simulation, 1, RESTART_US_MAX));
    }
    if (server->node == NULL && !heap_holds(&server->supervisor.node)) {
        cluster_start_later(server, simulation_draw(simulation, 0, LATER_US_MAX));
    }
}

/* One that waits for a server that is gone is told of another one. */
static void tend_joining(struct operator* operator, struct server * server)
{
    bool is_joining = server->node != NULL && server->node->raft == NULL;
    unsigned *tends = &operator->joining[server->number];
    *tends = is_joining ? *tends + 1 : 0;
    if (*tends > JOINING_TENDS) {
        *tends = 0;
        cluster_crash(server, SIM_CRASH_KILL, 1);
    }
}

static void tend(struct sim_event *event)
{
    struct operator* operator= CONTAINER_OF(event, struct operator, tend);
    struct simulation *simulation = operator->simulation;
    struct cluster *cluster = simulation->cluster;
    const struct raft_membership *present = present_of(operator);
    const struct raft_membership *newest = newest_of(operator);
    for (size_t i = 0; i < newest->count; i++) {
        tend_member(operator, & newest->members[i]);
    }
    for (size_t i = 0; i < cluster->count; i++) {
        struct server *server = &cluster->servers[i];
        if (server->joins) {
            tend_joining(operator, server);
        }
        bool was_member = server->view.membership_count > 0;
        if (!simulation->healed && was_member && !server->retired &&
            !operator_is_in_doubt(operator) && membership_find(present, i + 1) == NULL &&
            simulation_chance(simulation, 5)) {
            cluster_retire(server);
        }
    }
    if (simulation->healed) {
        workload_heal(simulation->workload);
    }
    sim_world_schedule(simulation->world, event, sim_world_now(simulation->world) + TEND_US);
}

/* ---- life ---- */

struct operator* operator_new(struct simulation *simulation)
{
    struct operator* operator= memory_new(1, sizeof *operator);
    operator->simulation = simulation;
    operator->host = sim_host_new(simulation->world, "10.0.2.1");
    operator->change.operator= operator;
    operator->transfer.operator= operator;
    operator->tend.run = tend;
    operator->next.run = next;
    sim_world_schedule(simulation->world, &operator->tend, TEND_US);
    return operator;
}

void operator_free(struct operator* operator)
{
    if (operator== NULL) {
        return;
    }
    sim_world_cancel(operator->simulation->world, &operator->tend);
    sim_world_cancel(operator->simulation->world, &operator->next);
    die(operator);
    free(operator);
}

void operator_heal(struct operator* operator)
{
    sim_world_cancel(operator->simulation->world, &operator->next);
    tend(&operator->tend);
}

bool operator_is_idle(const struct operator* operator)
{
    return !operator->change.busy && !operator->transfer.busy;
}

struct sim_host *operator_host(const struct operator* operator)
{
    return operator->host;
}
