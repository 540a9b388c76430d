/* kvapp server: options into a node, and the node's log to standard error. */
#ifndef APP_SERVER_H
#define APP_SERVER_H

#include "cli/options.h"
#include "kvapp/node.h"

/* Returns the exit status of the program. */
int server_main(const struct options *options);

/*
 * Fills in what `options` say; the rest of *node_options stays (see kvapp_node_options_init). Texts
 * are borrowed from `options`. Returns 0, or KV_ERR_INVALID with a sentence in `error` when the
 * timing breaks a rule, or when nothing says which member this is.
 */
int server_options_fill(const struct options *options, struct kvapp_node_options *node_options,
                        char *error, size_t error_size);

#endif
