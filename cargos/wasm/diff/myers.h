/* The shortest way from one list of lines to another. */
#pragma once

#include "../common/cargo.h"

/* Sets `gone[i]` for each line of `old` that is not in the common part, and `come[j]` for those of `new`.

   Lines are given as numbers, equal for equal lines. Linear memory (Myers 1986, divided at the middle). Where the texts
   have so little in common that this would take too long, the answer is right but not the shortest; then true. */
bool differ(const uint32_t *old, size_t old_count, const uint32_t *new, size_t new_count, bool *gone, bool *come);
