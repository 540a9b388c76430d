#include "base/trace.h"

#include <stdarg.h>
#include <stdio.h>

void trace_line(const struct trace *trace, enum trace_level level, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    trace->sink(trace->context, level, line);
}
