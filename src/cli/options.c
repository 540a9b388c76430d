/*
 * The parser of options. It goes over the words twice: once to find the subcommand, since an
 * option may stand before it, and once to set the values that this subcommand has.
 *
 *     words ──► find_subcommand ──► set_defaults ──► read_environment ──► read_words ──►
 * check_ports
 */
#include "cli/options.h"

#include "base/assert.h"
#include "base/members.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { SHOWN_MAX = 200 }; /* bytes of a user's word that a message repeats */

/* What one run over the words works with. */
struct parser {
    struct options *options;
    unsigned owners; /* whose options may be given: enum option_owner */
    char *error;
    size_t error_size;
};

static int shown(struct slice text)
{
    return text.size > SHOWN_MAX ? SHOWN_MAX : (int)text.size;
}

/* The client's command line may hold the options of its commands too. */
static unsigned subcommand_owners(const struct subcommand *subcommand)
{
    unsigned owners = subcommand->owner;
    return subcommand->owner == OWNER_CLIENT ? owners | OWNERS_OF_COMMANDS : owners;
}

/* ---- values ---- */

/* Decimal digits and nothing else. */
static bool parse_u64(struct slice text, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *ret_number = number;
    return text.size > 0;
}

/* Digits, then perhaps K, M or G. */
static bool parse_bytes(struct slice text, uint64_t *ret_number)
{
    unsigned shift = 0;
    if (text.size > 1) {
        switch (text.data[text.size - 1]) {
        case 'k':
        case 'K':
            shift = 10;
            break;
        case 'm':
        case 'M':
            shift = 20;
            break;
        case 'g':
        case 'G':
            shift = 30;
            break;
        default:
            break;
        }
    }
    text.size -= shift != 0;
    uint64_t number = 0;
    if (!parse_u64(text, &number) || number > UINT64_MAX >> shift) {
        return false;
    }
    *ret_number = number << shift;
    return true;
}

/* The place of `text` among "a|b|c", or -1. */
static int choice_index(const char *choices, struct slice text)
{
    int index = 0;
    for (const char *at = choices;; index++) {
        const char *end = strchr(at, '|');
        size_t size = end == NULL ? strlen(at) : (size_t)(end - at);
        if (slice_equal(text, slice_of(at, size))) {
            return index;
        }
        if (end == NULL) {
            return -1;
        }
        at = end + 1;
    }
}

static int check_number(const struct option *option, const char *name, struct slice text,
                        uint64_t *ret_number, char *error, size_t error_size)
{
    const char *unit = option->type == OPTION_MS      ? " ms"
                       : option->type == OPTION_BYTES ? " bytes"
                                                      : "";
    uint64_t number = 0;
    bool sound =
        option->type == OPTION_BYTES ? parse_bytes(text, &number) : parse_u64(text, &number);
    if (!sound || number < option->min || number > option->max) {
        (void)snprintf(error, error_size, "%s: \"%.*s\" is not a number in %llu..%llu%s", name,
                       shown(text), (const char *)text.data, (unsigned long long)option->min,
                       (unsigned long long)option->max, unit);
        return KV_ERR_INVALID;
    }
    *ret_number = number;
    return 0;
}

static int check_switch(const char *name, struct slice text, uint64_t *ret_number, char *error,
                        size_t error_size)
{
    int index = choice_index("no|yes|false|true|off|on|0|1", text);
    if (index < 0) {
        (void)snprintf(error, error_size, "%s: \"%.*s\" is not one of yes, no", name, shown(text),
                       (const char *)text.data);
        return KV_ERR_INVALID;
    }
    *ret_number = (uint64_t)index & 1;
    return 0;
}

static int check_choice(const struct option *option, const char *name, struct slice text,
                        uint64_t *ret_number, char *error, size_t error_size)
{
    int index = choice_index(option->choices, text);
    if (index >= 0) {
        *ret_number = (uint64_t)index;
        return 0;
    }
    int used = snprintf(error, error_size, "%s: \"%.*s\" is not one of", name, shown(text),
                        (const char *)text.data);
    for (const char *at = option->choices; *at != '\0';) {
        int size = (int)strcspn(at, "|");
        used += snprintf(error + used, error_size - (size_t)used, "%s %.*s",
                         at == option->choices ? "" : ",", size, at);
        at += size;
        at += *at == '|';
    }
    return KV_ERR_INVALID;
}

static int check_address(const char *name, struct slice text, char *error, size_t error_size)
{
    char address[ADDRESS_SIZE_MAX];
    if (strlen((const char *)text.data) == text.size &&
        address_add_port((const char *)text.data, 0, address) == 0) {
        return 0;
    }
    (void)snprintf(error, error_size,
                   "%s: \"%.*s\" is not an address: host:port with a port in 1..65535 is needed",
                   name, shown(text), (const char *)text.data);
    return KV_ERR_INVALID;
}

static int check_members(const char *name, struct slice text, char *error, size_t error_size)
{
    struct members members;
    char why[512];
    int err = members_parse((const char *)text.data, &members, why, sizeof why);
    if (err != 0) {
        (void)snprintf(error, error_size, "%s: %s", name, why);
    }
    return err;
}

int option_check(const struct option *option, const char *name, struct slice text,
                 uint64_t *ret_number, char *error, size_t error_size)
{
    switch (option->type) {
    case OPTION_U64:
    case OPTION_MS:
    case OPTION_BYTES:
        return check_number(option, name, text, ret_number, error, error_size);
    case OPTION_FLAG:
        return check_switch(name, text, ret_number, error, error_size);
    case OPTION_ENUM:
        return check_choice(option, name, text, ret_number, error, error_size);
    case OPTION_ADDRESS:
        return check_address(name, text, error, error_size);
    case OPTION_MEMBERS:
        return check_members(name, text, error, error_size);
    case OPTION_TEXT:
        if (text.size == 0 && option->owners != OWNER_RANGE) {
            (void)snprintf(error, error_size, "%s: an empty text is of no use here", name);
            return KV_ERR_INVALID;
        }
        return 0;
    case OPTION_SHORT_FORM:
        break;
    }
    UNREACHABLE();
}

static int set_value(const struct parser *parser, const struct option *option, const char *name,
                     struct slice text, enum option_source source)
{
    uint64_t number = 0;
    int err = option_check(option, name, text, &number, parser->error, parser->error_size);
    if (err == 0) {
        parser->options->values[option - option_table] =
            (struct option_value){.source = source, .text = text, .number = number};
    }
    return err;
}

/* ---- words ---- */

/* A lone dash and what looks like a negative number are words. */
static bool looks_like_option(struct slice word)
{
    return word.size > 1 && word.data[0] == '-' && (word.data[1] < '0' || word.data[1] > '9');
}

/* The option that a word such as --name, --name=value or -v names; NULL: none. */
static const struct option *find_option(struct slice word, struct slice *ret_value)
{
    *ret_value = slice_of(NULL, 0);
    bool is_long = word.size > 2 && word.data[1] == '-';
    struct slice name = slice_of(word.data + 2, is_long ? word.size - 2 : 0);
    const uint8_t *equals = is_long ? memchr(name.data, '=', name.size) : NULL;
    if (equals != NULL) {
        *ret_value = slice_of(equals + 1, (size_t)(name.data + name.size - equals) - 1);
        name.size = (size_t)(equals - name.data);
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &option_table[i];
        bool is_it = is_long ? slice_equal(name, slice_of_string(option->name))
                             : word.size == 2 && word.data[1] == (uint8_t)option->letter;
        if (is_it) {
            return option;
        }
    }
    return NULL;
}

static bool takes_value(const struct option *option)
{
    return option->type != OPTION_FLAG && option->type != OPTION_SHORT_FORM;
}

/*
 * The place of the first word that is no option; `count` when there is none, or when an unknown
 * option stands before it, of which nobody can tell whether it takes a value.
 */
static size_t find_first_word(const struct slice *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!looks_like_option(words[i])) {
            return i;
        }
        struct slice value;
        const struct option *option = find_option(words[i], &value);
        if (option == NULL) {
            return count;
        }
        i += takes_value(option) && value.data == NULL;
    }
    return count;
}

/* Says who has the option that this subcommand does not have. */
static int refuse_option(const struct parser *parser, const struct option *option)
{
    if (parser->options->subcommand == NULL) {
        (void)snprintf(parser->error, parser->error_size, "--%s is not an option of this command",
                       option->name);
        return KV_ERR_INVALID;
    }
    int used = snprintf(parser->error, parser->error_size, "--%s is an option of", option->name);
    const char *joint = "";
    for (const struct subcommand *at = subcommand_table; at->name != NULL; at++) {
        if ((option->owners & subcommand_owners(at)) != 0) {
            used += snprintf(parser->error + used, parser->error_size - (size_t)used, "%s kvapp %s",
                             joint, at->name);
            joint = " and";
        }
    }
    (void)snprintf(parser->error + used, parser->error_size - (size_t)used, ", not of kvapp %s",
                   parser->options->subcommand->name);
    return KV_ERR_INVALID;
}

static int refuse_unknown(const struct parser *parser, struct slice word)
{
    const struct subcommand *subcommand = parser->options->subcommand;
    if (subcommand == NULL) {
        (void)snprintf(parser->error, parser->error_size,
                       "unknown option %.*s; write -- before words that begin with a dash",
                       shown(word), (const char *)word.data);
    } else {
        (void)snprintf(parser->error, parser->error_size,
                       "unknown option %.*s; \"kvapp %s --help\" lists the options%s", shown(word),
                       (const char *)word.data, subcommand->name,
                       subcommand->takes_words ? ", and -- goes before words that begin with a dash"
                                               : "");
    }
    return KV_ERR_INVALID;
}

/* Sets the option that words[*at] names; moves *at to the last word it used. */
static int read_option(const struct parser *parser, const struct slice *words, size_t count,
                       size_t *at)
{
    struct slice value;
    const struct option *option = find_option(words[*at], &value);
    if (option == NULL) {
        return refuse_unknown(parser, words[*at]);
    }
    if ((option->owners & parser->owners) == 0) {
        return refuse_option(parser, option);
    }
    char name[64];
    (void)snprintf(name, sizeof name, "--%s", option->name);
    if (!takes_value(option)) {
        if (value.data != NULL) {
            (void)snprintf(parser->error, parser->error_size,
                           "%s takes no value, but was given \"%.*s\"", name, shown(value),
                           (const char *)value.data);
            return KV_ERR_INVALID;
        }
        bool is_short = option->type == OPTION_SHORT_FORM;
        return set_value(parser, is_short ? &option_table[option->means] : option, name,
                         slice_of_string(is_short ? option->choices : "yes"),
                         OPTION_FROM_COMMAND_LINE);
    }
    if (value.data == NULL) {
        if (*at + 1 == count) {
            (void)snprintf(parser->error, parser->error_size, "%s needs a value: %s %s", name, name,
                           option->value_name);
            return KV_ERR_INVALID;
        }
        value = words[++*at];
    }
    if ((option->gathered & parser->owners) != 0) {
        parser->options->words[parser->options->word_count++] = value;
        return 0;
    }
    return set_value(parser, option, name, value, OPTION_FROM_COMMAND_LINE);
}

/* Sets all options among the words and collects the others; `skipped` is the subcommand's place. */
static int read_words(const struct parser *parser, const struct slice *words, size_t count,
                      size_t skipped)
{
    struct options *options = parser->options;
    bool options_end = false;
    for (size_t i = 0; i < count; i++) {
        if (i == skipped) {
            continue;
        }
        if (!options_end && slice_equal(words[i], slice_of("--", 2))) {
            options_end = true;
        } else if (!options_end && looks_like_option(words[i])) {
            int err = read_option(parser, words, count, &i);
            if (err != 0) {
                return err;
            }
        } else if (options->subcommand != NULL && !options->subcommand->takes_words) {
            (void)snprintf(parser->error, parser->error_size,
                           "takes options only, but was given \"%.*s\"", shown(words[i]),
                           (const char *)words[i].data);
            return KV_ERR_INVALID;
        } else {
            options->words[options->word_count++] = words[i];
        }
    }
    return 0;
}

/* ---- the whole ---- */

static void set_defaults(const struct parser *parser)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &option_table[i];
        if (option->initial != NULL && (option->owners & parser->owners) != 0) {
            CHECK(set_value(parser, option, option->name, slice_of_string(option->initial),
                            OPTION_NOT_GIVEN) == 0);
        }
    }
}

static int read_environment(const struct parser *parser, environment_fn environment, void *context)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &option_table[i];
        if (option->environment == NULL || (option->owners & parser->owners) == 0) {
            continue;
        }
        const char *text = environment(context, option->environment);
        if (text != NULL && text[0] != '\0') {
            int err = set_value(parser, option, option->environment, slice_of_string(text),
                                OPTION_FROM_ENVIRONMENT);
            if (err != 0) {
                return err;
            }
        }
    }
    return 0;
}

static int check_port(const struct options *options, const char *name, const char *address,
                      char *error, size_t error_size)
{
    char client_address[ADDRESS_SIZE_MAX];
    uint32_t offset = (uint32_t)options_number(options, OPTION_CLIENT_PORT_OFFSET);
    if (address_add_port(address, offset, client_address) == 0) {
        return 0;
    }
    (void)snprintf(error, error_size,
                   "%s: the client port of %s would be beyond 65535: its port plus the "
                   "--client-port-offset of %u",
                   name, address, offset);
    return KV_ERR_INVALID;
}

static int check_ports(const struct options *options, char *error, size_t error_size)
{
    const char *bind = options_string(options, OPTION_BIND);
    if (bind != NULL) {
        int err = check_port(options, "--bind", bind, error, error_size);
        if (err != 0) {
            return err;
        }
    }
    const char *cluster = options_string(options, OPTION_CLUSTER);
    struct members members = {0};
    if (cluster != NULL) {
        CHECK(members_parse(cluster, &members, error, error_size) == 0);
    }
    for (size_t i = 0; i < members.count; i++) {
        int err = check_port(options, "--cluster", members.at[i].address, error, error_size);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

/* Without a subcommand there are only --help and --version. */
static void read_program_options(struct options *options, const struct slice *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct slice value;
        const struct option *option =
            looks_like_option(words[i]) ? find_option(words[i], &value) : NULL;
        if (option == NULL || (option->owners & OWNER_PROGRAM) == 0) {
            return;
        }
        options->values[option - option_table].number = 1;
    }
}

const struct subcommand *options_subcommand(const struct slice *words, size_t count)
{
    size_t first = find_first_word(words, count);
    return first == count ? NULL : subcommand_find(words[first]);
}

int options_parse(const struct slice *words, size_t count, environment_fn environment,
                  void *context, struct options *ret_options, char *error, size_t error_size)
{
    CHECK(error_size >= OPTIONS_ERROR_SIZE);
    struct options options = {0};
    options.subcommand = options_subcommand(words, count);
    if (options.subcommand == NULL) {
        read_program_options(&options, words, count);
        *ret_options = options;
        return 0;
    }
    struct parser parser = {.options = &options,
                            .owners = subcommand_owners(options.subcommand),
                            .error = error,
                            .error_size = error_size};
    options.words = memory_new(count, sizeof *options.words);
    set_defaults(&parser);
    int err = read_environment(&parser, environment, context);
    if (err == 0) {
        err = read_words(&parser, words, count, find_first_word(words, count));
    }
    if (err == 0) {
        err = check_ports(&options, error, error_size);
    }
    if (err != 0) {
        options_done(&options);
        return err;
    }
    *ret_options = options;
    return 0;
}

int options_parse_words(enum option_owner owner, const struct slice *words, size_t count,
                        struct options *ret_options, char *error, size_t error_size)
{
    CHECK(error_size >= OPTIONS_ERROR_SIZE);
    struct options options = {0};
    struct parser parser = {
        .options = &options, .owners = owner, .error = error, .error_size = error_size};
    options.words = memory_new(count + 1, sizeof *options.words);
    set_defaults(&parser);
    int err = read_words(&parser, words, count, SIZE_MAX);
    if (err != 0) {
        options_done(&options);
        return err;
    }
    *ret_options = options;
    return 0;
}

void options_done(struct options *options)
{
    free(options->words);
    options->words = NULL;
    options->word_count = 0;
}
