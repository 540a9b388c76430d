/* The one binary: finds out which part of kvapp is meant, and starts it. */
#include "app/inspect.h"
#include "app/recover.h"
#include "app/restore.h"
#include "app/server.h"
#include "app/sim.h"
#include "app/snapshot_reading.h"
#include "cli/cli.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { EXIT_NO_SUBCOMMAND = 1, EXIT_BAD_OPTION = 2 };

static const char *environment(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

static int run_subcommand(const struct options *options)
{
    if (options_number(options, OPTION_HELP) != 0) {
        cli_print_help(stdout, options->subcommand);
        return EXIT_SUCCESS;
    }
    if (options_number(options, OPTION_VERSION) != 0) {
        (void)printf("kvapp %s\n", KVAPP_VERSION);
        return EXIT_SUCCESS;
    }
    switch (options->subcommand->owner) {
    case OWNER_SERVER:
        return server_main(options);
    case OWNER_CLIENT:
        return cli_client_main(options, snapshot_file_verify);
    case OWNER_BENCH:
        return cli_bench_main(options);
    case OWNER_SIM:
        return sim_main(options);
    case OWNER_INSPECT:
        return inspect_main(options);
    case OWNER_VERIFY:
        return verify_main(options);
    case OWNER_RESTORE:
        return restore_main(options);
    case OWNER_RECOVER:
        return recover_main(options);
    default:
        return EXIT_NO_SUBCOMMAND;
    }
}

/* "help [subcommand]", --help, --version; anything else gets the usage. */
static int run_program(const struct options *options, const struct slice *words, size_t count)
{
    bool wants_help = count > 0 && slice_equal(words[0], slice_of_string("help"));
    const struct subcommand *subject = wants_help && count > 1 ? subcommand_find(words[1]) : NULL;
    if (subject != NULL) {
        cli_print_help(stdout, subject);
        return EXIT_SUCCESS;
    }
    if (options_number(options, OPTION_VERSION) != 0) {
        (void)printf("kvapp %s\n", KVAPP_VERSION);
        return EXIT_SUCCESS;
    }
    if (wants_help || options_number(options, OPTION_HELP) != 0) {
        options_print_overview(stdout);
        return EXIT_SUCCESS;
    }
    options_print_overview(stderr);
    return EXIT_NO_SUBCOMMAND;
}

int main(int argc, char **argv)
{
    size_t count = argc > 0 ? (size_t)argc - 1 : 0;
    struct slice *words = memory_new(count + 1, sizeof *words);
    for (size_t i = 0; i < count; i++) {
        words[i] = slice_of_string(argv[i + 1]);
    }
    struct options options;
    char error[OPTIONS_ERROR_SIZE];
    int exit_status = EXIT_BAD_OPTION;
    if (options_parse(words, count, environment, NULL, &options, error, sizeof error) != 0) {
        (void)fprintf(stderr, "kvapp %s: %s\n", options_subcommand(words, count)->name, error);
    } else {
        exit_status = options.subcommand == NULL ? run_program(&options, words, count)
                                                 : run_subcommand(&options);
        options_done(&options);
    }
    free(words);
    return exit_status;
}
