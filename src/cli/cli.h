/* The subcommands that are clients of a cluster. Each returns the exit status of the program. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/options.h"
#include "kvapp/client.h"

int cli_client_main(const struct options *options);
int cli_bench_main(const struct options *options);

/* The whole help of a subcommand. */
void cli_print_help(FILE *out, const struct subcommand *subcommand);

/* What both tell the client library. Borrows from `options`. */
struct kvapp_client_options cli_client_options(const struct options *options);

#endif
