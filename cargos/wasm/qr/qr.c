/* Text to a QR code, as SVG, PNG or rows of 0 and 1. */
#include "../common/cargo.h"
#include "../vendor/qrcodegen/qrcodegen.h"
#include "png.h"

#include <stdio.h>
#include <string.h>

static const char *const FIELDS[] = {"text", "error_correction", "format", "border", "scale", NULL};
static const char *const LEVELS[] = {"low", "medium", "quartile", "high", NULL};
static const char *const FORMATS[] = {"svg", "png", "rows", NULL};

static uint8_t code[qrcodegen_BUFFER_LEN_MAX], spare[qrcodegen_BUFFER_LEN_MAX];

typedef struct {
    int64_t border, scale;
} Drawing;

static bool dark(void *context, size_t x, size_t y)
{
    const Drawing *d = context;
    return qrcodegen_getModule(code, (int)((int64_t)x / d->scale - d->border), (int)((int64_t)y / d->scale - d->border));
}

static void say_svg(int size, const Drawing *d)
{
    char part[200];
    long long side = size + 2 * d->border, pixels = side * d->scale;
    say("<svg xmlns='http://www.w3.org/2000/svg' version='1.1'");
    snprintf(part, sizeof part, " width='%lld' height='%lld' viewBox='0 0 %lld %lld'>", pixels, pixels, side, side);
    say(part);
    say("<rect width='100%' height='100%' fill='#fff'/><path fill='#000' d='");
    for (int y = 0; y < size; y++)
        for (int x = 0, end; x < size; x = end) {
            for (end = x; end < size && qrcodegen_getModule(code, end, y);)
                end++;
            if (end > x) {
                snprintf(part, sizeof part, "M%lld %lldh%dv1h-%dz", x + (long long)d->border, y + (long long)d->border,
                         end - x, end - x);
                say(part);
            } else
                end++;
        }
    say("'/></svg>");
}

static void say_rows(int size)
{
    say("[");
    for (int y = 0; y < size; y++) {
        say(y > 0 ? ",\"" : "\"");
        for (int x = 0; x < size; x++)
            say(qrcodegen_getModule(code, x, y) ? "1" : "0");
        say("\"");
    }
    say("]");
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    Text text = want_text(input, "text", 3000);
    int level = choice_or(input, "error_correction", LEVELS, 1), format = choice_or(input, "format", FORMATS, 0);
    Drawing drawing = {whole_or(input, "border", 4, 0, 40), whole_or(input, "scale", 8, 1, 16)};
    if (text.length == 0)
        bad_input("text must not be empty");
    char *ended = room(text.length + 1);
    memcpy(ended, text.at, text.length);
    ended[text.length] = 0;
    bool plain = memchr(text.at, 0, text.length) == NULL, made = false;
    if (plain)
        made = qrcodegen_encodeText(ended, spare, code, (enum qrcodegen_Ecc)level, 1, 40, qrcodegen_Mask_AUTO, true);
    else if (text.length <= 2953) {
        memcpy(spare, text.at, text.length);
        made = qrcodegen_encodeBinary(spare, text.length, code, (enum qrcodegen_Ecc)level, 1, 40, qrcodegen_Mask_AUTO,
                                      true);
    }
    if (!made)
        bad_input_with("text is too long for a QR code with error_correction ", text_of(LEVELS[level]), "");
    int size = qrcodegen_getSize(code);
    say("{\"size\":");
    say_whole(size);
    say(",\"version\":");
    say_whole((size - 17) / 4);
    say(",\"");
    say(FORMATS[format]);
    say("\":");
    if (format == 2)
        say_rows(size);
    else {
        say("\"");
        if (format == 0)
            say_svg(size, &drawing);
        else {
            size_t length;
            uint8_t *png = png_of((size_t)((size + 2 * drawing.border) * drawing.scale), dark, &drawing, &length);
            say_base64(png, length);
        }
        say("\"");
    }
    say("}");
    finish();
}
