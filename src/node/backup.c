/*
 * Backups: a snapshot's file to a client, piece by piece as the client asks for them.
 *
 *     begin ──► ASKED ──a ReadIndex round──► CONFIRMING ──applied up to there──► TAKING a snapshot
 *         ──► OPENING its file ──► READY: read, read, ... ──► end, or idle for too long
 *
 * What had been acknowledged when the request came is committed at the index that the round gives
 * (Ongaro's thesis, 6.4), so a snapshot of that index or a later one holds all of it. From then on
 * nothing depends on who leads. While there is no file yet the oldest request is answered after a
 * second all the same, so that the client knows that somebody is at work.
 *
 * Bounds: so many backups on a server, so many requests of each that wait; see node.h.
 */
#include "node/node.h"

#include <inttypes.h>

enum {
    NOT_YET_US = 1000 * 1000,
    IDLE_US = 30 * 1000 * 1000,
};

static struct backup *backup_of(struct kvapp_node *node, const struct client *client)
{
    for (size_t i = 0; i < BACKUPS_MAX; i++) {
        if (node->backups[i].client == client) {
            return &node->backups[i];
        }
    }
    return NULL;
}

static struct waiter waiter_of(const struct backup *backup, const struct backup_request *request)
{
    return (struct waiter){
        .client = backup->client,
        .request_id = request->request_id,
        .cost = REQUEST_COST,
    };
}

/* ---- requests and their answers ---- */

static struct backup_request take_oldest(struct backup *backup)
{
    CHECK(backup->request_count > 0);
    struct backup_request oldest = backup->requests[0];
    backup->request_count--;
    memmove(backup->requests, backup->requests + 1,
            backup->request_count * sizeof backup->requests[0]);
    backup->since_us = io_now_us(backup->node->io);
    return oldest;
}

static void respond(struct client *client, const struct backup_response *response)
{
    if (client->stream != NULL && !client->closing) {
        backup_response_encode(response, outbox_begin(&client->outbox));
        outbox_end(&client->outbox);
        client_mark_dirty(client);
    }
    client_release(client, REQUEST_COST);
}

static void answer_not_yet(struct backup *backup)
{
    const struct backup_response response = {.request_id = take_oldest(backup).request_id};
    respond(backup->client, &response);
}

static void answer_piece(struct backup *backup, uint64_t offset, struct slice bytes)
{
    const struct storage_snapshot_offer *offer = &backup->source.offer;
    const struct backup_response response = {
        .request_id = take_oldest(backup).request_id,
        .index = offer->index,
        .term = offer->term,
        .file_size = offer->size,
        .offset = offset,
        .bytes = bytes,
    };
    respond(backup->client, &response);
}

/* Frees the place of a backup that is over; no request of it waits. */
static void leave(struct backup *backup)
{
    struct kvapp_node *node = backup->node;
    CHECK(backup->request_count == 0);
    io_timer_cancel(node->io, &backup->timer);
    storage_snapshot_source_close(node->storage, &backup->source);
    backup->reading = false;
    backup->client = NULL;
    backup->state = BACKUP_IDLE;
}

static void end(struct backup *backup, int err, const char *sentence)
{
    TRACE(&backup->node->trace, TRACE_INFO, "a backup has ended: %s", sentence);
    const struct reply reply = {.status = err};
    while (backup->request_count > 0) {
        const struct backup_request request = take_oldest(backup);
        const struct waiter waiter = waiter_of(backup, &request);
        reply_send(backup->node, &waiter, &reply, sentence);
    }
    leave(backup);
}

static void redirect(struct backup *backup)
{
    while (backup->request_count > 0) {
        const struct backup_request request = take_oldest(backup);
        const struct waiter waiter = waiter_of(backup, &request);
        reply_redirect(backup->node, &waiter);
    }
    leave(backup);
}

/* ---- the file ---- */

/* Answers what can be answered at once, and begins the read for the next request. */
static void serve(struct backup *backup)
{
    uint64_t file_size = backup->source.offer.size;
    while (backup->state == BACKUP_READY && !backup->reading && backup->request_count > 0) {
        const struct backup_request *request = &backup->requests[0];
        if (request->action == BACKUP_BEGIN) {
            answer_piece(backup, 0, slice_of(NULL, 0));
        } else if (request->offset >= file_size) {
            answer_piece(backup, file_size, slice_of(NULL, 0));
        } else {
            uint64_t left = file_size - request->offset;
            backup->reading = true;
            storage_snapshot_source_read(backup->node->storage, &backup->source, request->offset,
                                         left < request->size ? (size_t)left : request->size);
        }
    }
}

static void source_answered(struct storage_snapshot_source *source, int err, struct slice bytes,
                            const char *sentence)
{
    struct backup *backup = CONTAINER_OF(source, struct backup, source);
    backup->reading = false;
    if (err != 0) {
        end(backup, err, sentence);
        return;
    }
    if (backup->state == BACKUP_OPENING) {
        TRACE(&backup->node->trace, TRACE_INFO,
              "a backup of the snapshot up to entry %" PRIu64 ", %" PRIu64 " bytes, begins",
              source->offer.index, source->offer.size);
        backup->state = BACKUP_READY;
    } else {
        answer_piece(backup, backup->requests[0].offset, bytes);
    }
    serve(backup);
}

/* ---- what a turn does ---- */

void backups_ask(struct kvapp_node *node)
{
    for (size_t i = 0; i < BACKUPS_MAX; i++) {
        struct backup *backup = &node->backups[i];
        if (backup->state != BACKUP_ASKED) {
            continue;
        }
        if (raft_role(node->raft) != RAFT_LEADER) {
            redirect(backup);
            continue;
        }
        backup->state = BACKUP_CONFIRMING;
        backup->term = raft_term(node->raft);
        backup->index = 0;
        backup->tag = node->reads.next_tag; /* A cluster of one confirms it within the call. */
        CHECK(reads_ask_round(node) == backup->tag);
    }
}

void backups_release(struct kvapp_node *node, uint64_t tag, uint64_t index)
{
    for (size_t i = 0; i < BACKUPS_MAX; i++) {
        struct backup *backup = &node->backups[i];
        if (backup->state == BACKUP_CONFIRMING && backup->index == 0 && backup->tag <= tag) {
            backup->index = index;
        }
    }
}

/* Waits for the round, and for its index to be applied. */
static void confirm(struct backup *backup)
{
    struct kvapp_node *node = backup->node;
    if (backup->index == 0) {
        if (raft_role(node->raft) != RAFT_LEADER || raft_term(node->raft) != backup->term) {
            redirect(backup);
        }
    } else if (kv_applied_index(node->kv) >= backup->index) {
        backup->index = snapshot_ask(node);
        backup->state = BACKUP_TAKING;
    }
}

static void wait_for_snapshot(struct backup *backup)
{
    struct kvapp_node *node = backup->node;
    if (storage_snapshot_newest(node->storage) >= backup->index) {
        backup->state = BACKUP_OPENING;
        backup->source = (struct storage_snapshot_source){.done = source_answered};
        storage_snapshot_source_open(node->storage, &backup->source);
    } else if (node->snapshot.retry_us > io_now_us(node->io)) {
        end(backup, KV_ERR_FULL, "the server could not write a snapshot; its log says why");
    }
}

static void watch_time(struct backup *backup)
{
    uint64_t now_us = io_now_us(backup->node->io);
    if (backup->request_count > 0 && backup->state != BACKUP_READY &&
        now_us >= backup->since_us + NOT_YET_US) {
        answer_not_yet(backup);
    }
    bool idle = backup->request_count == 0;
    uint64_t due_us = backup->since_us + (idle ? IDLE_US : NOT_YET_US);
    if (now_us < due_us) {
        io_timer_set(backup->node->io, &backup->timer, due_us);
    } else if (idle) {
        end(backup, KV_ERR_TIMEOUT, "nothing was asked of it for too long");
    }
}

void backups_step(struct kvapp_node *node)
{
    for (size_t i = 0; i < BACKUPS_MAX; i++) {
        struct backup *backup = &node->backups[i];
        if (backup->state == BACKUP_CONFIRMING) {
            confirm(backup);
        }
        if (backup->state == BACKUP_TAKING) {
            wait_for_snapshot(backup);
        }
        if (backup->state != BACKUP_IDLE) {
            watch_time(backup);
        }
    }
}

/* ---- from the client ---- */

static void refuse(struct client *client, uint64_t request_id, int err, const char *sentence)
{
    const struct waiter waiter = {.client = client, .request_id = request_id, .cost = REQUEST_COST};
    const struct reply reply = {.status = err};
    reply_send(client->node, &waiter, &reply, sentence);
}

/* Adds a request that the backup is to answer. */
static void push(struct backup *backup, const struct backup_request *request)
{
    if (backup->request_count == BACKUP_WAITING_MAX) {
        refuse(backup->client, request->request_id, KV_ERR_BUSY,
               "too many requests of this backup wait for their answers");
        return;
    }
    if (backup->request_count == 0) {
        backup->since_us = io_now_us(backup->node->io);
    }
    backup->requests[backup->request_count] = *request;
    backup->request_count++;
    serve(backup);
}

static void begin(struct client *client, const struct backup_request *request)
{
    struct kvapp_node *node = client->node;
    struct backup *backup = backup_of(node, client);
    if (backup != NULL) {
        end(backup, KV_ERR_INVALID, "another backup was begun on its connection");
    }
    backup = backup_of(node, NULL);
    if (backup == NULL) {
        refuse(client, request->request_id, KV_ERR_BUSY,
               "this server is giving as many backups as it may at a time; try again");
        return;
    }
    backup->client = client;
    backup->state = BACKUP_ASKED;
    push(backup, request);
}

int backup_take(struct client *client, struct slice payload)
{
    struct kvapp_node *node = client->node;
    struct backup_request request;
    int err = backup_request_decode(payload, &request);
    if (err != 0) {
        return err;
    }
    client->waiting++;
    node->waiting_bytes += REQUEST_COST;
    struct backup *backup = backup_of(node, client);
    if (request.action == BACKUP_BEGIN) {
        begin(client, &request);
    } else if (request.action == BACKUP_END) {
        if (backup != NULL) {
            end(backup, KV_ERR_INVALID, "its client has ended it");
        }
        const struct backup_response response = {.request_id = request.request_id};
        respond(client, &response);
    } else if (backup == NULL) {
        refuse(client, request.request_id, KV_ERR_INVALID,
               "no backup was begun on this connection, or it was given up; begin anew");
    } else {
        push(backup, &request);
    }
    return 0;
}

/* ---- life ---- */

void backup_lost(struct client *client)
{
    struct backup *backup = backup_of(client->node, client);
    if (backup != NULL) {
        end(backup, KV_ERR_CONNECTION, "its client is gone");
    }
}

static void time_due(struct io_timer *timer)
{
    (void)timer; /* The turn that it wakes looks at the time. */
}

void backups_init(struct kvapp_node *node)
{
    for (size_t i = 0; i < BACKUPS_MAX; i++) {
        node->backups[i] = (struct backup){.node = node};
        io_timer_init(&node->backups[i].timer, time_due);
    }
}
