#include "raft/membership.h"

#include "base/assert.h"
#include "kvapp/err.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERSHIPS_FIRST = 8 };

/* ---- one membership ---- */

const struct raft_member *membership_find(const struct raft_membership *membership, uint64_t id)
{
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->members[i].id == id) {
            return &membership->members[i];
        }
    }
    return NULL;
}

bool membership_has_voter(const struct raft_membership *membership, uint64_t id)
{
    const struct raft_member *member = membership_find(membership, id);
    return member != NULL && (member->voter || member->voter_old);
}

void membership_sort(struct raft_membership *membership)
{
    CHECK(membership->count <= RAFT_MEMBERS_MAX);
    for (size_t i = 1; i < membership->count; i++) {
        struct raft_member member = membership->members[i];
        size_t at = i;
        while (at > 0 && membership->members[at - 1].id > member.id) {
            membership->members[at] = membership->members[at - 1];
            at--;
        }
        membership->members[at] = member;
    }
}

bool membership_is_valid(const struct raft_membership *membership)
{
    if (membership->count > RAFT_MEMBERS_MAX) {
        return false;
    }
    uint64_t id = 0;
    size_t voters = 0;
    size_t voters_old = 0;
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        if (member->id <= id || (member->voter && member->keep_learner)) {
            return false;
        }
        id = member->id;
        voters += member->voter;
        voters_old += member->voter_old;
    }
    return voters > 0 && membership->joint == (voters_old > 0);
}

static bool member_equal(const struct raft_member *a, const struct raft_member *b)
{
    return a->id == b->id && a->voter == b->voter && a->voter_old == b->voter_old &&
           a->keep_learner == b->keep_learner && a->incarnation == b->incarnation &&
           strncmp(a->address, b->address, sizeof a->address) == 0;
}

bool membership_equal(const struct raft_membership *a, const struct raft_membership *b)
{
    if (a->count != b->count || a->joint != b->joint) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!member_equal(&a->members[i], &b->members[i])) {
            return false;
        }
    }
    return true;
}

static bool same_voters(const struct raft_membership *a, const struct raft_membership *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct raft_member *other = membership_find(b, a->members[i].id);
        if (a->members[i].voter != (other != NULL && other->voter)) {
            return false;
        }
    }
    for (size_t i = 0; i < b->count; i++) {
        if (b->members[i].voter && membership_find(a, b->members[i].id) == NULL) {
            return false;
        }
    }
    return true;
}

bool membership_enter(const struct raft_membership *present, const struct raft_membership *wanted,
                      struct raft_membership *ret_first)
{
    CHECK(!present->joint && !wanted->joint);
    struct raft_membership first = *wanted;
    if (same_voters(present, wanted)) {
        *ret_first = first;
        return true;
    }
    first.joint = true;
    for (size_t i = 0; i < first.count; i++) {
        const struct raft_member *before = membership_find(present, first.members[i].id);
        first.members[i].voter_old = before != NULL && before->voter;
    }
    for (size_t i = 0; i < present->count; i++) {
        const struct raft_member *before = &present->members[i];
        if (!before->voter || membership_find(wanted, before->id) != NULL) {
            continue;
        }
        if (first.count == RAFT_MEMBERS_MAX) {
            return false;
        }
        struct raft_member leaving = *before;
        leaving.voter = false;
        leaving.voter_old = true;
        first.members[first.count++] = leaving;
    }
    membership_sort(&first);
    *ret_first = first;
    return true;
}

void membership_leave(const struct raft_membership *joint, struct raft_membership *ret_left)
{
    CHECK(joint->joint);
    struct raft_membership left = {.count = 0};
    for (size_t i = 0; i < joint->count; i++) {
        struct raft_member member = joint->members[i];
        if (member.voter_old && !member.voter && !member.keep_learner) {
            continue;
        }
        member.voter_old = false;
        left.members[left.count++] = member;
    }
    *ret_left = left;
}

bool membership_may_follow(const struct raft_membership *before, const struct raft_membership *next)
{
    if (before->joint) {
        struct raft_membership left;
        membership_leave(before, &left);
        return membership_equal(&left, next);
    }
    if (!next->joint) {
        return same_voters(before, next);
    }
    /* Those who vote in the old set are exactly those who voted before. */
    size_t voters = 0;
    for (size_t i = 0; i < before->count; i++) {
        const struct raft_member *member = membership_find(next, before->members[i].id);
        voters += before->members[i].voter;
        if (before->members[i].voter && (member == NULL || !member->voter_old)) {
            return false;
        }
    }
    for (size_t i = 0; i < next->count; i++) {
        voters -= next->members[i].voter_old;
    }
    return voters == 0;
}

/* ---- text ---- */

struct text {
    char *at;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...);

static void put(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size =
        vsnprintf(text->at + text->size, MEMBERSHIP_TEXT_SIZE - text->size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < MEMBERSHIP_TEXT_SIZE - text->size);
    text->size += (size_t)size;
}

const char *membership_text(const struct raft_membership *membership,
                            char buffer[MEMBERSHIP_TEXT_SIZE])
{
    struct text text = {.at = buffer};
    const char *space = "";
    put(&text, "%s", membership->count == 0 ? "nobody" : "");
    for (size_t i = 0; i < membership->count && membership->joint; i++) {
        if (membership->members[i].voter_old) {
            put(&text, "%s%" PRIu64, space, membership->members[i].id);
            space = " ";
        }
    }
    put(&text, "%s", membership->joint ? " ->" : "");
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->members[i].voter) {
            put(&text, "%s%" PRIu64, space, membership->members[i].id);
            space = " ";
        }
    }
    const char *learners = ", learners ";
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        if (!member->voter && (!member->voter_old || member->keep_learner)) {
            put(&text, "%s%" PRIu64 "%s", learners, member->id,
                member->keep_learner ? " (kept)" : "");
            learners = " ";
        }
    }
    return buffer;
}

/* ---- those of a log ---- */

int memberships_init(struct memberships *memberships, const struct raft_logged_membership *base)
{
    struct memberships made = {.at = NULL};
    int err = memberships_reserve(&made, 1);
    if (err != 0) {
        return err;
    }
    made.at[made.count++] = *base;
    *memberships = made;
    return 0;
}

void memberships_done(struct memberships *memberships)
{
    free(memberships->at);
    *memberships = (struct memberships){.at = NULL};
}

int memberships_reserve(struct memberships *memberships, size_t more)
{
    if (memberships->count + more <= memberships->capacity) {
        return 0;
    }
    size_t capacity = memberships->capacity == 0 ? MEMBERSHIPS_FIRST : memberships->capacity;
    while (capacity < memberships->count + more) {
        capacity *= 2;
    }
    struct raft_logged_membership *at = realloc(memberships->at, capacity * sizeof *at);
    if (at == NULL) {
        return KV_ERR_NO_MEMORY;
    }
    memberships->at = at;
    memberships->capacity = capacity;
    return 0;
}

void memberships_push(struct memberships *memberships, uint64_t index,
                      const struct raft_membership *membership)
{
    CHECK(index > memberships_newest(memberships)->index);
    CHECK(memberships->count < memberships->capacity);
    memberships->at[memberships->count++] =
        (struct raft_logged_membership){.index = index, .membership = *membership};
}

bool memberships_truncate(struct memberships *memberships, uint64_t from)
{
    size_t count = memberships->count;
    while (memberships->count > 1 && memberships_newest(memberships)->index >= from) {
        memberships->count--;
    }
    return memberships->count < count;
}

void memberships_compact(struct memberships *memberships, uint64_t index)
{
    size_t gone = 0;
    while (gone + 1 < memberships->count && memberships->at[gone + 1].index <= index) {
        gone++;
    }
    memberships->count -= gone;
    memmove(memberships->at, memberships->at + gone, memberships->count * sizeof *memberships->at);
}

void memberships_reset(struct memberships *memberships, uint64_t index,
                       const struct raft_membership *membership)
{
    memberships->count = 1;
    memberships->at[0] = (struct raft_logged_membership){.index = index, .membership = *membership};
}

const struct raft_logged_membership *memberships_newest(const struct memberships *memberships)
{
    CHECK(memberships->count > 0);
    return &memberships->at[memberships->count - 1];
}

const struct raft_logged_membership *memberships_at(const struct memberships *memberships,
                                                    uint64_t index)
{
    size_t count = memberships->count;
    while (count > 1 && memberships->at[count - 1].index > index) {
        count--;
    }
    return &memberships->at[count - 1];
}
