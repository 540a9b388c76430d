#include "life.h"

static const char directory[] = "data";

void life_begin(struct life *life, struct disk *disk)
{
    life->disk = disk;
    life->io = disk_io(disk);
    scene_init(&life->scene, life->io, directory);
    life->scene.options.segment_size = 4096;
    life->scene.options.cache_size = 0;
    scene_start(&life->scene);
}

bool life_stopped(const struct life *life)
{
    return life->stop_at != 0 && disk_control(life->disk)->started >= life->stop_at;
}

void life_end(struct life *life)
{
    disk_control(life->disk)->hold_writes = false;
    scene_close(&life->scene);
    io_free(life->io);
    disk_free(life->disk);
}

bool run_until_opened(struct life *life)
{
    while (!life->scene.opened && !life_stopped(life)) {
        scene_run_once(&life->scene);
    }
    return life->scene.opened && life->scene.opened_err == 0;
}

bool run_until_stored(struct life *life)
{
    while (life->scene.stored < life->scene.ticket && life->scene.failed_count == 0) {
        if (life_stopped(life)) {
            return false;
        }
        scene_run_once(&life->scene);
    }
    return life->scene.failed_count == 0;
}
