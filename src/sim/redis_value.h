/* What servers answer to clients of Redis: values of RESP 2, as a client reads them. */
#ifndef SIM_REDIS_VALUE_H
#define SIM_REDIS_VALUE_H

#include "base/bytes.h"

struct redis_value {
    char kind;         /* '+', '-', ':', '$' or '*' */
    bool null;         /* of '$' and '*' */
    int64_t number;    /* ':'; of '*' the elements, which follow */
    struct slice text; /* '+', '-', '$'; borrowed */
};

/* The value at the front of `bytes`: 0 with its size, KV_ERR_INCOMPLETE or KV_ERR_MALFORMED. */
int redis_value_take(struct slice bytes, struct redis_value *ret_value, size_t *ret_size);

/* Whether that is the text's first word. */
bool redis_value_begins(const struct redis_value *value, const char *word);

#endif
