/*
 * Frames out of a byte stream: what arrives is decoded where it lies, and only the beginning of an
 * unfinished frame is kept. The result is the same under any fragmentation.
 */
#ifndef NODE_INTAKE_H
#define NODE_INTAKE_H

#include "wire/native.h"

struct intake {
    struct buf kept;
};

/* What to do with a frame, borrowed for the call. 0: go on; INTAKE_PAUSE: the frame was taken, but
 * no further one can be; INTAKE_LATER: it was not taken, give it again; negative KV_ERR_*: stop. */
enum { INTAKE_PAUSE = 1, INTAKE_LATER = 2 };
typedef int (*intake_frame_fn)(void *context, const struct frame *frame);

void intake_done(struct intake *intake);

/*
 * Takes in `bytes` (may be empty: to go on after a pause) and calls `frame` for each whole frame.
 * Returns 0, INTAKE_PAUSE, or the error of the frame or of its handler; after an error nothing
 * more may be taken in.
 */
int intake_feed(struct intake *intake, struct slice bytes, intake_frame_fn frame, void *context);

#endif
