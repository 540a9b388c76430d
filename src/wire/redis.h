/*
 * Redis's commands, as far as they are pure: the table of them, what each becomes in the store's
 * own vocabulary (kv/command.h), and how the store's replies look to a client of Redis. Texts and
 * reply types are those of redis-server 7.0.15.
 *
 *     words ──redis_find──► row ──redis_translate──► kv commands + a call
 *                                                          │ applied or read, in order
 *     bytes ◄──────────────redis_render────────── call + replies
 *
 * One command of Redis becomes any number of commands, all of which share its call: MGET is one GET
 * for each key. What is about the connection or the server, and not about keys, is not translated;
 * its row says so, and src/node/redis*.c answers it.
 */
#ifndef WIRE_REDIS_H
#define WIRE_REDIS_H

#include "kv/command.h"
#include "wire/resp.h"

/* The version of Redis whose commands these are, for clients that ask. */
#define REDIS_VERSION_SPOKEN "7.0.15"

/* What COMMAND says of a command; names that are not given are the flag's in small letters. */
enum redis_flag {
    REDIS_WRITES = 1 << 0, /* "write" */
    REDIS_READS = 1 << 1,  /* "readonly" */
    REDIS_DENYOOM = 1 << 2,
    REDIS_FAST = 1 << 3,
    REDIS_LOADING = 1 << 4,
    REDIS_STALE = 1 << 5,
    REDIS_NOSCRIPT = 1 << 6,
    REDIS_ADMIN = 1 << 7,
    REDIS_NO_MULTI = 1 << 8,
    REDIS_NO_AUTH = 1 << 9,
    REDIS_MOVABLE_KEYS = 1 << 10,
    REDIS_NOT_KEY = 1 << 11,
    REDIS_PUBSUB = 1 << 12,
    REDIS_SKIP_SLOWLOG = 1 << 13,
    REDIS_ALLOW_BUSY = 1 << 14,
};

/* A command, or a subcommand. Both halves are sorted by the names of the commands. */
enum redis_id {
    /* About the connection or the server: answered by src/node, not translated. */
    REDIS_AUTH,
    REDIS_CLIENT,
    REDIS_CLIENT_GETNAME,
    REDIS_CLIENT_ID,
    REDIS_CLIENT_INFO,
    REDIS_CLIENT_LIST,
    REDIS_CLIENT_NO_EVICT,
    REDIS_CLIENT_REPLY,
    REDIS_CLIENT_SETINFO,
    REDIS_CLIENT_SETNAME,
    REDIS_CLUSTER,
    REDIS_CLUSTER_INFO,
    REDIS_CLUSTER_KEYSLOT,
    REDIS_CLUSTER_MYID,
    REDIS_CLUSTER_NODES,
    REDIS_CLUSTER_SHARDS,
    REDIS_CLUSTER_SLOTS,
    REDIS_COMMAND,
    REDIS_COMMAND_COUNT,
    REDIS_COMMAND_DOCS,
    REDIS_COMMAND_GETKEYS,
    REDIS_COMMAND_INFO,
    REDIS_COMMAND_LIST,
    REDIS_CONFIG,
    REDIS_CONFIG_GET,
    REDIS_CONFIG_SET,
    REDIS_DISCARD,
    REDIS_ECHO,
    REDIS_EXEC,
    REDIS_HELLO,
    REDIS_INFO,
    REDIS_KV_FENCE, /* kvapp's own: KV.FENCE key revision: as WATCH, of the revision that is given
                     */
    REDIS_MEMORY,
    REDIS_MULTI,
    REDIS_PING,
    REDIS_QUIT,
    REDIS_READONLY,
    REDIS_READWRITE,
    REDIS_RESET,
    REDIS_ROLE,
    REDIS_SCAN, /* its cursors are the server's */
    REDIS_SELECT,
    REDIS_SENTINEL,
    REDIS_SENTINEL_ADDRESS, /* get-master-addr-by-name */
    REDIS_SENTINEL_MASTER,
    REDIS_SENTINEL_MASTERS,
    REDIS_SENTINEL_REPLICAS,
    REDIS_SENTINEL_SENTINELS,
    REDIS_TIME,
    REDIS_UNWATCH,
    REDIS_WAIT,
    REDIS_WATCH,
    /* About keys. */
    REDIS_APPEND,
    REDIS_COPY,
    REDIS_DBSIZE,
    REDIS_DECR,
    REDIS_DECRBY,
    REDIS_DEL,
    REDIS_EXISTS,
    REDIS_EXPIRE,
    REDIS_EXPIREAT,
    REDIS_EXPIRETIME,
    REDIS_FLUSHALL,
    REDIS_FLUSHDB,
    REDIS_GET,
    REDIS_GETDEL,
    REDIS_GETEX,
    REDIS_GETRANGE,
    REDIS_GETSET,
    REDIS_INCR,
    REDIS_INCRBY,
    REDIS_INCRBYFLOAT,
    REDIS_KEYS,
    REDIS_KV_REVISION, /* kvapp's own: KV.REVISION key: the revision of its last write; null: none
                        */
    REDIS_LCS,
    REDIS_MEMORY_USAGE,
    REDIS_MGET,
    REDIS_MSET,
    REDIS_MSETNX,
    REDIS_PERSIST,
    REDIS_PEXPIRE,
    REDIS_PEXPIREAT,
    REDIS_PEXPIRETIME,
    REDIS_PSETEX,
    REDIS_PTTL,
    REDIS_RANDOMKEY,
    REDIS_RENAME,
    REDIS_RENAMENX,
    REDIS_SET,
    REDIS_SETEX,
    REDIS_SETNX,
    REDIS_SETRANGE,
    REDIS_STRLEN,
    REDIS_SUBSTR,
    REDIS_TOUCH,
    REDIS_TTL,
    REDIS_TYPE,
    REDIS_UNLINK,
    REDIS_ID_COUNT,
};

/* One row of the table. */
struct redis_command {
    enum redis_id id;
    const char *name; /* lower case; of a subcommand "client|list" */
    int arity;        /* words, the name included; negative: at least so many */
    uint32_t flags;
    int first_key; /* places among the words; 0: no keys; negative last: from the end */
    int last_key;
    int step;
    const char *group;
    const char *since;
    const char *complexity;
    const char *summary;
    const char *categories; /* of ACLs: "@read @string @fast" */
    bool is_local;          /* not translated: about the connection or the server */
};

/* The row of an id. */
const struct redis_command *redis_row(enum redis_id id);

/*
 * The row of a request's command, or of its subcommand where the command is nothing but a container
 * of them; of a container alone its own. In any case of letters. NULL: there is none.
 */
const struct redis_command *redis_find(const struct resp_request *request);

/*
 * Whether the request may go on: true; or appends the error that redis-server would give: unknown
 * command, unknown subcommand, wrong number of arguments. `row` is what redis_find gave.
 */
bool redis_check(const struct redis_command *row, const struct resp_request *request,
                 const struct resp_writer *writer);

/* Fills in the places of the keys among the words, at most `max`, and returns how many. */
size_t redis_keys(const struct redis_command *row, const struct resp_request *request,
                  size_t *places, size_t max);

/* Redis Cluster's slot of a key: CRC16 of it, or of what is between { and }, modulo 16384. */
unsigned redis_slot(struct slice key);

/* Answers COMMAND and its subcommands; the request has passed redis_check. */
void redis_describe(const struct redis_command *row, const struct resp_request *request,
                    const struct resp_writer *writer);

/* Whether a word is that one, which is given in lower case. */
bool redis_word_is(struct slice word, const char *text);

/* As number_parse (base/number.h), of numbers that are not negative. */
bool redis_parse_number(struct slice word, uint64_t *ret_number);

/* ---- into the store's vocabulary ---- */

/* How the replies of one command are rendered. Copied raw within one process; never sent. */
struct redis_call {
    enum redis_id id;
    uint32_t count; /* commands that it became */
    uint32_t flags; /* the command's own: see redis_render.c */
    int64_t number; /* likewise */
};

/* What is not in the words, and must be decided before logging. */
struct redis_chance {
    uint64_t random; /* for RANDOMKEY */
    uint64_t now_ms; /* the log's time: an expiry beyond all times is refused */
};

/*
 * Appends the commands that a request becomes to `commands`, as of a batch, and fills in its call.
 * The row is not local, and redis_check has passed. False: the request is wrong, and the error of
 * redis-server was appended to the writer instead; or it needs no command at all to be answered,
 * and the answer was. Every command passes command_check.
 */
bool redis_translate(const struct redis_command *row, const struct resp_request *request,
                     const struct redis_chance *chance, const struct resp_writer *writer,
                     struct buf *commands, struct redis_call *ret_call);

/* The replies to the commands of a batch, one after the other. */
struct redis_replies {
    struct reader reader;      /* of a batch's data */
    const struct reply *alone; /* or the one reply to a command that was sent alone; else NULL */
};

/* The next one. When there is none left: one with the status KV_ERR_MALFORMED. */
struct reply redis_next_reply(struct redis_replies *replies);

/* Takes the call's replies and appends its one value. now_ms: the cluster's time, for TTL. */
void redis_render(const struct redis_call *call, struct redis_replies *replies, uint64_t now_ms,
                  const struct resp_writer *writer);

/* The error of Redis for a status that is none of a command's own: "UNKNOWN ...", "OOM ...",
 * "CLUSTERDOWN ...", "TRYAGAIN ...". `sentence`, or NULL, is more precise than the status. */
void redis_error_of(int status, const char *sentence, const struct resp_writer *writer);

#endif
