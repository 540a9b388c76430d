/*
 *     shell_run ──► connect ──► from a terminal: editor_next ─┐
 *                      └──────► from a pipe: getline ─────────┴─► run_line ──► verb_run
 */
#include "cli/shell.h"

#include "cli/clock.h"
#include "cli/editor.h"
#include "cli/status.h"
#include "cli/words.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CONNECT_PAUSE_MS = 100 };

struct shell {
    struct cli *cli;
    bool connected; /* and said so */
    struct words words;
};

/* Programs that read JSON get replies only. */
static void say(const struct shell *shell, const char *line)
{
    if (!shell->cli->output.json) {
        (void)fprintf(shell->cli->output.out, "%s\n", line);
        (void)fflush(shell->cli->output.out);
    }
}

static void say_connected(struct shell *shell)
{
    shell->connected = true;
    say(shell, "Connected to kvapp cluster");
}

/*
 * Waits until a leader is known, at most the time of one request: servers that were just started
 * elect one first. Returns whether anyone answered.
 */
static bool connect_cluster(struct shell *shell, bool on_terminal)
{
    struct cli *cli = shell->cli;
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)cli->timeout_ms * 1000000U;
    bool any = false;
    for (bool first = true;; first = false) {
        struct kvapp_member members[MEMBERS_MAX] = {0};
        size_t count = 0;
        any = cli_ask_status(cli, members, &count);
        if (any && status_leader(members, count) != 0) {
            say_connected(shell);
            return true;
        }
        bool interrupted = cli->interrupted != NULL && cli->interrupted();
        if (clock_now_ns() >= deadline_ns || interrupted) {
            return any;
        }
        if (first && on_terminal) {
            say(shell, "Waiting for the cluster ...");
        }
        (void)usleep(CONNECT_PAUSE_MS * 1000);
    }
}

static void report_unconnected(struct shell *shell, bool any)
{
    struct kvapp_reply reply = {.status = any ? KV_ERR_NO_LEADER : KV_ERR_CONNECTION};
    output_failure(&shell->cli->output, slice_of(NULL, 0), &reply,
                   kvapp_client_error(shell->cli->client));
    (void)fflush(shell->cli->output.complaints);
}

static enum exit_status run_line(struct shell *shell, struct slice line)
{
    struct cli *cli = shell->cli;
    static const char title[] = "Error: ";
    char sentence[128] = "Error: ";
    enum exit_status exit_status = EXIT_USAGE;
    if (words_split(&shell->words, line, sentence + sizeof title - 1,
                    sizeof sentence - sizeof title + 1) != 0) {
        output_usage(&cli->output, sentence);
    } else {
        exit_status = verb_run(cli, shell->words.at, shell->words.count, NULL);
    }
    if (!shell->connected && kvapp_client_leader(cli->client) != 0) {
        say_connected(shell);
    }
    (void)fflush(cli->output.out);
    return exit_status;
}

/* $KVAPP_HISTORY, or a file in the home directory; the caller frees it. NULL: none. */
static char *history_path(void)
{
    const char *chosen = getenv("KVAPP_HISTORY");
    if (chosen != NULL) {
        return strdup(chosen);
    }
    const char *home = getenv("HOME");
    char *path = NULL;
    if (home == NULL || home[0] == '\0' || asprintf(&path, "%s/.kvapp_history", home) < 0) {
        return NULL;
    }
    return path;
}

static void run_terminal(struct shell *shell, struct editor *editor)
{
    struct cli *cli = shell->cli;
    struct slice line;
    while (!cli->quit) {
        switch (editor_next(editor, &line)) {
        case EDITOR_LINE:
            (void)run_line(shell, line);
            break;
        case EDITOR_CANCELLED:
            break;
        case EDITOR_END:
            (void)fputc('\n', cli->output.out);
            cli->quit = true;
            say(shell, "Goodbye!");
            break;
        }
    }
}

static enum exit_status run_pipe(struct shell *shell)
{
    enum exit_status worst = EXIT_DONE;
    char *line = NULL;
    size_t capacity = 0;
    while (!shell->cli->quit && !ferror(shell->cli->output.out)) {
        ssize_t size = getline(&line, &capacity, stdin);
        if (size < 0) {
            break;
        }
        size -= size > 0 && line[size - 1] == '\n';
        size -= size > 0 && line[size - 1] == '\r';
        enum exit_status exit_status = run_line(shell, slice_of(line, (size_t)size));
        worst = exit_status > worst ? exit_status : worst;
    }
    free(line);
    return worst;
}

enum exit_status shell_run(struct cli *cli)
{
    struct shell shell = {.cli = cli};
    struct editor *editor = NULL;
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        char *path = history_path();
        editor = editor_new("kvapp> ", path);
        free(path);
        cli->interrupted = editor == NULL ? NULL : editor_interrupted;
    }
    enum exit_status exit_status = EXIT_DONE;
    bool any = connect_cluster(&shell, editor != NULL);
    if (!shell.connected) {
        report_unconnected(&shell, any);
    }
    if (editor != NULL) {
        say(&shell, "Type 'help' for available commands, 'quit' to exit");
        run_terminal(&shell, editor);
    } else if (any) {
        say(&shell, "Type 'help' for available commands, 'quit' to exit");
        exit_status = run_pipe(&shell);
    } else {
        exit_status = EXIT_NO_ANSWER;
    }
    words_done(&shell.words);
    editor_free(editor);
    return exit_status;
}
