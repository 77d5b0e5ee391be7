/* Says the words of its input again: what the echo engine does, as a WASM module without any library.

   It reads one JSON object, {"input": {"text": "…", "items": 3}, "first_position": 0, "output_items_max": 9}, and
   writes JSON lines. Words stay as they are escaped in the JSON, so that nothing has to be decoded. */

typedef unsigned int word;
typedef struct { const char *at; word size; } piece;

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
WASI("fd_read") int fd_read(int file, const piece *pieces, word count, word *got);
WASI("fd_write") int fd_write(int file, const piece *pieces, word count, word *wrote);

#define INPUT_MAX (1 << 20)
static char input[INPUT_MAX];
static word input_size;

static word length(const char *text) {
    word n = 0;
    while (text[n]) n++;
    return n;
}

static void say(const char *before, const char *middle, word size, const char *after) {
    const piece pieces[3] = {{before, length(before)}, {middle, size}, {after, length(after)}};
    word wrote;
    fd_write(1, pieces, 3, &wrote);
}

static void say_number(const char *before, word value, const char *after) {
    char digits[10];
    word at = sizeof digits;
    do digits[--at] = '0' + value % 10; while (value /= 10);
    say(before, digits + at, sizeof digits - at, after);
}

/* Where the value of a member stands in the object that begins at `at`; 0: it has none. Leaves out what lies deeper. */
static const char *member(const char *at, const char *name) {
    const char *end = input + input_size;
    word depth = 0, size = length(name);
    for (; at < end; at++) {
        if (*at == '{' || *at == '[') depth++;
        else if (*at == '}' || *at == ']') { if (--depth == 0) return 0; }
        else if (*at == '"') {
            const char *start = ++at;
            while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
            if (depth != 1 || at - start != (long)size || at + 1 >= end || at[1] != ':') continue;
            word same = 0;
            while (same < size && start[same] == name[same]) same++;
            if (same == size) return at + 2;
        }
    }
    return 0;
}

static word number(const char *at, word otherwise) {
    if (!at || *at < '0' || *at > '9') return otherwise;
    word value = 0;
    while (*at >= '0' && *at <= '9') value = value * 10 + (*at++ - '0');
    return value;
}

/* How long the white space at `at` is, escaped or not; 0: it is none. */
static word space(const char *at) {
    if (*at == ' ') return 1;
    return *at == '\\' && (at[1] == 'n' || at[1] == 't' || at[1] == 'r') ? 2 : 0;
}

/* The next word from `*at` on, which moves behind it; its size is 0 when there is none before the closing quote. */
static piece next(const char **at) {
    const char *here = *at;
    while (space(here)) here += space(here);
    piece found = {here, 0};
    while (*here != '"' && !space(here)) here += *here == '\\' ? 2 : 1;
    found.size = here - found.at;
    *at = here;
    return found;
}

void _start(void) {
    word got = 0;
    do {
        const piece room = {input + input_size, INPUT_MAX - 1 - input_size};
        if (fd_read(0, &room, 1, &got)) got = 0;
        input_size += got;
    } while (got);

    const char *given = member(input, "input");
    const char *text = given ? member(given, "text") : 0;
    if (!text || *text++ != '"') {
        say("{\"bad_input\":\"", 0, 0, "give `text`\"}\n");
        return;
    }
    const char *at = text;
    word words = 0;
    while (next(&at).size) words++;
    if (!words) {
        say("{\"bad_input\":\"", 0, 0, "there is nothing to say\"}\n");
        return;
    }
    word wanted = number(member(given, "items"), words);
    word most = number(member(input, "output_items_max"), 0);
    word first = number(member(input, "first_position"), 0);
    word items = most && most < wanted ? most : wanted;

    say_number("{\"prompt_tokens\":", words, "}\n");
    at = text;
    for (word i = 0; i < first % words; i++) next(&at);
    for (word position = first; position < items; position++) {
        piece one = next(&at);
        if (!one.size) {
            at = text;
            one = next(&at);
        }
        say("{\"text\":\"", one.at, one.size, " \"}\n");
    }
    say("{\"end\":{\"finish_reason\":\"", 0, 0, items < wanted ? "length\"}}\n" : "stop\"}}\n");
}
