/*
 * A connection that speaks Redis's protocol, and its commands that are about the connection or the
 * server: redis.c and redis_*.c.
 */
#ifndef NODE_REDIS_H
#define NODE_REDIS_H

#include "base/limits.h"
#include "base/list.h"
#include "wire/redis.h"

struct client;
struct kvapp_node;

enum { REDIS_PATIENCE_MS = 3000 }; /* for a leader */

/* What one request of a unit is answered with. */
enum redis_piece_kind {
    REDIS_PIECE_BYTES, /* `size` bytes of the unit's bytes: an answer that was there at once */
    REDIS_PIECE_CALL,  /* what the store replies to a call */
    REDIS_PIECE_WORDS, /* `size` bytes of the unit's bytes: a local request whose turn comes now */
    REDIS_PIECE_WATCH, /* the revisions of `call.count` keys, in `size` bytes, are noted */
    REDIS_PIECE_SCAN,  /* a page of keys, and the cursor to go on with */
    REDIS_PIECE_EXEC,  /* `call.count` guards, then the `size` pieces that follow it */
};

struct redis_piece {
    enum redis_piece_kind kind;
    uint32_t size;
    uint8_t version; /* of the protocol, for the answer */
    bool silent;     /* CLIENT REPLY OFF */
    struct redis_call call;
};

/* Commands of the store, and the pieces that answer them, gathered in order. */
struct redis_unit {
    struct buf commands; /* as of a batch */
    struct buf pieces;   /* struct redis_piece, raw */
    struct buf bytes;    /* of the pieces, in their order */
    uint32_t count;      /* of the commands, */
    uint32_t reads;      /* and of those that may reply a value */
    bool writes;         /* one of them does */
    bool ends;           /* nothing more may be added: what follows depends on the answers */
};

enum redis_state {
    REDIS_IDLE,
    REDIS_BUSY,     /* the unit is with the store */
    REDIS_HOMELESS, /* it waits for a leader that it can be sent to */
    REDIS_WAITING,  /* WAIT */
};

struct redis {
    struct client *client;
    struct list waiting; /* in node->redis_waiting: HOMELESS, WAITING */
    struct list ready;   /* in node->redis_ready: there are bytes to go on with */
    enum redis_state state;
    struct resp_decoder decoder;
    struct buf kept; /* bytes that were received and not taken */
    unsigned version;
    uint64_t id;
    uint64_t began_ms;
    struct buf name;
    struct buf library;
    struct buf library_version;
    const char *last; /* the name of the last command */
    bool reply_off;
    bool reply_skip; /* of the next request */
    bool last_one;   /* QUIT, or bytes that make no sense: nothing more is taken */

    struct redis_unit unit; /* what is being gathered, or is with the store */
    struct buf command;     /* its bytes as one command, */
    bool batched;           /* which is a batch, even of one */
    struct buf words;       /* struct slice: of a request that was put off */
    uint64_t deadline_ms;
    uint64_t retry_ms; /* HOMELESS: not before */
    size_t accounted;  /* bytes of it among the node's waiting_bytes */
    bool executing;    /* a request that was queued, within EXEC */

    /* MULTI */
    bool multi;
    bool aborted;   /* one of the queued requests was wrong */
    bool unwatched; /* a WATCH failed: the next EXEC does not go on without it */
    struct redis_unit queued;
    uint32_t queued_local; /* of them are no commands of the store */
    struct buf watched;    /* records: revision u64, key (size u32, bytes) */
    uint32_t watched_count;

    /* WAIT */
    uint64_t write_index; /* of the newest write that was answered */
    uint64_t wanted;
};

/* The cursors that SCANs of this server have given out: redis_scan.c. */
enum { SCANS_MAX = 4096 };

struct scan {
    uint64_t cursor;
    uint64_t before; /* the one that this followed; 0: none */
    struct buf key;  /* the next one to look at, or the first behind it */
};

struct scans {
    struct scan *ring;
    uint64_t first; /* cursor; its place is the remainder, as of all */
    uint64_t next;  /* place, when none is taken over */
};

/* redis.c */
struct redis *redis_new(struct client *client);
void redis_free(struct redis *redis);
/* Bytes from the client; none: it goes on with those it has. It is closed, once all is answered,
 * when they make no sense. */
void redis_take(struct client *client, struct slice bytes);
/* False while what came before has to be answered first. */
bool redis_takes_more(const struct redis *redis);
/* Nothing of what was received is left to be answered. */
bool redis_is_done(const struct redis *redis);
/* A write on a server that does not lead, and is not to forward it: the error was appended. */
bool redis_sends_away(const struct client *client, const struct redis_command *row,
                      const struct resp_request *request, const struct resp_writer *writer);
/* The store's answer to the unit. */
void redis_answer(struct client *client, const struct reply *reply, const char *sentence);
/* Answers a unit that has no command for the store; or all of one that it has with an error. */
void redis_answer_alone(struct client *client, int status);
/* Hands the unit's command to the store; without a leader it waits for one. */
void redis_send(struct client *client);
void redis_wait_for_leader(struct client *client);
/* Goes on with the clients whose unit was answered. */
void redis_go_on(struct kvapp_node *node);
/* Tries again, or ends, what waits for a leader or for followers. */
void redis_retry(struct kvapp_node *node);
/* The node ends: who waits for a leader is told. */
void redis_stop(struct kvapp_node *node);

/* WAIT: whether the answer has to wait; else it is *ret_count. */
bool redis_wait(struct client *client, int64_t wanted, uint64_t timeout_ms, uint64_t *ret_count);

enum redis_taken { REDIS_TAKEN, REDIS_NOT_MINE, REDIS_LATER };
/* Adds what a request becomes to a unit; an answer that is there at once, or an error, to the
 * writer. REDIS_LATER: the unit is full without it. */
enum redis_taken redis_gather(struct client *client, struct redis_unit *unit,
                              const struct redis_command *row, const struct resp_request *request,
                              const struct resp_writer *writer);
void unit_add(struct redis_unit *unit, const struct redis *redis, struct redis_piece piece);
/* The answer to a request that was there at once, if it is anything. It is emptied. */
void unit_add_answer(struct redis_unit *unit, const struct redis *redis, struct buf *answer);
/* The request's words, for later. */
void unit_add_words(struct redis_unit *unit, const struct redis *redis,
                    const struct resp_request *request);
/* The pieces, commands and bytes of `other` go to the end of the unit; `other` is emptied. */
void unit_move(struct redis_unit *unit, struct redis_unit *other);
void unit_clear(struct redis_unit *unit);
/* Clears a buffer, and gives the memory of a large one back. */
void redis_empty(struct buf *buf);
/* What the connection holds while a unit is under way counts for the node's bound. */
void redis_account(struct redis *redis);
/* It goes on with what it has received, in this turn or a later one. */
void redis_be_ready(struct client *client);
void unit_done(struct redis_unit *unit);
bool unit_takes(const struct kvapp_node *node, const struct redis_unit *unit,
                const struct redis_unit *other);

/* redis_multi.c */
/* Takes the request if it is about transactions, or while one is being queued. */
enum redis_taken multi_take(struct client *client, const struct redis_command *row,
                            const struct resp_request *request, const struct resp_writer *writer);
/* A request that was wrong (row: NULL if it is not known): a transaction that is being queued will
 * not be executed. */
void multi_wrong(struct redis *redis, const struct redis_command *row);
/* The revisions of the keys that a WATCH names. */
void multi_noted(struct redis *redis, const struct redis_piece *piece, struct slice keys,
                 struct redis_replies *replies);
void multi_reset(struct redis *redis);

/* redis_local.c, redis_info.c: appends the answer of a request about connection or server. */
void redis_local(struct client *client, const struct redis_command *row,
                 const struct resp_request *request, const struct resp_writer *writer);
void redis_info(struct client *client, const struct resp_request *request,
                const struct resp_writer *writer);
/* The leader's client address; false: there is none at the moment. */
bool redis_leader_address(const struct kvapp_node *node, char ret_address[ADDRESS_SIZE_MAX]);
void redis_role(struct kvapp_node *node, const struct resp_writer *writer);
void redis_cluster(struct kvapp_node *node, const struct redis_command *row,
                   const struct resp_request *request, const struct resp_writer *writer);
void redis_sentinel(struct kvapp_node *node, const struct redis_command *row,
                    const struct resp_request *request, const struct resp_writer *writer);

/* redis_scan.c */
void scans_start(struct scans *scans, uint64_t chance);
void scans_done(struct scans *scans);
/* Makes a SCAN's command and piece; false: an error was appended. */
bool scan_begin(struct client *client, const struct resp_request *request,
                const struct resp_writer *writer, struct redis_unit *unit);
void scan_end(struct client *client, const struct redis_piece *piece, struct redis_replies *replies,
              const struct resp_writer *writer);

#endif
