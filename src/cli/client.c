/* kvapp client: one command from the command line, or the shell. */
#include "cli/cli.h"

#include "cli/member.h"
#include "cli/shell.h"
#include "cli/verbs.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

void cli_print_help(FILE *out, const struct subcommand *subcommand)
{
    options_print_help(out, subcommand);
    if (subcommand->owner == OWNER_CLIENT) {
        (void)fputc('\n', out);
        verbs_print_help(out);
        (void)fputs("\nOptions of put (--ttl also of put-if):\n", out);
        options_print_list(out, OWNER_PUT);
        (void)fputs("\nOptions of list, scan and delete-range:\n", out);
        options_print_list(out, OWNER_RANGE);
        (void)fputs("\nMembers:\n", out);
        member_print_help(out);
        (void)fputs("Options of member:\n", out);
        options_print_list(out, OWNER_MEMBER);
        (void)fputs("\nOptions of backup:\n", out);
        options_print_list(out, OWNER_BACKUP);
    }
}

struct kvapp_client_options cli_client_options(const struct options *options)
{
    const char *cluster = options_string(options, OPTION_CLUSTER);
    return (struct kvapp_client_options){
        .cluster = cluster == NULL ? "127.0.0.1:8080" : cluster,
        .timeout_ms = (uint32_t)options_number(options, OPTION_TIMEOUT),
        .client_port_offset = (uint32_t)options_number(options, OPTION_CLIENT_PORT_OFFSET),
        .reads = (enum kvapp_reads)options_number(options, OPTION_READS),
        .portable_io = options_number(options, OPTION_IO) == OPTION_IO_PORTABLE,
    };
}

/* Whether standard output is a pipe that nobody reads from any more, as behind "| head". */
static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/* A reply that was not written was not given. */
static enum exit_status finish(struct cli *cli, enum exit_status exit_status)
{
    if (fflush(cli->output.out) == 0 && !ferror(cli->output.out)) {
        return exit_status;
    }
    if (!reader_is_gone()) {
        (void)fputs("Error: the reply could not be written\n", stderr);
    }
    return EXIT_NO_ANSWER;
}

int cli_client_main(const struct options *options, verify_backup_fn verify_backup)
{
    bool one_shot = options->word_count > 0;
    struct cli cli = {
        .output = {.out = stdout,
                   .complaints = one_shot ? stderr : stdout,
                   .json = options_number(options, OPTION_JSON) != 0,
                   .raw = options_number(options, OPTION_RAW) != 0},
        .timeout_ms = (uint32_t)options_number(options, OPTION_TIMEOUT),
        .verbose = options_number(options, OPTION_VERBOSE) != 0,
        .remarks = stderr,
        .verify_backup = verify_backup,
    };
    struct kvapp_client_options client_options = cli_client_options(options);
    enum exit_status exit_status;
    int err = kvapp_client_new(&client_options, &cli.client);
    if (err != 0) {
        struct kvapp_reply reply = {.status = err};
        output_failure(&cli.output, slice_of(NULL, 0), &reply, client_options.cluster);
        exit_status = output_exit_status(err);
    } else if (one_shot) {
        exit_status = verb_run(&cli, options->words, options->word_count, options);
    } else {
        exit_status = shell_run(&cli);
    }
    exit_status = finish(&cli, exit_status);
    kvapp_client_free(err == 0 ? cli.client : NULL);
    output_done(&cli.output);
    return (int)exit_status;
}
