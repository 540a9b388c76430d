#include "cli/output.h"

#include "cli/words.h"

#include "base/assert.h"

#include <ctype.h>
#include <stdio.h>

void output_done(struct output *output)
{
    buf_done(&output->scratch);
}

enum exit_status output_exit_status(int status)
{
    switch (status) {
    case 0:
        return EXIT_DONE;
    case KV_ERR_NOT_FOUND:
    case KV_ERR_CONDITION:
    case KV_ERR_REFUSED:
    case KV_ERR_NOT_INTEGER:
    case KV_ERR_OVERFLOW:
        return EXIT_NOT;
    case KV_ERR_INVALID:
    case KV_ERR_KEY_EMPTY:
    case KV_ERR_KEY_TOO_LARGE:
    case KV_ERR_VALUE_TOO_LARGE:
        return EXIT_USAGE;
    default:
        return EXIT_NO_ANSWER;
    }
}

/* What the user can do about it; NULL when the sentence of the error says it all. */
static const char *advice(int status)
{
    switch (status) {
    case KV_ERR_KEY_EMPTY:
        return "give a key of 1 to 4096 bytes";
    case KV_ERR_KEY_TOO_LARGE:
        return "use a shorter key";
    case KV_ERR_VALUE_TOO_LARGE:
        return "split the value over several keys";
    case KV_ERR_NO_LEADER:
    case KV_ERR_TIMEOUT:
        return "check that most of the servers are running ('status' shows them)";
    case KV_ERR_CONNECTION:
    case KV_ERR_ADDRESS:
        return "check the addresses of --cluster, and that the servers are running";
    case KV_ERR_OUTCOME_UNKNOWN:
        return "read the key to see";
    case KV_ERR_REFUSED:
        return "--force does it all the same";
    case KV_ERR_SESSION_UNKNOWN:
        return "read the key to see whether the write took effect, then try again";
    case KV_ERR_FOREIGN:
        return "check the addresses of --cluster";
    case KV_ERR_VERSION:
    case KV_ERR_COMMAND_UNKNOWN:
        return "use the same version of kvapp everywhere";
    case KV_ERR_FULL:
        return "make room on the servers' disks";
    default:
        return NULL;
    }
}

/* Whether the client's own words on the failure help: it had trouble on the way to an answer. */
static bool has_detail(int status)
{
    return output_exit_status(status) == EXIT_NO_ANSWER || status == KV_ERR_INVALID ||
           status == KV_ERR_REFUSED;
}

/* ---- text ---- */

static void print_bytes(struct output *output, struct slice bytes)
{
    struct slice shown = bytes;
    if (!output->raw) {
        buf_clear(&output->scratch);
        text_escape(bytes, &output->scratch);
        shown = buf_slice(&output->scratch);
    }
    /* Nothing may be at NULL, where fwrite must not look. */
    if (shown.size > 0) {
        (void)fwrite(shown.data, 1, shown.size, output->out);
    }
}

static void print_error(struct output *output, struct slice key, int status, const char *detail)
{
    const char *hint = advice(status);
    if (status == KV_ERR_OUTCOME_UNKNOWN && key.size == 0) {
        hint = NULL; /* There is no key to be read. */
    }
    bool detailed = has_detail(status) && detail[0] != '\0';
    (void)fprintf(output->complaints, "Error: %s%s%s%s%s%s\n", kvapp_err_sentence(status),
                  detailed ? " (" : "", detailed ? detail : "", detailed ? ")" : "",
                  hint == NULL ? "" : "; ", hint == NULL ? "" : hint);
}

static void print_place(struct output *output, const struct kvapp_reply *reply)
{
    if (reply->session != 0) {
        (void)fprintf(output->complaints,
                      "Before this client's next write, 'outcome %llu %llu' tells what became of "
                      "it; 'cancel %llu %llu' also makes sure that it does not happen later\n",
                      (unsigned long long)reply->session, (unsigned long long)reply->sequence,
                      (unsigned long long)reply->session, (unsigned long long)reply->sequence);
    }
}

/* ---- JSON ---- */

void output_json(struct output *output, json_t *object)
{
    CHECK(object != NULL);
    CHECK(json_dumpf(object, output->out, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 ||
          ferror(output->out));
    (void)fputc('\n', output->out);
    json_decref(object);
}

static void append_base64(struct slice bytes, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < bytes.size; at += 3) {
        size_t left = bytes.size - at;
        uint32_t group = (uint32_t)bytes.data[at] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[at + 1] << 8 : 0;
        group |= left > 2 ? bytes.data[at + 2] : 0;
        for (size_t i = 0; i < 4; i++) {
            buf_put_u8(out, i > left ? '=' : (uint8_t)digits[group >> (18 - 6 * i) & 63]);
        }
    }
}

static json_t *json_of(struct slice text)
{
    return json_stringn(text.size == 0 ? "" : (const char *)text.data, text.size);
}

void output_set_bytes(struct output *output, json_t *object, const char *name, struct slice bytes)
{
    if (text_is_utf8(bytes)) {
        CHECK(json_object_set_new(object, name, json_of(bytes)) == 0);
        return;
    }
    char long_name[32];
    (void)snprintf(long_name, sizeof long_name, "%s_base64", name);
    buf_clear(&output->scratch);
    append_base64(bytes, &output->scratch);
    CHECK(json_object_set_new(object, long_name, json_of(buf_slice(&output->scratch))) == 0);
}

static void set_number(json_t *object, const char *name, uint64_t number)
{
    CHECK(json_object_set_new(object, name, json_integer((json_int_t)number)) == 0);
}

static json_t *new_object(bool ok)
{
    json_t *object = json_object();
    CHECK(json_object_set_new(object, "ok", json_boolean(ok)) == 0);
    return object;
}

/* Sets "error" and "message". */
static void set_error(json_t *object, const char *name, const char *message)
{
    char lower[32];
    size_t size = 0;
    for (; name[size] != '\0' && size + 1 < sizeof lower; size++) {
        lower[size] = (char)tolower((unsigned char)name[size]);
    }
    lower[size] = '\0';
    CHECK(json_object_set_new(object, "error", json_string(lower)) == 0);
    json_t *text = json_string(message);
    CHECK(json_object_set_new(object, "message", text == NULL ? json_string("") : text) == 0);
}

/* Sets "detail" when there is one. */
static void set_detail(json_t *object, int status, const char *detail)
{
    json_t *text = has_detail(status) && detail[0] != '\0' ? json_string(detail) : NULL;
    if (text != NULL) {
        CHECK(json_object_set_new(object, "detail", text) == 0);
    }
}

/* ---- replies ---- */

void output_ok(struct output *output, struct slice key, const struct kvapp_reply *reply)
{
    if (!output->json) {
        (void)fputs("OK\n", output->out);
        return;
    }
    json_t *object = new_object(true);
    output_set_bytes(output, object, "key", key);
    set_number(object, "revision", reply->revision);
    output_json(output, object);
}

/* ---- how old ---- */

static bool is_stale(const struct kvapp_reply *reply)
{
    return reply->age_ms != 0 || reply->applied_index != 0;
}

void output_age(struct output *output, const struct kvapp_reply *reply)
{
    if (output->json || !is_stale(reply)) {
        return;
    }
    (void)fflush(output->out);
    if (reply->age_ms == UINT64_MAX) {
        (void)fprintf(output->complaints, "(of unknown age, at index %llu)\n",
                      (unsigned long long)reply->applied_index);
    } else {
        (void)fprintf(output->complaints, "(at most %llu ms old, at index %llu)\n",
                      (unsigned long long)reply->age_ms, (unsigned long long)reply->applied_index);
    }
}

/* Sets "age_ms", null when it is not known, and "applied_index". */
static void set_age(json_t *object, const struct kvapp_reply *reply)
{
    if (is_stale(reply)) {
        bool known = reply->age_ms != UINT64_MAX;
        json_t *age = known ? json_integer((json_int_t)reply->age_ms) : json_null();
        CHECK(json_object_set_new(object, "age_ms", age) == 0);
        set_number(object, "applied_index", reply->applied_index);
    }
}

/* ---- values ---- */

void output_value(struct output *output, struct slice key, const struct kvapp_reply *reply)
{
    struct slice value = slice_of(reply->data, reply->size);
    if (!output->json) {
        print_bytes(output, value);
        (void)fputc('\n', output->out);
        return;
    }
    json_t *object = new_object(true);
    output_set_bytes(output, object, "key", key);
    output_set_bytes(output, object, "value", value);
    set_number(object, "revision", reply->revision);
    set_age(object, reply);
    output_json(output, object);
}

void output_number(struct output *output, struct slice key, const struct kvapp_reply *reply)
{
    int64_t number = (int64_t)reply->count;
    if (!output->json) {
        (void)fprintf(output->out, "%lld\n", (long long)number);
        return;
    }
    json_t *object = new_object(true);
    output_set_bytes(output, object, "key", key);
    CHECK(json_object_set_new(object, "number", json_integer(number)) == 0);
    set_number(object, "revision", reply->revision);
    output_json(output, object);
}

void output_size(struct output *output, struct slice key, const struct kvapp_reply *reply)
{
    if (!output->json) {
        (void)fprintf(output->out, "OK, %llu %s\n", (unsigned long long)reply->count,
                      reply->count == 1 ? "byte" : "bytes");
        return;
    }
    json_t *object = new_object(true);
    output_set_bytes(output, object, "key", key);
    set_number(object, "size", reply->count);
    set_number(object, "revision", reply->revision);
    output_json(output, object);
}

void output_ttl(struct output *output, struct slice key, const struct kvapp_reply *reply,
                const struct kvapp_stat *stat)
{
    bool stays = stat->ttl_ms == UINT64_MAX;
    if (!output->json && stays) {
        (void)fputs("never\n", output->out);
        return;
    }
    if (!output->json) {
        (void)fprintf(output->out, "%llu\n", (unsigned long long)stat->ttl_ms);
        return;
    }
    json_t *object = new_object(true);
    output_set_bytes(output, object, "key", key);
    json_t *ttl = stays ? json_null() : json_integer((json_int_t)stat->ttl_ms);
    CHECK(json_object_set_new(object, "ttl_ms", ttl) == 0);
    set_number(object, "revision", stat->revision);
    set_number(object, "created", stat->created);
    set_number(object, "version", stat->version);
    set_number(object, "size", stat->size);
    set_age(object, reply);
    output_json(output, object);
}

void output_deleted(struct output *output, uint64_t count)
{
    if (!output->json) {
        (void)fprintf(output->out, "OK, %llu %s deleted\n", (unsigned long long)count,
                      count == 1 ? "key" : "keys");
        return;
    }
    json_t *object = new_object(true);
    set_number(object, "deleted", count);
    output_json(output, object);
}

void output_backup(struct output *output, const char *file, uint64_t size, uint64_t index)
{
    if (!output->json) {
        (void)fprintf(output->out, "OK, %llu bytes, all up to revision %llu\n",
                      (unsigned long long)size, (unsigned long long)index);
        return;
    }
    json_t *object = new_object(true);
    output_set_bytes(output, object, "file", slice_of_string(file));
    set_number(object, "bytes", size);
    set_number(object, "revision", index);
    output_json(output, object);
}

static void print_failure(struct output *output, struct slice key, const struct kvapp_reply *reply,
                          const char *detail)
{
    if (reply->status == KV_ERR_NOT_FOUND) {
        (void)fputs("Key not found\n", output->out);
    } else if (reply->status == KV_ERR_CONDITION && reply->revision == 0) {
        (void)fputs("Condition not met: the key is not there\n", output->out);
    } else if (reply->status == KV_ERR_CONDITION) {
        (void)fprintf(output->out, "Condition not met: the key is at revision %llu\n",
                      (unsigned long long)reply->revision);
    } else {
        print_error(output, key, reply->status, detail);
        print_place(output, reply);
    }
}

void output_failure(struct output *output, struct slice key, const struct kvapp_reply *reply,
                    const char *detail)
{
    CHECK(reply->status != 0);
    if (!output->json) {
        print_failure(output, key, reply, detail);
        return;
    }
    json_t *object = new_object(false);
    set_error(object, kvapp_err_name(reply->status),
              reply->status == KV_ERR_NOT_FOUND ? "Key not found"
                                                : kvapp_err_sentence(reply->status));
    set_detail(object, reply->status, detail);
    if (key.size > 0) {
        output_set_bytes(output, object, "key", key);
    }
    if (reply->status == KV_ERR_CONDITION) {
        set_number(object, "revision", reply->revision);
    }
    if (reply->session != 0) {
        set_number(object, "session", reply->session);
        set_number(object, "sequence", reply->sequence);
    }
    set_age(object, reply);
    output_json(output, object);
}

/* ---- what became of a write ---- */

struct outcome {
    const char *name;
    const char *sentence;
};

/* NULL: the question was not answered. */
static const struct outcome *outcome_of(int status)
{
    static const struct outcome applied = {"applied", "Applied"};
    static const struct outcome refused = {"no_effect", "Had no effect, and will have none"};
    static const struct outcome possible = {
        "possible", "Not applied so far; a copy that is on its way may be ('cancel' prevents it)"};
    static const struct outcome forgotten = {
        "forgotten",
        "Not known any more; if it was not applied, it will not be from now on: read the key"};
    switch (status) {
    case 0:
        return &applied;
    case KV_ERR_NOT_FOUND:
    case KV_ERR_CONDITION:
    case KV_ERR_NOT_INTEGER:
    case KV_ERR_OVERFLOW:
    case KV_ERR_VALUE_TOO_LARGE:
        return &refused;
    case KV_ERR_OUTCOME_UNKNOWN:
        return &possible;
    case KV_ERR_SESSION_UNKNOWN:
    case KV_ERR_SEQUENCE_STALE:
        return &forgotten;
    default:
        return NULL;
    }
}

enum exit_status output_outcome(struct output *output, const struct kvapp_reply *reply,
                                const char *detail)
{
    const struct outcome *outcome = outcome_of(reply->status);
    if (outcome == NULL) {
        output_failure(output, slice_of(NULL, 0), reply, detail);
        return output_exit_status(reply->status);
    }
    if (output->json) {
        json_t *object = new_object(true);
        CHECK(json_object_set_new(object, "outcome", json_string(outcome->name)) == 0);
        if (reply->status == 0) {
            set_number(object, "revision", reply->revision);
        }
        output_json(output, object);
    } else if (reply->status == 0) {
        (void)fprintf(output->out, "%s, at revision %llu\n", outcome->sentence,
                      (unsigned long long)reply->revision);
    } else {
        (void)fprintf(output->out, "%s\n", outcome->sentence);
    }
    return reply->status == 0 ? EXIT_DONE : EXIT_NOT;
}

void output_usage(struct output *output, const char *sentence)
{
    if (!output->json) {
        (void)fprintf(output->complaints, "%s\n", sentence);
        return;
    }
    json_t *object = new_object(false);
    set_error(object, "usage", sentence);
    output_json(output, object);
}

/* ---- lists ---- */

void output_list_begin(struct output_list *list, struct output *output, bool values)
{
    *list = (struct output_list){.output = output, .values = values};
    if (output->json) {
        (void)fprintf(output->out, "{\"%s\":[", values ? "items" : "keys");
    }
}

static void print_json_item(struct output_list *list, const struct kvapp_item *item)
{
    struct output *output = list->output;
    struct slice key = slice_of(item->key, item->key_size);
    json_t *element;
    if (!list->values && text_is_utf8(key)) {
        element = json_of(key);
    } else {
        element = json_object();
        output_set_bytes(output, element, "key", key);
    }
    if (list->values) {
        output_set_bytes(output, element, "value", slice_of(item->value, item->value_size));
        set_number(element, "revision", item->revision);
    }
    if (list->count > 0) {
        (void)fputc(',', output->out);
    }
    CHECK(json_dumpf(element, output->out, JSON_COMPACT | JSON_ENCODE_ANY) == 0 ||
          ferror(output->out));
    json_decref(element);
}

void output_list_item(struct output_list *list, const struct kvapp_item *item)
{
    struct output *output = list->output;
    if (output->json) {
        print_json_item(list, item);
    } else {
        print_bytes(output, slice_of(item->key, item->key_size));
        if (list->values) {
            (void)fputc('\t', output->out);
            print_bytes(output, slice_of(item->value, item->value_size));
        }
        (void)fputc('\n', output->out);
    }
    list->count++;
}

void output_list_age(struct output_list *list, const struct kvapp_reply *page)
{
    if (page->age_ms >= list->oldest.age_ms) {
        list->oldest =
            (struct kvapp_reply){.age_ms = page->age_ms, .applied_index = page->applied_index};
    }
}

void output_list_end(struct output_list *list, int status, const char *detail)
{
    struct output *output = list->output;
    if (!output->json) {
        if (status != 0) {
            print_error(output, slice_of(NULL, 0), status, detail);
        } else if (list->count == 0) {
            (void)fputs("No keys found\n", output->out);
        }
        output_age(output, &list->oldest);
        return;
    }
    json_t *object = json_object();
    set_number(object, "count", list->count);
    CHECK(json_object_set_new(object, "ok", json_boolean(status == 0)) == 0);
    if (status != 0) {
        set_error(object, kvapp_err_name(status), kvapp_err_sentence(status));
        set_detail(object, status, detail);
    }
    set_age(object, &list->oldest);
    (void)fputs("],", output->out);
    CHECK(json_dumpf(object, output->out, JSON_COMPACT | JSON_EMBED) == 0 || ferror(output->out));
    (void)fputs("}\n", output->out);
    json_decref(object);
}
