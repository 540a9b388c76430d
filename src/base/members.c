#include "base/members.h"

#include "kvapp/err.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Decimal digits only, at most `max`; 0 when it is anything else. */
static uint64_t parse_number(const char *text, size_t size, uint64_t max)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }
        number = number * 10 + (uint64_t)(text[i] - '0');
        if (number > max) {
            return 0;
        }
    }
    return number;
}

/* The place of the colon before the port in "host:port"; NULL when host or port are not sound. */
static const char *find_port(const char *address, size_t size, uint64_t *ret_port)
{
    const char *colon = NULL;
    for (const char *at = address; at < address + size; at++) {
        if (*at == ':') {
            colon = at;
        }
    }
    if (colon == NULL || colon == address) {
        return NULL;
    }
    bool bracketed = address[0] == '[';
    if (bracketed ? colon[-1] != ']' : memchr(address, ':', size) != colon) {
        return NULL;
    }
    *ret_port = parse_number(colon + 1, (size_t)(address + size - colon) - 1, 65535);
    return *ret_port == 0 ? NULL : colon;
}

static int parse_member(const char *part, size_t size, bool numbered, uint64_t position,
                        struct member *ret_member, char *error, size_t error_size)
{
    int shown = size > 200 ? 200 : (int)size;
    const char *address = part;
    ret_member->id = position;
    if (numbered) {
        const char *equals = memchr(part, '=', size);
        if (equals == NULL) {
            (void)snprintf(error, error_size,
                           "member \"%.*s\" has no id, but others have: name all or none", shown,
                           part);
            return KV_ERR_INVALID;
        }
        ret_member->id = parse_number(part, (size_t)(equals - part), UINT64_MAX / 100);
        if (ret_member->id == 0) {
            (void)snprintf(error, error_size, "member \"%.*s\": the id must be a number above 0",
                           shown, part);
            return KV_ERR_INVALID;
        }
        address = equals + 1;
        size -= (size_t)(address - part);
    }
    uint64_t port = 0;
    if (size >= ADDRESS_SIZE_MAX || find_port(address, size, &port) == NULL) {
        (void)snprintf(error, error_size,
                       "\"%.*s\" is not an address: host:port with a port in 1..65535 is needed",
                       shown, part);
        return KV_ERR_INVALID;
    }
    memcpy(ret_member->address, address, size);
    ret_member->address[size] = '\0';
    return 0;
}

int members_parse(const char *text, struct members *ret_members, char *error, size_t error_size)
{
    struct members members = {0};
    bool numbered = strchr(text, '=') != NULL;
    const char *part = text;
    for (;;) {
        size_t size = strcspn(part, ",");
        if (size == 0) {
            (void)snprintf(error, error_size, "the list of members \"%.200s\" has an empty part",
                           text);
            return KV_ERR_INVALID;
        }
        if (members.count == MEMBERS_MAX) {
            (void)snprintf(error, error_size, "a cluster has at most %d members", MEMBERS_MAX);
            return KV_ERR_INVALID;
        }
        struct member member;
        int err = parse_member(part, size, numbered, members.count + 1, &member, error, error_size);
        if (err != 0) {
            return err;
        }
        if (members_find(&members, member.id) != NULL) {
            (void)snprintf(error, error_size, "member id %llu is given twice",
                           (unsigned long long)member.id);
            return KV_ERR_INVALID;
        }
        if (members_find_address(&members, member.address) != NULL) {
            (void)snprintf(error, error_size, "address %s is given twice", member.address);
            return KV_ERR_INVALID;
        }
        members.at[members.count++] = member;
        if (part[size] == '\0') {
            break;
        }
        part += size + 1;
    }
    *ret_members = members;
    return 0;
}

const struct member *members_find(const struct members *members, uint64_t id)
{
    for (size_t i = 0; i < members->count; i++) {
        if (members->at[i].id == id) {
            return &members->at[i];
        }
    }
    return NULL;
}

const struct member *members_find_address(const struct members *members, const char *address)
{
    for (size_t i = 0; i < members->count; i++) {
        if (strcmp(members->at[i].address, address) == 0) {
            return &members->at[i];
        }
    }
    return NULL;
}

int address_add_port(const char *address, uint32_t offset, char ret_address[ADDRESS_SIZE_MAX])
{
    uint64_t port = 0;
    size_t size = strlen(address);
    const char *colon = find_port(address, size, &port);
    if (size >= ADDRESS_SIZE_MAX || colon == NULL || port + offset > 65535) {
        return KV_ERR_ADDRESS;
    }
    char text[ADDRESS_SIZE_MAX];
    int written = snprintf(text, sizeof text, "%.*s:%llu", (int)(colon - address), address,
                           (unsigned long long)(port + offset));
    if (written < 0 || (size_t)written >= sizeof text) {
        return KV_ERR_ADDRESS;
    }
    memcpy(ret_address, text, (size_t)written + 1);
    return 0;
}
