/* Memberships of a small world, each in a byte: who votes in the new set, who in the old one. */
#include "small.h"

#include "base/assert.h"

enum { OLD_SHIFT = SMALL_SERVERS };

uint8_t small_encode(const struct raft_membership *membership)
{
    unsigned code = 0;
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        CHECK(member->voter || member->voter_old);
        code |= (unsigned)member->voter << (member->id - 1);
        code |= (unsigned)member->voter_old << (member->id - 1 + OLD_SHIFT);
    }
    return (uint8_t)code;
}

struct raft_membership small_decode(uint8_t code)
{
    struct raft_membership membership = {.joint = code >> OLD_SHIFT != 0};
    for (size_t i = 0; i < SMALL_SERVERS; i++) {
        bool voter = (code >> i & 1) != 0;
        bool voter_old = (code >> (i + OLD_SHIFT) & 1) != 0;
        if (voter || voter_old) {
            membership.members[membership.count++] =
                (struct raft_member){.id = i + 1, .voter = voter, .voter_old = voter_old};
        }
    }
    return membership;
}

uint8_t small_membership(const struct small_log *log, uint64_t last)
{
    for (uint64_t i = last; i > 0; i--) {
        if (log->at[i - 1].membership != 0) {
            return log->at[i - 1].membership;
        }
    }
    return SMALL_ALL_VOTE;
}

size_t small_find_memberships(const struct small_entry *entries, uint64_t first, uint64_t count,
                              struct raft_logged_membership *ret_found)
{
    size_t found = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (entries[i].membership != 0) {
            ret_found[found++] = (struct raft_logged_membership){
                .index = first + i, .membership = small_decode(entries[i].membership)};
        }
    }
    return found;
}

bool small_is_majority(uint8_t membership, uint8_t servers)
{
    unsigned voters = membership & SMALL_ALL_VOTE;
    unsigned voters_old = membership >> OLD_SHIFT;
    return __builtin_popcount(voters & servers) * 2 > __builtin_popcount(voters) &&
           (voters_old == 0 ||
            __builtin_popcount(voters_old & servers) * 2 > __builtin_popcount(voters_old));
}
