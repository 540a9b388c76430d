/* kvapp restore: a data directory out of a backup. */
#ifndef APP_RESTORE_H
#define APP_RESTORE_H

#include "cli/options.h"

/* Returns the exit status of the program. */
int restore_main(const struct options *options);

#endif
