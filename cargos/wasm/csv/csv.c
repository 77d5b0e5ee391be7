/* Reads comma-separated values, chooses rows and columns, sorts, adds up; answers in JSON or CSV. */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const FIELDS[] = {"text",     "delimiter", "header", "select", "where", "sort",
                                     "group_by", "aggregate", "offset", "limit",  "output", NULL};
static const char *const OUTPUTS[] = {"rows", "objects", "csv", NULL};
static const char *const COMPARISONS[] = {"=", "!=", "<", "<=", ">", ">=", "contains", "starts_with", "ends_with", NULL};
static const char *const FUNCTIONS[] = {"count", "sum", "min", "max", "mean", NULL};
enum { COUNT, SUM, MIN, MAX, MEAN };
#define COLUMNS_CHOSEN_MAX 256
#define CONDITIONS_MAX 32

static Text *names;
static size_t column_count;

static size_t column_named(Text name)
{
    for (size_t i = 0; i < column_count; i++)
        if (same_text(names[i], name))
            return i;
    bad_input_with("there is no column ", name, "");
}

static size_t column_of(const Value *object) { return column_named(want_text(object, "column", 1000)); }

static void want_object(const Value *value, const char *list)
{
    if (value->kind != JSON_OBJECT)
        bad_input_with("", text_of(list), " must be a list of objects");
}

/* A number as it may stand in a cell: a JSON number, also with a plus or leading zeros; nothing else is one. */
static bool number_in(Text text, double *number)
{
    char copy[64];
    if (text.length == 0 || text.length >= sizeof copy)
        return false;
    bool digits = false;
    for (size_t i = 0; i < text.length; i++) {
        char c = copy[i] = text.at[i];
        if (c >= '0' && c <= '9')
            digits = true;
        else if (c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E')
            return false;
    }
    copy[text.length] = 0;
    char *end;
    *number = strtod(copy, &end);
    return digits && *end == 0 && isfinite(*number);
}

static int compare_texts(Text a, Text b)
{
    size_t common = a.length < b.length ? a.length : b.length;
    int order = common > 0 ? memcmp(a.at, b.at, common) : 0;
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

/* Numbers by value and before texts; texts by their characters. */
static int compare_cells(Text a, Text b)
{
    double x, y;
    bool left = number_in(a, &x), right = number_in(b, &y);
    if (left && right)
        return (x > y) - (x < y);
    return left != right ? (left ? -1 : 1) : compare_texts(a, b);
}

static bool contains(Text text, Text part)
{
    for (size_t i = 0; i + part.length <= text.length; i++)
        if (memcmp(text.at + i, part.at, part.length) == 0)
            return true;
    return false;
}

typedef struct {
    size_t column;
    int comparison;
    Text value;
} Condition;

static bool meets(const Row *row, const Condition *c)
{
    Text cell = row->cells[c->column], value = c->value;
    int order = c->comparison < 6 ? compare_cells(cell, value) : 0;
    switch (c->comparison) {
    case 0:
        return order == 0;
    case 1:
        return order != 0;
    case 2:
        return order < 0;
    case 3:
        return order <= 0;
    case 4:
        return order > 0;
    case 5:
        return order >= 0;
    case 6:
        return contains(cell, value);
    case 7:
        return cell.length >= value.length && memcmp(cell.at, value.at, value.length) == 0;
    default:
        return cell.length >= value.length &&
               memcmp(cell.at + cell.length - value.length, value.at, value.length) == 0;
    }
}

static void filter(Table *table, const Value *where)
{
    static const char *const known[] = {"column", "is", "value", NULL};
    Condition conditions[CONDITIONS_MAX];
    size_t count = 0, kept = 0;
    for (const Value *one = where != NULL ? where->first : NULL; one != NULL; one = one->next) {
        want_object(one, "where");
        only_fields(one, known);
        const Value *value = member(one, "value");
        if (value == NULL || (value->kind != JSON_STRING && value->kind != JSON_NUMBER))
            bad_input("where: value must be a text or a number");
        conditions[count++] = (Condition){column_of(one), choice_or(one, "is", COMPARISONS, 0), value->text};
    }
    for (size_t i = 0; i < table->count; i++) {
        bool keep = true;
        for (size_t k = 0; k < count && keep; k++)
            keep = meets(&table->rows[i], &conditions[k]);
        if (keep)
            table->rows[kept++] = table->rows[i];
    }
    table->count = kept;
}

typedef struct {
    size_t column;
    bool descending;
} Key;

static Key keys[CONDITIONS_MAX];
static size_t key_count;

static int compare_rows(const Row *a, const Row *b)
{
    for (size_t i = 0; i < key_count; i++) {
        int order = compare_cells(a->cells[keys[i].column], b->cells[keys[i].column]);
        if (order != 0)
            return keys[i].descending ? -order : order;
    }
    return 0;
}

/* Merging keeps equal rows in their order, and takes the same time whatever the input. */
static void sort_rows(Row *rows, size_t count, Row *spare)
{
    if (count < 2)
        return;
    size_t half = count / 2, left = 0, right = half, out = 0;
    sort_rows(rows, half, spare);
    sort_rows(rows + half, count - half, spare);
    while (left < half && right < count)
        spare[out++] = compare_rows(&rows[left], &rows[right]) <= 0 ? rows[left++] : rows[right++];
    while (left < half)
        spare[out++] = rows[left++];
    memcpy(rows, spare, out * sizeof *rows); /* what is left on the right is in its place */
}

static void sort_table(Table *table)
{
    if (key_count > 0 && table->count > 0)
        sort_rows(table->rows, table->count, room(table->count * sizeof *table->rows));
}

static void sort_by(Table *table, const Value *sort)
{
    static const char *const known[] = {"column", "descending", NULL};
    key_count = 0;
    for (const Value *one = sort != NULL ? sort->first : NULL; one != NULL; one = one->next) {
        want_object(one, "sort");
        only_fields(one, known);
        keys[key_count++] = (Key){column_of(one), truth_or(one, "descending", false)};
    }
    sort_table(table);
}

static Text number_text(double number)
{
    char *digits = room(40);
    int length = snprintf(digits, 40, "%.15g", number == 0 ? 0.0 : number);
    return (Text){digits, (size_t)length};
}

/* One aggregate over rows of a group. Cells that are no numbers count for nothing but `count`. */
static Text aggregated(const Row *rows, size_t count, size_t column, int function)
{
    double sum = 0, least = 0, most = 0, number;
    size_t numbers = 0, filled = 0;
    for (size_t i = 0; i < count; i++) {
        Text cell = rows[i].cells[column];
        filled += cell.length > 0;
        if (!number_in(cell, &number))
            continue;
        least = numbers == 0 || number < least ? number : least;
        most = numbers == 0 || number > most ? number : most;
        sum += number;
        numbers++;
    }
    if (function == COUNT)
        return number_text((double)filled);
    if (numbers == 0)
        return text_of(function == SUM ? "0" : "");
    return number_text(function == SUM   ? sum
                       : function == MIN ? least
                       : function == MAX ? most
                                         : sum / (double)numbers);
}

typedef struct {
    size_t column;
    int function;
} Aggregate;

static Text aggregate_name(const Aggregate *a)
{
    Text column = names[a->column];
    size_t word = strlen(FUNCTIONS[a->function]);
    char *name = room(word + column.length + 2);
    memcpy(name, FUNCTIONS[a->function], word);
    name[word] = '_';
    memcpy(name + word + 1, column.at, column.length);
    return (Text){name, word + 1 + column.length};
}

/* Sorted by the groups' columns, so that equal ones are neighbours. */
static void group(Table *table, const Value *by, const Value *aggregate)
{
    static const char *const known[] = {"column", "function", NULL};
    Aggregate wanted[CONDITIONS_MAX];
    size_t count = 0, groups = 0;
    key_count = 0;
    for (const Value *one = by != NULL ? by->first : NULL; one != NULL; one = one->next) {
        if (one->kind != JSON_STRING)
            bad_input("group_by must be a list of columns' names");
        keys[key_count++] = (Key){column_named(one->text), false};
    }
    for (const Value *one = aggregate != NULL ? aggregate->first : NULL; one != NULL; one = one->next) {
        want_object(one, "aggregate");
        only_fields(one, known);
        wanted[count++] = (Aggregate){column_of(one), choice_or(one, "function", FUNCTIONS, -1)};
    }
    sort_table(table);
    size_t width = key_count + count;
    for (size_t start = 0, end; start < table->count; start = end) {
        end = start + 1;
        while (end < table->count && compare_rows(&table->rows[start], &table->rows[end]) == 0)
            end++;
        Text *cells = room(width * sizeof *cells);
        for (size_t i = 0; i < key_count; i++)
            cells[i] = table->rows[start].cells[keys[i].column];
        for (size_t i = 0; i < count; i++)
            cells[key_count + i] =
                aggregated(table->rows + start, end - start, wanted[i].column, wanted[i].function);
        table->rows[groups++] = (Row){cells, width};
    }
    table->count = groups;
    Text *grouped = room(width * sizeof *grouped);
    for (size_t i = 0; i < key_count; i++)
        grouped[i] = names[keys[i].column];
    for (size_t i = 0; i < count; i++)
        grouped[key_count + i] = aggregate_name(&wanted[i]);
    names = grouped;
    column_count = width;
}

typedef struct {
    char *at;
    size_t used, size;
} Buffer;

static void put(Buffer *b, const char *at, size_t length)
{
    if (b->used + length > b->size)
        b->at = more_room(b->at, b->size = 2 * (b->used + length) + 1024);
    if (length > 0)
        memcpy(b->at + b->used, at, length);
    b->used += length;
}

static void put_cell(Buffer *b, Text cell, char delimiter)
{
    bool quote = false;
    for (size_t i = 0; i < cell.length && !quote; i++)
        quote = cell.at[i] == delimiter || cell.at[i] == '"' || cell.at[i] == '\n' || cell.at[i] == '\r';
    if (!quote) {
        put(b, cell.at, cell.length);
        return;
    }
    put(b, "\"", 1);
    for (size_t i = 0; i < cell.length; i++)
        put(b, cell.at[i] == '"' ? "\"\"" : cell.at + i, cell.at[i] == '"' ? 2 : 1);
    put(b, "\"", 1);
}

static void put_row(Buffer *b, const Text *cells, const size_t *columns, size_t count, char delimiter)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put(b, &delimiter, 1);
        put_cell(b, cells[columns[i]], delimiter);
    }
    put(b, "\r\n", 2);
}

static void say_columns(const size_t *columns, size_t count)
{
    say("{\"columns\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            say(",");
        say_string(names[columns[i]]);
    }
    say("],\"rows\":[");
}

static void say_rows(const Row *rows, size_t count, const size_t *columns, size_t width, bool objects)
{
    say_columns(columns, width);
    for (size_t i = 0; i < count; i++) {
        say(i > 0 ? "," : "");
        say(objects ? "{" : "[");
        for (size_t k = 0; k < width; k++) {
            if (k > 0)
                say(",");
            if (objects) {
                say_string(names[columns[k]]);
                say(":");
            }
            say_string(rows[i].cells[columns[k]]);
        }
        say(objects ? "}" : "]");
    }
    say("]");
}

static void answer(const Value *input, const Table *table, char delimiter)
{
    const Value *chosen = list_or_null(input, "select", COLUMNS_CHOSEN_MAX);
    size_t width = chosen != NULL ? chosen->count : column_count, i = 0;
    size_t *columns = room(width * sizeof *columns);
    if (chosen != NULL && width == 0)
        bad_input("select must name at least one column");
    for (const Value *one = chosen != NULL ? chosen->first : NULL; one != NULL; one = one->next) {
        if (one->kind != JSON_STRING)
            bad_input("select must be a list of columns' names");
        columns[i++] = column_named(one->text);
    }
    for (; i < width; i++)
        columns[i] = i;
    size_t offset = (size_t)whole_or(input, "offset", 0, 0, 1000000);
    size_t limit = (size_t)whole_or(input, "limit", 1000000, 0, 1000000);
    int output = choice_or(input, "output", OUTPUTS, 0);
    size_t from = offset < table->count ? offset : table->count;
    size_t count = table->count - from < limit ? table->count - from : limit;
    if (output < 2)
        say_rows(table->rows + from, count, columns, width, output == 1);
    else {
        Buffer csv = {NULL, 0, 0};
        if (truth_or(input, "header", true))
            put_row(&csv, names, columns, width, delimiter);
        for (size_t k = 0; k < count; k++)
            put_row(&csv, table->rows[from + k].cells, columns, width, delimiter);
        say("{\"csv\":");
        say_string((Text){csv.at, csv.used});
    }
    say(",\"total\":");
    say_whole((int64_t)table->count);
    say("}");
}

static void name_columns(Table *table, bool header)
{
    column_count = table->count > 0 ? table->rows[0].count : 0;
    names = room(column_count * sizeof *names);
    for (size_t i = 0; i < column_count; i++) {
        char *number = room(16);
        names[i] = header ? table->rows[0].cells[i]
                          : (Text){number, (size_t)snprintf(number, 16, "%lu", (unsigned long)i + 1)};
    }
    if (header && table->count > 0) {
        table->rows++;
        table->count--;
    }
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    Text text = want_text(input, "text", 8 << 20), delimiter = text_or(input, "delimiter", ",", 1);
    if (delimiter.length != 1 || strchr("\"\r\n", delimiter.at[0]) != NULL)
        bad_input("delimiter must be one ASCII character, no quote or line end");
    Table table = read_table(text, delimiter.at[0]);
    name_columns(&table, truth_or(input, "header", true));
    filter(&table, list_or_null(input, "where", CONDITIONS_MAX));
    const Value *by = list_or_null(input, "group_by", CONDITIONS_MAX);
    const Value *aggregate = list_or_null(input, "aggregate", CONDITIONS_MAX);
    if (by != NULL || aggregate != NULL)
        group(&table, by, aggregate);
    sort_by(&table, list_or_null(input, "sort", CONDITIONS_MAX));
    answer(input, &table, delimiter.at[0]);
    finish();
}
