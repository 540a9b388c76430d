/* The interactive shell, which also reads its commands from a file or a pipe. */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

#include "cli/verbs.h"

/*
 * Reads commands from standard input until its end or until `quit`. On a terminal there are a
 * prompt, a history and completion, and the exit status is EXIT_DONE. Elsewhere there is only the
 * greeting, each reply is flushed before the next line is read, and the exit status is that of the
 * worst command; when no server answers at the start, no line is read.
 */
enum exit_status shell_run(struct cli *cli);

#endif
