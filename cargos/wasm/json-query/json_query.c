/* Selects parts of JSON by a JSONPath query (RFC 9535). */
#include "path.h"

#include <stdio.h>

static const char *const FIELDS[] = {"data", "json", "query", "paths", "limit", NULL};

typedef struct {
    char *at; /* NULL: only count */
    size_t used;
} Written;

static void put(Written *w, char c)
{
    if (w->at != NULL)
        w->at[w->used] = c;
    w->used++;
}

static void put_name(Written *w, Text name)
{
    static const char hex[] = "0123456789abcdef", plain[] = "\bb\tt\nn\ff\rr''\\\\";
    for (size_t i = 0; i < name.length; i++) {
        char c = name.at[i];
        const char *known = plain;
        while (*known != 0 && *known != c)
            known += 2;
        if (*known == 0 && (unsigned char)c >= 0x20) {
            put(w, c);
            continue;
        }
        put(w, '\\');
        put(w, *known != 0 ? known[1] : 'u');
        for (int k = 0; *known == 0 && k < 4; k++)
            put(w, hex[(unsigned char)c >> 4 * (3 - k) & 15]);
    }
}

/* A normalized path: names in single quotes, as RFC 9535 writes them. */
static void put_path(Written *w, const Place *place)
{
    if (place->parent == NULL) {
        put(w, '$');
        return;
    }
    put_path(w, place->parent);
    put(w, '[');
    if (place->indexed) {
        char digits[24];
        for (int i = 0, length = snprintf(digits, sizeof digits, "%lld", (long long)place->index); i < length; i++)
            put(w, digits[i]);
    } else {
        put(w, '\'');
        put_name(w, place->value->name);
        put(w, '\'');
    }
    put(w, ']');
}

static void say_path(const Place *place)
{
    Written counted = {NULL, 0};
    put_path(&counted, place);
    Written written = {room(counted.used), 0};
    put_path(&written, place);
    say_string((Text){written.at, written.used});
}

static const Value *data_of(const Value *input)
{
    const Value *data = member(input, "data");
    if ((data == NULL) == (member(input, "json") == NULL))
        bad_input("give either data, or json as text");
    if (data != NULL)
        return data;
    Value *parsed;
    const char *problem;
    if (!parse_json(want_text(input, "json", 8 << 20), &parsed, &problem))
        bad_input_with("json: ", text_of(problem), "");
    return parsed;
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    const Value *data = data_of(input);
    bool paths = truth_or(input, "paths", false);
    int64_t limit = whole_or(input, "limit", 1000000, 1, 1000000);
    const char *problem;
    const Query *query = parse_path(want_text(input, "query", 4096), &problem);
    if (query == NULL)
        bad_input_with("query: ", text_of(problem), "");
    Nodes nodes = evaluate(query, data);
    size_t shown = nodes.count < (size_t)limit ? nodes.count : (size_t)limit;
    say("{\"count\":");
    say_whole((int64_t)nodes.count);
    say(",\"values\":[");
    for (size_t i = 0; i < shown; i++) {
        if (i > 0)
            say(",");
        say_value(nodes.at[i]->value);
    }
    say("]");
    if (paths) {
        say(",\"paths\":[");
        for (size_t i = 0; i < shown; i++) {
            if (i > 0)
                say(",");
            say_path(nodes.at[i]);
        }
        say("]");
    }
    say("}");
    finish();
}
