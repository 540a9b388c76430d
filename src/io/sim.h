/*
 * The third world behind io.h: machines, disks, clocks and a network in one thread on virtual time,
 * for tests of whole clusters. Everything follows from the seed: the same calls give the same run,
 * on every compiler and build, and the same sim_world_hash.
 *
 * The world never calls a process. The driver steps the world, gets the host whose process has
 * something to do, and lets that process run one turn:
 *
 *     while ((host = sim_world_step(world, until_us)) != NULL) {
 *         kvapp_node_step(node_of(host), 0);        which calls io_run(io_of(host), 0)
 *     }
 *
 * io_run of a simulated io neither waits nor moves the world's time. All times are in virtual
 * microseconds since the world began; all probabilities are parts per million (ppm).
 */
#ifndef IO_SIM_H
#define IO_SIM_H

#include "base/heap.h"
#include "base/trace.h"
#include "io/io.h"

struct sim_world;
struct sim_host;

enum { SIM_HOSTS_MAX = 32, SIM_PPM = 1000 * 1000, SIM_SECTOR_SIZE = 512 };

/* ---- the world ---- */

struct sim_world *sim_world_new(uint64_t seed);
/*
 * The world ends. The io of every host must have been freed or cut off (sim_host_crash); an io that
 * was cut off may outlive the world.
 */
void sim_world_free(struct sim_world *world);

uint64_t sim_world_now(const struct sim_world *world);
/* What a right wall clock shows. */
uint64_t sim_world_wall_us(const struct sim_world *world);

/*
 * Lets time pass until a process has something to do, at most until `until_us`. Returns its host,
 * or NULL when nothing happens up to then, the time being until_us now (when that is not
 * UINT64_MAX).
 */
struct sim_host *sim_world_step(struct sim_world *world, uint64_t until_us);

/* An event: the driver's own, embedded in its owner, or one of the world's. */
struct sim_event {
    struct heap_node node;
    void (*run)(struct sim_event *event);
    bool foreign; /* the driver's */
};

/* Calls event->run from inside sim_world_step at `at_us`, or now when that is past. Again: moves.
 */
void sim_world_schedule(struct sim_world *world, struct sim_event *event, uint64_t at_us);
void sim_world_cancel(struct sim_world *world, struct sim_event *event);
/* Calls trap->run once, when `events` events of the world have happened and before the next one. */
void sim_world_trap(struct sim_world *world, struct sim_event *trap, uint64_t events);

/* Hash of everything that happened so far: two runs of one seed are equal at every step. */
uint64_t sim_world_hash(const struct sim_world *world);
/* Lines, each with time and host, go to `trace`, which is borrowed; NULL for none. */
void sim_world_trace(struct sim_world *world, const struct trace *trace);

/* What was done to the processes, by kind. */
#define SIM_FAULTS(FAULT)                                                                          \
    FAULT(POWER_LOSS, "power losses")                                                              \
    FAULT(KILL, "processes killed")                                                                \
    FAULT(PAUSE, "pauses")                                                                         \
    FAULT(CLOCK_RATE, "clock rates changed")                                                       \
    FAULT(CLOCK_JUMP, "wall clock jumps")                                                          \
    FAULT(LINK, "links changed")                                                                   \
    FAULT(LOSS, "segments lost")                                                                   \
    FAULT(CLOG, "connections clogged")                                                             \
    FAULT(BLOCK, "connections held up by a blocked link")                                          \
    FAULT(LATE, "segments that outlived their sender")                                             \
    FAULT(FRAGMENT, "sends cut into segments")                                                     \
    FAULT(CORRUPTION, "segments corrupted")                                                        \
    FAULT(CUT, "connections cut in mid-stream")                                                    \
    FAULT(BREAK, "connections timed out")                                                          \
    FAULT(RESET, "connections reset")                                                              \
    FAULT(HALF_OPEN, "connections left half-open")                                                 \
    FAULT(REFUSE, "connects refused")                                                              \
    FAULT(CONNECT_TIMEOUT, "connects timed out")                                                   \
    FAULT(ACCEPT_ERROR, "accept errors")                                                           \
    FAULT(SPIKE, "disk latency spikes")                                                            \
    FAULT(STALL, "disk stalls")                                                                    \
    FAULT(READ_ERROR, "read errors")                                                               \
    FAULT(WRITE_ERROR, "write errors")                                                             \
    FAULT(SYNC_ERROR, "sync errors")                                                               \
    FAULT(NO_SPACE, "writes to a full disk")                                                       \
    FAULT(LOST_WRITE, "acknowledged writes lost")                                                  \
    FAULT(MISDIRECTED_WRITE, "acknowledged writes misdirected")                                    \
    FAULT(SECTOR_KEPT, "unsynced sectors kept")                                                    \
    FAULT(SECTOR_LOST, "unsynced sectors lost")                                                    \
    FAULT(SECTOR_TORN, "unsynced sectors torn")                                                    \
    FAULT(SECTOR_GARBAGE, "unsynced sectors turned to garbage")                                    \
    FAULT(NAME_KEPT, "unsynced names kept")                                                        \
    FAULT(NAME_LOST, "unsynced names lost")                                                        \
    FAULT(BIT_ROT, "bits rotten")                                                                  \
    FAULT(WIPE, "disks wiped")                                                                     \
    FAULT(RESTORE, "old disks restored")

enum sim_fault {
#define SIM_FAULT_NAME(name, words) SIM_FAULT_##name,
    SIM_FAULTS(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
        SIM_FAULT_COUNT
};

struct sim_counters {
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t events;      /* of the world, whoever's */
    uint64_t turns;       /* of processes */
    uint64_t connections; /* made */
    uint64_t segments;    /* arrived with bytes */
    uint64_t bytes_sent;
    uint64_t reads;
    uint64_t writes;
    uint64_t syncs; /* and durable writes */
    uint64_t bytes_written;
};

const struct sim_counters *sim_world_counters(const struct sim_world *world);
/* What is counted under a fault, for reports. */
const char *sim_fault_words(enum sim_fault fault);

/* ---- hosts ---- */

/*
 * A new machine, switched off, with an empty disk (only "/"), that lives as long as the world.
 * `address` is an IPv4 address without a port; "127.0.0.1", "[::1]" and "localhost" are, on each
 * host, the host itself.
 */
struct sim_host *sim_host_new(struct sim_world *world, const char *address);

/* 0, 1, 2, … in the order of sim_host_new. */
size_t sim_host_number(const struct sim_host *host);
const char *sim_host_address(const struct sim_host *host);
/* The io of the running process, or NULL. */
struct io *sim_host_io(const struct sim_host *host);

/*
 * Switches the machine on, when it is off, and starts a process, whose io is *ret_io. No process
 * may be running. The process ends well by io_free, with everything closed, or by sim_host_crash.
 */
void sim_host_boot(struct sim_host *host, struct io **ret_io);

enum sim_crash {
    SIM_CRASH_POWER, /* the machine is off until the next boot; what was not synced is drawn for */
    SIM_CRASH_KILL,  /* kill -9: the page cache stays, the machine stays on, connections end */
};

/*
 * Ends the process, which must run, not from inside its io_run. Its io is CUT OFF from the world:
 * everything in flight and everything started later completes with an error, nothing reaches the
 * disk or the network, and whenever nothing is ready its io_run moves a private clock to the next
 * timer. So the process's objects wind down by their normal way of closing, whenever the driver
 * likes, and the driver frees the io.
 */
void sim_host_crash(struct sim_host *host, enum sim_crash crash);
/* Runs an io that was cut off until nothing is left to run, at most `turns_max` turns. */
void sim_io_drain(struct io *io, unsigned turns_max);

/* Stops the process until `until_us` (UINT64_MAX: until sim_host_resume); its events queue up. */
void sim_host_pause(struct sim_host *host, uint64_t until_us);
void sim_host_resume(struct sim_host *host);

/* Lets the process have a turn now: after a call that the driver made into it, or when it has more
 * to do at once although nothing is ready. */
void sim_host_wake(struct sim_host *host);
/* Sends SIGTERM or SIGINT to the process; nothing happens when it does not listen. */
void sim_host_signal(struct sim_host *host, int number);

/*
 * For tests and programs that are a process themselves: io_run of this host's ios keeps the whole
 * contract of io.h, so it waits, and moves the world's time. Turns of other hosts' processes stay
 * due until their io_run.
 */
void sim_host_drive_itself(struct sim_host *host);

/* The virtual time that one turn takes; what comes meanwhile waits for the next. Default 2 to 20.
 */
void sim_host_turn_time(struct sim_host *host, uint32_t min_us, uint32_t max_us);
/* The chance that an accept fails with -EMFILE (and is tried again later). */
void sim_host_accept_errors(struct sim_host *host, uint32_t ppm);

/* ---- clocks ---- */

/* Both clocks of the host go faster by `ppm` from now on, at least -1,000,000 (they stand still).
 */
void sim_clock_rate(struct sim_host *host, int32_t ppm);
/* Moves the wall clock. */
void sim_clock_jump(struct sim_host *host, int64_t ms);

/* ---- the network: one link for each ordered pair of hosts ---- */

struct sim_link {
    uint32_t delay_min_us;
    uint32_t delay_mean_us;
    uint32_t delay_max_us;
    /* Nothing passes: bytes wait until the link is open again, connects time out. Since TCP needs
     * both directions to connect, one blocked direction is enough for that. */
    bool blocked;
    /* A connection that waits for a blocked link or a dead machine breaks for its sender with
     * -ETIMEDOUT within this time; 0: it waits for ever. The other end hears nothing. */
    uint32_t break_max_us;
    uint32_t loss_ppm;     /* of a segment, which then comes late, by retransmission */
    uint32_t clog_ppm;     /* chance that a segment, and so all behind it, waits ... */
    uint32_t clog_max_us;  /* ... up to this long */
    uint32_t fragment_ppm; /* chance that a send arrives in pieces */
    uint32_t corrupt_ppm;  /* chance that a bit of a segment flips */
    uint32_t cut_ppm;      /* chance that the connection is reset in the middle of a segment */
    uint32_t refuse_ppm;   /* chance that a connect is refused */
};

/* The link as set; the default has a delay of 50, 120, 2000 us and no fault. */
const struct sim_link *sim_link_get(const struct sim_host *from, const struct sim_host *to);
void sim_link_set(struct sim_host *from, struct sim_host *to, const struct sim_link *link);
/* Blocks or opens one direction and leaves the rest of the link as it is. */
void sim_link_block(struct sim_host *from, struct sim_host *to, bool blocked);
/* Resets every connection between two hosts, whatever is on its way; both ends hear of it. */
void sim_link_reset(struct sim_host *a, struct sim_host *b);

/* ---- disks ---- */

struct sim_latency {
    uint32_t min_us;
    uint32_t mean_us;
    uint32_t max_us;
};

struct sim_disk_faults {
    struct sim_latency memory; /* what the page cache or the directory tree in memory answers */
    struct sim_latency device; /* sync and durable write */
    uint32_t spike_ppm;        /* chance that an operation takes longer, ... */
    uint32_t spike_max_us;     /* ... by up to this */
    uint32_t stall_ppm;      /* chance that the whole disk stands still from an operation on, ... */
    uint32_t stall_max_us;   /* ... for up to this long */
    uint32_t read_error_ppm; /* -EIO */
    uint32_t write_error_ppm; /* -EIO, a prefix is written */
    uint32_t sync_error_ppm; /* -EIO; what was unsynced is then clean, but may not be on the disk */
    uint32_t lost_write_ppm; /* chance that a sync leaves out a page and says nothing */
    uint32_t misdirect_ppm;  /* chance that a sync writes a page to another place in the file */
    /* At a power loss: the chances of each unsynced sector; the rest is lost. */
    uint32_t keep_ppm;
    uint32_t torn_ppm;    /* the bytes that changed are a mixture of old, new and garbage */
    uint32_t garbage_ppm; /* the whole sector is garbage, neighbours that were synced included */
    /* At a power loss: any subset of the unsynced changes of names survives; false: a prefix. */
    bool any_names;
    uint64_t space; /* bytes for files; 0: no limit */
};

/* The faults as set; the default has latencies, keep 500,000, torn 50,000, and nothing else. */
const struct sim_disk_faults *sim_disk_get(const struct sim_host *host);
/* From now on. More space ends -ENOSPC. */
void sim_disk_set(struct sim_host *host, const struct sim_disk_faults *faults);

/* Holds up every operation until `until_us` (UINT64_MAX: until called again); 0: no more. */
void sim_disk_stall(struct sim_host *host, uint64_t until_us);
/* The same for reads alone: what is written stays in the page cache or goes to the device as
 * always. Either call ends the other's stall. */
void sim_disk_stall_reads(struct sim_host *host, uint64_t until_us);

/* Makes a directory and its parents, durably. 0 or a negative errno. */
int sim_disk_make_path(struct sim_host *host, const char *path);

/* Flips one bit (0..7) of the byte at `offset`, at rest and in the page cache. 0, -ENOENT, -EINVAL
 * when the file ends before it. */
int sim_disk_flip(struct sim_host *host, const char *path, uint64_t offset, unsigned bit);

struct sim_place {
    char path[256];
    uint64_t offset;
};
/*
 * Flips a drawn bit of what is at rest in a drawn file, in a sector that is not all zeros. Returns
 * false, and does nothing, when there is no such sector; else *ret_place is where it was.
 */
bool sim_disk_rot(struct sim_host *host, struct sim_place *ret_place);

/* How often what was durable has been damaged: rot, lost and misdirected writes, garbage. */
uint64_t sim_disk_damage(const struct sim_host *host);

/* With the process not running: an empty disk. */
void sim_disk_wipe(struct sim_host *host);

/* A copy of what is durable now, the caller's. */
struct sim_image;
struct sim_image *sim_disk_snapshot(const struct sim_host *host);
void sim_image_free(struct sim_image *image);
/* With the process not running: the disk is again what it was at the snapshot, which is kept. */
void sim_disk_restore(struct sim_host *host, const struct sim_image *image);

#endif
