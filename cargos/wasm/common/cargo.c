/* The protocol of a WASM Cargo, and the fields of its input. */
#include "cargo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES_MAX ((size_t)16 << 20)
#define ITEM_BYTES_MAX ((size_t)32 << 10)

static char item[ITEM_BYTES_MAX];
static size_t item_used;
static uint64_t position, first_position, items_max = UINT64_MAX;

/* Standard output, gathered so that a run makes few calls. */
static char line[4096];
static size_t line_used;

static void flush_line(void)
{
    for (size_t done = 0; done < line_used;) {
        ssize_t wrote = write(STDOUT_FILENO, line + done, line_used - done);
        if (wrote <= 0)
            _Exit(1); /* nobody listens */
        done += (size_t)wrote;
    }
    line_used = 0;
}

static void put(char c)
{
    if (line_used == sizeof line)
        flush_line();
    line[line_used++] = c;
}

static void put_plain(const char *text)
{
    while (*text)
        put(*text++);
}

static void put_string(const char *at, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    put('"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)at[i];
        if (c == '"' || c == '\\') {
            put('\\');
            put((char)c);
        } else if (c >= 0x20 && c != 0x7F)
            put((char)c);
        else {
            put_plain("\\u00");
            put(hex[c >> 4]);
            put(hex[c & 15]);
        }
    }
    put('"');
}

static _Noreturn void end_with(const char *reason)
{
    put_plain("{\"end\":{\"finish_reason\":\"");
    put_plain(reason);
    put_plain("\"}}\n");
    flush_line();
    _Exit(0);
}

static void say_item(void)
{
    if (item_used == 0)
        return;
    if (position >= items_max)
        end_with("length");
    if (position++ >= first_position) { /* what came before was delivered by an earlier run */
        put_plain("{\"text\":");
        put_string(item, item_used);
        put_plain("}\n");
    }
    item_used = 0;
}

void say_bytes(const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        size_t fits = sizeof item - item_used < length ? sizeof item - item_used : length;
        memcpy(item + item_used, at, fits);
        item_used += fits;
        at += fits;
        length -= fits;
        if (item_used < sizeof item)
            continue;
        /* Back to the border of a character; the rest begins the next item. */
        size_t cut = item_used;
        while (cut > 0 && ((unsigned char)item[cut - 1] & 0xC0) == 0x80)
            cut--;
        size_t lead = cut > 0 ? (unsigned char)item[cut - 1] : 0;
        size_t whole = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
        cut = cut > 0 && item_used - (cut - 1) < whole ? cut - 1 : item_used;
        char rest[4];
        size_t left = item_used - cut;
        memcpy(rest, item + cut, left);
        item_used = cut;
        say_item();
        memcpy(item, rest, left);
        item_used = left;
    }
}

void say(const char *text)
{
    say_bytes(text, strlen(text));
}

void say_whole(int64_t number)
{
    char digits[24];
    say_bytes(digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)number));
}

void say_string(Text text)
{
    static const char hex[] = "0123456789abcdef";
    say("\"");
    size_t from = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        say_bytes(text.at + from, i - from);
        from = i + 1;
        char escape[6] = {'\\', (char)c};
        const char *found = strchr("\nn\tt\rr\bb\ff", c);
        if (c == '"' || c == '\\')
            say_bytes(escape, 2);
        else if (c != 0 && found != NULL) {
            escape[1] = found[1];
            say_bytes(escape, 2);
        } else {
            memcpy(escape + 1, "u00", 3);
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            say_bytes(escape, 6);
        }
    }
    say_bytes(text.at + from, text.length - from);
    say("\"");
}

void say_value(const Value *value)
{
    switch (value->kind) {
    case JSON_NULL:
        say("null");
        return;
    case JSON_BOOLEAN:
        say(value->truth ? "true" : "false");
        return;
    case JSON_NUMBER:
        say_bytes(value->text.at, value->text.length);
        return;
    case JSON_STRING:
        say_string(value->text);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    bool object = value->kind == JSON_OBJECT;
    say(object ? "{" : "[");
    for (const Value *child = value->first; child != NULL; child = child->next) {
        if (child != value->first)
            say(",");
        if (object) {
            say_string(child->name);
            say(":");
        }
        say_value(child);
    }
    say(object ? "}" : "]");
}

void finish(void)
{
    say_item();
    end_with("stop");
}

void fail(const char *sentence)
{
    put_plain("{\"end\":{\"error\":");
    put_string(sentence, strlen(sentence));
    put_plain("}}\n");
    flush_line();
    _Exit(0);
}

void bad_input_with(const char *before, Text middle, const char *after)
{
    char sentence[600];
    if (middle.length > 200) { /* quoted from the input: bounded, and cut between characters */
        middle.length = 200;
        while (middle.length > 0 && ((unsigned char)middle.at[middle.length] & 0xC0) == 0x80)
            middle.length--;
    }
    int length = snprintf(sentence, sizeof sentence, "%s%.*s%s", before, (int)middle.length, middle.at, after);
    put_plain("{\"bad_input\":");
    put_string(sentence, (size_t)length < sizeof sentence ? (size_t)length : sizeof sentence - 1);
    put_plain("}\n");
    flush_line();
    _Exit(0);
}

void bad_input(const char *sentence)
{
    bad_input_with(sentence, text_of(""), "");
}

void *room(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL)
        fail("there is not enough memory for this input");
    return memory;
}

void *more_room(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes);
    if (memory == NULL)
        fail("there is not enough memory for this input");
    return memory;
}

static Text read_all(void)
{
    size_t size = 64 << 10, used = 0;
    char *bytes = room(size);
    for (;;) {
        if (used == size)
            bytes = more_room(bytes, size *= 2);
        ssize_t got = read(STDIN_FILENO, bytes + used, size - used);
        if (got < 0)
            fail("the input could not be read");
        if (got == 0)
            return (Text){bytes, used};
        used += (size_t)got;
        if (used > INPUT_BYTES_MAX)
            bad_input("the input has more than 16 MiB");
    }
}

const Value *read_input(void)
{
    Value *envelope;
    const char *problem;
    if (!parse_json(read_all(), &envelope, &problem))
        bad_input_with("the input is not JSON: ", text_of(problem), "");
    const Value *input = member(envelope, "input");
    if (input == NULL || input->kind != JSON_OBJECT)
        bad_input("the input must be an object");
    first_position = (uint64_t)whole_or(envelope, "first_position", 0, 0, INT64_MAX);
    int64_t most = whole_or(envelope, "output_items_max", 0, 0, INT64_MAX);
    if (most > 0)
        items_max = (uint64_t)most;
    return input;
}

Text text_of(const char *word)
{
    return (Text){word, strlen(word)};
}

bool text_is(Text text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

bool same_text(Text one, Text other)
{
    return one.length == other.length && memcmp(one.at, other.at, one.length) == 0;
}

Text text_or(const Value *object, const char *name, const char *otherwise, size_t bytes_max)
{
    const Value *value = member(object, name);
    if (value == NULL && otherwise != NULL)
        return text_of(otherwise);
    if (value == NULL || value->kind != JSON_STRING)
        bad_input_with("", text_of(name), value == NULL ? " is missing" : " must be text");
    if (value->text.length > bytes_max)
        bad_input_with("", text_of(name), " is too long");
    return value->text;
}

Text want_text(const Value *object, const char *name, size_t bytes_max)
{
    return text_or(object, name, NULL, bytes_max);
}

int64_t whole_or(const Value *object, const char *name, int64_t otherwise, int64_t min, int64_t max)
{
    const Value *value = member(object, name);
    if (value == NULL)
        return otherwise;
    bool whole = value->kind == JSON_NUMBER && value->text.length <= 18;
    int64_t number = 0;
    for (size_t i = 0; whole && i < value->text.length; i++) {
        char c = value->text.at[i];
        if (c == '-')
            continue;
        whole = c >= '0' && c <= '9';
        number = number * 10 + (c - '0');
    }
    if (whole && value->text.at[0] == '-')
        number = -number;
    if (!whole || number < min || number > max) {
        char rest[80];
        snprintf(rest, sizeof rest, " must be a whole number from %lld to %lld", (long long)min, (long long)max);
        bad_input_with("", text_of(name), rest);
    }
    return number;
}

bool truth_or(const Value *object, const char *name, bool otherwise)
{
    const Value *value = member(object, name);
    if (value == NULL)
        return otherwise;
    if (value->kind != JSON_BOOLEAN)
        bad_input_with("", text_of(name), " must be true or false");
    return value->truth;
}

int choice_or(const Value *object, const char *name, const char *const *words, int otherwise)
{
    const Value *value = member(object, name);
    if (value == NULL && otherwise >= 0)
        return otherwise;
    for (int i = 0; value != NULL && value->kind == JSON_STRING && words[i] != NULL; i++)
        if (text_is(value->text, words[i]))
            return i;
    char rest[400] = " must be one of ";
    for (int i = 0; words[i] != NULL; i++) {
        if (i > 0)
            strncat(rest, ", ", sizeof rest - strlen(rest) - 1);
        strncat(rest, words[i], sizeof rest - strlen(rest) - 1);
    }
    bad_input_with("", text_of(name), rest);
}

const Value *list_or_null(const Value *object, const char *name, size_t items_max_)
{
    const Value *value = member(object, name);
    if (value != NULL && value->kind != JSON_ARRAY)
        bad_input_with("", text_of(name), " must be a list");
    if (value != NULL && value->count > items_max_)
        bad_input_with("", text_of(name), " has too many items");
    return value;
}

void only_fields(const Value *object, const char *const *words)
{
    for (const Value *child = object->first; child != NULL; child = child->next) {
        bool known = false;
        for (int i = 0; words[i] != NULL && !known; i++)
            known = text_is(child->name, words[i]);
        if (!known)
            bad_input_with("", child->name, " is not known");
    }
}
