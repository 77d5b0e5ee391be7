/* The one place where the vendored codecs are compiled. */
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma clang diagnostic ignored "-Wunused-parameter"
#pragma clang diagnostic ignored "-Wunused-function"
#pragma clang diagnostic ignored "-Wsign-compare"
#pragma clang diagnostic ignored "-Wmissing-field-initializers"
#include "stb.h"

#include <stdlib.h>

#define BYTES_MAX ((size_t)112 << 20)

/* One block is bounded, all of them by the memory that the module has. */
void *stb_room(size_t bytes) { return bytes > BYTES_MAX ? NULL : malloc(bytes); }
void *stb_more_room(void *old, size_t bytes) { return bytes > BYTES_MAX ? NULL : realloc(old, bytes); }
void stb_give_back(void *memory) { free(memory); }
