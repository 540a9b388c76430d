/*
 * A membership as bytes: the payload of a log entry of kind ENTRY_MEMBERSHIP, and what a snapshot
 * says of the members at its index.
 *
 *     version u8 (1) │ flags u8 (1: joint) │ count u16
 *     │ count × (id u64 │ incarnation u64 │ flags u32 │ address (size u32, bytes))
 *
 * Flags of a member: 1 voter, 2 voter of the old set, 4 kept learner. Ids rise.
 */
#ifndef WIRE_MEMBERSHIP_H
#define WIRE_MEMBERSHIP_H

#include "base/bytes.h"
#include "base/members.h"
#include "kvapp/raft.h"

void membership_encode(const struct raft_membership *membership, struct buf *out);

/* 0; KV_ERR_VERSION; KV_ERR_MALFORMED: also when ids do not rise or an address is no "host:port".
 * Whether it makes sense to Raft is for the core. */
int membership_decode(struct slice payload, struct raft_membership *ret_membership);

/* All of the list vote; the ids rise then, as they do in every membership. */
void membership_of_list(const struct members *members, struct raft_membership *ret_membership);

/* A member's address, "host:port", as a string; KV_ERR_MALFORMED when it is none. */
int membership_address_decode(struct slice bytes, char ret_address[RAFT_ADDRESS_SIZE]);

#endif
