/*
 * Payloads, little-endian; "sized" is a u32 size and that many bytes:
 *
 *     AdminRequest   request_id u64 │ verb u32 │ flags u32 (1: dry run, 2: force) │ target u64
 *                    │ count u32 │ count × (operation u32 │ id u64 │ address sized)
 *     AdminResponse  request_id u64 │ id u64 │ status i32 │ flags u32 (1: membership, 2: plan)
 *                    │ index u64 │ leader u64 │ text sized
 *                    │ membership sized (wire/membership.h)
 *                      │ each of its members: flags u32 (1: connected) │ priority u32 │ match u64
 *                    │ plan: flags u32 (1: joint) │ before, after: count u32, quorum u32, ready u32
 *                      │ wanted sized (wire/membership.h)
 */
#include "wire/admin.h"

#include "base/assert.h"
#include "wire/membership.h"

enum request_flags {
    FLAG_DRY_RUN = 1 << 0,
    FLAG_FORCE = 1 << 1,
    REQUEST_FLAGS_ALL = FLAG_DRY_RUN | FLAG_FORCE,
};

enum response_flags {
    FLAG_MEMBERSHIP = 1 << 0,
    FLAG_PLAN = 1 << 1,
    RESPONSE_FLAGS_ALL = FLAG_MEMBERSHIP | FLAG_PLAN,
};

enum member_flags { FLAG_CONNECTED = 1 << 0 };
enum plan_flags { FLAG_JOINT = 1 << 0 };

/* ---- requests ---- */

void admin_request_encode(const struct admin_request *request, struct buf *out)
{
    CHECK(request->edit_count <= ADMIN_EDITS_MAX);
    CHECK((request->edit_count > 0) == (request->verb == ADMIN_CHANGE));
    size_t mark = frame_begin(out, FRAME_ADMIN_REQUEST);
    buf_put_u64(out, request->request_id);
    buf_put_u32(out, (uint32_t)request->verb);
    buf_put_u32(out, (request->dry_run ? FLAG_DRY_RUN : 0u) | (request->force ? FLAG_FORCE : 0u));
    buf_put_u64(out, request->target);
    buf_put_u32(out, (uint32_t)request->edit_count);
    for (size_t i = 0; i < request->edit_count; i++) {
        const struct membership_edit *edit = &request->edits[i];
        buf_put_u32(out, (uint32_t)edit->operation);
        buf_put_u64(out, edit->id);
        buf_put_sized(out, slice_of_string(edit->address));
    }
    frame_end(out, mark);
}

static bool has_address(uint32_t operation)
{
    return operation == EDIT_ADD_LEARNER || operation == EDIT_ADD_KEPT || operation == EDIT_MOVE;
}

static int decode_edit(struct reader *reader, struct membership_edit *ret_edit)
{
    uint32_t operation = reader_u32(reader);
    struct membership_edit edit = {.id = reader_u64(reader)};
    struct slice address = reader_sized(reader);
    if (reader->failed || operation >= EDIT_OPERATION_COUNT || edit.id == 0) {
        return KV_ERR_MALFORMED;
    }
    edit.operation = (enum edit_operation)operation;
    bool fits = has_address(operation) ? membership_address_decode(address, edit.address) == 0
                                       : address.size == 0;
    if (!fits) {
        return KV_ERR_MALFORMED;
    }
    *ret_edit = edit;
    return 0;
}

/* Whether it has what its verb has, and nothing else. */
static bool request_is_whole(const struct admin_request *request)
{
    bool is_change = request->verb == ADMIN_CHANGE;
    return is_change == (request->edit_count > 0) &&
           (is_change || (!request->dry_run && !request->force)) &&
           (request->verb == ADMIN_TRANSFER || request->target == 0);
}

int admin_request_decode(struct slice payload, struct admin_request *ret_request)
{
    struct reader reader = reader_of(payload);
    struct admin_request request = {.request_id = reader_u64(&reader)};
    uint32_t verb = reader_u32(&reader);
    uint32_t flags = reader_u32(&reader);
    request.target = reader_u64(&reader);
    request.edit_count = reader_u32(&reader);
    if (reader.failed || verb >= ADMIN_VERB_COUNT || (flags & ~(uint32_t)REQUEST_FLAGS_ALL) != 0 ||
        request.edit_count > ADMIN_EDITS_MAX) {
        return KV_ERR_MALFORMED;
    }
    request.verb = (enum admin_verb)verb;
    request.dry_run = (flags & FLAG_DRY_RUN) != 0;
    request.force = (flags & FLAG_FORCE) != 0;
    for (size_t i = 0; i < request.edit_count; i++) {
        int err = decode_edit(&reader, &request.edits[i]);
        if (err != 0) {
            return err;
        }
    }
    if (!reader_finished(&reader) || !request_is_whole(&request)) {
        return KV_ERR_MALFORMED;
    }
    *ret_request = request;
    return 0;
}

/* ---- responses ---- */

static size_t begin_sized(struct buf *out)
{
    size_t mark = out->size;
    buf_put_u32(out, 0);
    return mark;
}

static void put_membership(struct buf *out, const struct raft_membership *membership)
{
    size_t mark = begin_sized(out);
    membership_encode(membership, out);
    put_u32(out->data + mark, (uint32_t)(out->size - mark - sizeof(uint32_t)));
}

static void put_voters(struct buf *out, const struct admin_voters *voters)
{
    buf_put_u32(out, voters->count);
    buf_put_u32(out, voters->quorum);
    buf_put_u32(out, voters->ready);
}

void admin_response_encode(const struct admin_response *response, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_ADMIN_RESPONSE);
    buf_put_u64(out, response->request_id);
    buf_put_u64(out, response->id);
    buf_put_u32(out, (uint32_t)response->status);
    buf_put_u32(out, (response->has_membership ? FLAG_MEMBERSHIP : 0u) |
                         (response->has_plan ? FLAG_PLAN : 0u));
    buf_put_u64(out, response->index);
    buf_put_u64(out, response->leader);
    buf_put_sized(out, response->text);
    if (response->has_membership) {
        put_membership(out, &response->membership);
        for (size_t i = 0; i < response->membership.count; i++) {
            const struct admin_member *member = &response->members[i];
            buf_put_u32(out, member->connected ? FLAG_CONNECTED : 0u);
            buf_put_u32(out, member->priority);
            buf_put_u64(out, member->match);
        }
    }
    if (response->has_plan) {
        buf_put_u32(out, response->plan.joint ? FLAG_JOINT : 0u);
        put_voters(out, &response->plan.before);
        put_voters(out, &response->plan.after);
        put_membership(out, &response->plan.wanted);
    }
    frame_end(out, mark);
}

static int decode_members(struct reader *reader, struct admin_response *response)
{
    if (membership_decode(reader_sized(reader), &response->membership) != 0) {
        return KV_ERR_MALFORMED;
    }
    for (size_t i = 0; i < response->membership.count; i++) {
        uint32_t flags = reader_u32(reader);
        struct admin_member *member = &response->members[i];
        member->connected = (flags & FLAG_CONNECTED) != 0;
        member->priority = reader_u32(reader);
        member->match = reader_u64(reader);
        if ((flags & ~(uint32_t)FLAG_CONNECTED) != 0) {
            return KV_ERR_MALFORMED;
        }
    }
    return 0;
}

static struct admin_voters read_voters(struct reader *reader)
{
    struct admin_voters voters = {.count = reader_u32(reader)};
    voters.quorum = reader_u32(reader);
    voters.ready = reader_u32(reader);
    return voters;
}

static int decode_plan(struct reader *reader, struct admin_plan *plan)
{
    uint32_t flags = reader_u32(reader);
    plan->joint = (flags & FLAG_JOINT) != 0;
    plan->before = read_voters(reader);
    plan->after = read_voters(reader);
    bool is_right = membership_decode(reader_sized(reader), &plan->wanted) == 0 &&
                    (flags & ~(uint32_t)FLAG_JOINT) == 0;
    return is_right ? 0 : KV_ERR_MALFORMED;
}

int admin_response_decode(struct slice payload, struct admin_response *ret_response)
{
    struct reader reader = reader_of(payload);
    struct admin_response response = {.request_id = reader_u64(&reader)};
    response.id = reader_u64(&reader);
    response.status = (int32_t)reader_u32(&reader);
    uint32_t flags = reader_u32(&reader);
    response.index = reader_u64(&reader);
    response.leader = reader_u64(&reader);
    response.text = reader_sized(&reader);
    if (reader.failed || (flags & ~(uint32_t)RESPONSE_FLAGS_ALL) != 0 || response.status > 0 ||
        response.id == 0) {
        return KV_ERR_MALFORMED;
    }
    response.has_membership = (flags & FLAG_MEMBERSHIP) != 0;
    response.has_plan = (flags & FLAG_PLAN) != 0;
    if (response.has_membership && decode_members(&reader, &response) != 0) {
        return KV_ERR_MALFORMED;
    }
    if (response.has_plan && decode_plan(&reader, &response.plan) != 0) {
        return KV_ERR_MALFORMED;
    }
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_response = response;
    return 0;
}
