/* SHA-1, SHA-2 (FIPS 180-4), MD5 (RFC 1321), BLAKE2b (RFC 7693) and CRC-32, written from their specifications.

   The tables of constants are reckoned from their definitions where that is exact in integers. */
#include "digests.h"

#include <string.h>

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }
static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint64_t ror64(uint64_t x, int n) { return x >> n | x << (64 - n); }

static uint64_t load(const uint8_t *p, int bytes, int big)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

static void store(uint8_t *p, uint64_t value, int bytes, int big)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> 8 * (big ? bytes - 1 - i : i));
}

/* Gathers blocks of `size` and hands each to `mix`. */
static void add_blocks(State *s, const uint8_t *p, size_t n, size_t size, void (*mix)(State *, const uint8_t *))
{
    s->length += n;
    while (n > 0) {
        if (s->held == 0 && n >= size) {
            mix(s, p);
            p += size;
            n -= size;
            continue;
        }
        size_t fits = size - s->held < n ? size - s->held : n;
        memcpy(s->block + s->held, p, fits);
        s->held += fits;
        p += fits;
        n -= fits;
        if (s->held == size) {
            mix(s, s->block);
            s->held = 0;
        }
    }
}

/* A one bit, zeros, and the length in bits. */
static void pad(State *s, size_t size, size_t length_bytes, int big, void (*mix)(State *, const uint8_t *))
{
    uint64_t bits = s->length * 8;
    s->block[s->held++] = 0x80;
    if (s->held > size - length_bytes) {
        memset(s->block + s->held, 0, size - s->held);
        mix(s, s->block);
        s->held = 0;
    }
    memset(s->block + s->held, 0, size - s->held);
    store(s->block + (big ? size - 8 : size - length_bytes), bits, 8, big);
    mix(s, s->block);
}

/* The first 64 bits of the fractional part of a prime's square or cube root, by integer search. */
typedef unsigned __int128 wide;

static uint64_t sqrt_fraction(uint64_t prime)
{
    /* floor(sqrt(p) * 2^64), by bits, comparing x*x with p*2^128 as hi and lo halves */
    wide root = 0;
    for (int bit = 68; bit >= 0; bit--) {
        wide trial = root | (wide)1 << bit;
        uint64_t hi = (uint64_t)(trial >> 64), lo = (uint64_t)trial;
        wide low = (wide)lo * lo, middle = (wide)hi * lo * 2, high = (wide)hi * hi;
        high += middle >> 64;
        wide sum = (low >> 64) + (uint64_t)middle;
        high += sum >> 64;
        if (high < prime)
            root = trial;
    }
    return (uint64_t)root;
}

static uint64_t cbrt_fraction(uint64_t prime)
{
    wide root = 0; /* floor(cbrt(p) * 2^64): compare x^3 with p * 2^192, in 64-bit limbs */
    for (int bit = 67; bit >= 0; bit--) {
        wide trial = root | (wide)1 << bit;
        uint64_t x[2] = {(uint64_t)trial, (uint64_t)(trial >> 64)}, square[4] = {0}, cube[6] = {0};
        for (int i = 0; i < 2; i++)
            for (int j = 0, k; j < 2; j++) {
                wide carry = (wide)x[i] * x[j];
                for (k = i + j; carry > 0 && k < 4; k++, carry >>= 64) {
                    carry += square[k];
                    square[k] = (uint64_t)carry;
                }
            }
        for (int i = 0; i < 4; i++)
            for (int j = 0, k; j < 2; j++) {
                wide carry = (wide)square[i] * x[j];
                for (k = i + j; carry > 0 && k < 6; k++, carry >>= 64) {
                    carry += cube[k];
                    cube[k] = (uint64_t)carry;
                }
            }
        if (cube[3] < prime && cube[4] == 0 && cube[5] == 0)
            root = trial;
    }
    return (uint64_t)root;
}

static uint64_t K[80], ROOTS[8];

static void reckon_constants(void)
{
    if (K[0] != 0)
        return;
    for (int found = 0, n = 2; found < 80; n++) {
        int prime = 1;
        for (int d = 2; d * d <= n; d++)
            prime = prime && n % d != 0;
        if (!prime)
            continue;
        if (found < 8)
            ROOTS[found] = sqrt_fraction((uint64_t)n);
        K[found++] = cbrt_fraction((uint64_t)n);
    }
}

static void sha256_mix(State *s, const uint8_t *block)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)load(block + 4 * i, 4, 1);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    memcpy(v, s->h32, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t one = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
                       (uint32_t)(K[i] >> 32) + w[i];
        uint32_t two = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        s->h32[i] += v[i];
}

static void sha256_start(State *s)
{
    reckon_constants();
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 8; i++)
        s->h32[i] = (uint32_t)(ROOTS[i] >> 32);
}

static void sha256_add(State *s, const uint8_t *p, size_t n) { add_blocks(s, p, n, 64, sha256_mix); }

static void sha256_end(State *s, uint8_t *out)
{
    pad(s, 64, 8, 1, sha256_mix);
    for (int i = 0; i < 8; i++)
        store(out + 4 * i, s->h32[i], 4, 1);
}

static void sha512_mix(State *s, const uint8_t *block)
{
    uint64_t w[80], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = load(block + 8 * i, 8, 1);
    for (int i = 16; i < 80; i++) {
        uint64_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ror64(a, 1) ^ ror64(a, 8) ^ a >> 7) + (ror64(b, 19) ^ ror64(b, 61) ^ b >> 6);
    }
    memcpy(v, s->h64, sizeof v);
    for (int i = 0; i < 80; i++) {
        uint64_t one = v[7] + (ror64(v[4], 14) ^ ror64(v[4], 18) ^ ror64(v[4], 41)) +
                       ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
        uint64_t two = (ror64(v[0], 28) ^ ror64(v[0], 34) ^ ror64(v[0], 39)) +
                       ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        s->h64[i] += v[i];
}

static void sha512_start(State *s)
{
    reckon_constants();
    memset(s, 0, sizeof *s);
    memcpy(s->h64, ROOTS, sizeof s->h64);
}

static void sha512_add(State *s, const uint8_t *p, size_t n) { add_blocks(s, p, n, 128, sha512_mix); }

static void sha512_end(State *s, uint8_t *out)
{
    pad(s, 128, 16, 1, sha512_mix);
    for (int i = 0; i < 8; i++)
        store(out + 8 * i, s->h64[i], 8, 1);
}

static const uint32_t START160[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};

static void sha1_mix(State *s, const uint8_t *block)
{
    uint32_t w[80], a = s->h32[0], b = s->h32[1], c = s->h32[2], d = s->h32[3], e = s->h32[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)load(block + 4 * i, 4, 1);
    for (int i = 16; i < 80; i++)
        w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
        static const uint32_t k[4] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
        uint32_t t = rol(a, 5) + f + e + k[i / 20] + w[i];
        e = d, d = c, c = rol(b, 30), b = a, a = t;
    }
    s->h32[0] += a, s->h32[1] += b, s->h32[2] += c, s->h32[3] += d, s->h32[4] += e;
}

static void start160(State *s)
{
    memset(s, 0, sizeof *s);
    memcpy(s->h32, START160, sizeof START160);
}

static void sha1_add(State *s, const uint8_t *p, size_t n) { add_blocks(s, p, n, 64, sha1_mix); }

static void sha1_end(State *s, uint8_t *out)
{
    pad(s, 64, 8, 1, sha1_mix);
    for (int i = 0; i < 5; i++)
        store(out + 4 * i, s->h32[i], 4, 1);
}

/* floor(2^32 * |sin(i + 1)|), as RFC 1321 prints them. */
static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static void md5_mix(State *s, const uint8_t *block)
{
    static const uint8_t turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t a = s->h32[0], b = s->h32[1], c = s->h32[2], d = s->h32[3];
    for (int i = 0; i < 64; i++) {
        int round = i / 16;
        uint32_t f = round == 0   ? (b & c) | (~b & d)
                     : round == 1 ? (d & b) | (~d & c)
                     : round == 2 ? b ^ c ^ d
                                  : c ^ (b | ~d);
        int word = (round == 0 ? i : round == 1 ? 5 * i + 1 : round == 2 ? 3 * i + 5 : 7 * i) % 16;
        uint32_t t = b + rol(a + f + SINES[i] + (uint32_t)load(block + 4 * word, 4, 0), turns[round][i % 4]);
        a = d, d = c, c = b, b = t;
    }
    s->h32[0] += a, s->h32[1] += b, s->h32[2] += c, s->h32[3] += d;
}

static void md5_add(State *s, const uint8_t *p, size_t n) { add_blocks(s, p, n, 64, md5_mix); }

static void md5_end(State *s, uint8_t *out)
{
    pad(s, 64, 8, 0, md5_mix);
    for (int i = 0; i < 4; i++)
        store(out + 4 * i, s->h32[i], 4, 0);
}

static const uint8_t SIGMA[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static void blake2b_round(uint64_t *v, const uint64_t *m, const uint8_t *order)
{
    for (int i = 0; i < 8; i++) {
        int column = i % 4; /* first the columns, then the diagonals */
        uint64_t *a = v + column, *b = v + 4 + (column + (i >= 4)) % 4;
        uint64_t *c = v + 8 + (column + 2 * (i >= 4)) % 4, *d = v + 12 + (column + 3 * (i >= 4)) % 4;
        *a += *b + m[order[2 * i]];
        *d = ror64(*d ^ *a, 32);
        *c += *d;
        *b = ror64(*b ^ *c, 24);
        *a += *b + m[order[2 * i + 1]];
        *d = ror64(*d ^ *a, 16);
        *c += *d;
        *b = ror64(*b ^ *c, 63);
    }
}

static void blake2b_mix(State *s, const uint8_t *block, int last)
{
    uint64_t v[16], m[16];
    for (int i = 0; i < 16; i++)
        m[i] = load(block + 8 * i, 8, 0);
    memcpy(v, s->h64, 64);
    memcpy(v + 8, ROOTS, 64);
    v[12] ^= s->length;
    if (last)
        v[14] = ~v[14];
    for (int i = 0; i < 12; i++)
        blake2b_round(v, m, SIGMA[i % 10]);
    for (int i = 0; i < 8; i++)
        s->h64[i] ^= v[i] ^ v[i + 8];
}

static void blake2b_start(State *s)
{
    sha512_start(s); /* the same roots */
    s->h64[0] ^= 0x01010000 ^ 64;
}

static void blake2b_add(State *s, const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (s->held == 128) { /* a full block is kept back: it may be the last one */
            s->length += 128;
            blake2b_mix(s, s->block, 0);
            s->held = 0;
        }
        size_t fits = 128 - s->held < n ? 128 - s->held : n;
        memcpy(s->block + s->held, p, fits);
        s->held += fits;
        p += fits;
        n -= fits;
    }
}

static void blake2b_end(State *s, uint8_t *out)
{
    s->length += s->held;
    memset(s->block + s->held, 0, 128 - s->held);
    blake2b_mix(s, s->block, 1);
    for (int i = 0; i < 8; i++)
        store(out + 8 * i, s->h64[i], 8, 0);
}

static void crc32_start(State *s)
{
    memset(s, 0, sizeof *s);
    s->h32[0] = 0xFFFFFFFF;
}

static void crc32_add(State *s, const uint8_t *p, size_t n)
{
    static uint32_t table[256];
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320 ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    while (n-- > 0)
        s->h32[0] = table[(s->h32[0] ^ *p++) & 0xFF] ^ s->h32[0] >> 8;
}

static void crc32_end(State *s, uint8_t *out) { store(out, ~s->h32[0], 4, 1); }

const Algorithm ALGORITHMS[] = {
    {"sha256", 32, 64, sha256_start, sha256_add, sha256_end},
    {"sha512", 64, 128, sha512_start, sha512_add, sha512_end},
    {"sha1", 20, 64, start160, sha1_add, sha1_end},
    {"md5", 16, 64, start160, md5_add, md5_end},
    {"blake2b", 64, 128, blake2b_start, blake2b_add, blake2b_end},
    {"crc32", 4, 0, crc32_start, crc32_add, crc32_end},
    {NULL, 0, 0, NULL, NULL, NULL},
};
