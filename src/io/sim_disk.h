/*
 * The file system of one simulated host: a tree of names in memory, the tree at rest, and the
 * changes that separate them. It knows contents and errors, but no time.
 */
#ifndef IO_SIM_DISK_H
#define IO_SIM_DISK_H

#include "io/sim_content.h"

enum { SIM_DEPTH_MAX = 32, SIM_NAME_SIZE_MAX = 256 };

struct sim_inode;

struct sim_name {
    char *text;
    struct sim_inode *inode;
};

/* Sorted by text. */
struct sim_names {
    struct sim_name *at;
    size_t count;
    size_t capacity;
};

/* A file or a directory. Counted: names, pending changes and open files each hold it. */
struct sim_inode {
    size_t references;
    bool directory;
    struct sim_names names;         /* of a directory, as processes see it */
    struct sim_names names_at_rest; /* what a power loss leaves */
    struct sim_content content;     /* of a file */
    const void *locked_by;          /* compared, never followed */
    struct sim_disk *disk;
};

/* One change of names that the directory's sync has not yet brought to rest. */
struct sim_change {
    struct sim_inode *from; /* NULL: nothing is removed */
    char *from_text;
    struct sim_inode *to; /* NULL: nothing is added */
    char *to_text;
    struct sim_inode *inode;
};

struct sim_disk {
    struct sim_inode *root;
    struct sim_change *changes; /* in order */
    size_t change_count;
    size_t change_capacity;
    uint64_t pages_used;
    uint64_t damage;
};

void sim_disk_init(struct sim_disk *disk);
void sim_disk_done(struct sim_disk *disk);

/* The calls below return 0, or what is said, or a negative errno. */

/* io_open's flags; *ret_inode is referenced. */
int sim_disk_open(struct sim_disk *disk, const char *path, unsigned flags,
                  struct sim_inode **ret_inode);
void sim_inode_unref(struct sim_inode *inode);
int sim_disk_rename(struct sim_disk *disk, const char *from, const char *to);
int sim_disk_unlink(struct sim_disk *disk, const char *path);
int sim_disk_make_directory(struct sim_disk *disk, const char *path);
/* The number of names. */
int64_t sim_disk_list(struct sim_disk *disk, const char *path, struct buf *names);

/* Bytes written, at most what fits into `space` bytes of files (0: no limit). */
size_t sim_disk_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                      const void *bytes, size_t size, uint64_t space);

/* Brings the names of a directory to rest, and whatever another directory has in common with them.
 */
void sim_disk_sync_names(struct sim_disk *disk, struct sim_inode *directory);
/* All names and all contents. */
void sim_disk_sync_all(struct sim_disk *disk);

/* Draws for all that is not at rest; nothing may be open. */
void sim_disk_power_loss(struct sim_disk *disk, const struct sim_disk_faults *faults,
                         struct prng *prng, struct sim_counters *counters);

/* *ret_copy, not initialised, becomes what is at rest on `disk`. */
void sim_disk_copy_at_rest(const struct sim_disk *disk, struct sim_disk *ret_copy);

/* Calls `visit` for each file at rest, in the order of the paths, until it returns true. */
typedef bool (*sim_visit_fn)(void *context, const char *path, struct sim_inode *inode);
void sim_disk_visit(struct sim_disk *disk, sim_visit_fn visit, void *context);

#endif
