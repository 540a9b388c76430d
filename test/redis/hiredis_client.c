/*
 * What Redis's own C library makes of kvapp: hiredis_client HOST PORT. Exit status 0: all as it
 * should be; 1 with a line that says what was not.
 */
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int holds, const char *what, const redisContext *context, const redisReply *reply)
{
    if (holds) {
        return;
    }
    (void)fprintf(stderr, "%s: %s; reply of type %d: %s\n", what,
                  context->err != 0 ? context->errstr : "no error of the connection",
                  reply == NULL ? 0 : reply->type,
                  reply == NULL || reply->str == NULL ? "" : reply->str);
    exit(1);
}

static int is_text(const redisReply *reply, int type, const char *text)
{
    return reply != NULL && reply->type == type && reply->len == strlen(text) &&
           memcmp(reply->str, text, strlen(text)) == 0;
}

static redisReply *ask(redisContext *context, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(context, format, arguments);
    va_end(arguments);
    return reply;
}

static redisReply *next(redisContext *context)
{
    void *reply = NULL;
    return redisGetReply(context, &reply) == REDIS_OK ? reply : NULL;
}

static void single_commands(redisContext *context)
{
    redisReply *reply = ask(context, "SET hi:key %b", "a\0b\r\n", (size_t)5);
    check(is_text(reply, REDIS_REPLY_STATUS, "OK"), "SET", context, reply);
    freeReplyObject(reply);
    reply = ask(context, "GET hi:key");
    check(reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len == 5 &&
              memcmp(reply->str, "a\0b\r\n", 5) == 0,
          "GET of bytes", context, reply);
    freeReplyObject(reply);
    reply = ask(context, "GET hi:none");
    check(reply != NULL && reply->type == REDIS_REPLY_NIL, "GET of nothing", context, reply);
    freeReplyObject(reply);
    reply = ask(context, "INCR hi:key");
    check(is_text(reply, REDIS_REPLY_ERROR, "ERR value is not an integer or out of range"),
          "INCR of a text", context, reply);
    freeReplyObject(reply);
    check(context->err == 0, "an error is an answer like any other", context, NULL);
}

static void pipeline(redisContext *context)
{
    enum { COUNT = 1000 };
    redisReply *reply = ask(context, "DEL hi:counter");
    freeReplyObject(reply);
    for (int i = 0; i < COUNT; i++) {
        redisAppendCommand(context, "INCR hi:counter");
    }
    for (int i = 1; i <= COUNT; i++) {
        reply = next(context);
        check(reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer == i,
              "INCR in a pipeline", context, reply);
        freeReplyObject(reply);
    }
}

static void transaction(redisContext *context)
{
    redisAppendCommand(context, "MULTI");
    redisAppendCommand(context, "SET hi:multi 1");
    redisAppendCommand(context, "INCR hi:multi");
    redisAppendCommand(context, "PING");
    redisAppendCommand(context, "EXEC");
    static const char *const answers[] = {"OK", "QUEUED", "QUEUED", "QUEUED"};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        redisReply *reply = next(context);
        check(is_text(reply, REDIS_REPLY_STATUS, answers[i]), "queueing", context, reply);
        freeReplyObject(reply);
    }
    redisReply *reply = next(context);
    check(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
              is_text(reply->element[0], REDIS_REPLY_STATUS, "OK") &&
              reply->element[1]->type == REDIS_REPLY_INTEGER && reply->element[1]->integer == 2 &&
              is_text(reply->element[2], REDIS_REPLY_STATUS, "PONG"),
          "EXEC", context, reply);
    freeReplyObject(reply);
}

/* Debian 12's hiredis, 0.14, cannot read RESP3. */
static void hello(redisContext *context)
{
    redisReply *reply = ask(context, "HELLO 2");
    check(reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 14, "HELLO 2",
          context, reply);
    freeReplyObject(reply);
#if HIREDIS_MAJOR >= 1
    reply = ask(context, "HELLO 3");
    check(reply != NULL && reply->type == REDIS_REPLY_MAP && reply->elements == 14, "HELLO 3",
          context, reply);
    freeReplyObject(reply);
    reply = ask(context, "GET hi:none");
    check(reply != NULL && reply->type == REDIS_REPLY_NIL, "GET in RESP3", context, reply);
    freeReplyObject(reply);
#endif
}

int main(int count, char **words)
{
    if (count != 3) {
        return 2;
    }
    redisContext *context = redisConnect(words[1], (int)strtol(words[2], NULL, 10));
    if (context == NULL || context->err != 0) {
        (void)fprintf(stderr, "no connection\n");
        return 1;
    }
    single_commands(context);
    pipeline(context);
    transaction(context);
    hello(context);
    redisFree(context);
    (void)printf("hiredis %d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR);
    return 0;
}
