#include "cli/write.h"

#include "cli/words.h"

#include <stdio.h>

/* ---- values ---- */

/* Puts the words from `first` on, joined, in this way. */
static enum exit_status put_words(struct cli *cli, const struct verb_call *call, size_t first,
                                  struct kvapp_how how)
{
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    struct buf value = {0};
    how.ttl_ms = options_number(call->options, OPTION_TTL);
    words_join(call->words, first, call->count, &value);
    reply.status =
        kvapp_put_with(cli->client, key.data, key.size, value.data, value.size, &how, &reply);
    buf_done(&value);
    return cli_show_reply(cli, key, &reply, output_ok);
}

enum exit_status write_run_put(struct cli *cli, const struct verb_call *call)
{
    bool if_absent = options_number(call->options, OPTION_IF_ABSENT) != 0;
    return put_words(cli, call, 1,
                     (struct kvapp_how){.only_if = if_absent ? KVAPP_IF_ABSENT : KVAPP_ALWAYS});
}

enum exit_status write_run_put_if(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_how how = {.only_if = KVAPP_IF_REVISION};
    if (!cli_parse_number(cli, "Error: the revision", call->words[1], &how.revision)) {
        return EXIT_USAGE;
    }
    return put_words(cli, call, 2, how);
}

enum exit_status write_run_append(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    struct buf value = {0};
    words_join(call->words, 1, call->count, &value);
    reply.status = kvapp_append(cli->client, key.data, key.size, value.data, value.size, &reply);
    buf_done(&value);
    return cli_show_reply(cli, key, &reply, output_size);
}

/* ---- numbers ---- */

/* With or without a sign, unlike the numbers that options know. */
static bool parse_signed(struct cli *cli, struct slice word, int64_t *ret_number)
{
    bool negative = word.size > 0 && word.data[0] == '-';
    const struct option magnitude = {
        .type = OPTION_U64,
        .max = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX,
    };
    struct slice digits = slice_of(word.data + negative, word.size - negative);
    char sentence[OPTIONS_ERROR_SIZE];
    uint64_t number = 0;
    if (option_check(&magnitude, "", digits, &number, sentence, sizeof sentence) != 0) {
        (void)snprintf(sentence, sizeof sentence,
                       "Error: the number: \"%.*s\" is not a number in %lld..%lld",
                       word.size > 200 ? 200 : (int)word.size, (const char *)word.data,
                       (long long)INT64_MIN, (long long)INT64_MAX);
        output_usage(&cli->output, sentence);
        return false;
    }
    *ret_number = (int64_t)(negative ? 0 - number : number);
    return true;
}

enum exit_status write_run_incr(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    int64_t delta = 1;
    if (call->count > 1 && !parse_signed(cli, call->words[1], &delta)) {
        return EXIT_USAGE;
    }
    reply.status = kvapp_add(cli->client, key.data, key.size, delta, &reply);
    return cli_show_reply(cli, key, &reply, output_number);
}

/* ---- expiries ---- */

enum exit_status write_run_expire(struct cli *cli, const struct verb_call *call)
{
    uint64_t ttl_ms;
    if (!cli_parse_number(cli, "Error: the milliseconds", call->words[1], &ttl_ms)) {
        return EXIT_USAGE;
    }
    struct kvapp_reply reply = {0};
    struct slice key = call->words[0];
    reply.status = kvapp_expire(cli->client, key.data, key.size, ttl_ms, &reply);
    return cli_show_reply(cli, key, &reply, output_ok);
}

enum exit_status write_run_ttl(struct cli *cli, const struct verb_call *call)
{
    struct kvapp_reply reply = {0};
    struct kvapp_stat stat;
    struct slice key = call->words[0];
    if (kvapp_stat(cli->client, key.data, key.size, &reply, &stat) != 0) {
        return cli_show_reply(cli, key, &reply, NULL);
    }
    output_ttl(&cli->output, key, &reply, &stat);
    output_age(&cli->output, &reply);
    return EXIT_DONE;
}
