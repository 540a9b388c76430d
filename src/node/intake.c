#include "node/intake.h"

/* Beyond this an empty buffer is given back. */
enum { KEPT_CAPACITY = 16 * 1024 };

void intake_done(struct intake *intake)
{
    buf_done(&intake->kept);
}

/* Decodes frames from the front of `bytes`; *ret_used says how far it came. */
static int take_frames(struct slice bytes, intake_frame_fn take, void *context, size_t *ret_used)
{
    size_t used = 0;
    int result = 0;
    while (result == 0 && used < bytes.size) {
        struct frame frame;
        size_t size = 0;
        int err = frame_decode(slice_of(bytes.data + used, bytes.size - used), &frame, &size);
        if (err == KV_ERR_INCOMPLETE) {
            break;
        }
        if (err != 0) {
            result = err;
            break;
        }
        result = take(context, &frame);
        if (result == INTAKE_LATER) {
            result = INTAKE_PAUSE;
            break;
        }
        used += size;
    }
    *ret_used = used;
    return result;
}

int intake_feed(struct intake *intake, struct slice bytes, intake_frame_fn frame, void *context)
{
    size_t used = 0;
    int result = 0;
    if (intake->kept.size == 0) {
        result = take_frames(bytes, frame, context, &used);
        if (result >= 0 && used < bytes.size) {
            buf_append(&intake->kept, bytes.data + used, bytes.size - used);
        }
        return result;
    }
    buf_append_slice(&intake->kept, bytes);
    result = take_frames(buf_slice(&intake->kept), frame, context, &used);
    buf_consume(&intake->kept, used);
    buf_shrink(&intake->kept, KEPT_CAPACITY);
    return result;
}
