/*
 * Stands in for libFuzzer, so that every build can run the targets: hands a target each file that
 * is named, first as it is, then cut after every byte, then with every byte changed.
 */
#include "base/assert.h"
#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    uint8_t bytes[4096];
    size_t count;
    while ((count = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        buf_append(out, bytes, count);
    }
    CHECK(ferror(file) == 0);
    (void)fclose(file);
}

/* A copy of exactly that size, so that a sanitizer sees a read beyond its end. */
static void give(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    CHECK(exact != NULL);
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char **argv)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    for (int at = 1; at < argc; at++) {
        struct buf input = {0};
        read_file(argv[at], &input);
        give(input.data, input.size);
        for (size_t size = 0; size < input.size; size++) {
            give(input.data, size);
        }
        for (size_t i = 0; i < input.size * sizeof(changes); i++) {
            uint8_t *byte = &input.data[i / sizeof(changes)];
            uint8_t change = changes[i % sizeof(changes)];
            *byte ^= change;
            give(input.data, input.size);
            *byte ^= change;
        }
        buf_done(&input);
    }
    return 0;
}
