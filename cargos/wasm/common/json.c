/* A strict reader of JSON (RFC 8259): valid UTF-8, no half surrogates, bounded depth; numbers keep their text. */
#include "cargo.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64

typedef struct {
    const char *at, *end;
    const char *problem;
    int depth;
} Reader;

static bool wrong(Reader *r, const char *problem)
{
    if (r->problem == NULL)
        r->problem = problem;
    return false;
}

static void skip_space(Reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(Reader *r, uint32_t *unit)
{
    *unit = 0;
    if (r->end - r->at < 4)
        return wrong(r, "an escape is cut short");
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*r->at++);
        if (digit < 0)
            return wrong(r, "an escape has a digit that is not hexadecimal");
        *unit = *unit << 4 | (uint32_t)digit;
    }
    return true;
}

static bool read_escape(Reader *r, char **out)
{
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end)
        return wrong(r, "a text has no end");
    char c = *r->at++;
    const char *found = c ? strchr(plain, c) : NULL;
    if (found != NULL) {
        *(*out)++ = meant[found - plain];
        return true;
    }
    uint32_t unit, low;
    if (c != 'u')
        return wrong(r, "an escape is not known");
    if (!read_hex(r, &unit))
        return false;
    if (unit >= 0xD800 && unit < 0xE000) {
        if (unit >= 0xDC00 || r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u')
            return wrong(r, "an escape is half a character");
        r->at += 2;
        if (!read_hex(r, &low))
            return false;
        if (low < 0xDC00 || low >= 0xE000)
            return wrong(r, "an escape is half a character");
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    *out += utf8_put(unit, *out);
    return true;
}

static bool read_string(Reader *r, Text *text)
{
    const char *start = ++r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20)
        r->at++;
    if (r->at < r->end && *r->at == '"') { /* nothing to decode: the text stays where it is */
        *text = (Text){start, (size_t)(r->at++ - start)};
        return true;
    }
    /* How long it is at most: to the next quote that no backslash precedes. */
    const char *close = r->at;
    while (close < r->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= r->end)
        return wrong(r, "a text has no end");
    char *decoded = room((size_t)(close - start) + 1), *out = decoded;
    memcpy(out, start, (size_t)(r->at - start));
    out += r->at - start;
    while (r->at < close) {
        char c = *r->at++;
        if ((unsigned char)c < 0x20)
            return wrong(r, "a text has a control character");
        if (c != '\\')
            *out++ = c;
        else if (!read_escape(r, &out))
            return false;
    }
    r->at = close + 1;
    *text = (Text){decoded, (size_t)(out - decoded)};
    return true;
}

static bool digits(Reader *r)
{
    const char *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > start ? true : wrong(r, "a number has no digits where some belong");
}

static bool read_number(Reader *r, Value *value)
{
    const char *start = r->at;
    if (*r->at == '-')
        r->at++;
    const char *first = r->at;
    if (!digits(r))
        return false;
    if (*first == '0' && r->at - first > 1)
        return wrong(r, "a number begins with a zero");
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!digits(r))
            return false;
    }
    if (r->at < r->end && (*r->at | 0x20) == 'e') {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        if (!digits(r))
            return false;
    }
    value->kind = JSON_NUMBER;
    value->text = (Text){start, (size_t)(r->at - start)};
    if (value->text.length > 1000)
        return wrong(r, "a number has more than 1000 characters");
    return true;
}

static bool read_value(Reader *r, Value **made);

static bool read_children(Reader *r, Value *parent, char close)
{
    Value **last = &parent->first;
    r->at++;
    skip_space(r);
    if (r->at < r->end && *r->at == close) {
        r->at++;
        return true;
    }
    for (;;) {
        Text name = {NULL, 0};
        skip_space(r);
        if (parent->kind == JSON_OBJECT) {
            if (r->at == r->end || *r->at != '"')
                return wrong(r, "a name is missing");
            if (!read_string(r, &name))
                return false;
            skip_space(r);
            if (r->at == r->end || *r->at++ != ':')
                return wrong(r, "a colon is missing");
        }
        if (!read_value(r, last))
            return false;
        (*last)->name = name;
        last = &(*last)->next;
        parent->count++;
        skip_space(r);
        if (r->at == r->end)
            return wrong(r, "it ends too early");
        char c = *r->at++;
        if (c == close)
            return true;
        if (c != ',')
            return wrong(r, "a comma is missing");
    }
}

static bool read_word(Reader *r, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0)
        return wrong(r, "there is something that is no value");
    r->at += length;
    return true;
}

static bool read_value(Reader *r, Value **made)
{
    Value *value = room(sizeof *value);
    memset(value, 0, sizeof *value);
    *made = value;
    skip_space(r);
    if (r->at == r->end)
        return wrong(r, "it ends too early");
    if (r->depth == DEPTH_MAX)
        return wrong(r, "it is nested deeper than 64 levels");
    r->depth++;
    bool fine;
    switch (*r->at) {
    case '{':
        value->kind = JSON_OBJECT;
        fine = read_children(r, value, '}');
        break;
    case '[':
        value->kind = JSON_ARRAY;
        fine = read_children(r, value, ']');
        break;
    case '"':
        value->kind = JSON_STRING;
        fine = read_string(r, &value->text);
        break;
    case 't':
        value->kind = JSON_BOOLEAN;
        value->truth = true;
        fine = read_word(r, "true");
        break;
    case 'f':
        value->kind = JSON_BOOLEAN;
        fine = read_word(r, "false");
        break;
    case 'n':
        fine = read_word(r, "null");
        break;
    default:
        fine = *r->at == '-' || (*r->at >= '0' && *r->at <= '9')
                   ? read_number(r, value)
                   : wrong(r, "there is something that is no value");
    }
    r->depth--;
    return fine;
}

bool parse_json(Text source, Value **value, const char **problem)
{
    Reader r = {source.at, source.at + source.length, NULL, 0};
    bool fine = utf8_valid(source.at, source.length) || wrong(&r, "it is not valid UTF-8");
    fine = fine && read_value(&r, value);
    if (fine) {
        skip_space(&r);
        fine = r.at == r.end || wrong(&r, "something follows after its end");
    }
    *problem = r.problem;
    return fine;
}

double number_of(const Value *value)
{
    char copy[1001];
    memcpy(copy, value->text.at, value->text.length);
    copy[value->text.length] = 0;
    return strtod(copy, NULL);
}

const Value *member(const Value *object, const char *name)
{
    const Value *found = NULL;
    if (object != NULL && object->kind == JSON_OBJECT)
        for (const Value *child = object->first; child != NULL; child = child->next)
            if (text_is(child->name, name))
                found = child; /* the last of equal names, as most readers have it */
    return found;
}
