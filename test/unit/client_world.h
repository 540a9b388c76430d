/*
 * What the tests of the client library stand on: scripted servers on the client's own loop, which
 * speak the native protocol and share one state machine, as if their log were always agreed. A test
 * says who leads and how each server behaves, or takes a request into its own hands.
 *
 * Each case runs once for each backend of the io.
 */
#ifndef TEST_CLIENT_WORLD_H
#define TEST_CLIENT_WORLD_H

#include "base/list.h"
#include "base/prng.h"
#include "io/io.h"
#include "kv/kv.h"
#include "kvapp/client.h"
#include "wire/admin.h"
#include "wire/backup.h"
#include "wire/native.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SERVERS_MAX = 3, STALE_AGE_MS = 40 };

struct world;
struct server;

/* A connection that a server accepted. */
struct visit {
    struct list link;
    struct server *server;
    struct io_stream *stream;
    struct io_receive receive;
    struct io_send send;
    struct io_close close;
    bool sending;
    bool closing;
    bool has_backup; /* one was begun on it */
    struct buf in;
    struct buf out;   /* what is to be sent next */
    struct buf going; /* what is being sent */
};

/* What becomes of a request. */
enum fate {
    FATE_ANSWER,       /* applied and answered; a follower redirects */
    FATE_IGNORE,       /* nothing */
    FATE_APPLY_SILENT, /* applied, not answered */
    FATE_APPLY_BREAK,  /* applied, then the connection is closed */
    FATE_BREAK,        /* the connection is closed */
    FATE_NO_LEADER,    /* a redirect that names nobody */
    FATE_BUSY,
    FATE_NOT_LEADER,
    FATE_FULL,
    FATE_UNKNOWN,       /* OUTCOME_UNKNOWN, not applied */
    FATE_APPLY_UNKNOWN, /* OUTCOME_UNKNOWN, applied */
    FATE_GARBAGE,       /* bytes that are no frame */
};

struct server {
    struct world *world;
    uint64_t id;
    char address[ADDRESS_SIZE_MAX]; /* of the client port */
    uint16_t port;
    struct io_accept accept;
    struct io_listener *listener; /* NULL: down */
    struct list visits;

    bool stopped;      /* takes connections, reads nothing: as after SIGSTOP */
    bool piecemeal;    /* sends a byte at a time */
    uint64_t delay_us; /* before each answer is sent */

    unsigned accepted;
    unsigned requests;
    unsigned status_requests;
    unsigned admin_requests;
    unsigned receives; /* pieces in which the bytes came */
};

/* What a server saw, for tests that look at the sequence of a session. */
struct sighting {
    uint64_t server;
    struct command command; /* its slices are gone */
};

/* The backup that whoever leads gives. */
struct world_backup {
    struct slice file;
    uint64_t index;
    unsigned not_yet;  /* so many reads are told that the file is not there yet */
    unsigned break_at; /* this piece never comes: its connection breaks and the next server leads;
                          0: none */
    unsigned nonsense_at; /* this piece is one of another file; 0: none */
    int refusal;          /* of the begin; 0: none */
    unsigned begins;
    unsigned pieces;
    unsigned ends;
};

struct world {
    bool portable_io;
    struct kvapp_client *host; /* owns the loop */
    struct kvapp_client *client;
    struct io *io;
    struct server servers[SERVERS_MAX];
    size_t server_count;
    uint64_t leader; /* id; 0: none */
    struct kv *kv;
    uint64_t log_index;
    /* NULL: every request is answered. */
    enum fate (*fate)(struct world *world, struct server *server, const struct command *command);
    /* The same for what operators ask: FATE_ANSWER, FATE_BUSY, FATE_BREAK or FATE_UNKNOWN. */
    enum fate (*admin_fate)(struct world *world, struct server *server,
                            const struct admin_request *request);
    struct world_backup backup;
    unsigned puts_applied; /* that changed the map */
    struct sighting sightings[256];
    size_t sighting_count;
    struct prng prng;
    struct list late; /* answers that wait for their server's delay */
};

/* Runs every case on both backends; the backend's name is appended to the case's. */
int run_client_cases(const char *suite, const struct CMUnitTest *cases, size_t count);

/* Listens on ports of their own. Server 1 leads. */
void start_servers(struct world *world, size_t count);
/* Stops listening and closes every connection. */
void stop_server(struct server *server);
/* Listens again, at the same address. */
void restart_server(struct server *server);
void move_server(struct server *server); /* to another port */

/* A client of all servers; zeroes in `options` are as in kvapp/client.h. */
struct kvapp_client *make_client(struct world *world, const struct kvapp_client_options *options);
/* The same, which the world keeps and frees. */
void start_client(struct world *world, const struct kvapp_client_options *options);

/* kvapp_put and kvapp_get of strings, by world->client. */
int put(struct world *world, const char *key, const char *value, struct kvapp_reply *ret_reply);
int get(struct world *world, const char *key, struct kvapp_reply *ret_reply);

/* A request on its way by world->client, and what became of it. Its key is "key-<number>". */
struct tracked {
    struct kvapp_request request;
    char key[16];
    int status;
    unsigned done;
    uint64_t revision;
};
void track(struct world *world, struct tracked *tracked, enum kvapp_request_kind kind,
           unsigned number);

/* The puts among the sightings: how many, and each in its turn. */
bool is_put(const struct command *command);
unsigned puts_seen(const struct world *world);
const struct command *nth_put(const struct world *world, unsigned n);

/* Milliseconds on the io's clock. */
uint64_t now_ms(struct world *world);
/* Turns the loop for so long. */
void turn_for_ms(struct world *world, uint32_t ms);

void assert_mentions(const char *text, const char *part);

#endif
