/* The parser of JSONPath, by RFC 9535's grammar, with its rules on the types of functions. */
#include "path.h"

#include <string.h>

#define NESTED_MAX 32
#define SEGMENTS_MAX 256
#define WHOLE_MAX 9007199254740991ll

typedef struct {
    const char *at, *end, *problem;
    int nested, segments;
} Parser;

static void *wrong(Parser *p, const char *problem)
{
    if (p->problem == NULL)
        p->problem = problem;
    return NULL;
}

static void skip_space(Parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool take(Parser *p, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0)
        return false;
    p->at += length;
    return true;
}

static bool ahead(const Parser *p, char c) { return p->at < p->end && *p->at == c; }
static bool digit_ahead(const Parser *p) { return p->at < p->end && *p->at >= '0' && *p->at <= '9'; }

static bool name_first(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool shorthand(Parser *p, Text *name)
{
    const char *start = p->at;
    while (p->at < p->end) {
        unsigned char c = (unsigned char)*p->at;
        if (!name_first(c) && (p->at == start || c < '0' || c > '9'))
            break;
        p->at++;
    }
    *name = (Text){start, (size_t)(p->at - start)};
    return name->length > 0;
}

static int hex(char c)
{
    char low = c | 0x20;
    return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

static bool unit(Parser *p, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        int digit = p->at < p->end ? hex(*p->at) : -1;
        if (digit < 0)
            return false;
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

static bool escape(Parser *p, char quote, char **out)
{
    static const char letters[] = "bfnrt/\\", meant[] = "\b\f\n\r\t/\\";
    char c = p->at < p->end ? *p->at++ : 0;
    const char *found = c != 0 ? strchr(letters, c) : NULL;
    if (found != NULL || c == quote) {
        *(*out)++ = c == quote ? quote : meant[found - letters];
        return true;
    }
    uint32_t one, two;
    if (c != 'u' || !unit(p, &one) || (one >= 0xDC00 && one < 0xE000))
        return false;
    if (one >= 0xD800 && one < 0xDC00) {
        if (!take(p, "\\u") || !unit(p, &two) || two < 0xDC00 || two >= 0xE000)
            return false;
        one = 0x10000 + ((one - 0xD800) << 10) + (two - 0xDC00);
    }
    *out += utf8_put(one, *out);
    return true;
}

static bool quoted(Parser *p, Text *text)
{
    char quote = *p->at++, *decoded = room((size_t)(p->end - p->at) + 4), *out = decoded;
    while (p->at < p->end && *p->at != quote) {
        char c = *p->at++;
        if ((unsigned char)c < 0x20)
            return wrong(p, "a text has a control character"), false;
        if (c != '\\')
            *out++ = c;
        else if (!escape(p, quote, &out))
            return wrong(p, "an escape in a text is not known"), false;
    }
    if (!ahead(p, quote))
        return wrong(p, "a text has no end"), false;
    p->at++;
    *text = (Text){decoded, (size_t)(out - decoded)};
    return true;
}

static bool whole(Parser *p, int64_t *number)
{
    bool minus = take(p, "-");
    const char *start = p->at;
    int64_t n = 0;
    while (digit_ahead(p) && p->at - start < 17)
        n = n * 10 + (*p->at++ - '0');
    if (p->at == start || digit_ahead(p) || n > WHOLE_MAX || (*start == '0' && (p->at - start > 1 || minus)))
        return wrong(p, "an index must be a whole number, without zeros before it"), false;
    *number = minus ? -n : n;
    return true;
}

static const Expression *disjunction(Parser *p);

static bool deeper(Parser *p)
{
    if (++p->nested > NESTED_MAX)
        wrong(p, "it is nested deeper than 32 levels");
    return p->problem == NULL;
}

static Selector *index_or_slice(Parser *p, Selector *s)
{
    s->kind = SELECT_INDEX;
    if (!ahead(p, ':')) {
        if (!whole(p, &s->index))
            return NULL;
        s->has_start = true;
        s->start = s->index;
    }
    const char *before = p->at;
    skip_space(p);
    if (!take(p, ":")) {
        p->at = before;
        return s;
    }
    s->kind = SELECT_SLICE;
    s->index = 1;
    skip_space(p);
    if (digit_ahead(p) || ahead(p, '-')) {
        s->has_end = true;
        if (!whole(p, &s->end))
            return NULL;
        skip_space(p);
    }
    if (take(p, ":")) {
        skip_space(p);
        if ((digit_ahead(p) || ahead(p, '-')) && !whole(p, &s->index))
            return NULL;
    }
    return s;
}

static Selector *selector(Parser *p)
{
    Selector *s = room(sizeof *s);
    memset(s, 0, sizeof *s);
    if (ahead(p, '"') || ahead(p, '\'')) {
        s->kind = SELECT_NAME;
        return quoted(p, &s->name) ? s : NULL;
    }
    if (take(p, "*")) {
        s->kind = SELECT_ALL;
        return s;
    }
    if (take(p, "?")) {
        s->kind = SELECT_FILTER;
        if (!deeper(p))
            return NULL;
        s->filter = disjunction(p);
        p->nested--;
        return s->filter != NULL ? s : NULL;
    }
    return index_or_slice(p, s);
}

static bool bracketed(Parser *p, Segment *segment)
{
    Selector **last = &segment->selectors;
    do {
        skip_space(p);
        if ((*last = selector(p)) == NULL)
            return wrong(p, "a selector in brackets is wrong"), false;
        last = &(*last)->next;
        skip_space(p);
    } while (take(p, ","));
    return take(p, "]") || (wrong(p, "a [ has no ]"), false);
}

static bool segment_of(Parser *p, Segment *segment)
{
    memset(segment, 0, sizeof *segment);
    if (take(p, "["))
        return bracketed(p, segment);
    if (!take(p, "."))
        return false;
    segment->descends = take(p, ".");
    if (segment->descends && take(p, "["))
        return bracketed(p, segment);
    Selector *s = room(sizeof *s);
    memset(s, 0, sizeof *s);
    segment->selectors = s;
    if (take(p, "*")) {
        s->kind = SELECT_ALL;
        return true;
    }
    s->kind = SELECT_NAME;
    return shorthand(p, &s->name) || (wrong(p, "a name is missing after a dot"), false);
}

static const Query *query_of(Parser *p)
{
    Query *q = room(sizeof *q);
    *q = (Query){.relative = *p->at++ == '@', .singular = true};
    Segment **last = &q->segments;
    for (;;) {
        const char *before = p->at;
        skip_space(p);
        Segment *segment = room(sizeof *segment);
        if (!segment_of(p, segment)) {
            p->at = before; /* the space belongs to what follows */
            return p->problem == NULL ? q : NULL;
        }
        if (++p->segments > SEGMENTS_MAX)
            return wrong(p, "it has more than 256 segments");
        const Selector *s = segment->selectors;
        q->singular = q->singular && !segment->descends && s->next == NULL &&
                      (s->kind == SELECT_NAME || s->kind == SELECT_INDEX);
        *last = segment;
        last = &segment->next;
    }
}

static Expression *expression(ExpressionKind kind)
{
    Expression *e = room(sizeof *e);
    memset(e, 0, sizeof *e);
    e->kind = kind;
    return e;
}

static bool gives_value(const Expression *e)
{
    return e->kind == LITERAL || (e->kind == QUERY && e->query->singular) ||
           (e->kind == CALL && (e->function == LENGTH || e->function == COUNT || e->function == VALUE));
}

static Expression *operand(Parser *p);

static bool argument(Parser *p, const Expression **into, bool nodes)
{
    skip_space(p);
    *into = operand(p);
    if (*into == NULL)
        return wrong(p, "an argument is missing"), false;
    if (nodes ? (*into)->kind != QUERY : !gives_value(*into))
        return wrong(p, nodes ? "this function takes a query" : "this function takes a single value"), false;
    skip_space(p);
    return true;
}

static Expression *call(Parser *p)
{
    static const char *const names[] = {"length(", "count(", "match(", "search(", "value("};
    for (Function f = LENGTH; f <= VALUE; f++) {
        if (!take(p, names[f]))
            continue;
        Expression *e = expression(CALL);
        e->function = f;
        if (!deeper(p) || !argument(p, &e->left, f == COUNT || f == VALUE))
            return NULL;
        if (f == MATCH || f == SEARCH) {
            if (!take(p, ","))
                return wrong(p, "this function takes two arguments");
            if (!argument(p, &e->right, false))
                return NULL;
        }
        p->nested--;
        return take(p, ")") ? e : wrong(p, "a function's ) is missing");
    }
    return wrong(p, "there is something that is no value, query or known function");
}

static Expression *number_literal(Parser *p)
{
    Expression *e = expression(LITERAL);
    const char *start = p->at, *problem;
    while (p->at < p->end && (digit_ahead(p) || strchr("+-.eE", *p->at) != NULL))
        p->at++;
    Value *value;
    if (!parse_json((Text){start, (size_t)(p->at - start)}, &value, &problem))
        return wrong(p, "a number is wrong");
    e->literal = *value;
    return e;
}

static Expression *operand(Parser *p)
{
    if (ahead(p, '@') || ahead(p, '$')) {
        Expression *e = expression(QUERY);
        if (!deeper(p))
            return NULL;
        e->query = query_of(p);
        p->nested--;
        return e->query != NULL ? e : NULL;
    }
    if (digit_ahead(p) || ahead(p, '-'))
        return number_literal(p);
    if (ahead(p, '"') || ahead(p, '\'')) {
        Expression *e = expression(LITERAL);
        e->literal.kind = JSON_STRING;
        return quoted(p, &e->literal.text) ? e : NULL;
    }
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++)
        if (take(p, words[i])) {
            Expression *e = expression(LITERAL);
            e->literal.kind = i < 2 ? JSON_BOOLEAN : JSON_NULL;
            e->literal.truth = i == 0;
            return e;
        }
    return call(p);
}

static const Expression *basic(Parser *p)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    static const Comparison meant[] = {EQUAL, UNEQUAL, LESS_EQUAL, GREATER_EQUAL, LESS, GREATER};
    skip_space(p);
    bool inverse = take(p, "!");
    skip_space(p);
    const Expression *made;
    if (take(p, "(")) {
        if (!deeper(p) || (made = disjunction(p)) == NULL)
            return NULL;
        p->nested--;
        skip_space(p);
        if (!take(p, ")"))
            return wrong(p, "a ( has no )");
    } else {
        Expression *left = operand(p);
        if (left == NULL)
            return NULL;
        const char *before = p->at;
        skip_space(p);
        for (int i = 0; i < 6; i++) {
            if (!take(p, signs[i]))
                continue;
            Expression *e = expression(COMPARE);
            e->comparison = meant[i];
            e->left = left;
            skip_space(p);
            e->right = operand(p);
            if (e->right == NULL)
                return NULL;
            if (inverse || !gives_value(left) || !gives_value(e->right))
                return wrong(p, "only single values can be compared");
            return e;
        }
        p->at = before;
        if (left->kind == LITERAL || (left->kind == CALL && gives_value(left)))
            return wrong(p, "a value alone is no condition: compare it");
        made = left;
    }
    if (!inverse)
        return made;
    Expression *e = expression(NOT);
    e->left = made;
    return e;
}

/* `&&` binds more tightly than `||`. */
static const Expression *joined(Parser *p, const char *sign, ExpressionKind kind, const Expression *(*part)(Parser *))
{
    const Expression *all = part(p);
    for (int count = 0; all != NULL; count++) {
        const char *before = p->at;
        skip_space(p);
        if (!take(p, sign)) {
            p->at = before;
            break;
        }
        if (count == SEGMENTS_MAX)
            return wrong(p, "it has too many conditions");
        Expression *e = expression(kind);
        e->left = all;
        e->right = part(p);
        all = e->right != NULL ? e : NULL;
    }
    return all;
}

static const Expression *conjunction(Parser *p) { return joined(p, "&&", AND, basic); }
static const Expression *disjunction(Parser *p) { return joined(p, "||", OR, conjunction); }

const Query *parse_path(Text text, const char **problem)
{
    Parser p = {text.at, text.at + text.length, NULL, 0, 0};
    const Query *query = NULL;
    if (!ahead(&p, '$'))
        wrong(&p, "it must begin with $");
    else
        query = query_of(&p);
    if (p.problem == NULL && p.at < p.end)
        wrong(&p, "it goes on with something that is no segment");
    *problem = p.problem;
    return p.problem == NULL ? query : NULL;
}
