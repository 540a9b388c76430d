/* The server's log on standard error: time, level, line; in colour for people. */
#ifndef APP_LOG_H
#define APP_LOG_H

#include "kvapp/node.h"

#include <stdio.h>

struct log_style {
    FILE *out;
    bool colour;
};

/* A terminal, and the user has not set NO_COLOR (see no-color.org). */
bool log_wants_colour(int file);

/* For kvapp_node_options: `context` is a struct log_style. One write for each line. */
void log_line(void *context, enum kvapp_log_level level, const char *line);

#endif
