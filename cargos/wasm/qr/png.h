/* A PNG of one bit a pixel, small because its rows repeat. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `dark(context, x, y)` says which pixels are black. */
uint8_t *png_of(size_t side, bool (*dark)(void *, size_t, size_t), void *context, size_t *length);
