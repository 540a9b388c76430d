/*
 * A disk keeps each directory's names twice, as processes see them and at rest, and one journal of
 * the changes between the two, for the whole disk, in order.
 *
 *     create, rename, unlink ──► names, journal ── sync of the directory ──► names at rest
 *                                               ── power loss ──► each change kept or lost
 *
 * A rename is one change, kept or lost as a whole. Invariant: applying the whole journal to the
 * names at rest gives the names. A directory or file that has no name at rest is lost with its
 * content, synced or not.
 */
#include "io/sim_disk.h"

#include "base/assert.h"
#include "base/memory.h"
#include "io/sim_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- inodes ---- */

static struct sim_inode *inode_new(struct sim_disk *disk, bool directory)
{
    struct sim_inode *inode = memory_new(1, sizeof *inode);
    *inode = (struct sim_inode){.references = 1, .directory = directory, .disk = disk};
    return inode;
}

/* A tree is as deep as paths are, so the recursion ends. */
void sim_inode_unref(struct sim_inode *inode)
{
    CHECK(inode->references > 0);
    inode->references--;
    if (inode->references > 0) {
        return;
    }
    inode->disk->pages_used -= sim_content_pages(&inode->content);
    sim_names_done(&inode->names);
    sim_names_done(&inode->names_at_rest);
    sim_content_done(&inode->content);
    free(inode);
}

void sim_disk_init(struct sim_disk *disk)
{
    *disk = (struct sim_disk){0};
    disk->root = inode_new(disk, true);
}

static void change_done(struct sim_change *change)
{
    if (change->from != NULL) {
        sim_inode_unref(change->from);
    }
    if (change->to != NULL) {
        sim_inode_unref(change->to);
    }
    sim_inode_unref(change->inode);
    free(change->from_text);
    free(change->to_text);
}

static void changes_clear(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->change_count; i++) {
        change_done(&disk->changes[i]);
    }
    disk->change_count = 0;
}

void sim_disk_done(struct sim_disk *disk)
{
    changes_clear(disk);
    free(disk->changes);
    disk->changes = NULL;
    sim_inode_unref(disk->root);
    disk->root = NULL;
}

/* ---- paths ---- */

/* Where a path leads: the directory and the last name in it, and what has that name. */
struct place {
    struct sim_inode *directory;
    char text[SIM_NAME_SIZE_MAX]; /* "": the path is the directory itself */
    struct sim_inode *inode;      /* NULL: nothing */
    struct sim_inode *way[SIM_DEPTH_MAX];
    size_t depth;
};

/* Goes one name farther; `text` of the place is what is looked for in its directory. */
static int place_enter(struct place *place)
{
    if (place->text[0] == 0) {
        return 0;
    }
    if (place->inode == NULL) {
        return -ENOENT;
    }
    if (!place->inode->directory) {
        return -ENOTDIR;
    }
    if (place->depth == SIM_DEPTH_MAX) {
        return -ENAMETOOLONG;
    }
    place->way[place->depth++] = place->directory;
    place->directory = place->inode;
    place->text[0] = 0;
    return 0;
}

static int place_step(struct place *place, const char *name, size_t size)
{
    if (size == 0 || (size == 1 && name[0] == '.')) {
        return place_enter(place);
    }
    if (size >= sizeof place->text) {
        return -ENAMETOOLONG;
    }
    int err = place_enter(place);
    if (err != 0) {
        return err;
    }
    if (size == 2 && name[0] == '.' && name[1] == '.') {
        if (place->depth > 0) {
            place->directory = place->way[--place->depth];
        }
        place->inode = place->directory;
        return 0;
    }
    memcpy(place->text, name, size);
    place->text[size] = 0;
    place->inode = sim_names_find(&place->directory->names, place->text);
    return 0;
}

static int place_find(struct sim_disk *disk, const char *path, struct place *ret_place)
{
    if (path[0] == 0) {
        return -ENOENT;
    }
    struct place *place = ret_place;
    place->directory = disk->root;
    place->inode = disk->root;
    place->text[0] = 0;
    place->depth = 0;
    for (const char *at = path; *at != 0;) {
        size_t size = strcspn(at, "/");
        /* A slash at the very end asks for nothing more. */
        int err = size == 0 ? 0 : place_step(place, at, size);
        if (err != 0) {
            return err;
        }
        at += size;
        at += *at == '/';
    }
    return 0;
}

/* ---- changes ---- */

static void change_apply(const struct sim_change *change)
{
    if (change->from != NULL) {
        sim_names_remove(&change->from->names_at_rest, change->from_text, change->inode);
    }
    if (change->to != NULL) {
        sim_names_set(&change->to->names_at_rest, change->to_text, change->inode);
    }
}

/* Does it to the names and notes it; `from` or `to` may be NULL. */
static void change_names(struct sim_disk *disk, const struct place *from, const struct place *to,
                         struct sim_inode *inode)
{
    struct sim_change change = {.inode = inode};
    inode->references++;
    if (from != NULL) {
        change.from = from->directory;
        change.from->references++;
        change.from_text = memory_copy_string(from->text);
        sim_names_remove(&from->directory->names, from->text, inode);
    }
    if (to != NULL) {
        change.to = to->directory;
        change.to->references++;
        change.to_text = memory_copy_string(to->text);
        sim_names_set(&to->directory->names, to->text, inode);
    }
    if (disk->change_count == disk->change_capacity) {
        disk->change_capacity = disk->change_capacity == 0 ? 16 : disk->change_capacity * 2;
        disk->changes = memory_grow(disk->changes, disk->change_capacity * sizeof change);
    }
    disk->changes[disk->change_count++] = change;
}

/* The directories whose changes go with those of the first: they share a rename. */
struct directories {
    const struct sim_inode *at[SIM_DEPTH_MAX];
    size_t count;
};

static bool directories_hold(const struct directories *set, const struct sim_inode *directory)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->at[i] == directory) {
            return true;
        }
    }
    return false;
}

static bool directories_add(struct directories *set, const struct sim_inode *directory)
{
    CHECK(set->count < SIM_DEPTH_MAX);
    set->at[set->count++] = directory;
    return true;
}

static bool touches(const struct directories *set, const struct sim_change *change)
{
    return (change->from != NULL && directories_hold(set, change->from)) ||
           (change->to != NULL && directories_hold(set, change->to));
}

void sim_disk_sync_names(struct sim_disk *disk, struct sim_inode *directory)
{
    struct directories set = {.at = {directory}, .count = 1};
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < disk->change_count; i++) {
            const struct sim_change *change = &disk->changes[i];
            if (change->from == NULL || change->to == NULL || !touches(&set, change)) {
                continue;
            }
            if (!directories_hold(&set, change->from)) {
                more = directories_add(&set, change->from);
            }
            if (!directories_hold(&set, change->to)) {
                more = directories_add(&set, change->to);
            }
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < disk->change_count; i++) {
        struct sim_change *change = &disk->changes[i];
        if (touches(&set, change)) {
            change_apply(change);
            change_done(change);
        } else {
            disk->changes[kept++] = *change;
        }
    }
    disk->change_count = kept;
}

/* ---- the calls ---- */

static bool place_named(const struct place *place)
{
    return place->text[0] != 0;
}

static int create(struct sim_disk *disk, const struct place *place, bool directory,
                  struct sim_inode **ret_inode)
{
    if (!place_named(place)) {
        return -EEXIST;
    }
    struct sim_inode *inode = inode_new(disk, directory);
    change_names(disk, NULL, place, inode);
    *ret_inode = inode;
    return 0;
}

int sim_disk_open(struct sim_disk *disk, const char *path, unsigned flags,
                  struct sim_inode **ret_inode)
{
    struct place place;
    int err = place_find(disk, path, &place);
    if (err != 0) {
        return err;
    }
    bool wants_directory = (flags & IO_OPEN_DIRECTORY) != 0;
    if (place.inode == NULL) {
        bool creates = (flags & IO_OPEN_CREATE) != 0 && !wants_directory;
        return creates ? create(disk, &place, false, ret_inode) : -ENOENT;
    }
    if ((flags & IO_OPEN_CREATE) && (flags & IO_OPEN_EXCLUSIVE) && !wants_directory) {
        return -EEXIST;
    }
    if (wants_directory && !place.inode->directory) {
        return -ENOTDIR;
    }
    bool writes = (flags & IO_OPEN_READ_ONLY) == 0 && !wants_directory;
    if (place.inode->directory && writes) {
        return -EISDIR;
    }
    place.inode->references++;
    *ret_inode = place.inode;
    return 0;
}

/* Whether what is there may be replaced by `inode`. */
static int may_replace(const struct sim_inode *there, const struct sim_inode *inode)
{
    if (there == NULL) {
        return 0;
    }
    if (there->directory != inode->directory) {
        return there->directory ? -EISDIR : -ENOTDIR;
    }
    return there->directory && there->names.count > 0 ? -ENOTEMPTY : 0;
}

int sim_disk_rename(struct sim_disk *disk, const char *from, const char *to)
{
    struct place old;
    struct place new;
    int err = place_find(disk, from, &old);
    err = err != 0 ? err : place_find(disk, to, &new);
    if (err != 0) {
        return err;
    }
    if (old.inode == NULL) {
        return -ENOENT;
    }
    if (!place_named(&old) || !place_named(&new)) {
        return -EBUSY;
    }
    if (old.inode == new.inode) {
        return 0;
    }
    bool inside_itself = new.directory == old.inode;
    for (size_t i = 0; i < new.depth; i++) {
        inside_itself = inside_itself || new.way[i] == old.inode;
    }
    err = inside_itself ? -EINVAL : may_replace(new.inode, old.inode);
    if (err == 0) {
        change_names(disk, &old, &new, old.inode);
    }
    return err;
}

int sim_disk_unlink(struct sim_disk *disk, const char *path)
{
    struct place place;
    int err = place_find(disk, path, &place);
    if (err != 0) {
        return err;
    }
    if (place.inode == NULL) {
        return -ENOENT;
    }
    if (place.inode->directory) {
        return -EISDIR;
    }
    change_names(disk, &place, NULL, place.inode);
    return 0;
}

int sim_disk_make_directory(struct sim_disk *disk, const char *path)
{
    struct place place;
    int err = place_find(disk, path, &place);
    if (err != 0) {
        return err;
    }
    if (place.inode != NULL) {
        return -EEXIST;
    }
    struct sim_inode *inode = NULL;
    err = create(disk, &place, true, &inode);
    if (err == 0) {
        sim_inode_unref(inode);
    }
    return err;
}

int64_t sim_disk_list(struct sim_disk *disk, const char *path, struct buf *names)
{
    struct place place;
    int err = place_find(disk, path, &place);
    if (err != 0) {
        return err;
    }
    if (place.inode == NULL) {
        return -ENOENT;
    }
    if (!place.inode->directory) {
        return -ENOTDIR;
    }
    const struct sim_names *found = &place.inode->names;
    for (size_t i = 0; i < found->count; i++) {
        buf_append(names, found->at[i].text, strlen(found->at[i].text) + 1);
    }
    return (int64_t)found->count;
}

size_t sim_disk_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                      const void *bytes, size_t size, uint64_t space)
{
    uint64_t limit = space == 0 ? UINT64_MAX : space / SIM_PAGE_SIZE;
    uint64_t free_pages = limit > disk->pages_used ? limit - disk->pages_used : 0;
    uint64_t before = free_pages;
    size_t written = sim_content_write(&inode->content, offset, bytes, size, &free_pages);
    disk->pages_used += before - free_pages;
    return written;
}

/* ---- the tree at rest ---- */

/* One step of a walk: a directory at rest and how far it has been seen. */
struct walk_step {
    const struct sim_inode *directory;
    size_t next;
    size_t path_size;
};

void sim_disk_visit(struct sim_disk *disk, sim_visit_fn visit, void *context)
{
    struct walk_step steps[SIM_DEPTH_MAX + 1] = {{.directory = disk->root}};
    char path[SIM_DEPTH_MAX * SIM_NAME_SIZE_MAX] = "";
    size_t depth = 1;
    while (depth > 0) {
        struct walk_step *step = &steps[depth - 1];
        const struct sim_names *names = &step->directory->names_at_rest;
        if (step->next == names->count) {
            depth--;
            continue;
        }
        const struct sim_name *name = &names->at[step->next++];
        int size =
            snprintf(path + step->path_size, sizeof path - step->path_size, "/%s", name->text);
        if (!name->inode->directory) {
            if (visit(context, path, name->inode)) {
                return;
            }
        } else if (depth <= SIM_DEPTH_MAX) {
            steps[depth++] = (struct walk_step){.directory = name->inode,
                                                .path_size = step->path_size + (size_t)size};
        }
    }
}

static bool sync_content(void *context, const char *path, struct sim_inode *inode)
{
    (void)path;
    (void)sim_content_sync(&inode->content, 0, UINT64_MAX, SIM_SYNC_GOOD, context);
    return false;
}

void sim_disk_sync_all(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->change_count; i++) {
        change_apply(&disk->changes[i]);
    }
    changes_clear(disk);
    sim_disk_visit(disk, sync_content, NULL);
}

/* The names at rest of a directory and of all below become the names. */
static void forget_names(struct sim_inode *top)
{
    struct sim_inode *way[SIM_DEPTH_MAX + 1] = {top};
    size_t next[SIM_DEPTH_MAX + 1] = {0};
    size_t depth = 1;
    while (depth > 0) {
        struct sim_inode *directory = way[depth - 1];
        if (next[depth - 1] == 0) {
            sim_names_done(&directory->names);
            sim_names_copy(&directory->names_at_rest, &directory->names);
        }
        if (next[depth - 1] == directory->names.count) {
            depth--;
            continue;
        }
        struct sim_inode *below = directory->names.at[next[depth - 1]++].inode;
        if (below->directory && depth <= SIM_DEPTH_MAX) {
            way[depth] = below;
            next[depth++] = 0;
        }
    }
}

struct loss {
    const struct sim_disk_faults *faults;
    struct prng *prng;
    struct sim_counters *counters;
};

static bool lose_content(void *context, const char *path, struct sim_inode *inode)
{
    (void)path;
    const struct loss *loss = context;
    uint64_t before = sim_content_pages(&inode->content);
    sim_content_power_loss(&inode->content, loss->faults, loss->prng, loss->counters,
                           &inode->disk->damage);
    inode->disk->pages_used -= before - sim_content_pages(&inode->content);
    inode->locked_by = NULL;
    return false;
}

void sim_disk_power_loss(struct sim_disk *disk, const struct sim_disk_faults *faults,
                         struct prng *prng, struct sim_counters *counters)
{
    size_t prefix = (size_t)prng_between(prng, 0, disk->change_count);
    for (size_t i = 0; i < disk->change_count; i++) {
        bool kept = faults->any_names ? prng_chance(prng, 1, 2) : i < prefix;
        if (kept) {
            change_apply(&disk->changes[i]);
        }
        counters->faults[kept ? SIM_FAULT_NAME_KEPT : SIM_FAULT_NAME_LOST]++;
    }
    struct loss loss = {.faults = faults, .prng = prng, .counters = counters};
    sim_disk_visit(disk, lose_content, &loss);
    forget_names(disk->root);
    changes_clear(disk);
}

/* ---- copies ---- */

static void copy_directory(struct sim_disk *disk, const struct sim_inode *from,
                           struct sim_inode *to, size_t depth)
{
    for (size_t i = 0; i < from->names_at_rest.count; i++) {
        const struct sim_name *name = &from->names_at_rest.at[i];
        struct sim_inode *inode = inode_new(disk, name->inode->directory);
        if (!inode->directory) {
            sim_content_copy_at_rest(&name->inode->content, &inode->content);
            disk->pages_used += sim_content_pages(&inode->content);
        } else if (depth < SIM_DEPTH_MAX) {
            copy_directory(disk, name->inode, inode, depth + 1);
        }
        sim_names_set(&to->names, name->text, inode);
        sim_names_set(&to->names_at_rest, name->text, inode);
        sim_inode_unref(inode);
    }
}

void sim_disk_copy_at_rest(const struct sim_disk *disk, struct sim_disk *ret_copy)
{
    sim_disk_init(ret_copy);
    copy_directory(ret_copy, disk->root, ret_copy->root, 0);
}
