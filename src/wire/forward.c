#include "wire/forward.h"

void forward_request_encode(const struct forward_request *request, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_FORWARD_REQUEST);
    buf_put_u64(out, request->tag);
    buf_put_sized(out, request->command);
    frame_end(out, mark);
}

int forward_request_decode(struct slice payload, struct forward_request *ret_request)
{
    struct reader reader = reader_of(payload);
    struct forward_request request = {.tag = reader_u64(&reader)};
    request.command = reader_sized(&reader);
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_request = request;
    return 0;
}

void forward_response_encode(const struct forward_response *response, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_FORWARD_RESPONSE);
    buf_put_u64(out, response->tag);
    size_t at = out->size;
    buf_put_u32(out, 0); /* until the reply is there */
    reply_encode(&response->reply, out);
    put_u32(out->data + at, (uint32_t)(out->size - at - 4));
    buf_put_sized(out, response->sentence);
    frame_end(out, mark);
}

int forward_response_decode(struct slice payload, struct forward_response *ret_response)
{
    struct reader reader = reader_of(payload);
    struct forward_response response = {.tag = reader_u64(&reader)};
    struct slice reply = reader_sized(&reader);
    response.sentence = reader_sized(&reader);
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    int err = reply_decode(reply, &response.reply);
    if (err == 0) {
        *ret_response = response;
    }
    return err;
}
