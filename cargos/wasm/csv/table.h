/* Comma-separated values as a table of texts (RFC 4180). */
#pragma once

#include "../common/cargo.h"

typedef struct {
    Text *cells;
    size_t count;
} Row;

typedef struct {
    Row *rows;
    size_t count;
} Table;

/* Ends the run with a sentence about the customer's mistake. */
Table read_table(Text text, char delimiter);
