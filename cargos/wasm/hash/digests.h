/* The algorithms, each as start, add, end over one state. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES_MAX 64
#define DIGEST_BLOCK_MAX 128

typedef struct {
    union {
        uint32_t h32[8];
        uint64_t h64[8];
    };
    uint64_t length;
    size_t held;
    uint8_t block[DIGEST_BLOCK_MAX];
} State;

typedef struct {
    const char *name;
    size_t bytes;
    size_t block; /* 0: not a hash, so no HMAC */
    void (*start)(State *);
    void (*add)(State *, const uint8_t *, size_t);
    void (*end)(State *, uint8_t *);
} Algorithm;

extern const Algorithm ALGORITHMS[]; /* ends with a name of NULL */
