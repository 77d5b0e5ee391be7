/* UTF-8 and base64. */
#include "cargo.h"

#include <string.h>

bool utf8_valid(const char *at, size_t length)
{
    const unsigned char *p = (const unsigned char *)at, *end = p + length;
    while (p < end) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        int more = *p >= 0xC2 && *p < 0xE0 ? 1 : *p >= 0xE0 && *p < 0xF0 ? 2 : *p >= 0xF0 && *p < 0xF5 ? 3 : 0;
        if (more == 0 || end - p <= more)
            return false;
        for (int i = 1; i <= more; i++)
            if ((p[i] & 0xC0) != 0x80)
                return false;
        if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] >= 0xA0) || (*p == 0xF0 && p[1] < 0x90) ||
            (*p == 0xF4 && p[1] >= 0x90))
            return false;
        p += more + 1;
    }
    return true;
}

uint32_t utf8_next(const char **at)
{
    const unsigned char *p = (const unsigned char *)*at;
    uint32_t c = *p++;
    int more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    if (more > 0)
        c &= 0x3Fu >> more;
    while (more-- > 0)
        c = c << 6 | (*p++ & 0x3F);
    *at = (const char *)p;
    return c;
}

size_t utf8_put(uint32_t c, char *at)
{
    unsigned char *p = (unsigned char *)at;
    if (c < 0x80) {
        p[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        p[0] = (unsigned char)(0xC0 | c >> 6);
        p[1] = (unsigned char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        p[0] = (unsigned char)(0xE0 | c >> 12);
        p[1] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        p[2] = (unsigned char)(0x80 | (c & 0x3F));
        return 3;
    }
    p[0] = (unsigned char)(0xF0 | c >> 18);
    p[1] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
    p[2] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
    p[3] = (unsigned char)(0x80 | (c & 0x3F));
    return 4;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void say_base64(const uint8_t *bytes, size_t length)
{
    char block[4096];
    size_t used = 0;
    for (size_t i = 0; i < length; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16 | (i + 1 < length ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (i + 2 < length ? bytes[i + 2] : 0);
        block[used++] = alphabet[group >> 18];
        block[used++] = alphabet[group >> 12 & 63];
        block[used++] = i + 1 < length ? alphabet[group >> 6 & 63] : '=';
        block[used++] = i + 2 < length ? alphabet[group & 63] : '=';
        if (used == sizeof block) {
            say_bytes(block, used);
            used = 0;
        }
    }
    say_bytes(block, used);
}

uint8_t *read_base64(Text text, const char *name, size_t *length)
{
    uint8_t *bytes = room(text.length / 4 * 3 + 4);
    size_t count = text.length, used = 0, padding = 0;
    while (padding < 2 && count > 0 && text.at[count - 1] == '=') {
        count--;
        padding++;
    }
    bool fine = text.length % 4 == 0;
    uint32_t group = 0;
    for (size_t i = 0; fine && i < count; i++) {
        char c = text.at[i];
        int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                    : c >= 'a' && c <= 'z' ? c - 'a' + 26
                    : c >= '0' && c <= '9' ? c - '0' + 52
                    : c == '+'             ? 62
                    : c == '/'             ? 63
                                           : -1;
        fine = digit >= 0;
        group = group << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            bytes[used++] = (uint8_t)(group >> 16);
            bytes[used++] = (uint8_t)(group >> 8);
            bytes[used++] = (uint8_t)group;
        }
    }
    if (!fine)
        bad_input_with("", text_of(name), " must be base64 without line breaks, padded with = to groups of four");
    if (count % 4 == 3) {
        bytes[used++] = (uint8_t)(group >> 10);
        bytes[used++] = (uint8_t)(group >> 2);
    } else if (count % 4 == 2)
        bytes[used++] = (uint8_t)(group >> 4);
    *length = used;
    return bytes;
}
