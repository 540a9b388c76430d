#include "app/log.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TIME_SIZE = 40, LINE_SIZE = 2048 };

static const char *const level_names[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};

/* Red, yellow, green, grey. */
static const char *const level_colours[] = {"\033[31m", "\033[33m", "\033[32m", "\033[90m"};

bool log_wants_colour(int file)
{
    const char *refused = getenv("NO_COLOR");
    return isatty(file) && (refused == NULL || refused[0] == '\0');
}

/* Local time with milliseconds. */
static void print_time(char ret_text[TIME_SIZE])
{
    struct timespec now;
    struct tm parts;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)localtime_r(&now.tv_sec, &parts);
    size_t size = strftime(ret_text, TIME_SIZE, "%Y-%m-%d %H:%M:%S", &parts);
    (void)snprintf(ret_text + size, TIME_SIZE - size, ".%03ld", now.tv_nsec / 1000000);
}

void log_line(void *context, enum kvapp_log_level level, const char *line)
{
    const struct log_style *style = context;
    char text[LINE_SIZE];
    char time[TIME_SIZE];
    print_time(time);
    (void)snprintf(text, sizeof text, "%s %s%s%s %s", time,
                   style->colour ? level_colours[level] : "", level_names[level],
                   style->colour ? "\033[0m" : "", line);
    (void)fprintf(style->out, "%s\n", text);
    (void)fflush(style->out);
}
