/* Deflate with fixed codes and only one kind of match: the byte before, again. Rows that equal the one above are zeros. */
#include "png.h"

#include "../common/cargo.h"

#include <string.h>

typedef struct {
    uint8_t *at;
    size_t used, size;
    uint32_t held;
    int bits;
} Writer;

static void put(Writer *w, uint8_t byte)
{
    if (w->used == w->size)
        w->at = more_room(w->at, w->size = w->size * 2 + 1024);
    w->at[w->used++] = byte;
}

static void put_whole(Writer *w, uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        put(w, (uint8_t)(number >> shift));
}

static void put_bits(Writer *w, uint32_t value, int count)
{
    w->held |= value << w->bits;
    for (w->bits += count; w->bits >= 8; w->bits -= 8, w->held >>= 8)
        put(w, (uint8_t)w->held);
}

/* Huffman codes go in with their highest bit first. */
static void put_code(Writer *w, uint32_t code, int count)
{
    for (int bit = count - 1; bit >= 0; bit--)
        put_bits(w, code >> bit & 1, 1);
}

static void put_symbol(Writer *w, uint32_t symbol)
{
    if (symbol < 144)
        put_code(w, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(w, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(w, symbol - 256, 7);
    else
        put_code(w, 0xC0 + symbol - 280, 8);
}

static void put_run(Writer *w, uint8_t byte, size_t count)
{
    put_symbol(w, byte);
    for (count--; count >= 3;) { /* lengths 3 to 10 and 258 have codes without extra bits */
        size_t part = count >= 258 ? 258 : count > 10 ? 10 : count;
        if (count > 258 && count - 258 < 3)
            part = 10;
        if (part == 258)
            put_symbol(w, 285);
        else
            put_symbol(w, (uint32_t)(254 + part));
        put_code(w, 0, 5);
        count -= part;
    }
    while (count-- > 0)
        put_symbol(w, byte);
}

static uint32_t crc_of(const uint8_t *bytes, size_t length)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? 0xEDB88320 ^ crc >> 1 : crc >> 1;
    }
    return ~crc;
}

static void put_chunk(Writer *w, const char *kind, const uint8_t *bytes, size_t length)
{
    put_whole(w, (uint32_t)length);
    size_t start = w->used;
    for (int i = 0; i < 4; i++)
        put(w, (uint8_t)kind[i]);
    for (size_t i = 0; i < length; i++)
        put(w, bytes[i]);
    put_whole(w, crc_of(w->at + start, length + 4));
}

static Writer compressed(size_t side, bool (*dark)(void *, size_t, size_t), void *context)
{
    Writer w = {0};
    size_t row_bytes = (side + 7) / 8;
    uint8_t *row = room(row_bytes), *above = room(row_bytes), run_byte = 0;
    memset(above, 0, row_bytes);
    uint32_t low = 1, high = 0; /* Adler-32 */
    size_t run = 0;
    put(&w, 0x78);
    put(&w, 0x01);
    put_bits(&w, 3, 3); /* the last block, with fixed codes */
    for (size_t y = 0; y < side; y++) {
        memset(row, 0, row_bytes);
        for (size_t x = 0; x < side; x++)
            if (!dark(context, x, y))
                row[x / 8] |= (uint8_t)(0x80 >> x % 8);
        for (size_t i = 0; i <= row_bytes; i++) {
            uint8_t byte = i == 0 ? 2 : (uint8_t)(row[i - 1] - above[i - 1]); /* filter 2: up */
            low = (low + byte) % 65521;
            high = (high + low) % 65521;
            if (run > 0 && byte == run_byte) {
                run++;
                continue;
            }
            if (run > 0)
                put_run(&w, run_byte, run);
            run_byte = byte;
            run = 1;
        }
        memcpy(above, row, row_bytes);
    }
    put_run(&w, run_byte, run);
    put_symbol(&w, 256);
    put_bits(&w, 0, 7);
    put_whole(&w, high << 16 | low);
    return w;
}

uint8_t *png_of(size_t side, bool (*dark)(void *, size_t, size_t), void *context, size_t *length)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A};
    Writer w = {0};
    uint8_t header[13] = {[8] = 1};
    for (int i = 0; i < 4; i++)
        header[i] = header[4 + i] = (uint8_t)(side >> (24 - 8 * i));
    for (size_t i = 0; i < sizeof signature; i++)
        put(&w, signature[i]);
    put_chunk(&w, "IHDR", header, sizeof header);
    Writer data = compressed(side, dark, context);
    put_chunk(&w, "IDAT", data.at, data.used);
    put_chunk(&w, "IEND", NULL, 0);
    *length = w.used;
    return w.at;
}
