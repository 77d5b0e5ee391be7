/* The vendored codecs, with memory that ends: what a small file swells to is bounded by more than its header. */
#pragma once

#include <stddef.h>

void *stb_room(size_t bytes);
void *stb_more_room(void *old, size_t bytes);
void stb_give_back(void *memory);

#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_SIMD
#define STBI_MAX_DIMENSIONS 16384
#define STBI_MALLOC stb_room
#define STBI_REALLOC stb_more_room
#define STBI_FREE stb_give_back
#include "../vendor/stb/stb_image.h"

#define STBIR_NO_SIMD
#include "../vendor/stb/stb_image_resize2.h"

#define STBI_WRITE_NO_STDIO
#include "../vendor/stb/stb_image_write.h"
