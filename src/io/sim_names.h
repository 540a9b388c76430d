/* The sorted names of one directory. Each name holds a reference to its inode. */
#ifndef IO_SIM_NAMES_H
#define IO_SIM_NAMES_H

#include "io/sim_disk.h"

/* The inode of that name, or NULL. */
struct sim_inode *sim_names_find(const struct sim_names *names, const char *text);
/* Sets or replaces a name. */
void sim_names_set(struct sim_names *names, const char *text, struct sim_inode *inode);
/* Removes the name when it stands for that inode. */
void sim_names_remove(struct sim_names *names, const char *text, const struct sim_inode *inode);
void sim_names_done(struct sim_names *names);
/* *ret_copy, which is empty, becomes the same names of the same inodes. */
void sim_names_copy(const struct sim_names *names, struct sim_names *ret_copy);

#endif
