#include "wire/backup.h"

STATIC_CHECK(BACKUP_PIECE_SIZE_MAX + 1024 <= FRAME_SIZE_MAX, "a piece fits a frame");

static bool request_is_valid(const struct backup_request *request)
{
    if (request->action == BACKUP_READ) {
        return request->size >= 1 && request->size <= BACKUP_PIECE_SIZE_MAX &&
               request->offset <= INT64_MAX;
    }
    return request->size == 0 && request->offset == 0;
}

static bool response_is_valid(const struct backup_response *response)
{
    if (response->file_size == 0) {
        return response->index == 0 && response->term == 0 && response->offset == 0 &&
               response->bytes.size == 0;
    }
    return response->index != 0 && response->term != 0 && response->file_size <= INT64_MAX &&
           response->bytes.size <= BACKUP_PIECE_SIZE_MAX &&
           response->offset <= response->file_size &&
           response->bytes.size <= response->file_size - response->offset;
}

void backup_request_encode(const struct backup_request *request, struct buf *out)
{
    CHECK(request_is_valid(request));
    size_t mark = frame_begin(out, FRAME_BACKUP_REQUEST);
    buf_put_u64(out, request->request_id);
    buf_put_u32(out, (uint32_t)request->action);
    buf_put_u32(out, request->size);
    buf_put_u64(out, request->offset);
    frame_end(out, mark);
}

int backup_request_decode(struct slice payload, struct backup_request *ret_request)
{
    struct reader reader = reader_of(payload);
    struct backup_request request = {.request_id = reader_u64(&reader)};
    uint32_t action = reader_u32(&reader);
    request.size = reader_u32(&reader);
    request.offset = reader_u64(&reader);
    if (!reader_finished(&reader) || action >= BACKUP_ACTION_COUNT) {
        return KV_ERR_MALFORMED;
    }
    request.action = (enum backup_action)action;
    if (!request_is_valid(&request)) {
        return KV_ERR_MALFORMED;
    }
    *ret_request = request;
    return 0;
}

void backup_response_encode(const struct backup_response *response, struct buf *out)
{
    CHECK(response_is_valid(response));
    size_t mark = frame_begin(out, FRAME_BACKUP_RESPONSE);
    buf_put_u64(out, response->request_id);
    buf_put_u64(out, response->index);
    buf_put_u64(out, response->term);
    buf_put_u64(out, response->file_size);
    buf_put_u64(out, response->offset);
    buf_put_sized(out, response->bytes);
    frame_end(out, mark);
}

int backup_response_decode(struct slice payload, struct backup_response *ret_response)
{
    struct reader reader = reader_of(payload);
    struct backup_response response = {.request_id = reader_u64(&reader)};
    response.index = reader_u64(&reader);
    response.term = reader_u64(&reader);
    response.file_size = reader_u64(&reader);
    response.offset = reader_u64(&reader);
    response.bytes = reader_sized(&reader);
    if (!reader_finished(&reader) || !response_is_valid(&response)) {
        return KV_ERR_MALFORMED;
    }
    *ret_response = response;
    return 0;
}
