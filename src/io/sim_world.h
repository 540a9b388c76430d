/*
 * The parts of the simulated world to each other.
 */
#ifndef IO_SIM_WORLD_H
#define IO_SIM_WORLD_H

#include "base/assert.h"
#include "base/prng.h"
#include "io/backend.h"
#include "io/sim_disk.h"

/* ---- the world: sim_world.c ---- */

struct sim_world {
    uint64_t now_us;
    struct heap events; /* of sim_event.node */
    struct prng chance; /* of the network; disks and processes have their own */
    struct sim_host *hosts[SIM_HOSTS_MAX];
    size_t host_count;
    struct sim_host *turned; /* set by the event that lets a process run */
    bool touched;            /* a foreign event may have set timers */
    struct sim_event *trap;  /* NULL: none */
    uint64_t trap_at;        /* in events */
    struct list connections; /* of sim_connection.node */
    uint64_t hash;
    struct sim_counters counters;
    const struct trace *trace;
};

/* The world's own events; as sim_world_schedule otherwise. */
void sim_schedule(struct sim_world *world, struct sim_event *event, uint64_t at_us);

/* What goes into the hash: one of these and two numbers that say what. */
enum sim_record {
    SIM_RECORD_BOOT = 1,
    SIM_RECORD_CRASH,
    SIM_RECORD_TURN,
    SIM_RECORD_CONNECT,
    SIM_RECORD_ARRIVAL,
    SIM_RECORD_END,
    SIM_RECORD_FILE,
    SIM_RECORD_FAULT,
};
void sim_note(struct sim_world *world, const struct sim_host *host, enum sim_record record,
              uint64_t a, uint64_t b);
/* Counts a fault, and notes it. */
void sim_fault(struct sim_world *world, const struct sim_host *host, enum sim_fault fault);

/* One line of the story; nothing is formatted when nobody listens. */
#define SIM_TELL(world, host, ...)                                                                 \
    (trace_wanted((world)->trace, TRACE_DEBUG) ? sim_tell((world), (host), __VA_ARGS__) : (void)0)
__attribute__((format(printf, 3, 4))) void
sim_tell(struct sim_world *world, const struct sim_host *host, const char *format, ...);

/* Draws nothing when the chance is 0. */
bool sim_chance(struct prng *prng, uint32_t ppm);
/* At least min_us, at most max_us, falling off exponentially with about that mean. */
uint64_t sim_latency_draw(struct prng *prng, struct sim_latency latency);

/* ---- hosts and their processes: sim_host.c ---- */

struct sim_route { /* from one host to another */
    struct sim_link link;
    struct list parked; /* of sim_pipe.parked: what waits for the link or the machine */
};

/* Local clocks are lines through this point. */
struct sim_clock {
    uint64_t world_us;
    uint64_t local_us;
    uint64_t wall_us;
    int32_t rate_ppm;
};

struct sim_host {
    struct sim_world *world;
    size_t number;
    uint32_t ip; /* in host order */
    char address[16];
    bool powered;
    bool drives_itself;
    struct sim_io *io; /* NULL: no process */

    /* The next turn. */
    struct sim_event turn;
    uint64_t ready_us; /* something is ready since; UINT64_MAX: nothing */
    uint64_t busy_until_us;
    uint64_t paused_until_us; /* 0: not paused */
    bool parked;              /* due, while another host drives the world */
    uint64_t timer_key;       /* of the io's first timer, and ... */
    uint64_t timer_us;        /* ... when that is for the world */
    uint32_t turn_us_min;
    uint32_t turn_us_max;

    struct sim_clock clock;
    struct prng process_chance; /* io_random, turn times */

    uint16_t next_port;
    uint32_t accept_error_ppm;
    struct sim_route routes[SIM_HOSTS_MAX];

    struct sim_disk disk;
    struct sim_disk_faults disk_faults;
    struct prng disk_chance;
    uint64_t disk_stalled_until_us;
    bool disk_stalls_reads;   /* ... and nothing else */
    struct list disk_waiting; /* of sim_file_work.node: held up by the stall */
    struct sim_event disk_healed;
};

/* One process's io. */
struct sim_io {
    struct io io;
    struct sim_host *host; /* NULL: cut off */
    struct list streams;   /* of sim_stream.node */
    struct list connects;  /* of sim_connect.node */
    struct list listeners; /* of sim_listener.node */
    struct list works;     /* of sim_file_work.node */
    struct list files;     /* of sim_file.node */
    struct io_signal *signal;
    struct io_ready signal_ready;
    bool signal_pending;
    int signal_number;
    uint8_t *receive_buffer;
};

enum { SIM_RECEIVE_SIZE = 64 * 1024 };

static inline struct sim_io *sim_io_of(struct io *io)
{
    return CONTAINER_OF(io, struct sim_io, io);
}

/* Queues a completion and sees to it that the process gets a turn. */
void sim_ready(struct sim_io *io, struct io_ready *ready, void (*run)(struct io_ready *ready));

uint64_t sim_clock_local(const struct sim_host *host);
/* When the host's clock shows that time; UINT64_MAX: never. */
uint64_t sim_clock_world(const struct sim_host *host, uint64_t local_us);

/* Puts every host's next turn in order, since processes set timers without a word. */
void sim_hosts_settle(struct sim_world *world);

/* ---- the network: sim_network.c, sim_pipe.c, sim_stream.c ---- */

enum { SIM_PIPE_SIZE = 256 * 1024 };

enum sim_segment_kind { SIM_SEGMENT_BYTES, SIM_SEGMENT_END, SIM_SEGMENT_RESET };

struct sim_segment {
    uint64_t at_us;
    uint32_t size;
    enum sim_segment_kind kind;
};

/* One direction of a connection: the sender's and the receiver's buffer and all between. */
struct sim_pipe {
    struct sim_connection *connection;
    struct sim_event arrival; /* of the first segment */
    struct list parked;       /* in sim_route.parked */
    struct sim_event room;    /* tells a waiting sender */
    struct sim_segment *segments;
    size_t segment_first;
    size_t segment_count; /* counted from the start of the array */
    size_t segment_capacity;
    uint64_t last_us;
    uint8_t *bytes; /* first ... size: arrived, then on the way */
    size_t first;
    size_t size;
    size_t capacity;
    size_t arrived;
    bool ended; /* the end or a reset was sent, or the sender is silent for ever */
    bool end_arrived;
};

/* pipes[i] leads from side i to side 1 - i. Side 0 connected. */
struct sim_connection {
    struct list node;
    struct sim_world *world;
    struct sim_host *hosts[2];
    struct io_address addresses[2];
    struct sim_stream *ends[2]; /* NULL: gone, or not there yet */
    struct sim_connect *connecting;
    struct sim_pipe pipes[2];
};

struct sim_stream {
    struct io_stream base;
    int side;
    struct list node;
    struct sim_io *io;
    struct sim_connection *connection; /* NULL: cut off or closing */
    int64_t broken;                    /* a negative errno, once known */
    struct io_receive *receive;
    struct io_ready receive_ready;
    struct io_send *send;
    int64_t send_total;
    int64_t send_result;
    size_t send_part;   /* how far the send has got */
    size_t send_offset; /* in that part */
    struct io_ready send_ready;
    struct io_close *close;
    struct io_ready close_ready;
    bool told_end;
    bool receive_pending; /* receive_ready is queued */
    bool send_pending;
    bool closing;
};

static inline struct sim_route *sim_route_of(const struct sim_pipe *pipe)
{
    const struct sim_connection *connection = pipe->connection;
    int side = pipe == &connection->pipes[0] ? 0 : 1;
    return &connection->hosts[side]->routes[connection->hosts[1 - side]->number];
}

static inline int sim_pipe_side(const struct sim_pipe *pipe)
{
    return pipe == &pipe->connection->pipes[0] ? 0 : 1;
}

uint64_t sim_route_delay(struct sim_world *world, const struct sim_route *route);

/* sim_network.c */
/* Frees it when neither side has an interest in it any more. */
void sim_connection_release(struct sim_connection *connection);
/* Lets everything that was parked in a route try again. */
void sim_route_open(struct sim_world *world, struct sim_route *route);
int sim_resolve(struct io *io, const char *host_port, struct io_address *ret_address);
int sim_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
               struct io_listener **ret_listener);
void sim_listener_close(struct io *io, struct io_listener *listener);
void sim_connect_start(struct io *io, struct io_connect *connect, const struct io_address *address);
void sim_connect_cancel(struct io *io, struct io_connect *connect);
void sim_network_cut_off(struct sim_io *io, enum sim_crash crash);

/* sim_pipe.c */
void sim_pipe_init(struct sim_pipe *pipe, struct sim_connection *connection);
void sim_pipe_done(struct sim_pipe *pipe);
size_t sim_pipe_room(const struct sim_pipe *pipe);
/* Takes bytes that there is room for. The link's faults may cut the connection within them. */
void sim_pipe_send(struct sim_pipe *pipe, const void *bytes, size_t size);
/* The sender's side closed: the end arrives behind all bytes. */
void sim_pipe_end(struct sim_pipe *pipe);
/* The sender's side is gone: a drawn part of what is on the way arrives, then the reset. */
void sim_pipe_reset(struct sim_pipe *pipe);
/* The sender's machine is gone: a drawn part of what is on the way arrives, then nothing. */
void sim_pipe_silence(struct sim_pipe *pipe);
/* What was parked, and is not any more, arrives from at_us on. */
void sim_pipe_unpark(struct sim_pipe *pipe, uint64_t at_us);
/* Copies out what arrived; returns its size. */
size_t sim_pipe_take(struct sim_pipe *pipe, void *bytes, size_t size);

/* sim_stream.c */
struct sim_stream *sim_stream_new(struct sim_io *io, struct sim_connection *connection, int side);
/* Something arrived, or there is room again. */
void sim_stream_arrival(struct sim_stream *stream);
void sim_stream_room(struct sim_stream *stream);
/* The connection is broken for this end, for this reason. */
void sim_stream_break(struct sim_stream *stream, int64_t error);
void sim_stream_cut_off(struct sim_stream *stream);
void sim_receive_start(struct io *io, struct io_stream *stream, struct io_receive *receive);
void sim_receive_pause(struct io *io, struct io_stream *stream);
void sim_send_start(struct io *io, struct io_stream *stream, struct io_send *send);
void sim_stream_close(struct io *io, struct io_stream *stream, struct io_close *close);

/* ---- files: sim_file.c ---- */

void sim_file_start(struct io *io, struct io_file_op *op, const struct io_file_request *request);
int sim_lock(struct io *io, struct io_file *file);
void sim_forget(struct io *io, struct io_file *file);
void sim_file_close(struct io *io, struct io_file *file);
void sim_files_cut_off(struct sim_io *io);
void sim_files_init(struct sim_host *host);

#endif
