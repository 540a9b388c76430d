/* The subcommands that are clients of a cluster. Each returns the exit status of the program. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/options.h"
#include "kvapp/client.h"

/*
 * Reads a backup's file from its first byte to its last. Returns 0, or KV_ERR_DAMAGED,
 * KV_ERR_VERSION or KV_ERR_IO with a sentence that names the file. The program has it from the
 * storage, which clients know nothing of.
 */
typedef int (*verify_backup_fn)(const char *path, char *error, size_t error_size);

int cli_client_main(const struct options *options, verify_backup_fn verify_backup);
int cli_bench_main(const struct options *options);

/* The whole help of a subcommand. */
void cli_print_help(FILE *out, const struct subcommand *subcommand);

/* What both tell the client library. Borrows from `options`. */
struct kvapp_client_options cli_client_options(const struct options *options);

#endif
