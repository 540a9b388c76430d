/*
 * What is on the own disk? Every step that must store something asks for a ticket; the driver
 * reports tickets in rising order once all they cover is durable.
 *
 * A ticket remembers the last entry that the log had when it was asked for. When the log is
 * truncated, the durable index and the remembered last entries of all waiting tickets are cut
 * back as well: an index that is rewritten counts as durable only by the ticket that rewrote it.
 *
 * The waiting tickets stand in a ring of fixed size. When it is full the newest place takes the
 * newer ticket over: durability is then learnt later than it could be, never earlier.
 */
#ifndef RAFT_DURABLE_H
#define RAFT_DURABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DURABLE_WAITING_MAX = 256 };

struct durable_waiting {
    uint64_t ticket;
    uint64_t last_index; /* entries up to here are durable once the ticket is stored */
    uint64_t asked_ms;
};

struct durable {
    struct durable_waiting ring[DURABLE_WAITING_MAX];
    size_t head;
    size_t count;
    uint64_t ticket_asked;  /* the newest */
    uint64_t ticket_stored; /* the newest that was reported */
    uint64_t ticket_vote;   /* the newest that covers a change of term or vote */
    uint64_t index;         /* entries up to here are durable */
};

/* A log of `last_index` entries, all on the disk. */
void durable_init(struct durable *durable, uint64_t last_index);

/* Takes a new ticket for a step that leaves the log with `last_index` entries. */
uint64_t durable_ask(struct durable *durable, uint64_t last_index, bool vote, uint64_t now_ms);

/* A ticket was reported; one that was reported before changes nothing. */
void durable_stored(struct durable *durable, uint64_t ticket);

/* Entries from `from` on are forgotten or about to be rewritten. */
void durable_truncate(struct durable *durable, uint64_t from);

/* Entries up to `index` survive a crash in a snapshot, wherever the log is. */
void durable_raise(struct durable *durable, uint64_t index);

/* The i-th oldest waiting ticket; i < count. */
const struct durable_waiting *durable_waiting(const struct durable *durable, size_t i);

#endif
