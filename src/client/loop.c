#include "client/loop.h"

#include "base/memory.h"

#include <stdlib.h>

/* How long the first wait behind a submission may last: until then its deadline is not known. */
enum { FIRST_WAIT_MS_MAX = 20 };

int loop_new(bool portable_io, struct loop **ret_loop)
{
    char reason[256];
    struct io *io = NULL;
    int err =
        io_new(portable_io ? IO_BACKEND_PORTABLE : IO_BACKEND_AUTO, reason, sizeof reason, &io);
    if (err != 0) {
        return err;
    }
    loop_new_on(io, ret_loop);
    (*ret_loop)->owns_io = true;
    return 0;
}

void loop_new_on(struct io *io, struct loop **ret_loop)
{
    struct loop *loop = memory_new(1, sizeof *loop);
    loop->io = io;
    loop->users = 1;
    list_init(&loop->marked);
    *ret_loop = loop;
}

void loop_ref(struct loop *loop)
{
    loop->users++;
}

void loop_unref(struct loop *loop)
{
    CHECK(loop->users > 0);
    CHECK(!loop->running);
    loop->users--;
    if (loop->users == 0) {
        CHECK(list_empty(&loop->marked));
        if (loop->owns_io) {
            io_free(loop->io);
        }
        free(loop);
    }
}

void loop_mark(struct loop *loop, struct loop_user *user)
{
    if (list_empty(&user->link)) {
        list_push(&loop->marked, &user->link);
    }
}

/* Calls each that is marked now; those that are marked meanwhile wait for the next pass. */
static void pass(struct loop *loop, bool after_the_wait)
{
    struct list now;
    list_init(&now);
    for (struct list *link = list_pop(&loop->marked); link != NULL;
         link = list_pop(&loop->marked)) {
        list_push(&now, link);
    }
    for (struct list *link = list_pop(&now); link != NULL; link = list_pop(&now)) {
        struct loop_user *user = CONTAINER_OF(link, struct loop_user, link);
        if (after_the_wait) {
            user->look(user);
        } else {
            loop_mark(loop, user); /* its clock is looked at afterwards */
            user->send(user);
        }
    }
}

int loop_turn(struct loop *loop, uint32_t wait_ms)
{
    CHECK(!loop->running);
    loop->running = true;
    pass(loop, false);
    if (!list_empty(&loop->marked) && wait_ms > FIRST_WAIT_MS_MAX) {
        wait_ms = FIRST_WAIT_MS_MAX;
    }
    uint64_t deadline_us = wait_ms == 0 ? 0 : io_now_us(loop->io) + (uint64_t)wait_ms * 1000;
    int err = io_run(loop->io, deadline_us);
    pass(loop, true);
    loop->running = false;
    return err;
}
