/*
 * What the two backends of the real kernel share: clocks, chance, addresses, sockets. Every
 * function that returns an int returns 0, a descriptor, or a negative errno, unless it says
 * otherwise.
 */
#ifndef IO_SYSTEM_H
#define IO_SYSTEM_H

#include "io/io.h"

uint64_t system_now_us(void);
uint64_t system_clock_us(const struct io *io); /* the same, for io_calls */
uint64_t system_wall_ms(const struct io *io);
uint64_t system_random(struct io *io);

/* A peer that went away must not end the process by SIGPIPE. */
void system_ignore_broken_pipe(void);

/* 0 or KV_ERR_ADDRESS; a name that has both kinds of address gives the IPv4 one. */
int system_resolve(struct io *io, const char *host_port, struct io_address *ret_address);

/* "host:port", with brackets around an IPv6 host. */
void address_text(const struct io_address *address, char ret_text[ADDRESS_SIZE_MAX]);

/*
 * The sockets below are closed on exec. They are blocking: io_uring waits for them by itself, and
 * libuv makes those that it is given non-blocking.
 */

/* A TCP socket of the address's family, not connected, TCP_NODELAY. */
int socket_new(const struct io_address *address);
/* A listening socket and the port it is bound to. SO_REUSEADDR, never SO_REUSEPORT. */
int socket_listen(const struct io_address *address, uint16_t *ret_port);
/* TCP_NODELAY on a socket, and the address at its other end. */
void socket_accepted(int fd, struct io_address *ret_peer);

/*
 * Takes `size` bytes off the front of the parts: moves *parts past those that are used up and
 * shortens the first one left. Parts of size 0 at the front are passed over.
 */
void parts_advance(struct iovec **parts, size_t *count, size_t size);

#endif
