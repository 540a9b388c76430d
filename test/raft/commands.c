/* What each command of a script does; script.h lists them. */
#include "core.h"
#include "script.h"

#include "base/assert.h"
#include "base/memory.h"
#include "kvapp/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORDS_MAX = 32,
    STEPS_MAX = 20000, /* of one settle or run: more would be a storm of messages */
};

struct words {
    char text[512];
    const char *at[WORDS_MAX];
    size_t count;
};

struct link {
    uint64_t from;
    uint64_t to;
};

typedef bool (*command_fn)(struct stage *stage, const struct words *words);

/* ---- words ---- */

static bool split(const char *line, struct words *ret_words)
{
    if (strlen(line) >= sizeof ret_words->text) {
        return false;
    }
    memcpy(ret_words->text, line, strlen(line) + 1);
    ret_words->count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(ret_words->text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        if (ret_words->count == WORDS_MAX) {
            return false;
        }
        ret_words->at[ret_words->count++] = word;
    }
    return ret_words->count > 0;
}

static uint64_t number(const struct words *words, size_t i, uint64_t otherwise)
{
    return i < words->count ? strtoull(words->at[i], NULL, 10) : otherwise;
}

static struct server *server_at(struct stage *stage, const struct words *words, size_t i)
{
    return cluster_server(&stage->cluster, number(words, i, 0));
}

static bool link_at(const struct words *words, size_t i, struct link *ret_link)
{
    return i < words->count &&
           sscanf(words->at[i], "%" SCNu64 "->%" SCNu64, &ret_link->from, &ret_link->to) == 2;
}

static void report(struct stage *stage, const struct server *server, int err)
{
    if (err != 0) {
        show(stage, "%" PRIu64 " refuses: %s", server->id, kvapp_err_name(err));
    }
}

/* ---- messages and writes ---- */

static void on_send(void *context, struct parcel *parcel)
{
    struct stage *stage = context;
    if (stage->cut[parcel->message.from][parcel->message.to]) {
        show_message(stage, " (cut)", parcel);
        parcel_free(parcel);
        return;
    }
    show_message(stage, "", parcel);
    struct flight *flight = memory_new(1, sizeof *flight);
    flight->parcel = parcel;
    struct flight **end = &stage->flights;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = flight;
}

/* The oldest message of the link; with link 0->0 the oldest that may be delivered freely. */
static struct parcel *take_parcel(struct stage *stage, struct link link)
{
    for (struct flight **at = &stage->flights; *at != NULL; at = &(*at)->next) {
        struct flight *flight = *at;
        const struct raft_message *message = &flight->parcel->message;
        bool wanted = message->from == link.from && message->to == link.to;
        if (link.from == 0) {
            wanted = !stage->held[message->from][message->to] && !stage->paused[message->to];
        }
        if (wanted) {
            struct parcel *parcel = flight->parcel;
            *at = flight->next;
            free(flight);
            return parcel;
        }
    }
    return NULL;
}

static void hand_over(struct stage *stage, const struct parcel *parcel)
{
    struct server *server = cluster_server(&stage->cluster, parcel->message.to);
    if (server->raft == NULL) {
        show_message(stage, " (down)", parcel);
        return;
    }
    report(stage, server, server_receive(server, parcel));
}

static bool deliver_one(struct stage *stage, struct link link)
{
    struct parcel *parcel = take_parcel(stage, link);
    if (parcel == NULL) {
        return false;
    }
    hand_over(stage, parcel);
    parcel_free(parcel);
    return true;
}

static bool store_one(struct stage *stage)
{
    for (uint64_t id = 1; id <= stage->cluster.count; id++) {
        struct server *server = cluster_server(&stage->cluster, id);
        if (server->raft != NULL && !stage->stalled[id] && !stage->paused[id] &&
            server_writes(server) > 0) {
            report(stage, server, server_store(server, server_writes(server)));
            return true;
        }
    }
    return false;
}

static void settle(struct stage *stage)
{
    const struct link any = {.from = 0};
    size_t steps = 0;
    while (deliver_one(stage, any) || store_one(stage)) {
        CHECK(++steps < STEPS_MAX);
    }
}

/* ---- the commands ---- */

static bool command_cluster(struct stage *stage, const struct words *words)
{
    size_t count = number(words, 1, 0);
    if (count == 0 || count > RAFT_MEMBERS_MAX || stage->cluster.count != 0) {
        return false;
    }
    struct raft_config *config = &stage->cluster.config;
    *config = core_config(count);
    uint64_t seed = 1;
    for (size_t i = 2; i + 1 < words->count; i += 2) {
        uint64_t value = number(words, i + 1, 0);
        if (strcmp(words->at[i], "voters") == 0) {
            config->membership.count = value;
        } else if (strcmp(words->at[i], "window") == 0) {
            config->window_appends = value;
        } else if (strcmp(words->at[i], "entries") == 0) {
            config->append_entries_max = value;
        } else if (strcmp(words->at[i], "uncommitted") == 0) {
            config->uncommitted_max = value;
        } else if (strcmp(words->at[i], "stall") == 0) {
            config->disk_stall_ms = value;
        } else if (strcmp(words->at[i], "lease") == 0) {
            config->lease = value != 0;
        } else if (strcmp(words->at[i], "seed") == 0) {
            seed = value;
        } else {
            return false;
        }
    }
    cluster_init(&stage->cluster, count, seed);
    return true;
}

static bool command_log(struct stage *stage, const struct words *words)
{
    uint64_t terms[WORDS_MAX];
    size_t count = 0;
    for (size_t i = 2; i < words->count; i++) {
        terms[count++] = number(words, i, 0);
    }
    server_preset(server_at(stage, words, 1), terms, count);
    return true;
}

static bool command_term(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    server->disk.term = number(words, 2, 0);
    server->disk.voted_for = number(words, 3, 0);
    return true;
}

static bool command_start(struct stage *stage, const struct words *words)
{
    if (words->count == 1) {
        for (uint64_t id = 1; id <= stage->cluster.count; id++) {
            server_start(cluster_server(&stage->cluster, id));
        }
    }
    for (size_t i = 1; i < words->count; i++) {
        server_start(server_at(stage, words, i));
    }
    return true;
}

static bool command_tick(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    server->ahead_ms += number(words, 2, 0);
    report(stage, server, server_tick(server));
    return true;
}

static bool command_wait(struct stage *stage, const struct words *words)
{
    stage->cluster.now_ms += number(words, 1, 0);
    return true;
}

static bool command_elect(struct stage *stage, const struct words *words)
{
    const struct raft_config *config = &stage->cluster.config;
    struct server *server = server_at(stage, words, 1);
    stage->cluster.now_ms += config->election_min_ms;
    server->ahead_ms += config->election_max_ms - config->election_min_ms;
    report(stage, server, server_tick(server));
    settle(stage);
    return true;
}

static bool command_propose(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    report(stage, server, server_propose(server, number(words, 2, 1)));
    return true;
}

static bool command_read(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    report(stage, server, server_read(server));
    return true;
}

static bool command_lease(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    show(stage, "%" PRIu64 " has %s", server->id, server_lease(server) ? "a lease" : "no lease");
    return true;
}

static bool command_change(struct stage *stage, const struct words *words)
{
    struct raft_membership wanted = {.count = 0};
    struct raft_member kind = {.voter = true};
    for (size_t i = 2; i < words->count; i++) {
        if (strcmp(words->at[i], "learners") == 0) {
            kind = (struct raft_member){.voter = false};
        } else if (strcmp(words->at[i], "kept") == 0) {
            kind = (struct raft_member){.keep_learner = true};
        } else if (wanted.count < RAFT_MEMBERS_MAX) {
            kind.id = number(words, i, 0);
            wanted.members[wanted.count++] = kind;
        }
    }
    struct server *server = server_at(stage, words, 1);
    report(stage, server, server_change(server, &wanted));
    return true;
}

static bool command_transfer(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    report(stage, server, server_transfer(server, number(words, 2, 0)));
    return true;
}

static bool command_step_down(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    report(stage, server, server_step_down(server));
    return true;
}

static bool command_deliver(struct stage *stage, const struct words *words)
{
    struct link link = {.from = 0};
    if (!link_at(words, 1, &link) && strcmp(words->at[words->count - 1], "all") != 0) {
        return false;
    }
    uint64_t count = number(words, 2, STEPS_MAX);
    while (count > 0 && deliver_one(stage, link)) {
        count--;
    }
    return words->count < 3 || count == 0;
}

static bool command_drop(struct stage *stage, const struct words *words)
{
    struct link link = {.from = 0};
    if (!link_at(words, 1, &link)) {
        return false;
    }
    uint64_t count = number(words, 2, STEPS_MAX);
    struct parcel *parcel = NULL;
    while (count > 0 && (parcel = take_parcel(stage, link)) != NULL) {
        show_message(stage, " (lost)", parcel);
        parcel_free(parcel);
        count--;
    }
    return words->count < 3 || count == 0;
}

static bool command_duplicate(struct stage *stage, const struct words *words)
{
    struct link link = {.from = 0};
    if (!link_at(words, 1, &link)) {
        return false;
    }
    uint64_t before = number(words, 2, 1);
    for (struct flight *flight = stage->flights; flight != NULL; flight = flight->next) {
        const struct raft_message *message = &flight->parcel->message;
        if (message->from == link.from && message->to == link.to && --before == 0) {
            hand_over(stage, flight->parcel);
            return true;
        }
    }
    return false;
}

static bool command_hold(struct stage *stage, const struct words *words)
{
    struct link link = {.from = 0};
    if (!link_at(words, 1, &link)) {
        return false;
    }
    stage->held[link.from][link.to] = strcmp(words->at[0], "hold") == 0;
    return true;
}

static bool command_store(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    size_t count = number(words, 2, server_writes(server));
    if (count == 0 || count > server_writes(server)) {
        return false;
    }
    report(stage, server, server_store(server, count));
    return true;
}

static bool command_compact(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    struct raft_compacted compacted = {.snapshot_index = number(words, 2, 0)};
    compacted.compacted_index = number(words, 3, compacted.snapshot_index);
    report(stage, server, server_compact(server, compacted, true));
    return true;
}

static bool command_install(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    uint64_t index = number(words, 2, server->receiving);
    if (index == 0) {
        return false;
    }
    server_save_received(server, index);
    if (strcmp(words->at[0], "install") == 0) {
        report(stage, server, server_installed(server, index));
    }
    return true;
}

static bool command_sent(struct stage *stage, const struct words *words)
{
    struct link link = {.from = 0};
    if (!link_at(words, 1, &link)) {
        return false;
    }
    struct raft_snapshot_ended ended = {
        .id = link.to,
        .index = number(words, 2, 0),
        .ok = strcmp(words->at[0], "sent") == 0,
    };
    struct server *server = cluster_server(&stage->cluster, link.from);
    report(stage, server, server_snapshot_ended(server, ended));
    return true;
}

static bool command_stall(struct stage *stage, const struct words *words)
{
    stage->stalled[server_at(stage, words, 1)->id] = strcmp(words->at[0], "stall") == 0;
    return true;
}

static bool command_pause(struct stage *stage, const struct words *words)
{
    stage->paused[server_at(stage, words, 1)->id] = strcmp(words->at[0], "pause") == 0;
    return true;
}

static bool command_crash(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    show(stage, "%" PRIu64 " crashes; writes lost: %zu", server->id, server_writes(server));
    server_crash(server, 0, 0);
    return true;
}

/* "lose ID": the bound is known; "lose ID unbounded". */
static bool command_lose(struct stage *stage, const struct words *words)
{
    struct server *server = server_at(stage, words, 1);
    if (server->raft != NULL) {
        return false;
    }
    server_lose_log(server, words->count == 2);
    return true;
}

static bool command_cut(struct stage *stage, const struct words *words)
{
    struct link link = {.from = 0};
    if (link_at(words, 1, &link)) {
        stage->cut[link.from][link.to] = true;
        return true;
    }
    if (words->count < 2 ||
        sscanf(words->at[1], "%" SCNu64 "-%" SCNu64, &link.from, &link.to) != 2) {
        return false;
    }
    stage->cut[link.from][link.to] = true;
    stage->cut[link.to][link.from] = true;
    return true;
}

static bool command_partition(struct stage *stage, const struct words *words)
{
    size_t side[LINK_MAX] = {0};
    size_t sides = 1;
    for (size_t i = 1; i < words->count; i++) {
        if (strcmp(words->at[i], "|") == 0) {
            sides++;
        } else {
            side[server_at(stage, words, i)->id] = sides;
        }
    }
    for (size_t a = 1; a <= stage->cluster.count; a++) {
        for (size_t b = 1; b <= stage->cluster.count; b++) {
            stage->cut[a][b] = side[a] != side[b];
        }
    }
    return sides > 1;
}

static bool command_heal(struct stage *stage, const struct words *words)
{
    memset(stage->cut, 0, sizeof stage->cut);
    return words->count == 1;
}

static bool command_settle(struct stage *stage, const struct words *words)
{
    settle(stage);
    return words->count == 1;
}

/* The server whose tick is due first, or NULL. */
static struct server *next_awake(struct stage *stage)
{
    struct server *next = NULL;
    for (uint64_t id = 1; id <= stage->cluster.count; id++) {
        struct server *server = cluster_server(&stage->cluster, id);
        if (server->raft != NULL && !stage->paused[id] &&
            (next == NULL || server->wake_ms < next->wake_ms)) {
            next = server;
        }
    }
    return next;
}

static bool command_run(struct stage *stage, const struct words *words)
{
    uint64_t end_ms = stage->cluster.now_ms + number(words, 1, 0);
    bool quiet = stage->quiet;
    stage->quiet = true;
    stage->timed = true;
    stage->time_base_ms = stage->cluster.now_ms;
    settle(stage);
    size_t steps = 0;
    for (struct server *next = next_awake(stage); next != NULL && next->wake_ms < end_ms;
         next = next_awake(stage)) {
        CHECK(++steps < STEPS_MAX);
        if (next->wake_ms > stage->cluster.now_ms) {
            stage->cluster.now_ms = next->wake_ms;
        }
        CHECK(server_tick(next) == 0);
        CHECK(next->wake_ms > stage->cluster.now_ms);
        settle(stage);
    }
    stage->cluster.now_ms = end_ms;
    stage->quiet = quiet;
    stage->timed = false;
    return true;
}

static bool command_show(struct stage *stage, const struct words *words)
{
    if (strcmp(words->at[0], "state") == 0) {
        show_state(stage);
    } else if (strcmp(words->at[0], "logs") == 0) {
        show_logs(stage);
    } else {
        show_members(stage);
    }
    return words->count == 1;
}

static const struct {
    const char *name;
    command_fn run;
    size_t words_min;
} COMMANDS[] = {
    {"cluster", command_cluster, 2},
    {"log", command_log, 2},
    {"term", command_term, 3},
    {"start", command_start, 1},
    {"restart", command_start, 2},
    {"tick", command_tick, 2},
    {"wait", command_wait, 2},
    {"elect", command_elect, 2},
    {"propose", command_propose, 3},
    {"read", command_read, 2},
    {"lease", command_lease, 2},
    {"deliver", command_deliver, 2},
    {"drop", command_drop, 2},
    {"duplicate", command_duplicate, 2},
    {"hold", command_hold, 2},
    {"release", command_hold, 2},
    {"store", command_store, 2},
    {"stall", command_stall, 2},
    {"unstall", command_stall, 2},
    {"pause", command_pause, 2},
    {"resume", command_pause, 2},
    {"crash", command_crash, 2},
    {"lose", command_lose, 2},
    {"cut", command_cut, 2},
    {"partition", command_partition, 4},
    {"heal", command_heal, 1},
    {"compact", command_compact, 3},
    {"save", command_install, 2},
    {"install", command_install, 2},
    {"sent", command_sent, 3},
    {"unsent", command_sent, 3},
    {"settle", command_settle, 1},
    {"run", command_run, 2},
    {"state", command_show, 1},
    {"logs", command_show, 1},
    {"change", command_change, 3},
    {"transfer", command_transfer, 2},
    {"step-down", command_step_down, 2},
    {"members", command_show, 1},
};

bool stage_command(struct stage *stage, const char *line)
{
    static const char QUIETLY[] = "quietly ";
    if (strncmp(line, QUIETLY, strlen(QUIETLY)) == 0) {
        stage->quiet = true;
        line += strlen(QUIETLY);
    }
    struct words words;
    bool done = false;
    if (split(line, &words)) {
        for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++) {
            if (strcmp(words.at[0], COMMANDS[i].name) == 0 &&
                words.count >= COMMANDS[i].words_min) {
                done = COMMANDS[i].run(stage, &words);
            }
        }
    }
    stage->quiet = false;
    return done;
}

/* ---- life ---- */

struct stage *stage_new(struct buf *out)
{
    struct stage *stage = memory_new(1, sizeof *stage);
    stage->out = out;
    stage->cluster.on_send = on_send;
    stage->cluster.on_effects = show_effects;
    stage->cluster.on_trace = show_trace;
    stage->cluster.trace_level = TRACE_DEBUG;
    stage->cluster.context = stage;
    return stage;
}

void stage_free(struct stage *stage)
{
    const struct link any = {.from = 0};
    memset(stage->held, 0, sizeof stage->held);
    memset(stage->paused, 0, sizeof stage->paused);
    for (struct parcel *parcel = take_parcel(stage, any); parcel != NULL;
         parcel = take_parcel(stage, any)) {
        parcel_free(parcel);
    }
    cluster_done(&stage->cluster);
    free(stage);
}
