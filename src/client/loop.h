/*
 * The loop that one or several clients share. A client with something to do is marked; a turn of
 * the loop lets each marked client send (all that was submitted since the last turn goes out
 * together), waits, and then lets each that was marked meanwhile look at the clock.
 *
 * The clock is only looked at behind io_run: before it, io_now_us is as old as the last turn,
 * which for a program that was busy elsewhere may be long ago.
 */
#ifndef CLIENT_LOOP_H
#define CLIENT_LOOP_H

#include "base/list.h"
#include "io/io.h"

struct loop {
    struct io *io;
    bool owns_io;
    size_t users;
    bool running;
    struct list marked;
};

struct loop_user {
    struct list link;
    void (*send)(struct loop_user *user); /* before the wait */
    void (*look)(struct loop_user *user); /* after it */
};

/* Makes a loop with one user: 0 or KV_ERR_IO. */
int loop_new(bool portable_io, struct loop **ret_loop);
/* On an io that stays the caller's and outlives the loop. */
void loop_new_on(struct io *io, struct loop **ret_loop);
void loop_ref(struct loop *loop);
void loop_unref(struct loop *loop);

void loop_mark(struct loop *loop, struct loop_user *user);

/* One turn, which waits at most wait_ms. Returns 0 or KV_ERR_IO. Not from inside a turn. */
int loop_turn(struct loop *loop, uint32_t wait_ms);

#endif
