/*
 * The errors of kvapp: one table, from which the codes, the names and the sentences come.
 *
 * Functions return 0 or one of these negative codes. A failed call changes nothing and touches no
 * `ret_` argument, unless its header says otherwise. The numbers travel on the wire (see
 * docs/PROTOCOL.md), so a number, once given, keeps its meaning.
 */
#ifndef KVAPP_ERR_H
#define KVAPP_ERR_H

/* What a program that uses the library may call; everything else is hidden in it. */
#define KVAPP_PUBLIC __attribute__((visibility("default")))

/* X(code, number, kind, sentence) */
#define KV_ERR_TABLE(X)                                                                            \
    X(NO_MEMORY, -1, "resource", "out of memory")                                                  \
    X(INVALID, -2, "usage", "an argument is not valid")                                            \
    X(NOT_FOUND, -3, "key-value", "the key was not found")                                         \
    X(CONDITION, -4, "key-value", "the key's revision is not the expected one")                    \
    X(KEY_EMPTY, -5, "key-value", "the key is empty")                                              \
    X(KEY_TOO_LARGE, -6, "key-value", "the key is larger than 4096 bytes")                         \
    X(VALUE_TOO_LARGE, -7, "key-value", "the value is larger than 1048576 bytes")                  \
    X(COMMAND_UNKNOWN, -8, "key-value", "the command is not known to this version")                \
    X(SESSION_UNKNOWN, -9, "key-value", "the session is not known, has expired or was evicted")    \
    X(SEQUENCE_STALE, -10, "key-value", "the request was answered and acknowledged before")        \
    X(NOT_LEADER, -11, "raft", "this server is not the leader")                                    \
    X(NO_LEADER, -12, "raft", "the cluster has no leader at the moment")                           \
    X(OUTCOME_UNKNOWN, -13, "raft",                                                                \
      "leadership was lost, outcome unknown: the write may or may not have taken effect")          \
    X(BUSY, -14, "raft", "too much is in flight; try again")                                       \
    X(TIMEOUT, -15, "network", "no answer came in time")                                           \
    X(CONNECTION, -16, "network", "the connection was refused or broke")                           \
    X(ADDRESS, -17, "network", "the address cannot be used")                                       \
    X(FOREIGN, -18, "network", "the peer belongs to another cluster or is another node")           \
    X(MALFORMED, -19, "serialization", "the bytes do not follow the format")                       \
    X(INCOMPLETE, -20, "serialization", "more bytes are needed")                                   \
    X(CHECKSUM, -21, "serialization", "the checksum does not match")                               \
    X(VERSION, -22, "serialization", "the format or protocol version is not supported")            \
    X(IO, -23, "I/O", "reading or writing failed")                                                 \
    X(FULL, -24, "storage", "no space is left")                                                    \
    X(DAMAGED, -25, "storage", "stored data is damaged")                                           \
    X(LOCKED, -26, "storage", "the data directory is in use by another server")                    \
    X(MISMATCH, -27, "storage", "the data directory belongs to another node or cluster")           \
    X(NOT_CACHED, -28, "storage", "the entry is not in memory")                                    \
    X(STOPPED, -29, "usage", "the node or client was stopped")                                     \
    X(NO_IDENTITY, -30, "storage", "the data directory belongs to no cluster yet")                 \
    X(REMOVED, -31, "raft", "the server was removed from the cluster")                             \
    X(DIVERGED, -32, "raft", "the server's state differs from the leader's")                       \
    X(REFUSED, -33, "raft", "the change was refused")                                              \
    X(OUTDATED, -34, "storage", "the data directory is an older copy of what it was")              \
    X(NOT_INTEGER, -35, "key-value", "the value is not an integer or out of range")                \
    X(NOT_FLOAT, -36, "key-value", "the value is not a number")                                    \
    X(OVERFLOW, -37, "key-value", "the result is out of range")                                    \
    X(REPLY_TOO_LARGE, -38, "key-value", "the reply would be too large")

enum kv_err {
#define KV_ERR_ENUM(code, number, kind, sentence) KV_ERR_##code = (number),
    KV_ERR_TABLE(KV_ERR_ENUM)
#undef KV_ERR_ENUM
};

/* The code as written in the source, such as "NOT_FOUND"; "OK" for 0; "UNKNOWN" for any other. */
KVAPP_PUBLIC const char *kvapp_err_name(int err);

/* The error's kind: "key-value", "raft", "network", "storage", "I/O", "serialization", ... */
KVAPP_PUBLIC const char *kvapp_err_kind(int err);

/* One clause in plain words, without a capital letter or a full stop. Never NULL. */
KVAPP_PUBLIC const char *kvapp_err_sentence(int err);

#endif
