/*
 * Lines from a person at a terminal: editing, history and completion, by libedit.
 *
 * While an editor exists SIGINT is blocked: Ctrl-C in a line drops the line, and Ctrl-C while a
 * command runs waits for editor_interrupted.
 */
#ifndef CLI_EDITOR_H
#define CLI_EDITOR_H

#include "base/bytes.h"

struct editor;

/* `history_path`: where the lines are kept between runs; NULL or empty: nowhere. A file that cannot
 * be read or written is done without. Returns NULL when the terminal cannot be edited on. */
struct editor *editor_new(const char *prompt, const char *history_path);

/* Writes the history. NULL is fine. */
void editor_free(struct editor *editor);

enum editor_event {
    EDITOR_LINE,
    EDITOR_CANCELLED, /* Ctrl-C */
    EDITOR_END,       /* Ctrl-D, or the terminal is gone */
};

/* The next line, without its newline; borrowed until the next call. */
enum editor_event editor_next(struct editor *editor, struct slice *ret_line);

/* Whether Ctrl-C was pressed since the last time it was asked. */
bool editor_interrupted(void);

#endif
