/*
 * The files of a data directory replaced by others as a whole, by renames inside the directory. At
 * any time, also after a crash, a server that starts on it finds all of the old files, all of the
 * new ones, or no IDENTITY beside other files, which it refuses; and the renewal can go on.
 *
 *     DIR/NAME.making    the new files are being written ──they are whole──► DIR/NAME.whole
 *     DIR/NAME.whole     old files move into DIR/before-NAME, IDENTITY first ──► DIR/NAME.moving
 *     DIR/NAME.moving    new files move into DIR, IDENTITY last ──► removed
 *
 * VOTE stays until the new log is there, so that the directory never looks like an unused one.
 */
#ifndef APP_RENEWAL_H
#define APP_RENEWAL_H

#include <stdbool.h>
#include <stddef.h>

enum { RENEWAL_PATH_MAX = 4096 };

struct renewal {
    const char *path;                    /* DIR, which is there; borrowed */
    const char *name;                    /* borrowed */
    bool replaces;                       /* there are old files, to be kept in DIR/before-NAME */
    char making[RENEWAL_PATH_MAX];       /* DIR/NAME.making */
    char sentence[2 * RENEWAL_PATH_MAX]; /* of the last failure */
};

/* KV_ERR_INVALID: the path is too long. */
int renewal_init(struct renewal *renewal, const char *path, const char *name, bool replaces);

/* Whether an earlier one of this name was moving files, so that renewal_finish is all there is to
 * do. 0 or KV_ERR_IO. */
int renewal_is_unfinished(struct renewal *renewal, bool *ret_unfinished);

/* One that is not unfinished begins: what an earlier one was making is removed. KV_ERR_REFUSED:
 * DIR/before-NAME is there already. */
int renewal_begin(struct renewal *renewal);

/* The first name in DIR, to be freed; NULL: there is none. LOCK and lost+found do not count. */
int renewal_find_name(struct renewal *renewal, char **ret_name);

/* The new files are closed: from now on a crash is followed by renewal_finish. */
int renewal_made(struct renewal *renewal);

/* Does all that is left. KV_ERR_LOCKED: a server runs on DIR. */
int renewal_finish(struct renewal *renewal);

/* One rename of it, synced; for a test that stops at each of them. */
int renewal_step(struct renewal *renewal, bool *ret_done);

#endif
