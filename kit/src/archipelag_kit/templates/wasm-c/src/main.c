/* A Cargo as a WASM module: one JSON object on standard input, JSON lines on standard output.
 *
 *   in   {"run_id": "…", "input": {"text": "land ho"}, "first_position": 0, "output_items_max": 1024}
 *   out  {"prompt_tokens": 2}
 *        {"text": "{\"loud\":\"LAND HO\"}"}
 *        {"end": {"finish_reason": "stop"}}
 *
 * The text stays escaped as it came: what is upper case of a JSON string's bytes is a JSON string again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 1 << 20, DEPTH_MAX = 64 };

static char *at;

static void refuse(const char *why) {
    printf("{\"bad_input\": \"%s\"}\n", why);
    exit(0);
}

static void space(void) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
}

static void expect(char wanted) {
    space();
    if (*at != wanted) refuse("the input is not JSON");
    at++;
}

/* The bytes between the quotes, still escaped; their number in `length`. */
static char *string(size_t *length) {
    expect('"');
    char *begin = at;
    for (; *at != '"'; at++) {
        if (*at == '\0') refuse("the input is not JSON");
        if (*at == '\\' && *++at == '\0') refuse("the input is not JSON");
    }
    *length = (size_t)(at++ - begin);
    return begin;
}

static void skip(int depth) {
    size_t ignored;
    if (depth > DEPTH_MAX) refuse("the input is nested too deeply");
    space();
    if (*at == '"') {
        string(&ignored);
    } else if (*at == '{' || *at == '[') {
        char close = *at == '{' ? '}' : ']';
        int named = *at++ == '{';
        for (space(); *at != close; space()) {
            if (named) {
                string(&ignored);
                expect(':');
            }
            skip(depth + 1);
            space();
            if (*at != ',') break;
            at++;
        }
        expect(close);
    } else {
        size_t word = strcspn(at, ",]} \t\r\n");
        if (word == 0) refuse("the input is not JSON");
        at += word;
    }
}

/* Stands before the value of `name` in the object that begins here; 0 when there is none. */
static int find(const char *name) {
    size_t length;
    expect('{');
    for (space(); *at != '}'; space()) {
        char *key = string(&length);
        expect(':');
        if (length == strlen(name) && memcmp(key, name, length) == 0) return 1;
        skip(0);
        space();
        if (*at != ',') break;
        at++;
    }
    return 0;
}

static void put_escaped(char c) {
    if (c == '"' || c == '\\') putchar('\\');
    putchar(c);
}

int main(void) {
    char *input = malloc(INPUT_MAX + 1);
    size_t read = fread(input, 1, INPUT_MAX, stdin), length, words = 0;
    input[read] = '\0';
    at = input;
    if (!find("input")) refuse("there is no input");
    space();
    if (*at != '{') refuse("the input must be an object");
    if (!find("text")) refuse("text: is missing");
    space();
    if (*at != '"') refuse("text: must be a text");
    char *text = string(&length);
    if (length == 0) refuse("text: is empty");
    for (size_t i = 0; i < length; i++) {
        words += text[i] != ' ' && (i == 0 || text[i - 1] == ' ');
    }
    printf("{\"prompt_tokens\": %zu}\n{\"text\": \"{\\\"loud\\\":\\\"", words);
    for (size_t i = 0; i < length; i++) {
        put_escaped(text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 32) : text[i]);
        if (text[i] != '\\') continue;
        /* An escape stays as it is: \n must not become \N, nor \u00e9 something else. */
        put_escaped(text[++i]);
        for (int hex = 0; text[i - hex] == 'u' && hex < 4 && i + 1 < length; hex++) put_escaped(text[++i]);
    }
    puts("\\\"}\"}\n{\"end\": {\"finish_reason\": \"stop\"}}");
    return 0;
}
