/* The help texts, made from the tables so that they cannot disagree with the parser. */
#include "cli/options.h"

#include <stdio.h>

enum {
    HELP_COLUMN = 31, /* where the sentences begin */
    HELP_WIDTH = 100,
};

/* Prints words from `column` on, and breaks lines before HELP_WIDTH. Returns the new column. */
static size_t print_wrapped(FILE *out, const char *text, size_t column)
{
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        if (size > 0 && column + 1 + size > HELP_WIDTH) {
            (void)fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        bool begins_line = column <= HELP_COLUMN;
        (void)fprintf(out, "%s%.*s", begins_line || size == 0 ? "" : " ", (int)size, text);
        column += size + (begins_line || size == 0 ? 0 : 1);
        text += size;
        text += *text == ' ';
    }
    return column;
}

/* A number as it would be written: sizes with a suffix where one fits. */
static void write_number(const struct option *option, uint64_t number, char out[24])
{
    const char *suffix = "";
    if (option->type == OPTION_BYTES) {
        static const char *const suffixes[] = {"", "K", "M", "G"};
        size_t i = 0;
        while (i < 3 && number >= 1024 && number % 1024 == 0) {
            number /= 1024;
            i++;
        }
        suffix = suffixes[i];
    }
    (void)snprintf(out, 24, "%llu%s", (unsigned long long)number, suffix);
}

static void print_range(const struct option *option, char *out, size_t out_size)
{
    bool is_number =
        option->type == OPTION_U64 || option->type == OPTION_MS || option->type == OPTION_BYTES;
    size_t used = 0;
    out[0] = '\0';
    if (option->initial != NULL) {
        used += (size_t)snprintf(out, out_size, "default %s", option->initial);
    }
    if (is_number) {
        char min[24];
        char max[24];
        write_number(option, option->min, min);
        write_number(option, option->max, max);
        used += (size_t)snprintf(out + used, out_size - used, "%s%s..%s", used > 0 ? "; " : "", min,
                                 max);
    } else if (option->type == OPTION_ENUM) {
        used += (size_t)snprintf(out + used, out_size - used, "%s%s", used > 0 ? "; " : "",
                                 option->choices);
    }
    if (option->environment != NULL) {
        (void)snprintf(out + used, out_size - used, "%s$%s", used > 0 ? "; " : "",
                       option->environment);
    }
}

void options_print_list(FILE *out, enum option_owner owner)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &option_table[i];
        if ((option->owners & owner) == 0) {
            continue;
        }
        char letter[8] = "    ";
        if (option->letter != '\0') {
            (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
        }
        int column = fprintf(out, "  %s--%s%s%s", letter, option->name,
                             option->value_name == NULL ? "" : " ",
                             option->value_name == NULL ? "" : option->value_name);
        if (column >= HELP_COLUMN) {
            (void)fprintf(out, "\n");
            column = 0;
        }
        (void)fprintf(out, "%*s", HELP_COLUMN - column, "");
        size_t at = print_wrapped(out, option->help, HELP_COLUMN);
        char range[256];
        print_range(option, range, sizeof range);
        if (range[0] != '\0') {
            char bracketed[260];
            (void)snprintf(bracketed, sizeof bracketed, "[%s]", range);
            (void)print_wrapped(out, bracketed, at);
        }
        (void)fprintf(out, "\n");
    }
}

void options_print_overview(FILE *out)
{
    (void)fprintf(out, "kvapp is a key-value store that keeps its data on several servers.\n\n"
                       "Usage:\n");
    for (const struct subcommand *at = subcommand_table; at->name != NULL; at++) {
        char usage[64];
        (void)snprintf(usage, sizeof usage, "%s [options]%s", at->name, at->usage);
        (void)fprintf(out, "  kvapp %-31s %s\n", usage, at->summary);
    }
    (void)fprintf(out, "  kvapp %-31s %s\n", "help [subcommand]", "explain");
    (void)fprintf(out, "\nOptions:\n");
    options_print_list(out, OWNER_PROGRAM);
    (void)fprintf(out, "\n\"kvapp server --help\" and so on list the options of a subcommand.\n"
                       "An option may also be set in the environment: --data-dir as "
                       "KVAPP_DATA_DIR.\n");
}

void options_print_help(FILE *out, const struct subcommand *subcommand)
{
    (void)fprintf(out, "Usage: kvapp %s [options]%s\n\n%s\nOptions:\n", subcommand->name,
                  subcommand->usage, subcommand->about);
    options_print_list(out, subcommand->owner);
}
