/*
 * The end of a request, and what may not be an end: a request whose server is gone comes back to
 * its queue, unless that could do it twice.
 */
#include "client/client.h"

void client_finish(struct kvapp_client *client, struct pending *pending,
                   const struct kvapp_reply *reply)
{
    pending_done_fn done = pending->done;
    void *context = pending->context;
    pool_give(&client->pool, pending);
    loop_mark(client->loop, &client->user);
    done(context, reply);
}

void client_fail(struct kvapp_client *client, struct pending *pending, int status)
{
    bool maybe_applied =
        pending_is_user_write(pending) && (pending->in_doubt || pending->request_id != 0);
    struct kvapp_reply reply = {.status = status};
    if (maybe_applied) {
        reply = (struct kvapp_reply){
            .status = KV_ERR_OUTCOME_UNKNOWN,
            .session = pending->write.session,
            .sequence = pending->write.sequence,
        };
        session_doubt(&client->session, &pending->write);
    }
    client_finish(client, pending, &reply);
}

void client_fail_all(struct kvapp_client *client, int status)
{
    /* What `done` submits is newer, and does not fail with the rest. */
    uint64_t last = client->pool.orders;
    for (struct pending *oldest = pool_oldest(&client->pool);
         oldest != NULL && oldest->order <= last; oldest = pool_oldest(&client->pool)) {
        client_fail(client, oldest, status);
    }
}

void client_fail_waiting(struct kvapp_client *client, enum lane lane, int status)
{
    uint64_t last = client->pool.orders;
    for (struct pending *next = pool_next(&client->pool, lane); next != NULL && next->order <= last;
         next = pool_next(&client->pool, lane)) {
        client_fail(client, next, status);
    }
}

void client_lose(struct kvapp_client *client, struct pending *pending)
{
    if (pending_is_user_write(pending)) {
        if (client->no_session || pending->admin != NULL) {
            client_fail(client, pending, KV_ERR_OUTCOME_UNKNOWN);
            return;
        }
        pending->in_doubt = true;
    }
    pool_return(&client->pool, pending);
}
