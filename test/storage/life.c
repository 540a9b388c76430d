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

static void turn(struct life *life)
{
    struct disk_control *control = disk_control(life->disk);
    if (control->full_from != 0 && control->started >= control->full_from &&
        ++life->waited == life->patience) {
        control->full_from = 0;
    }
    scene_run_once(&life->scene);
}

bool run_until_opened(struct life *life)
{
    while (!life->scene.opened && !life_stopped(life)) {
        turn(life);
    }
    return life->scene.opened && life->scene.opened_err == 0;
}

bool run_until_stored(struct life *life)
{
    while (life->scene.stored < life->scene.ticket && life->scene.failed_count == 0) {
        if (life_stopped(life)) {
            return false;
        }
        turn(life);
    }
    return life->scene.failed_count == 0;
}

bool life_run_script(struct life *life)
{
    struct scene *scene = &life->scene;
    struct model *model = life->model;
    uint64_t term = model_now(model)->term;
    model_vote(model, scene, term + 1, 7);
    model_flush(model, scene);
    model_append(model, scene, 0);
    model_append(model, scene, 100);
    model_flush(model, scene);
    if (!run_until_stored(life)) {
        return false;
    }
    model_append(model, scene, 900);
    model_append(model, scene, 600);
    model_flush(model, scene);
    model_vote(model, scene, term + 2, 3);
    model_truncate(model, scene, model_now(model)->last);
    model_append(model, scene, 1500);
    model_flush(model, scene);
    if (!run_until_stored(life)) {
        return false;
    }
    model_truncate(model, scene, model_now(model)->last);
    model_flush(model, scene);
    if (!run_until_stored(life)) {
        return false;
    }
    model_append(model, scene, 2000);
    model_append(model, scene, 1000);
    model_append(model, scene, 10);
    model_flush(model, scene);
    return run_until_stored(life);
}

void life_check_found(struct life *before, struct disk *found, struct moment *ret_now)
{
    struct life life = {.model = before->model};
    life_begin(&life, found);
    assert_true(run_until_opened(&life));
    model_check(before->model, &life.scene, before->scene.stored, ret_now);
    life_end(&life);
}
