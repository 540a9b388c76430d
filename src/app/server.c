#include "app/server.h"

#include "app/log.h"

#include <stdio.h>
#include <unistd.h>

enum { SERVER_DONE = 0, SERVER_FAILED = 1, SERVER_USAGE = 2 };

static int refuse(const char *sentence, int exit_status)
{
    (void)fprintf(stderr, "kvapp server: %s\n", sentence);
    return exit_status;
}

int server_main(const struct options *options)
{
    char error[OPTIONS_ERROR_SIZE] = "";
    struct kvapp_node_options node_options;
    kvapp_node_options_init(&node_options);
    if (server_options_fill(options, &node_options, error, sizeof error) != 0) {
        return refuse(error, SERVER_USAGE);
    }
    struct log_style style = {.out = stderr, .colour = log_wants_colour(STDERR_FILENO)};
    node_options.log = log_line;
    node_options.log_context = &style;
    node_options.handle_signals = true;
    struct kvapp_node *node = NULL;
    int err = kvapp_node_new(&node_options, error, sizeof error, &node);
    if (err != 0) {
        return refuse(error, err == KV_ERR_INVALID ? SERVER_USAGE : SERVER_FAILED);
    }
    err = kvapp_node_run(node);
    int exit_status = SERVER_DONE;
    if (err == KV_ERR_REMOVED) {
        (void)refuse(kvapp_node_error(node), SERVER_DONE); /* As its operator wished. */
    } else if (err != 0) {
        exit_status = refuse(kvapp_node_error(node), SERVER_FAILED);
    }
    kvapp_node_free(node);
    return exit_status;
}
