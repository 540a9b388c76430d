/*
 * Frames and the client messages in them. A decoder reads every field, looks once at the end
 * whether all of it was there, and consumes its payload exactly: a byte too many is as malformed
 * as a byte too few. Reserved bytes are zero and are checked, so that they can mean something in a
 * later version. What one message says in two places must agree, so that no two different byte
 * strings mean the same.
 *
 * Payloads, little-endian; "sized" is a u32 size and that many bytes:
 *
 *     ClientRequest   request_id u64 │ command ...                      (kv/command.h)
 *     ReadRequest     request_id u64 │ reads u8 │ zero u8 ×7 │ command ...
 *     StaleResponse   request_id u64 │ age_ms u64 │ applied_index u64 │ reply ...
 *     ClientResponse  request_id u64 │ error sized │ reply ...          (kv/command.h)
 *     LeaderRedirect  request_id u64 │ has_leader u8 │ zero u8 ×3 │ leader_id u64
 *                     │ address sized │ text sized
 *     StatusRequest   request_id u64
 *     StatusResponse  request_id u64 │ cluster_id u64 │ id u64 │ role u8 │ zero u8 ×7 │ term u64
 *                     │ leader u64 │ commit_index u64 │ applied_index u64 │ last_index u64
 *                     │ digest u64 │ key_count u64 │ uptime_ms u64 │ log_writes u64
 *                     │ log_syncs u64 │ log_entries u64 │ log_bytes u64
 *                     │ address sized │ io_backend sized │ version sized
 */
#include "wire/native.h"

#include "base/hash.h"

enum {
    /* Offsets in a frame's header. */
    AT_TYPE = 2,
    AT_ZERO = 3,
    AT_SIZE = 4,
    AT_PAYLOAD_HASH = 8,
    AT_HEADER_HASH = 16,

    ROLE_MAX = 3, /* the leader's number */
};

/* ---- frames ---- */

static uint64_t payload_hash(const uint8_t *header, struct slice payload)
{
    return hash_bytes_seeded(payload.data, payload.size, get_u64(header));
}

static uint64_t header_hash(const uint8_t *header)
{
    return hash_bytes(header, AT_HEADER_HASH);
}

int frame_decode(struct slice bytes, struct frame *ret_frame, size_t *ret_size)
{
    const uint8_t *header = bytes.data;
    if (bytes.size >= 1 && header[0] != FRAME_MAGIC) {
        return KV_ERR_MALFORMED;
    }
    if (bytes.size >= 2 && header[1] != FRAME_VERSION) {
        return KV_ERR_VERSION;
    }
    if (bytes.size < FRAME_HEADER_SIZE) {
        return KV_ERR_INCOMPLETE;
    }
    if (get_u64(header + AT_HEADER_HASH) != header_hash(header)) {
        return KV_ERR_CHECKSUM;
    }
    size_t size = get_u32(header + AT_SIZE);
    if (header[AT_ZERO] != 0 || size > FRAME_SIZE_MAX) {
        return KV_ERR_MALFORMED;
    }
    if (bytes.size - FRAME_HEADER_SIZE < size) {
        return KV_ERR_INCOMPLETE;
    }
    struct slice payload = slice_of(header + FRAME_HEADER_SIZE, size);
    if (get_u64(header + AT_PAYLOAD_HASH) != payload_hash(header, payload)) {
        return KV_ERR_CHECKSUM;
    }
    *ret_frame = (struct frame){.type = header[AT_TYPE], .payload = payload};
    *ret_size = FRAME_HEADER_SIZE + size;
    return 0;
}

size_t frame_begin(struct buf *out, uint8_t type)
{
    size_t mark = out->size;
    uint8_t *header = buf_extend(out, FRAME_HEADER_SIZE);
    memset(header, 0, FRAME_HEADER_SIZE);
    header[0] = FRAME_MAGIC;
    header[1] = FRAME_VERSION;
    header[AT_TYPE] = type;
    return mark;
}

void frame_end(struct buf *out, size_t mark)
{
    CHECK(out->size >= FRAME_HEADER_SIZE);
    CHECK(mark <= out->size - FRAME_HEADER_SIZE);
    uint8_t *header = out->data + mark;
    struct slice payload =
        slice_of(header + FRAME_HEADER_SIZE, out->size - mark - FRAME_HEADER_SIZE);
    CHECK(header[0] == FRAME_MAGIC);
    CHECK(payload.size <= FRAME_SIZE_MAX);
    put_u32(header + AT_SIZE, (uint32_t)payload.size);
    put_u64(header + AT_PAYLOAD_HASH, payload_hash(header, payload));
    put_u64(header + AT_HEADER_HASH, header_hash(header));
}

/* ---- fields ---- */

static void put_zeros(struct buf *out, size_t count)
{
    memset(buf_extend(out, count), 0, count);
}

/* Reserved bytes: all zero, or the message is malformed. */
static bool read_zeros(struct reader *reader, size_t count)
{
    struct slice zeros = reader_bytes(reader, count);
    for (size_t i = 0; i < zeros.size; i++) {
        if (zeros.data[i] != 0) {
            return false;
        }
    }
    return zeros.size == count;
}

/* "host:port" as far as it matters here: fits a string of ADDRESS_SIZE_MAX, and has no blanks or
 * control characters, so that it can be copied, resolved and printed without further looks. */
static bool is_address(struct slice address)
{
    if (address.size == 0 || address.size >= ADDRESS_SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < address.size; i++) {
        if (address.data[i] <= ' ' || address.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* ---- requests ---- */

void client_request_encode(const struct client_request *request, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_CLIENT_REQUEST);
    buf_put_u64(out, request->request_id);
    buf_append_slice(out, request->command);
    frame_end(out, mark);
}

void client_request_encode_command(uint64_t request_id, const struct command *command,
                                   struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_CLIENT_REQUEST);
    buf_put_u64(out, request_id);
    command_encode(command, out);
    frame_end(out, mark);
}

int client_request_decode(struct slice payload, struct client_request *ret_request)
{
    struct reader reader = reader_of(payload);
    struct client_request request = {.request_id = reader_u64(&reader)};
    request.command = reader_bytes(&reader, reader.left);
    if (!reader_finished(&reader) || request.command.size == 0 ||
        request.command.size > COMMAND_SIZE_MAX) {
        return KV_ERR_MALFORMED;
    }
    *ret_request = request;
    return 0;
}

static size_t read_request_begin(uint64_t request_id, enum kvapp_reads reads, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_READ_REQUEST);
    buf_put_u64(out, request_id);
    buf_put_u8(out, (uint8_t)reads);
    put_zeros(out, 7);
    return mark;
}

void read_request_encode(const struct read_request *request, struct buf *out)
{
    size_t mark = read_request_begin(request->request_id, request->reads, out);
    buf_append_slice(out, request->command);
    frame_end(out, mark);
}

void read_request_encode_command(uint64_t request_id, enum kvapp_reads reads,
                                 const struct command *command, struct buf *out)
{
    size_t mark = read_request_begin(request_id, reads, out);
    command_encode(command, out);
    frame_end(out, mark);
}

int read_request_decode(struct slice payload, struct read_request *ret_request)
{
    struct reader reader = reader_of(payload);
    struct read_request request = {.request_id = reader_u64(&reader)};
    uint8_t reads = reader_u8(&reader);
    bool reserved_is_zero = read_zeros(&reader, 7);
    request.command = reader_bytes(&reader, reader.left);
    if (!reader_finished(&reader) || !reserved_is_zero || reads >= KVAPP_READS_COUNT ||
        request.command.size == 0 || request.command.size > COMMAND_SIZE_MAX) {
        return KV_ERR_MALFORMED;
    }
    request.reads = (enum kvapp_reads)reads;
    *ret_request = request;
    return 0;
}

/* ---- responses ---- */

void stale_response_encode(const struct stale_response *response, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_STALE_RESPONSE);
    buf_put_u64(out, response->request_id);
    buf_put_u64(out, response->age_ms);
    buf_put_u64(out, response->applied_index);
    reply_encode(&response->reply, out);
    frame_end(out, mark);
}

int stale_response_decode(struct slice payload, struct stale_response *ret_response)
{
    struct reader reader = reader_of(payload);
    struct stale_response response = {.request_id = reader_u64(&reader)};
    response.age_ms = reader_u64(&reader);
    response.applied_index = reader_u64(&reader);
    struct slice reply = reader_bytes(&reader, reader.left);
    if (!reader_finished(&reader) || reply_decode(reply, &response.reply) != 0) {
        return KV_ERR_MALFORMED;
    }
    *ret_response = response;
    return 0;
}

void client_response_encode(const struct client_response *response, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_CLIENT_RESPONSE);
    buf_put_u64(out, response->request_id);
    buf_put_sized(out, response->error);
    reply_encode(&response->reply, out);
    frame_end(out, mark);
}

int client_response_decode(struct slice payload, struct client_response *ret_response)
{
    struct reader reader = reader_of(payload);
    struct client_response response = {.request_id = reader_u64(&reader)};
    response.error = reader_sized(&reader);
    struct slice reply = reader_bytes(&reader, reader.left);
    if (!reader_finished(&reader) || reply_decode(reply, &response.reply) != 0) {
        return KV_ERR_MALFORMED;
    }
    if (response.reply.status == 0 && response.error.size > 0) {
        return KV_ERR_MALFORMED;
    }
    *ret_response = response;
    return 0;
}

/* ---- redirects ---- */

void leader_redirect_encode(const struct leader_redirect *redirect, struct buf *out)
{
    CHECK(redirect->has_leader == (redirect->leader_id != 0));
    CHECK(redirect->has_leader == (redirect->address.size > 0));
    size_t mark = frame_begin(out, FRAME_LEADER_REDIRECT);
    buf_put_u64(out, redirect->request_id);
    buf_put_u8(out, redirect->has_leader);
    put_zeros(out, 3);
    buf_put_u64(out, redirect->leader_id);
    buf_put_sized(out, redirect->address);
    buf_put_sized(out, redirect->text);
    frame_end(out, mark);
}

int leader_redirect_decode(struct slice payload, struct leader_redirect *ret_redirect)
{
    struct reader reader = reader_of(payload);
    struct leader_redirect redirect = {.request_id = reader_u64(&reader)};
    uint8_t has_leader = reader_u8(&reader);
    bool reserved_is_zero = read_zeros(&reader, 3);
    redirect.leader_id = reader_u64(&reader);
    redirect.address = reader_sized(&reader);
    redirect.text = reader_sized(&reader);
    if (!reader_finished(&reader) || !reserved_is_zero || has_leader > 1) {
        return KV_ERR_MALFORMED;
    }
    redirect.has_leader = has_leader == 1;
    bool agrees = redirect.has_leader ? redirect.leader_id != 0 && is_address(redirect.address)
                                      : redirect.leader_id == 0 && redirect.address.size == 0;
    if (!agrees) {
        return KV_ERR_MALFORMED;
    }
    *ret_redirect = redirect;
    return 0;
}

/* ---- status ---- */

void status_request_encode(uint64_t request_id, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_STATUS_REQUEST);
    buf_put_u64(out, request_id);
    frame_end(out, mark);
}

int status_request_decode(struct slice payload, uint64_t *ret_request_id)
{
    struct reader reader = reader_of(payload);
    uint64_t request_id = reader_u64(&reader);
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_request_id = request_id;
    return 0;
}

void status_response_encode(const struct status_response *status, struct buf *out)
{
    CHECK(status->id != 0);
    CHECK(status->role <= ROLE_MAX);
    CHECK(is_address(status->address));
    size_t mark = frame_begin(out, FRAME_STATUS_RESPONSE);
    buf_put_u64(out, status->request_id);
    buf_put_u64(out, status->cluster_id);
    buf_put_u64(out, status->id);
    buf_put_u8(out, status->role);
    put_zeros(out, 7);
    buf_put_u64(out, status->term);
    buf_put_u64(out, status->leader);
    buf_put_u64(out, status->commit_index);
    buf_put_u64(out, status->applied_index);
    buf_put_u64(out, status->last_index);
    buf_put_u64(out, status->digest);
    buf_put_u64(out, status->key_count);
    buf_put_u64(out, status->uptime_ms);
    buf_put_u64(out, status->log_writes);
    buf_put_u64(out, status->log_syncs);
    buf_put_u64(out, status->log_entries);
    buf_put_u64(out, status->log_bytes);
    buf_put_sized(out, status->address);
    buf_put_sized(out, status->io_backend);
    buf_put_sized(out, status->version);
    frame_end(out, mark);
}

int status_response_decode(struct slice payload, struct status_response *ret_status)
{
    struct reader reader = reader_of(payload);
    struct status_response status = {.request_id = reader_u64(&reader)};
    status.cluster_id = reader_u64(&reader);
    status.id = reader_u64(&reader);
    status.role = reader_u8(&reader);
    bool reserved_is_zero = read_zeros(&reader, 7);
    status.term = reader_u64(&reader);
    status.leader = reader_u64(&reader);
    status.commit_index = reader_u64(&reader);
    status.applied_index = reader_u64(&reader);
    status.last_index = reader_u64(&reader);
    status.digest = reader_u64(&reader);
    status.key_count = reader_u64(&reader);
    status.uptime_ms = reader_u64(&reader);
    status.log_writes = reader_u64(&reader);
    status.log_syncs = reader_u64(&reader);
    status.log_entries = reader_u64(&reader);
    status.log_bytes = reader_u64(&reader);
    status.address = reader_sized(&reader);
    status.io_backend = reader_sized(&reader);
    status.version = reader_sized(&reader);
    if (!reader_finished(&reader) || !reserved_is_zero || status.id == 0 ||
        status.role > ROLE_MAX || !is_address(status.address)) {
        return KV_ERR_MALFORMED;
    }
    *ret_status = status;
    return 0;
}
