/* Tests, finds, replaces and splits by a regular expression, in linear time whatever the pattern. */
#include "../common/regex.h"

#include <string.h>

static const char *const FIELDS[] = {"pattern",   "text",    "operation",   "replacement", "limit",
                                     "ignore_case", "multiline", "dot_all", NULL};
static const char *const OPERATIONS[] = {"find_all", "find", "test", "replace", "split", NULL};
enum { FIND_ALL, FIND, TEST, REPLACE, SPLIT };

static Text text;
static size_t spans[2 * REGEX_GROUPS_MAX];

static Text part(size_t start, size_t end) { return (Text){text.at + start, end - start}; }

/* Bytes to characters; asked for ever later places, so that a text is counted once. */
static int64_t characters_before(size_t byte)
{
    static size_t counted;
    static int64_t characters;
    if (byte < counted)
        counted = 0, characters = 0;
    for (; counted < byte; counted++)
        characters += ((unsigned char)text.at[counted] & 0xC0) != 0x80;
    return characters;
}

static void say_group(size_t group)
{
    if (spans[2 * group] == REGEX_NOWHERE || spans[2 * group + 1] == REGEX_NOWHERE)
        say("null");
    else
        say_string(part(spans[2 * group], spans[2 * group + 1]));
}

static void say_match(const Regex *regex)
{
    say("{\"start\":");
    say_whole(characters_before(spans[0]));
    say(",\"end\":");
    say_whole(characters_before(spans[1]));
    say(",\"text\":");
    say_group(0);
    say(",\"groups\":[");
    for (size_t i = 1; i < regex_groups(regex); i++) {
        if (i > 1)
            say(",");
        say_group(i);
    }
    say("],\"named\":{");
    bool any = false;
    for (size_t i = 1; i < regex_groups(regex); i++) {
        if (regex_group_name(regex, i).length == 0)
            continue;
        if (any)
            say(",");
        any = true;
        say_string(regex_group_name(regex, i));
        say(":");
        say_group(i);
    }
    say("}}");
}

/* The next match at or after `*from`, which moves on; after an empty match by a character, so that it ends. */
static bool next_match(Regex *regex, size_t *from)
{
    if (*from > text.length || !regex_find(regex, text, *from, spans))
        return false;
    *from = spans[1];
    if (spans[1] == spans[0]) {
        const char *after = text.at + *from;
        if (*from < text.length)
            utf8_next(&after);
        *from = *from < text.length ? (size_t)(after - text.at) : text.length + 1;
    }
    return true;
}

/* What `$…` in a replacement means: its group, or REGEX_GROUPS_MAX for a dollar. `*at` moves past it. */
static size_t reference(const Regex *regex, Text in, size_t *at)
{
    size_t i = *at + 1, groups = regex_groups(regex);
    if (i < in.length && in.at[i] == '$') {
        *at = i + 1;
        return REGEX_GROUPS_MAX;
    }
    bool braces = i < in.length && in.at[i] == '{';
    size_t start = i + braces, end = start;
    while (end < in.length && (braces ? in.at[end] != '}' : in.at[end] >= '0' && in.at[end] <= '9') && end - start < 65)
        end++;
    Text name = {in.at + start, end - start};
    *at = end + braces;
    if (name.length > 0 && *at <= in.length) {
        size_t number = 0;
        bool digits = true;
        for (size_t k = 0; k < name.length; k++) {
            digits = digits && name.at[k] >= '0' && name.at[k] <= '9';
            number = number < 1000 ? number * 10 + (size_t)(name.at[k] - '0') : number;
        }
        if (digits && number < groups)
            return number;
        for (size_t g = 1; !digits && g < groups; g++)
            if (same_text(regex_group_name(regex, g), name))
                return g;
    }
    bad_input("replacement names a group that the pattern has not; write $$ for a dollar");
}

typedef struct {
    char *at;
    size_t used, size;
} Buffer;

static void append(Buffer *buffer, Text more)
{
    if (buffer->used + more.length > (size_t)16 << 20)
        bad_input("the result would have more than 16 MiB");
    if (buffer->used + more.length > buffer->size)
        buffer->at = more_room(buffer->at, buffer->size = 2 * (buffer->used + more.length));
    if (more.length > 0)
        memcpy(buffer->at + buffer->used, more.at, more.length);
    buffer->used += more.length;
}

static void replace(Regex *regex, Text with, int64_t limit)
{
    Buffer result = {NULL, 0, 0};
    size_t from = 0, copied = 0;
    int64_t count = 0;
    for (size_t i = 0; i < with.length;) /* also when nothing matches, a wrong reference is a mistake */
        if (with.at[i] == '$')
            reference(regex, with, &i);
        else
            i++;
    for (; count < limit && next_match(regex, &from); count++) {
        append(&result, part(copied, spans[0]));
        for (size_t i = 0; i < with.length;) {
            if (with.at[i] != '$') {
                append(&result, (Text){with.at + i++, 1});
                continue;
            }
            size_t group = reference(regex, with, &i);
            if (group == REGEX_GROUPS_MAX)
                append(&result, text_of("$"));
            else if (spans[2 * group] != REGEX_NOWHERE)
                append(&result, part(spans[2 * group], spans[2 * group + 1]));
        }
        copied = spans[1];
    }
    append(&result, part(copied, text.length));
    say("{\"count\":");
    say_whole(count);
    say(",\"text\":");
    say_string((Text){result.at, result.used});
    say("}");
}

static void split(Regex *regex, int64_t limit)
{
    size_t from = 0, start = 0;
    say("{\"parts\":[");
    for (int64_t count = 0; count < limit && next_match(regex, &from); count++) {
        say_string(part(start, spans[0]));
        say(",");
        start = spans[1];
    }
    say_string(part(start, text.length));
    say("]}");
}

static void find_all(Regex *regex, int64_t limit)
{
    size_t from = 0;
    say("{\"matches\":[");
    for (int64_t count = 0; count < limit && next_match(regex, &from); count++) {
        if (count > 0)
            say(",");
        say_match(regex);
    }
    say("]}");
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    Text pattern = want_text(input, "pattern", 4096);
    text = want_text(input, "text", 8 << 20);
    int operation = choice_or(input, "operation", OPERATIONS, FIND_ALL);
    int64_t limit = whole_or(input, "limit", 1000000, 1, 1000000);
    bool replaces = operation == REPLACE;
    if (!replaces && member(input, "replacement") != NULL)
        bad_input("replacement belongs to the operation replace");
    Text with = text_or(input, "replacement", replaces ? NULL : "", 65536);
    unsigned flags = (truth_or(input, "ignore_case", false) ? REGEX_IGNORE_CASE : 0) |
                     (truth_or(input, "multiline", false) ? REGEX_MULTILINE : 0) |
                     (truth_or(input, "dot_all", false) ? REGEX_DOT_ALL : 0);
    const char *problem;
    Regex *regex = regex_compile(pattern, flags, &problem);
    if (regex == NULL)
        bad_input_with("pattern: ", text_of(problem), "");
    switch (operation) {
    case REPLACE:
        replace(regex, with, limit);
        break;
    case SPLIT:
        split(regex, limit);
        break;
    case FIND_ALL:
    case FIND:
        find_all(regex, operation == FIND ? 1 : limit);
        break;
    default:
        say(regex_find(regex, text, 0, spans) ? "{\"matched\":true}" : "{\"matched\":false}");
    }
    finish();
}
