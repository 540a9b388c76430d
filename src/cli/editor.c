/*
 * The tty sends Ctrl-C as a plain character while a line is edited ("isig" is off in libedit's edit
 * mode), so that no signal handler, and no global for one, is needed. While a command runs the tty
 * is in its usual mode: Ctrl-C makes a SIGINT, which stays pending until it is asked for.
 */
#include "cli/editor.h"

#include "cli/completion.h"

#include "base/memory.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HISTORY_SIZE = 1000 };

struct editor {
    EditLine *line;
    History *history;
    char *history_path; /* NULL: none */
    const char *prompt;
    bool cancelled;
    sigset_t old_mask;
};

static struct editor *editor_of(EditLine *line)
{
    struct editor *editor = NULL;
    (void)el_get(line, EL_CLIENTDATA, &editor);
    return editor;
}

static char *print_prompt(EditLine *line)
{
    return (char *)(uintptr_t)editor_of(line)->prompt;
}

static unsigned char cancel(EditLine *line, int key)
{
    (void)key;
    editor_of(line)->cancelled = true;
    return CC_EOF;
}

/* libedit's handler of the signal gives the terminal back and takes it again. */
static unsigned char suspend(EditLine *line, int key)
{
    (void)line;
    (void)key;
    (void)raise(SIGTSTP);
    return CC_REDISPLAY;
}

/* Inserts what all offers agree on, and a space when that is a command: "de" gives "delete ", and
 * "delete-" the commands that go on from it. When there is nothing to insert, shows the offers. */
static unsigned char complete(EditLine *line, int key)
{
    (void)key;
    const LineInfo *info = el_line(line);
    struct completion completion;
    completion_find(slice_of(info->buffer, (size_t)(info->cursor - info->buffer)), &completion);
    if (completion.count == 0) {
        return CC_REFRESH_BEEP;
    }
    const char *first = completion.names[0];
    if (completion.common_size > completion.word_size || completion.whole) {
        char text[64];
        (void)snprintf(text, sizeof text, "%.*s%s",
                       (int)(completion.common_size - completion.word_size),
                       first + completion.word_size, completion.whole ? " " : "");
        return el_insertstr(line, text) == 0 ? CC_REFRESH : CC_ERROR;
    }
    (void)fputc('\n', stdout);
    for (size_t i = 0; i < completion.count; i++) {
        (void)fprintf(stdout, "%s%s", completion.names[i], i + 1 == completion.count ? "\n" : "  ");
    }
    (void)fflush(stdout);
    return CC_REDISPLAY;
}

/* libedit reads characters by the locale; without a UTF-8 one it would refuse most of them. */
static void use_utf8(void)
{
    (void)setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static void open_history(struct editor *editor, const char *path)
{
    HistEvent event;
    editor->history = history_init();
    if (editor->history == NULL) {
        return;
    }
    (void)history(editor->history, &event, H_SETSIZE, HISTORY_SIZE);
    (void)history(editor->history, &event, H_SETUNIQUE, 1);
    (void)el_set(editor->line, EL_HIST, history, editor->history);
    if (path != NULL && path[0] != '\0') {
        editor->history_path = memory_copy_string(path);
        (void)history(editor->history, &event, H_LOAD, path);
    }
}

/* The wide call, since the other one leaks the copies that it makes of the names. */
static void bind_keys(EditLine *line)
{
    (void)el_wset(line, EL_ADDFN, L"kvapp-complete", L"Complete a command", complete);
    (void)el_wset(line, EL_ADDFN, L"kvapp-cancel", L"Drop the line", cancel);
    (void)el_wset(line, EL_ADDFN, L"kvapp-suspend", L"Leave for a while", suspend);
    (void)el_source(line, NULL);
    (void)el_set(line, EL_BIND, "^I", "kvapp-complete", NULL);
    (void)el_set(line, EL_BIND, "^C", "kvapp-cancel", NULL);
    (void)el_set(line, EL_BIND, "^Z", "kvapp-suspend", NULL);
    (void)el_set(line, EL_SETTY, "-d", "-isig", NULL);
}

struct editor *editor_new(const char *prompt, const char *history_path)
{
    use_utf8();
    EditLine *line = el_init("kvapp", stdin, stdout, stderr);
    if (line == NULL) {
        return NULL;
    }
    struct editor *editor = memory_new(1, sizeof *editor);
    editor->line = line;
    editor->prompt = prompt;
    sigset_t interrupt;
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &interrupt, &editor->old_mask);
    (void)el_set(line, EL_CLIENTDATA, editor);
    (void)el_set(line, EL_PROMPT, print_prompt);
    (void)el_set(line, EL_SIGNAL, 1);
    (void)el_set(line, EL_EDITOR, "emacs");
    open_history(editor, history_path);
    bind_keys(line);
    return editor;
}

void editor_free(struct editor *editor)
{
    if (editor == NULL) {
        return;
    }
    HistEvent event;
    if (editor->history != NULL) {
        if (editor->history_path != NULL) {
            (void)history(editor->history, &event, H_SAVE, editor->history_path);
        }
        history_end(editor->history);
    }
    el_end(editor->line);
    (void)editor_interrupted();
    (void)sigprocmask(SIG_SETMASK, &editor->old_mask, NULL);
    free(editor->history_path);
    free(editor);
}

enum editor_event editor_next(struct editor *editor, struct slice *ret_line)
{
    int count = 0;
    editor->cancelled = false;
    (void)editor_interrupted();
    /* Before the prompt shows: el_gets takes the terminal only after it, and a Ctrl-D that comes in
     * between would be eaten by the terminal's own mode. */
    (void)el_set(editor->line, EL_PREP_TERM, 1);
    const char *text = el_gets(editor->line, &count);
    if (editor->cancelled) {
        (void)fputs("^C\n", stdout);
        return EDITOR_CANCELLED;
    }
    if (text == NULL || count <= 0) {
        return EDITOR_END;
    }
    size_t size = strlen(text);
    struct slice line = slice_of(text, size > 0 && text[size - 1] == '\n' ? size - 1 : size);
    HistEvent event;
    if (line.size > 0 && editor->history != NULL) {
        (void)history(editor->history, &event, H_ENTER, text);
    }
    *ret_line = line;
    return EDITOR_LINE;
}

bool editor_interrupted(void)
{
    sigset_t interrupt;
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    struct timespec at_once = {0};
    return sigtimedwait(&interrupt, NULL, &at_once) == SIGINT;
}
