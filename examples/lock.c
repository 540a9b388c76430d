/*
 * A lock that is right: taken for a while, with a fencing token.
 *
 *     lock CLUSTER TTL_MS VALUE
 *
 * takes the lock "lock", says so, waits for a line on standard input (in its place a program does
 * its work), and then writes VALUE to "data", which only the holder of the lock may write. The time
 * may have been up by then: the program may have been stopped, or its machine asleep, and somebody
 * else holds the lock. No clock can tell, but the lock's revision can: the write goes together with
 * a guard that the lock is still at the revision that it got when this program took it.
 *
 * Exit status: 0 written, 1 refused since the lock is lost, 3 no answer.
 */
#include "kvapp/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 50 };

static const char lock[] = "lock";
static const char data[] = "data";

/* Takes the lock, once it is free. The token is the revision of the put that took it: it is larger
 * than that of any holder before. */
static int take(struct kvapp_client *client, uint64_t ttl_ms, uint64_t *ret_token)
{
    const struct kvapp_how how = {.ttl_ms = ttl_ms, .only_if = KVAPP_IF_ABSENT};
    struct kvapp_reply reply;
    int err = kvapp_put_with(client, lock, strlen(lock), "taken", 5, &how, &reply);
    while (err == KV_ERR_CONDITION) {
        usleep(WAIT_MS * 1000);
        err = kvapp_put_with(client, lock, strlen(lock), "taken", 5, &how, &reply);
    }
    if (err == KV_ERR_OUTCOME_UNKNOWN && reply.session != 0) {
        /* No answer in time. Either it was applied, or, after this, it never will be. */
        err = kvapp_cancel(client, reply.session, reply.sequence, &reply);
    }
    if (err == 0) {
        *ret_token = reply.revision;
    }
    return err;
}

/* Writes the data if the lock is still ours: KV_ERR_CONDITION says that it is not. */
static int write_fenced(struct kvapp_client *client, uint64_t token, const char *value)
{
    const struct kvapp_command commands[] = {
        {.kind = KVAPP_COMMAND_GUARD,
         .key = lock,
         .key_size = strlen(lock),
         .how = {.only_if = KVAPP_IF_REVISION, .revision = token}},
        {.kind = KVAPP_COMMAND_PUT,
         .key = data,
         .key_size = strlen(data),
         .value = value,
         .value_size = strlen(value)},
    };
    const struct kvapp_batch batch = {.commands = commands, .count = 2};
    struct kvapp_reply reply;
    return kvapp_batch(client, &batch, &reply);
}

/* Gives the lock back, but not one that somebody else holds. */
static void give_back(struct kvapp_client *client, uint64_t token)
{
    struct kvapp_reply reply;
    (void)kvapp_delete_if(client, lock, strlen(lock), token, &reply);
}

static int fail(struct kvapp_client *client, int err)
{
    (void)fprintf(stderr, "lock: %s: %s\n", kvapp_err_sentence(err), kvapp_client_error(client));
    return 3;
}

static int run(struct kvapp_client *client, uint64_t ttl_ms, const char *value)
{
    uint64_t token = 0;
    int err = take(client, ttl_ms, &token);
    if (err != 0) {
        return fail(client, err);
    }
    (void)printf("locked, token %llu\n", (unsigned long long)token);
    (void)fflush(stdout);
    while (getchar() != '\n' && !feof(stdin)) {
    }
    err = write_fenced(client, token, value);
    give_back(client, token);
    if (err == KV_ERR_CONDITION) {
        (void)printf("refused: the lock was lost\n");
        return 1;
    }
    if (err != 0) {
        return fail(client, err);
    }
    (void)printf("written\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: lock CLUSTER TTL_MS VALUE\n");
        return 2;
    }
    const struct kvapp_client_options options = {.cluster = argv[1]};
    struct kvapp_client *client;
    int err = kvapp_client_new(&options, &client);
    if (err != 0) {
        (void)fprintf(stderr, "lock: %s\n", kvapp_err_sentence(err));
        return 2;
    }
    int status = run(client, strtoull(argv[2], NULL, 10), argv[3]);
    kvapp_client_free(client);
    return status;
}
