#include "kvapp/err.h"

const char *kvapp_err_name(int err)
{
    switch (err) {
    case 0:
        return "OK";
#define KV_ERR_CASE(code, number, kind, sentence)                                                  \
    case number:                                                                                   \
        return #code;
        KV_ERR_TABLE(KV_ERR_CASE)
#undef KV_ERR_CASE
    default:
        return "UNKNOWN";
    }
}

const char *kvapp_err_kind(int err)
{
    switch (err) {
    case 0:
        return "none";
#define KV_ERR_CASE(code, number, kind, sentence)                                                  \
    case number:                                                                                   \
        return kind;
        KV_ERR_TABLE(KV_ERR_CASE)
#undef KV_ERR_CASE
    default:
        return "unknown";
    }
}

const char *kvapp_err_sentence(int err)
{
    switch (err) {
    case 0:
        return "done";
#define KV_ERR_CASE(code, number, kind, sentence)                                                  \
    case number:                                                                                   \
        return sentence;
        KV_ERR_TABLE(KV_ERR_CASE)
#undef KV_ERR_CASE
    default:
        return "an error that this version does not know";
    }
}
