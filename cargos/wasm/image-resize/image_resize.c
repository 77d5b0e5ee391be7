/* A PNG or JPEG in another size, and as PNG or JPEG. */
#include "../common/cargo.h"
#include "stb.h"

#include <stdlib.h>
#include <string.h>

static const char *const FIELDS[] = {"image", "width", "height", "fit", "format", "quality", "background", NULL};
static const char *const FITS[] = {"inside", "cover", "stretch", NULL};
static const char *const FORMATS[] = {"png", "jpeg", NULL};
enum { INSIDE, COVER, STRETCH };
#define SIDE_MAX 4096
#define PIXELS_IN_MAX (12ll << 20)
#define PIXELS_OUT_MAX (4ll << 20)

typedef struct {
    uint8_t *pixels;
    int64_t width, height;
    int channels;
} Picture;

static Picture read_picture(Text encoded)
{
    size_t length;
    uint8_t *file = read_base64(encoded, "image", &length);
    int width, height, channels;
    if (!stbi_info_from_memory(file, (int)length, &width, &height, &channels))
        bad_input("image is no PNG or JPEG that can be read");
    if ((int64_t)width * height > PIXELS_IN_MAX)
        bad_input("image has more than 12582912 pixels");
    int wanted = channels == 2 || channels == 4 ? 4 : 3;
    uint8_t *pixels = stbi_load_from_memory(file, (int)length, &width, &height, &channels, wanted);
    free(file);
    if (pixels == NULL)
        bad_input_with("image can't be read: ", text_of(stbi_failure_reason()), "");
    return (Picture){pixels, width, height, wanted};
}

static int64_t at_least_one(int64_t number) { return number < 1 ? 1 : number; }

/* The size to draw in. A side that is not given follows the other. */
static void fit_size(const Picture *p, int fit, int64_t *width, int64_t *height)
{
    if (*width == 0)
        *width = at_least_one((p->width * *height + p->height / 2) / p->height);
    else if (*height == 0)
        *height = at_least_one((p->height * *width + p->width / 2) / p->width);
    else if (fit == INSIDE && p->width * *height > p->height * *width)
        *height = at_least_one((p->height * *width + p->width / 2) / p->width);
    else if (fit == INSIDE)
        *width = at_least_one((p->width * *height + p->height / 2) / p->height);
    if (*width > SIDE_MAX || *height > SIDE_MAX || *width * *height > PIXELS_OUT_MAX)
        bad_input("the result would have a side of more than 4096 or more than 4194304 pixels");
}

/* The middle of the picture, in the shape of the result. */
static void crop(Picture *p, int64_t width, int64_t height)
{
    int64_t x = 0, y = 0, w = p->width, h = p->height;
    if (w * height > h * width) {
        w = at_least_one(h * width / height);
        x = (p->width - w) / 2;
    } else {
        h = at_least_one(w * height / width);
        y = (p->height - h) / 2;
    }
    for (int64_t row = 0; row < h; row++)
        memmove(p->pixels + row * w * p->channels, p->pixels + ((y + row) * p->width + x) * p->channels,
                (size_t)(w * p->channels));
    p->width = w;
    p->height = h;
}

static Picture resize(const Picture *p, int64_t width, int64_t height)
{
    Picture made = {room((size_t)(width * height * p->channels)), width, height, p->channels};
    stbir_pixel_layout layout = p->channels == 4 ? STBIR_RGBA : STBIR_RGB;
    if (stbir_resize_uint8_srgb(p->pixels, (int)p->width, (int)p->height, 0, made.pixels, (int)width, (int)height, 0,
                                layout) == NULL)
        fail("there is not enough memory for this input");
    return made;
}

/* JPEG has no transparency: what is transparent becomes white or black. */
static void flatten(Picture *p, uint8_t ground)
{
    for (int64_t i = 0; p->channels == 4 && i < p->width * p->height; i++)
        for (int c = 0; c < 3; c++) {
            int alpha = p->pixels[4 * i + 3];
            p->pixels[3 * i + c] = (uint8_t)((p->pixels[4 * i + c] * alpha + ground * (255 - alpha) + 127) / 255);
        }
    p->channels = 3;
}

typedef struct {
    uint8_t *at;
    size_t used, size;
} Buffer;

static void put(void *context, void *bytes, int length)
{
    Buffer *b = context;
    if (b->used + (size_t)length > b->size)
        b->at = more_room(b->at, b->size = 2 * (b->used + (size_t)length));
    memcpy(b->at + b->used, bytes, (size_t)length);
    b->used += (size_t)length;
}

int main(void)
{
    static const char *const grounds[] = {"white", "black", NULL};
    const Value *input = read_input();
    only_fields(input, FIELDS);
    int64_t width = whole_or(input, "width", 0, 1, SIDE_MAX), height = whole_or(input, "height", 0, 1, SIDE_MAX);
    int fit = choice_or(input, "fit", FITS, INSIDE), format = choice_or(input, "format", FORMATS, 0);
    int64_t quality = whole_or(input, "quality", 85, 1, 100);
    uint8_t ground = choice_or(input, "background", grounds, 0) == 0 ? 255 : 0;
    if (width == 0 && height == 0)
        bad_input("give width, height or both");
    Picture picture = read_picture(want_text(input, "image", 12 << 20));
    int64_t from[2] = {picture.width, picture.height};
    fit_size(&picture, fit, &width, &height);
    if (fit == COVER)
        crop(&picture, width, height);
    Picture made = resize(&picture, width, height);
    stbi_image_free(picture.pixels);
    Buffer file = {NULL, 0, 0};
    if (format == 1) {
        flatten(&made, ground);
        stbi_write_jpg_to_func(put, &file, (int)width, (int)height, 3, made.pixels, (int)quality);
    } else
        stbi_write_png_to_func(put, &file, (int)width, (int)height, made.channels, made.pixels, 0);
    if (file.used == 0)
        fail("there is not enough memory for this input");
    say("{\"width\":");
    say_whole(width);
    say(",\"height\":");
    say_whole(height);
    say(",\"from\":[");
    say_whole(from[0]);
    say(",");
    say_whole(from[1]);
    say("],\"bytes\":");
    say_whole((int64_t)file.used);
    say(",\"format\":\"");
    say(FORMATS[format]);
    say("\",\"image\":\"");
    say_base64(file.at, file.used);
    say("\"}");
    finish();
}
