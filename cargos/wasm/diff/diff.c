/* What changed between two texts, line by line, as a unified diff. */
#include "myers.h"

#include <stdio.h>
#include <string.h>

static const char *const FIELDS[] = {"old", "new", "context", "old_name", "new_name", "ignore_space", NULL};
#define LINES_MAX 200000

typedef struct {
    Text *lines;
    uint32_t *numbers;
    bool *changed;
    size_t count;
    bool open_end; /* its last line has no line end */
} Side;

static Side split(Text text)
{
    Side side = {.open_end = text.length > 0 && text.at[text.length - 1] != '\n'};
    size_t ends = side.open_end;
    for (size_t i = 0; i < text.length; i++)
        ends += text.at[i] == '\n';
    if (ends > LINES_MAX)
        bad_input("a text has more than 200000 lines");
    side.lines = room(ends * sizeof *side.lines);
    side.numbers = room(ends * sizeof *side.numbers);
    side.changed = room(ends);
    for (size_t i = 0, start = 0; i <= text.length && side.count < ends; i++)
        if (i == text.length || text.at[i] == '\n') {
            side.lines[side.count++] = (Text){text.at + start, i - start};
            start = i + 1;
        }
    return side;
}

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The line as it is compared: where space does not matter, without any. */
static Text compared(Text line, bool ignore_space)
{
    if (!ignore_space)
        return line;
    char *plain = room(line.length), *out = plain;
    for (size_t i = 0; i < line.length; i++)
        if (!blank(line.at[i]))
            *out++ = line.at[i];
    return (Text){plain, (size_t)(out - plain)};
}

typedef struct {
    Text line;
    bool open_end;
    uint32_t number;
} Known;

/* Equal lines get equal numbers: a hash table of both texts. Its key is not fixed by what a customer can choose
   cheaply, but a bad one would only cost time, and that is bounded. */
static void number_lines(Side *sides, bool ignore_space)
{
    size_t size = 1;
    while (size < 2 * (sides[0].count + sides[1].count) + 2)
        size *= 2;
    Known *table = room(size * sizeof *table);
    memset(table, 0, size * sizeof *table);
    uint32_t next = 1;
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < sides[s].count; i++) {
            Text line = compared(sides[s].lines[i], ignore_space);
            bool open_end = sides[s].open_end && i + 1 == sides[s].count && !ignore_space;
            uint64_t hash = 14695981039346656037ull + open_end;
            for (size_t k = 0; k < line.length; k++)
                hash = (hash ^ (unsigned char)line.at[k]) * 1099511628211ull;
            hash ^= hash >> 29;
            size_t at = (size_t)hash & (size - 1);
            while (table[at].number != 0 && (table[at].open_end != open_end || !same_text(table[at].line, line)))
                at = (at + 1) & (size - 1);
            if (table[at].number == 0)
                table[at] = (Known){line, open_end, next++};
            sides[s].numbers[i] = table[at].number;
        }
}

typedef struct {
    char *at;
    size_t used, size;
} Buffer;

static Buffer unified;

static void put(Text text)
{
    if (unified.used + text.length > unified.size)
        unified.at = more_room(unified.at, unified.size = 2 * (unified.used + text.length) + 4096);
    if (text.length > 0)
        memcpy(unified.at + unified.used, text.at, text.length);
    unified.used += text.length;
}

static void put_line(const Side *side, size_t i, const char *sign)
{
    put(text_of(sign));
    put(side->lines[i]);
    put(text_of(side->open_end && i + 1 == side->count ? "\n\\ No newline at end of file\n" : "\n"));
}

static void put_range(const char *sign, size_t start, size_t count)
{
    char range[64];
    /* GNU's way: an empty range names the line before it, and a count of one is not written. */
    unsigned long first = (unsigned long)(count == 0 ? start : start + 1);
    if (count == 1)
        snprintf(range, sizeof range, "%s%lu ", sign, first);
    else
        snprintf(range, sizeof range, "%s%lu,%lu ", sign, first, (unsigned long)count);
    put(text_of(range));
}

/* From (i, j), where both agree so far, to where the hunk with all changes nearer than `context` ends. */
static void find_end(const Side *sides, size_t *i, size_t *j, size_t context)
{
    const Side *old = &sides[0], *new = &sides[1];
    size_t same = 0;
    while (*i < old->count || *j < new->count) {
        if (*i < old->count && old->changed[*i])
            (*i)++, same = 0;
        else if (*j < new->count && new->changed[*j])
            (*j)++, same = 0;
        else if (same == 2 * context)
            break;
        else
            (*i)++, (*j)++, same++;
    }
    size_t back = same > context ? same - context : 0;
    *i -= back;
    *j -= back;
}

static void put_hunk(const Side *sides, size_t i, size_t j, size_t end_i, size_t end_j)
{
    put(text_of("@@ "));
    put_range("-", i, end_i - i);
    put_range("+", j, end_j - j);
    put(text_of("@@\n"));
    while (i < end_i || j < end_j)
        if (i < end_i && sides[0].changed[i])
            put_line(&sides[0], i++, "-");
        else if (j < end_j && sides[1].changed[j])
            put_line(&sides[1], j++, "+");
        else {
            put_line(&sides[0], i++, " ");
            j++;
        }
}

static void put_hunks(const Side *sides, size_t context)
{
    size_t i = 0, j = 0, floor = 0;
    while (i < sides[0].count || j < sides[1].count) {
        bool changed = (i < sides[0].count && sides[0].changed[i]) || (j < sides[1].count && sides[1].changed[j]);
        if (!changed) {
            i++, j++;
            continue;
        }
        size_t before = i - floor < context ? i - floor : context, end_i = i, end_j = j;
        find_end(sides, &end_i, &end_j, context);
        put_hunk(sides, i - before, j - before, end_i, end_j);
        i = end_i, j = end_j, floor = end_i;
    }
}

static Text name_of(const Value *input, const char *field, const char *otherwise)
{
    Text name = text_or(input, field, otherwise, 1000);
    for (size_t i = 0; i < name.length; i++)
        if (name.at[i] == '\n' || name.at[i] == '\r')
            bad_input_with("", text_of(field), " must have no line end");
    return name;
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    Side sides[2] = {split(want_text(input, "old", 4 << 20)), split(want_text(input, "new", 4 << 20))};
    size_t context = (size_t)whole_or(input, "context", 3, 0, 1000);
    Text names[2] = {name_of(input, "old_name", "old"), name_of(input, "new_name", "new")};
    number_lines(sides, truth_or(input, "ignore_space", false));
    bool rough = differ(sides[0].numbers, sides[0].count, sides[1].numbers, sides[1].count, sides[0].changed,
                        sides[1].changed);
    int64_t changes[2] = {0, 0};
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < sides[s].count; i++)
            changes[s] += sides[s].changed[i];
    if (changes[0] + changes[1] > 0) {
        for (int s = 0; s < 2; s++) {
            put(text_of(s == 0 ? "--- " : "+++ "));
            put(names[s]);
            put(text_of("\n"));
        }
        put_hunks(sides, context);
    }
    say("{\"removed\":");
    say_whole(changes[0]);
    say(",\"added\":");
    say_whole(changes[1]);
    say(",\"shortest\":");
    say(rough ? "false" : "true");
    say(",\"unified\":");
    say_string((Text){unified.at, unified.used});
    say("}");
    finish();
}
