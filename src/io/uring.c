#include "io/backend.h"
#include "kvapp/err.h"

#include <stdio.h>

int uring_new(char *reason, size_t reason_size, struct io **ret_io)
{
    (void)ret_io;
    (void)snprintf(reason, reason_size, "not in this version");
    return KV_ERR_IO;
}
