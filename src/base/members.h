/*
 * The text that lists a cluster: "host:port,host:port,..." numbers the members 1..N in the order
 * of the list; "1=host:port,3=host:port,..." names them. IPv6 addresses stand in brackets.
 */
#ifndef BASE_MEMBERS_H
#define BASE_MEMBERS_H

#include "base/limits.h"

#include <stddef.h>
#include <stdint.h>

struct member {
    uint64_t id;                    /* not 0 */
    char address[ADDRESS_SIZE_MAX]; /* the raft address, as written */
};

struct members {
    size_t count;
    struct member at[MEMBERS_MAX];
};

/*
 * Parses the list. On KV_ERR_INVALID `error` says what is wrong with which part: an empty part, no
 * port, a port that is no number in 1..65535, an id twice or 0, an address twice, ids on some
 * members only, more than MEMBERS_MAX.
 */
int members_parse(const char *text, struct members *ret_members, char *error, size_t error_size);

/* NULL when there is none. */
const struct member *members_find(const struct members *members, uint64_t id);
const struct member *members_find_address(const struct members *members, const char *address);

/*
 * The address with `offset` added to its port: KV_ERR_ADDRESS when that passes 65535, or when the
 * text is no "host:port".
 */
int address_add_port(const char *address, uint32_t offset, char ret_address[ADDRESS_SIZE_MAX]);

#endif
