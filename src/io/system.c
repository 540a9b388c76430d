#include "io/system.h"

#include "base/assert.h"
#include "kvapp/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024 };

STATIC_CHECK(sizeof(struct sockaddr_in6) <= sizeof((struct io_address *)0)->bytes,
             "an address holds either kind of socket address");

const char *io_error_sentence(int64_t result)
{
    if (result >= 0) {
        return "success";
    }
    const char *sentence = result < -4095 ? NULL : strerrordesc_np((int)-result);
    return sentence == NULL ? "unknown error" : sentence;
}

/* ---- clocks and chance ---- */

uint64_t system_now_us(void)
{
    struct timespec time;
    int err = clock_gettime(CLOCK_MONOTONIC, &time);
    CHECK(err == 0);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

uint64_t system_clock_us(const struct io *io)
{
    (void)io;
    return system_now_us();
}

uint64_t system_wall_ms(const struct io *io)
{
    (void)io;
    struct timespec time;
    int err = clock_gettime(CLOCK_REALTIME, &time);
    CHECK(err == 0);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

uint64_t system_random(struct io *io)
{
    (void)io;
    uint64_t bits;
    ssize_t size;
    do {
        size = getrandom(&bits, sizeof bits, 0);
    } while (size < 0 && errno == EINTR);
    CHECK(size == (ssize_t)sizeof bits);
    return bits;
}

void system_ignore_broken_pipe(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    int err = sigaction(SIGPIPE, &action, NULL);
    CHECK(err == 0);
}

/* ---- addresses ---- */

/* Splits "host:port" or "[host]:port" at its last colon; false when it has not that form. */
static bool split_host_port(const char *host_port, char *ret_host, size_t host_size, char *ret_port,
                            size_t port_size)
{
    const char *colon = strrchr(host_port, ':');
    if (colon == NULL) {
        return false;
    }
    const char *host = host_port;
    size_t length = (size_t)(colon - host_port);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    } else if (memchr(host, ':', length) != NULL) {
        return false;
    }
    const char *port = colon + 1;
    size_t digits = strspn(port, "0123456789");
    if (length == 0 || length >= host_size || digits == 0 || digits >= port_size ||
        port[digits] != 0) {
        return false;
    }
    memcpy(ret_host, host, length);
    ret_host[length] = 0;
    memcpy(ret_port, port, digits + 1);
    return true;
}

static bool port_in_range(const char *digits)
{
    unsigned value = 0;
    for (; *digits != 0; digits++) {
        value = value * 10 + (unsigned)(*digits - '0');
    }
    return value <= UINT16_MAX;
}

int system_resolve(struct io *io, const char *host_port, struct io_address *ret_address)
{
    (void)io;
    char host[ADDRESS_SIZE_MAX];
    char port[6];
    if (!split_host_port(host_port, host, sizeof host, port, sizeof port) || !port_in_range(port)) {
        return KV_ERR_ADDRESS;
    }
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    /* localhost is this machine (RFC 6761), also where no file and no server says so. */
    const char *name = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (getaddrinfo(name, port, &hints, &found) != 0) {
        return KV_ERR_ADDRESS;
    }
    const struct addrinfo *chosen = NULL;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        bool usable = at->ai_family == AF_INET || at->ai_family == AF_INET6;
        bool better = chosen == NULL || (chosen->ai_family == AF_INET6 && at->ai_family == AF_INET);
        if (usable && better && at->ai_addrlen <= sizeof ret_address->bytes) {
            chosen = at;
        }
    }
    if (chosen != NULL) {
        *ret_address = (struct io_address){.size = chosen->ai_addrlen};
        memcpy(ret_address->bytes, chosen->ai_addr, chosen->ai_addrlen);
    }
    freeaddrinfo(found);
    return chosen == NULL ? KV_ERR_ADDRESS : 0;
}

static sa_family_t address_family(const struct io_address *address)
{
    sa_family_t family;
    CHECK(address->size >= sizeof(struct sockaddr_in));
    memcpy(&family, address->bytes, sizeof family);
    return family;
}

void address_text(const struct io_address *address, char ret_text[ADDRESS_SIZE_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->size >= sizeof(struct sockaddr_in) && address_family(address) == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address->bytes, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        (void)snprintf(ret_text, ADDRESS_SIZE_MAX, "%s:%u", host, ntohs(in.sin_port));
    } else if (address->size >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address->bytes, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
        (void)snprintf(ret_text, ADDRESS_SIZE_MAX, "[%s]:%u", host, ntohs(in6.sin6_port));
    } else {
        (void)snprintf(ret_text, ADDRESS_SIZE_MAX, "unknown");
    }
}

/* ---- sockets ---- */

static int turn_on(int fd, int level, int option)
{
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on) == 0 ? 0 : -errno;
}

static int socket_of_family(const struct io_address *address)
{
    int fd = socket(address_family(address), SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int socket_new(const struct io_address *address)
{
    int fd = socket_of_family(address);
    if (fd >= 0) {
        (void)turn_on(fd, IPPROTO_TCP, TCP_NODELAY);
    }
    return fd;
}

static int bind_and_listen(int fd, const struct io_address *address, struct io_address *ret_bound)
{
    int err = turn_on(fd, SOL_SOCKET, SO_REUSEADDR);
    if (err != 0) {
        return err;
    }
    socklen_t size = sizeof ret_bound->bytes;
    if (bind(fd, (const struct sockaddr *)address->bytes, address->size) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)ret_bound->bytes, &size) != 0) {
        return -errno;
    }
    ret_bound->size = size;
    return 0;
}

int socket_listen(const struct io_address *address, uint16_t *ret_port)
{
    int fd = socket_of_family(address);
    if (fd < 0) {
        return fd;
    }
    struct io_address bound = {.size = 0};
    int err = bind_and_listen(fd, address, &bound);
    if (err != 0) {
        (void)close(fd);
        return err;
    }
    /* The port is at the same place in both kinds of socket address. */
    struct sockaddr_in in;
    memcpy(&in, bound.bytes, sizeof in);
    *ret_port = ntohs(in.sin_port);
    return fd;
}

void socket_accepted(int fd, struct io_address *ret_peer)
{
    (void)turn_on(fd, IPPROTO_TCP, TCP_NODELAY);
    *ret_peer = (struct io_address){.size = 0};
    socklen_t size = sizeof ret_peer->bytes;
    if (getpeername(fd, (struct sockaddr *)ret_peer->bytes, &size) == 0) {
        ret_peer->size = size;
    }
}

void parts_advance(struct iovec **parts, size_t *count, size_t size)
{
    while (*count > 0 && size >= (*parts)->iov_len) {
        size -= (*parts)->iov_len;
        (*parts)++;
        (*count)--;
    }
    if (size > 0) {
        CHECK(*count > 0);
        (*parts)->iov_base = (uint8_t *)(*parts)->iov_base + size;
        (*parts)->iov_len -= size;
    }
}
