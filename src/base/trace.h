/*
 * Where libraries tell what happens, for whoever wants to watch: the node's log in debug and demo
 * mode, the expectation of the raft scripts, the simulator's story. Libraries never print.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdbool.h>

enum trace_level {
    TRACE_ERROR, /* the node stops, or data is in danger */
    TRACE_WARN,  /* something an operator should look at */
    TRACE_INFO,  /* what an operator wants to know: start, stop, elections */
    TRACE_DEBUG, /* the story of Raft, a line for each decision */
};

/* The line has no newline and is borrowed. */
typedef void (*trace_sink_fn)(void *context, enum trace_level level, const char *line);

struct trace {
    trace_sink_fn sink; /* NULL: nobody listens */
    void *context;
    enum trace_level level; /* lines above this level are not even formatted */
};

static inline bool trace_wanted(const struct trace *trace, enum trace_level level)
{
    return trace != 0 && trace->sink != 0 && level <= trace->level;
}

__attribute__((format(printf, 3, 4))) void
trace_line(const struct trace *trace, enum trace_level level, const char *format, ...);

/* Arguments are not evaluated when nobody listens. */
#define TRACE(trace, level, ...)                                                                   \
    (trace_wanted((trace), (level)) ? trace_line((trace), (level), __VA_ARGS__) : (void)0)

#endif
