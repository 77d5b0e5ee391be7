/* Reads what RFC 4180 describes, and line ends without a carriage return as everybody writes them. */
#include "table.h"

#include <stdio.h>
#include <string.h>

#define ROWS_MAX 1000000
#define COLUMNS_MAX 10000

typedef struct {
    Text *at;
    size_t count, room;
} Cells;

static _Noreturn void wrong(size_t row, const char *what)
{
    char sentence[120];
    snprintf(sentence, sizeof sentence, "text: record %lu %s", (unsigned long)row + 1, what);
    bad_input(sentence);
}

static void add(Cells *cells, Text cell, size_t row)
{
    if (cells->count == COLUMNS_MAX)
        wrong(row, "has more than 10000 fields");
    if (cells->count == cells->room)
        cells->at = more_room(cells->at, (cells->room = cells->room * 2 + 8) * sizeof *cells->at);
    cells->at[cells->count++] = cell;
}

/* `*at` is after the opening quote, and moves to what follows the closing one. */
static Text quoted(const char **at, const char *end, size_t row)
{
    const char *start = *at, *p = start;
    size_t doubled = 0;
    for (; p < end; p++) {
        if (*p != '"')
            continue;
        if (p + 1 < end && p[1] == '"') {
            doubled++;
            p++;
        } else
            break;
    }
    if (p >= end)
        wrong(row, "has a quote that is never closed");
    *at = p + 1;
    Text cell = {start, (size_t)(p - start)};
    if (doubled == 0)
        return cell;
    char *plain = room(cell.length), *out = plain;
    for (const char *q = start; q < p; q++) {
        *out++ = *q;
        q += *q == '"';
    }
    return (Text){plain, (size_t)(out - plain)};
}

static Text bare(const char **at, const char *end, char delimiter, size_t row)
{
    const char *start = *at, *p = start;
    while (p < end && *p != delimiter && *p != '\n') {
        if (*p == '"')
            wrong(row, "has a quote in the middle of a field that is not quoted");
        p++;
    }
    *at = p;
    size_t length = (size_t)(p - start);
    if (length > 0 && p[-1] == '\r' && (p == end || *p == '\n'))
        length--;
    return (Text){start, length};
}

static Row read_row(const char **at, const char *end, char delimiter, size_t row)
{
    Cells cells = {NULL, 0, 0};
    for (;;) {
        bool quote = *at < end && **at == '"';
        if (quote)
            (*at)++;
        add(&cells, quote ? quoted(at, end, row) : bare(at, end, delimiter, row), row);
        if (quote && *at < end && **at == '\r' && (*at + 1 == end || (*at)[1] == '\n'))
            (*at)++;
        if (*at == end)
            break;
        char c = *(*at)++;
        if (c == '\n')
            break;
        if (c != delimiter)
            wrong(row, "has something between a closing quote and the next field");
    }
    return (Row){cells.at, cells.count};
}

Table read_table(Text text, char delimiter)
{
    const char *at = text.at, *end = text.at + text.length;
    if (text.length >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        at += 3;
    Table table = {NULL, 0};
    size_t room_for = 0;
    while (at < end) {
        if (table.count == ROWS_MAX)
            bad_input("text has more than 1000000 records");
        if (table.count == room_for)
            table.rows = more_room(table.rows, (room_for = room_for * 2 + 64) * sizeof *table.rows);
        table.rows[table.count] = read_row(&at, end, delimiter, table.count);
        if (table.rows[table.count].count == 1 && table.rows[table.count].cells[0].length == 0)
            continue; /* an empty line is no record */
        table.count++;
    }
    for (size_t i = 1; i < table.count; i++)
        if (table.rows[i].count != table.rows[0].count)
            wrong(i, "has another number of fields than the first");
    return table;
}
