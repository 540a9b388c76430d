/* kvapp recover: a cluster of one out of what is left after a majority was lost. */
#ifndef APP_RECOVER_H
#define APP_RECOVER_H

#include "cli/options.h"

/* Returns the exit status of the program. */
int recover_main(const struct options *options);

#endif
