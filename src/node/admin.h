/* What operators asked for and wait for (admin.c). */
#ifndef NODE_ADMIN_H
#define NODE_ADMIN_H

#include "node/tracker.h"
#include "wire/admin.h"

enum { ADMIN_WAITING_MAX = 8 };

enum admin_state {
    ADMIN_NONE,
    ADMIN_ASKED,
    ADMIN_CHANGING,     /* `index` is to be committed, and the leaving of a joint membership */
    ADMIN_TRANSFERRING, /* another server is to lead */
    ADMIN_SNAPPING,     /* a snapshot up to `index` is to be durable */
};

struct admin_wait {
    enum admin_state state;
    struct waiter waiter;
    uint64_t term; /* in which it was begun */
    uint64_t index;
    struct admin_request request;
};

struct admin {
    struct admin_wait waits[ADMIN_WAITING_MAX];
};

#endif
