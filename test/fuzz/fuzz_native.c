/*
 * The binary messages of both ports, and the commands in them. A message that is decoded is encoded
 * to the same bytes again, so that no two byte strings mean the same; a command that is decoded and
 * found right, to bytes that mean the same.
 *
 * An input that begins with a frame's first byte is a stream of frames. Since almost no change of a
 * frame gets past its checksums, any other is a frame's type and its payload, and the frame is made
 * here.
 */
#include "messages.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_reply(const struct reply *reply)
{
    struct buf out = {0};
    reply_encode(reply, &out);
    struct reply again;
    CHECK(reply_decode(buf_slice(&out), &again) == 0);
    CHECK(again.status == reply->status);
    CHECK(slice_equal(again.data, reply->data));
    buf_done(&out);
    struct key_stat stat;
    if (key_stat_decode(reply->data, &stat) == 0) {
        key_stat_encode(&stat, &out);
        CHECK(slice_equal(buf_slice(&out), reply->data));
        buf_done(&out);
    }
}

static void check_equal(const struct command *a, const struct command *b)
{
    CHECK(a->operation == b->operation);
    CHECK(a->session == b->session);
    CHECK(a->sequence == b->sequence);
    CHECK(a->acknowledged == b->acknowledged);
    CHECK(a->has_expected == b->has_expected);
    CHECK(a->expected_revision == b->expected_revision);
    CHECK(a->limit == b->limit);
    CHECK(slice_equal(a->key, b->key));
    CHECK(slice_equal(a->value, b->value));
    CHECK(slice_equal(a->end, b->end));
    CHECK(slice_equal(a->prefix, b->prefix));
    CHECK(a->options == b->options);
    CHECK(a->expiry.kind == b->expiry.kind);
    CHECK(a->expiry.ms == b->expiry.ms);
    CHECK(a->number == b->number);
    CHECK(a->last == b->last);
    CHECK(slice_equal(a->target, b->target));
    CHECK(slice_equal(a->pattern, b->pattern));
    CHECK(slice_equal(a->commands, b->commands));
}

/* A part that may be left out may also be there and say nothing, so the bytes can differ. */
static void use_command(struct slice bytes)
{
    struct command command;
    if (command_decode(bytes, &command) != 0 || command_check(&command) != 0) {
        return;
    }
    struct buf out = {0};
    command_encode(&command, &out);
    CHECK(out.size <= bytes.size);
    struct command again;
    CHECK(command_decode(buf_slice(&out), &again) == 0);
    CHECK(command_check(&again) == 0);
    check_equal(&command, &again);
    struct reader reader = reader_of(command.commands);
    struct command inner;
    while (command_next(&reader, &inner)) {
        /* A guard is right in a batch alone. */
        CHECK(inner.operation == OPERATION_GUARD || command_check(&inner) == 0);
    }
    CHECK(reader_finished(&reader));
    buf_done(&out);
}

static void use_frame(const struct frame *frame, struct slice bytes)
{
    struct message message;
    if (!message_kind_is_known(frame->type) || message_decode(frame, &message) != 0) {
        return;
    }
    struct buf out = {0};
    message_encode(&message, &out);
    CHECK(slice_equal(buf_slice(&out), bytes));
    buf_done(&out);
    if (message.kind == MESSAGE_CLIENT_REQUEST) {
        use_command(message.request.command);
    } else if (message.kind == MESSAGE_READ_REQUEST) {
        use_command(message.read.command);
    } else if (message.kind == MESSAGE_CLIENT_RESPONSE) {
        use_reply(&message.response.reply);
    }
}

static void use_stream(struct slice stream)
{
    struct frame frame;
    size_t size;
    while (frame_decode(stream, &frame, &size) == 0) {
        use_frame(&frame, slice_of(stream.data, size));
        stream = slice_of(stream.data + size, stream.size - size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (data[0] == FRAME_MAGIC) {
        use_stream(slice_of(data, size));
        return 0;
    }
    struct buf bytes = {0};
    size_t mark = frame_begin(&bytes, data[0]);
    buf_append(&bytes, data + 1, size - 1);
    frame_end(&bytes, mark);
    struct frame frame;
    size_t whole;
    CHECK(frame_decode(buf_slice(&bytes), &frame, &whole) == 0);
    CHECK(whole == bytes.size);
    use_frame(&frame, buf_slice(&bytes));
    buf_done(&bytes);
    return 0;
}
