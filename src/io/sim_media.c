/*
 * What the driver does to disks from outside: settings, damage, old copies.
 */
#include "io/sim_world.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct sim_disk_faults *sim_disk_get(const struct sim_host *host)
{
    return &host->disk_faults;
}

void sim_disk_set(struct sim_host *host, const struct sim_disk_faults *faults)
{
    CHECK((uint64_t)faults->keep_ppm + faults->torn_ppm + faults->garbage_ppm <= SIM_PPM);
    CHECK(faults->memory.min_us <= faults->memory.mean_us);
    CHECK(faults->memory.mean_us <= faults->memory.max_us);
    CHECK(faults->device.min_us <= faults->device.mean_us);
    CHECK(faults->device.mean_us <= faults->device.max_us);
    host->disk_faults = *faults;
}

int sim_disk_make_path(struct sim_host *host, const char *path)
{
    char *part = memory_copy_string(path);
    int err = 0;
    for (char *at = part + 1; err == 0 && at[-1] != 0; at++) {
        if (*at != '/' && *at != 0) {
            continue;
        }
        char end = *at;
        *at = 0;
        err = sim_disk_make_directory(&host->disk, part);
        err = err == -EEXIST ? 0 : err;
        *at = end;
    }
    free(part);
    if (err == 0) {
        struct sim_inode *directory = NULL;
        err = sim_disk_open(&host->disk, path, IO_OPEN_DIRECTORY, &directory);
        if (err == 0) {
            sim_inode_unref(directory);
            sim_disk_sync_all(&host->disk);
        }
    }
    return err;
}

/* ---- damage ---- */

uint64_t sim_disk_damage(const struct sim_host *host)
{
    return host->disk.damage;
}

static void flip(struct sim_host *host, const char *path, struct sim_inode *inode, uint64_t offset,
                 unsigned bit)
{
    sim_content_flip(&inode->content, offset, bit);
    host->disk.damage++;
    sim_fault(host->world, host, SIM_FAULT_BIT_ROT);
    SIM_TELL(host->world, host, "bit %u of %s at %llu rots", bit, path, (unsigned long long)offset);
}

struct search {
    const char *path; /* NULL: any, the nth solid sector of all */
    size_t nth;
    size_t solid;
    struct sim_inode *inode;
    struct sim_place *place;
};

static bool search_path(void *context, const char *path, struct sim_inode *inode)
{
    struct search *search = context;
    search->inode = strcmp(path, search->path) == 0 ? inode : NULL;
    return search->inode != NULL;
}

int sim_disk_flip(struct sim_host *host, const char *path, uint64_t offset, unsigned bit)
{
    CHECK(bit < 8);
    struct search search = {.path = path};
    sim_disk_visit(&host->disk, search_path, &search);
    if (search.inode == NULL) {
        return -ENOENT;
    }
    if (offset >= search.inode->content.size_at_rest) {
        return -EINVAL;
    }
    flip(host, path, search.inode, offset, bit);
    return 0;
}

static bool count_solid(void *context, const char *path, struct sim_inode *inode)
{
    (void)path;
    struct search *search = context;
    search->solid += sim_content_solid_count(&inode->content);
    return false;
}

static bool search_solid(void *context, const char *path, struct sim_inode *inode)
{
    struct search *search = context;
    size_t solid = sim_content_solid_count(&inode->content);
    if (search->nth >= solid) {
        search->nth -= solid;
        return false;
    }
    search->inode = inode;
    (void)snprintf(search->place->path, sizeof search->place->path, "%s", path);
    search->place->offset = sim_content_solid_offset(&inode->content, search->nth);
    return true;
}

bool sim_disk_rot(struct sim_host *host, struct sim_place *ret_place)
{
    struct search search = {.place = ret_place};
    sim_disk_visit(&host->disk, count_solid, &search);
    if (search.solid == 0) {
        return false;
    }
    struct prng *chance = &host->disk_chance;
    search.nth = (size_t)prng_between(chance, 0, search.solid - 1);
    sim_disk_visit(&host->disk, search_solid, &search);
    uint64_t left = search.inode->content.size_at_rest - ret_place->offset;
    uint64_t span = left < SIM_SECTOR_SIZE ? left : SIM_SECTOR_SIZE;
    ret_place->offset += prng_between(chance, 0, span - 1);
    flip(host, ret_place->path, search.inode, ret_place->offset,
         (unsigned)prng_between(chance, 0, 7));
    return true;
}

/* ---- other disks ---- */

struct sim_image {
    struct sim_disk disk;
};

void sim_disk_wipe(struct sim_host *host)
{
    CHECK(host->io == NULL);
    uint64_t damage = host->disk.damage;
    sim_disk_done(&host->disk);
    sim_disk_init(&host->disk);
    host->disk.damage = damage;
    sim_fault(host->world, host, SIM_FAULT_WIPE);
    SIM_TELL(host->world, host, "its disk is wiped");
}

struct sim_image *sim_disk_snapshot(const struct sim_host *host)
{
    struct sim_image *image = memory_new(1, sizeof *image);
    sim_disk_copy_at_rest(&host->disk, &image->disk);
    return image;
}

void sim_image_free(struct sim_image *image)
{
    if (image != NULL) {
        sim_disk_done(&image->disk);
        free(image);
    }
}

void sim_disk_restore(struct sim_host *host, const struct sim_image *image)
{
    CHECK(host->io == NULL);
    uint64_t damage = host->disk.damage;
    sim_disk_done(&host->disk);
    sim_disk_copy_at_rest(&image->disk, &host->disk);
    host->disk.damage = damage;
    sim_fault(host->world, host, SIM_FAULT_RESTORE);
    SIM_TELL(host->world, host, "its disk is an old one");
}
