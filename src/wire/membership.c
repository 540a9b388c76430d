#include "wire/membership.h"

#include "base/assert.h"
#include "kvapp/err.h"

#include <string.h>

enum { MEMBERSHIP_VERSION = 1 };

enum membership_flags { FLAG_JOINT = 1 << 0 };

enum member_flags {
    FLAG_VOTER = 1 << 0,
    FLAG_VOTER_OLD = 1 << 1,
    FLAG_KEEP_LEARNER = 1 << 2,
    FLAGS_ALL = FLAG_VOTER | FLAG_VOTER_OLD | FLAG_KEEP_LEARNER,
};

STATIC_CHECK((int)RAFT_ADDRESS_SIZE == (int)ADDRESS_SIZE_MAX, "addresses are addresses");
STATIC_CHECK((int)RAFT_MEMBERS_MAX == (int)MEMBERS_MAX, "members are members");

void membership_encode(const struct raft_membership *membership, struct buf *out)
{
    buf_put_u8(out, MEMBERSHIP_VERSION);
    buf_put_u8(out, membership->joint ? FLAG_JOINT : 0);
    buf_put_u16(out, (uint16_t)membership->count);
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        buf_put_u64(out, member->id);
        buf_put_u64(out, member->incarnation);
        buf_put_u32(out, (member->voter ? FLAG_VOTER : 0u) |
                             (member->voter_old ? FLAG_VOTER_OLD : 0u) |
                             (member->keep_learner ? FLAG_KEEP_LEARNER : 0u));
        buf_put_sized(out, slice_of_string(member->address));
    }
}

void membership_of_list(const struct members *members, struct raft_membership *ret_membership)
{
    *ret_membership = (struct raft_membership){.count = members->count};
    for (size_t i = 0; i < members->count; i++) {
        size_t at = 0;
        for (size_t other = 0; other < members->count; other++) {
            at += members->at[other].id < members->at[i].id;
        }
        struct raft_member *member = &ret_membership->members[at];
        member->id = members->at[i].id;
        member->voter = true;
        memcpy(member->address, members->at[i].address, sizeof member->address);
    }
}

int membership_address_decode(struct slice bytes, char ret_address[RAFT_ADDRESS_SIZE])
{
    if (bytes.size == 0 || bytes.size >= RAFT_ADDRESS_SIZE ||
        memchr(bytes.data, '\0', bytes.size) != NULL) {
        return KV_ERR_MALFORMED;
    }
    char address[ADDRESS_SIZE_MAX] = "";
    char same[ADDRESS_SIZE_MAX];
    memcpy(address, bytes.data, bytes.size);
    if (address_add_port(address, 0, same) != 0) {
        return KV_ERR_MALFORMED;
    }
    memcpy(ret_address, address, sizeof address);
    return 0;
}

static int decode_member(struct reader *reader, struct raft_member *ret_member)
{
    struct raft_member member = {.id = reader_u64(reader)};
    member.incarnation = reader_u64(reader);
    uint32_t flags = reader_u32(reader);
    struct slice address = reader_sized(reader);
    if (reader->failed || (flags & ~(uint32_t)FLAGS_ALL) != 0 ||
        membership_address_decode(address, member.address) != 0) {
        return KV_ERR_MALFORMED;
    }
    member.voter = (flags & FLAG_VOTER) != 0;
    member.voter_old = (flags & FLAG_VOTER_OLD) != 0;
    member.keep_learner = (flags & FLAG_KEEP_LEARNER) != 0;
    *ret_member = member;
    return 0;
}

int membership_decode(struct slice payload, struct raft_membership *ret_membership)
{
    struct reader reader = reader_of(payload);
    uint8_t version = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    uint16_t count = reader_u16(&reader);
    if (!reader.failed && version != MEMBERSHIP_VERSION) {
        return KV_ERR_VERSION;
    }
    if (reader.failed || (flags & ~FLAG_JOINT) != 0 || count > RAFT_MEMBERS_MAX) {
        return KV_ERR_MALFORMED;
    }
    struct raft_membership membership = {.count = count, .joint = (flags & FLAG_JOINT) != 0};
    uint64_t id = 0;
    for (size_t i = 0; i < count; i++) {
        struct raft_member *member = &membership.members[i];
        int err = decode_member(&reader, member);
        if (err != 0 || member->id <= id) {
            return KV_ERR_MALFORMED;
        }
        id = member->id;
    }
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_membership = membership;
    return 0;
}
