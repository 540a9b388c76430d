#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "kvapp: bug: %s:%d: %s does not hold\n", file, line, condition);
    abort();
}
