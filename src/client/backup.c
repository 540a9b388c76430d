/*
 * Fetching a backup. Its requests go the way of all others (exchange.c), so a leader is found, and
 * a broken connection is made anew; but the file is on one connection of one server, so after that
 * the reads are refused, and the backup begins anew.
 */
#include "client/client.h"

#include <inttypes.h>

enum {
    BACKUP_BEGINNINGS_MAX = 10,
    BACKUP_WINDOW = 4, /* pieces in flight */
    TURN_WAIT_MS = 1000,
};

struct backup_call;

struct backup_slot {
    struct backup_call *call;
    bool in_flight;
    struct backup_exchange exchange;
};

struct backup_call {
    struct kvapp_client *client;
    struct kvapp_backup *backup;
    struct backup_slot slots[BACKUP_WINDOW];
    size_t in_flight;
    int err;        /* the first thing that went wrong */
    bool refused;   /* by the caller */
    bool begun;     /* the file is there: its size and index are known */
    uint64_t asked; /* bytes before it were asked for */
    uint64_t taken; /* bytes before it came */
};

void client_submit_backup(struct kvapp_client *client, struct backup_exchange *exchange,
                          pending_done_fn done, void *context)
{
    /* A get is what it is like: repeated without harm, and in need of no session. */
    const struct command command = {.operation = OPERATION_GET};
    pool_take(&client->pool, &command, KVAPP_READS_DEFAULT, done, context)->backup = exchange;
    loop_mark(client->loop, &client->user);
}

int backup_received(struct contact *contact, struct slice payload)
{
    struct backup_response response;
    int err = backup_response_decode(payload, &response);
    if (err != 0) {
        return err;
    }
    struct kvapp_client *client = contact->client;
    struct pending *pending = pool_find(&client->pool, response.request_id);
    if (pending == NULL || pending->sent_to != contact) {
        return 0;
    }
    if (pending->backup == NULL) {
        return KV_ERR_MALFORMED;
    }
    if (pending->backup->request.action == BACKUP_BEGIN && contact == client_target(client)) {
        leader_answered(&client->leader, contact->id);
    }
    pending->backup->response = response;
    pending->backup->answered = true;
    const struct kvapp_reply reply = {0};
    client_finish(client, pending, &reply);
    return 0;
}

static void note(struct backup_call *call, int err)
{
    if (call->err == 0) {
        call->err = err;
    }
}

static void note_nonsense(struct backup_call *call)
{
    client_explain(call->client, "what the server sent is not the backup that was begun");
    note(call, KV_ERR_MALFORMED);
}

static void refuse(struct backup_call *call)
{
    call->refused = true;
    client_explain(call->client, "the backup was given up");
    note(call, KV_ERR_STOPPED);
}

static void take_beginning(struct backup_call *call, const struct backup_response *response)
{
    struct kvapp_backup *backup = call->backup;
    call->begun = true;
    backup->index = response->index;
    backup->size = response->file_size;
    if (!backup->begin(backup)) {
        refuse(call);
    }
}

static void take_piece(struct backup_call *call, const struct backup_request *request,
                       const struct backup_response *response)
{
    struct kvapp_backup *backup = call->backup;
    uint64_t left = backup->size - call->taken;
    size_t expected = left < request->size ? (size_t)left : request->size;
    if (response->index != backup->index || response->file_size != backup->size ||
        response->offset != call->taken || response->bytes.size != expected) {
        note_nonsense(call);
        return;
    }
    call->taken += expected;
    if (!backup->piece(backup, response->bytes.data, response->bytes.size)) {
        refuse(call);
    }
}

static void take_answer(struct backup_call *call, const struct backup_exchange *exchange)
{
    const struct backup_response *response = &exchange->response;
    if (!exchange->answered) {
        note_nonsense(call);
        return;
    }
    if (response->file_size == 0) {
        return;
    }
    if (!call->begun) {
        take_beginning(call, response);
    }
    if (exchange->request.action == BACKUP_READ && call->err == 0) {
        take_piece(call, &exchange->request, response);
    }
}

static void slot_done(void *context, const struct kvapp_reply *reply)
{
    struct backup_slot *slot = context;
    struct backup_call *call = slot->call;
    slot->in_flight = false;
    call->in_flight--;
    if (reply->status != 0) {
        note(call, reply->status);
    } else if (call->err == 0) {
        take_answer(call, &slot->exchange);
    }
}

static void submit(struct backup_call *call, const struct backup_request *request)
{
    struct backup_slot *slot = call->slots;
    while (slot->in_flight) {
        slot++;
        CHECK(slot < call->slots + BACKUP_WINDOW);
    }
    *slot = (struct backup_slot){.call = call, .in_flight = true};
    slot->exchange.request = *request;
    call->in_flight++;
    client_submit_backup(call->client, &slot->exchange, slot_done, slot);
}

static void run(struct backup_call *call)
{
    (void)kvapp_client_run(call->client, TURN_WAIT_MS); /* A failure ends what is in flight. */
}

static void finish_flight(struct backup_call *call)
{
    while (call->in_flight > 0) {
        run(call);
    }
}

/* Begins, and asks until the file is there. */
static void begin(struct backup_call *call)
{
    submit(call, &(struct backup_request){.action = BACKUP_BEGIN});
    finish_flight(call);
    while (call->err == 0 && !call->begun) {
        submit(call,
               &(struct backup_request){.action = BACKUP_READ, .size = BACKUP_PIECE_SIZE_MAX});
        call->asked = BACKUP_PIECE_SIZE_MAX;
        finish_flight(call);
    }
}

static void fetch(struct backup_call *call)
{
    while (call->err == 0 && call->taken < call->backup->size) {
        while (call->in_flight < BACKUP_WINDOW && call->asked < call->backup->size) {
            submit(call, &(struct backup_request){.action = BACKUP_READ,
                                                  .size = BACKUP_PIECE_SIZE_MAX,
                                                  .offset = call->asked});
            call->asked += BACKUP_PIECE_SIZE_MAX;
        }
        run(call);
    }
    finish_flight(call);
}

/* Tells the server that the file may be closed; nothing depends on its answer. */
static void say_goodbye(struct backup_call *call)
{
    struct backup_call goodbye = {.client = call->client, .backup = call->backup};
    submit(&goodbye, &(struct backup_request){.action = BACKUP_END});
    finish_flight(&goodbye);
}

int kvapp_backup(struct kvapp_client *client, struct kvapp_backup *backup)
{
    CHECK(!client->loop->running);
    for (int beginning = 1;; beginning++) {
        struct backup_call call = {.client = client, .backup = backup};
        begin(&call);
        bool began = call.begun;
        if (call.err == 0) {
            fetch(&call);
        }
        if (call.err == 0 || call.refused) {
            say_goodbye(&call);
            return call.err;
        }
        bool may_mend = call.err == KV_ERR_INVALID ||
                        (began && (call.err == KV_ERR_TIMEOUT || call.err == KV_ERR_CONNECTION));
        if (!may_mend || beginning == BACKUP_BEGINNINGS_MAX) {
            return call.err;
        }
    }
}
