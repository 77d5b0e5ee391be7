/* From pattern to tree (here), to program, to threads over it. */
#include "regex.h"

#include <stdlib.h>
#include <string.h>

#define CODE_MAX 20000
#define REPEAT_MAX 1000
#define NESTED_MAX 100
#define STEPS_MAX 200000000ull

typedef enum { EMPTY, CHAR, ANY, CLASS, ASSERT, CAT, ALT, REPEAT, GROUP } NodeKind;
typedef enum { TEXT_START, TEXT_END, LINE_START, LINE_END, BORDER, NO_BORDER } Assertion;

typedef struct Node Node;
struct Node {
    NodeKind kind;
    uint32_t value; /* character, class, assertion or group */
    int min, max;   /* of a repetition; max -1: without end */
    bool lazy;
    Node *left, *right;
};

typedef enum { OP_CHAR, OP_ANY, OP_CLASS, OP_ASSERT, OP_SPLIT, OP_JUMP, OP_SAVE, OP_MATCH } Op;

typedef struct {
    Op op;
    uint32_t x, y;
} Instruction;

typedef struct {
    uint32_t low, high;
} Range;

typedef struct {
    size_t first, count;
    bool inverse;
} Class;

typedef struct {
    size_t *dense, *sparse, count;
    size_t *spans; /* of each instruction's thread */
} Threads;

typedef struct {
    size_t at;    /* an instruction, or with `restore` a place in the spans */
    bool restore;
    size_t old;
} Todo;

struct Regex {
    unsigned flags;
    Instruction *code;
    size_t length;
    uint64_t emitted, steps;
    Range *ranges;
    size_t range_count, range_room;
    Class *classes;
    size_t class_count, class_room;
    Text names[REGEX_GROUPS_MAX];
    size_t groups;
    Threads now, next;
    Todo *todo;
    size_t scratch[2 * REGEX_GROUPS_MAX];
    const char *at, *end, *problem;
    int nested;
};

static Node *wrong(Regex *r, const char *problem)
{
    if (r->problem == NULL)
        r->problem = problem;
    return NULL;
}

static Node *node(NodeKind kind, uint32_t value, Node *left, Node *right)
{
    Node *made = room(sizeof *made);
    *made = (Node){.kind = kind, .value = value, .left = left, .right = right};
    return made;
}

static bool ahead(const Regex *r, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(r->end - r->at) >= length && memcmp(r->at, word, length) == 0;
}

static bool take(Regex *r, const char *word)
{
    if (!ahead(r, word))
        return false;
    r->at += strlen(word);
    return true;
}

static void add_range(Regex *r, uint32_t low, uint32_t high)
{
    if (r->range_count == r->range_room)
        r->ranges = more_room(r->ranges, (r->range_room = r->range_room * 2 + 64) * sizeof *r->ranges);
    r->ranges[r->range_count++] = (Range){low, high};
}

/* \d \w \s and their opposites, into the class that is being made. */
static bool add_known(Regex *r, char letter)
{
    static const Range digits[] = {{'0', '9'}}, words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                       spaces[] = {{'\t', '\r'}, {' ', ' '}};
    char kind = letter | 0x20;
    const Range *of = kind == 'd' ? digits : kind == 'w' ? words : kind == 's' ? spaces : NULL;
    size_t count = kind == 'd' ? 1 : kind == 'w' ? 4 : 2;
    if (of == NULL)
        return false;
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        if (letter == kind)
            add_range(r, of[i].low, of[i].high);
        else if (of[i].low > next)
            add_range(r, next, of[i].low - 1);
        next = of[i].high + 1;
    }
    if (letter != kind)
        add_range(r, next, 0x10FFFF);
    return true;
}

static uint32_t add_class(Regex *r, size_t first, bool inverse)
{
    if (r->class_count == r->class_room)
        r->classes = more_room(r->classes, (r->class_room = r->class_room * 2 + 16) * sizeof *r->classes);
    r->classes[r->class_count] = (Class){first, r->range_count - first, inverse};
    return (uint32_t)r->class_count++;
}

static bool hex_escape(Regex *r, int digits, uint32_t *c)
{
    bool braces = digits == 2 && take(r, "{");
    int seen = 0, most = braces ? 6 : digits;
    for (*c = 0; seen < most && r->at < r->end; seen++, r->at++) {
        char d = *r->at | 0x20;
        if (*r->at >= '0' && *r->at <= '9')
            *c = *c << 4 | (uint32_t)(*r->at - '0');
        else if (d >= 'a' && d <= 'f')
            *c = *c << 4 | (uint32_t)(d - 'a' + 10);
        else
            break;
    }
    bool fine = braces ? seen > 0 && take(r, "}") : seen == digits;
    fine = fine && *c <= 0x10FFFF && (*c < 0xD800 || *c > 0xDFFF);
    if (!fine)
        wrong(r, "a hexadecimal escape is not complete");
    return fine;
}

/* After a backslash: one character, in or out of a class. */
static bool escaped(Regex *r, uint32_t *c)
{
    static const char letters[] = "ntrfv0", meant[] = "\n\t\r\f\v";
    if (r->at == r->end) {
        wrong(r, "it ends with a backslash");
        return false;
    }
    char letter = *r->at;
    if (letter == 'x' || letter == 'u') {
        r->at++;
        return hex_escape(r, letter == 'x' ? 2 : 4, c);
    }
    const char *found = strchr(letters, letter);
    if (letter != 0 && found != NULL) {
        r->at++;
        *c = (unsigned char)meant[found - letters];
        return true;
    }
    bool alphanumeric = (letter >= '0' && letter <= '9') || ((letter | 0x20) >= 'a' && (letter | 0x20) <= 'z');
    if (alphanumeric) {
        wrong(r, letter >= '1' && letter <= '9' ? "back references are not known, for they can't be matched in linear time"
                                                 : "an escape is not known");
        return false;
    }
    *c = utf8_next(&r->at);
    return true;
}

static bool class_item(Regex *r, uint32_t *c, bool *known)
{
    *known = false;
    if (!take(r, "\\")) {
        *c = utf8_next(&r->at);
        return true;
    }
    if (r->at < r->end && add_known(r, *r->at)) {
        r->at++;
        return *known = true;
    }
    if (take(r, "b")) {
        *c = '\b';
        return true;
    }
    return escaped(r, c);
}

static Node *class_of(Regex *r)
{
    size_t first = r->range_count;
    bool inverse = take(r, "^"), begun = false;
    while (!begun || !ahead(r, "]")) {
        uint32_t low, high;
        bool known;
        begun = true;
        if (r->at == r->end)
            return wrong(r, "a class has no ]");
        if (!class_item(r, &low, &known))
            return NULL;
        if (known)
            continue;
        high = low;
        if (ahead(r, "-") && r->end - r->at > 1 && r->at[1] != ']') {
            r->at++;
            if (!class_item(r, &high, &known))
                return NULL;
            if (known || high < low)
                return wrong(r, "a range in a class is the wrong way round");
        }
        add_range(r, low, high);
    }
    r->at++;
    return node(CLASS, add_class(r, first, inverse), NULL, NULL);
}

static Node *alternatives(Regex *r);

static bool group_name(Regex *r, size_t group)
{
    const char *start = r->at;
    while (r->at < r->end && *r->at != '>')
        r->at++;
    Text name = {start, (size_t)(r->at - start)};
    bool fine = name.length > 0 && name.length <= 64 && take(r, ">");
    for (size_t i = 0; fine && i < name.length; i++) {
        char c = name.at[i], low = c | 0x20;
        fine = (low >= 'a' && low <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9');
    }
    for (size_t i = 1; fine && i < r->groups; i++)
        fine = i == group || !same_text(r->names[i], name);
    if (!fine)
        wrong(r, "a group's name must be letters, digits and _, at most 64, and its own");
    r->names[group] = name;
    return fine;
}

static Node *group_of(Regex *r)
{
    size_t group = 0;
    if (++r->nested > NESTED_MAX)
        return wrong(r, "it is nested deeper than 100 levels");
    if (!take(r, "?:")) {
        bool named = take(r, "?P<");
        if (!named && ahead(r, "?<") && !ahead(r, "?<=") && !ahead(r, "?<!"))
            named = take(r, "?<");
        if (!named && ahead(r, "?"))
            return wrong(r, "look-around and flags inside are not known");
        if (r->groups == REGEX_GROUPS_MAX)
            return wrong(r, "it has more than 63 groups");
        group = r->groups++;
        if (named && !group_name(r, group))
            return NULL;
    }
    Node *inside = alternatives(r);
    if (inside == NULL)
        return NULL;
    if (!take(r, ")"))
        return wrong(r, "a ( has no )");
    r->nested--;
    return group > 0 ? node(GROUP, (uint32_t)group, inside, NULL) : inside;
}

static Node *atom(Regex *r)
{
    if (take(r, "("))
        return group_of(r);
    if (take(r, "["))
        return class_of(r);
    if (take(r, "."))
        return node(ANY, 0, NULL, NULL);
    if (take(r, "^"))
        return node(ASSERT, r->flags & REGEX_MULTILINE ? LINE_START : TEXT_START, NULL, NULL);
    if (take(r, "$"))
        return node(ASSERT, r->flags & REGEX_MULTILINE ? LINE_END : TEXT_END, NULL, NULL);
    if (ahead(r, "*") || ahead(r, "+") || ahead(r, "?"))
        return wrong(r, "there is nothing to repeat");
    uint32_t c;
    if (!take(r, "\\"))
        return node(CHAR, utf8_next(&r->at), NULL, NULL);
    static const char *const assertions[] = {"A", "z", NULL, NULL, "b", "B"};
    for (uint32_t i = 0; i < 6; i++)
        if (assertions[i] != NULL && take(r, assertions[i]))
            return node(ASSERT, i, NULL, NULL);
    size_t first = r->range_count;
    if (r->at < r->end && add_known(r, *r->at)) {
        r->at++;
        return node(CLASS, add_class(r, first, false), NULL, NULL);
    }
    return escaped(r, &c) ? node(CHAR, c, NULL, NULL) : NULL;
}

static bool counted(Regex *r, int *min, int *max)
{
    const char *p = r->at + 1;
    int numbers[2] = {-1, -1}, which = 0;
    for (; p < r->end && *p != '}'; p++) {
        if (*p == ',' && which == 0)
            which = 1;
        else if (*p >= '0' && *p <= '9') {
            int *n = &numbers[which];
            *n = (*n < 0 ? 0 : *n) * 10 + (*p - '0');
            if (*n > REPEAT_MAX) {
                wrong(r, "a count is more than 1000");
                return false;
            }
        } else
            return false;
    }
    if (p == r->end || numbers[0] < 0)
        return false; /* a brace that is just a brace */
    *min = numbers[0];
    *max = which ? numbers[1] : numbers[0];
    if (*max >= 0 && *max < *min)
        wrong(r, "a count's second number is less than its first");
    r->at = p + 1;
    return true;
}

static Node *repeated(Regex *r)
{
    Node *of = atom(r);
    for (int times = 0; of != NULL; times++) {
        int min = 0, max = -1;
        if (take(r, "*")) {
        } else if (take(r, "+"))
            min = 1;
        else if (take(r, "?"))
            max = 1;
        else if (!ahead(r, "{") || !counted(r, &min, &max))
            break;
        if (times > 0)
            return wrong(r, "a repetition is repeated: put the inner one in a group");
        of = node(REPEAT, 0, of, NULL);
        of->min = min;
        of->max = max;
        of->lazy = take(r, "?");
    }
    return r->problem == NULL ? of : NULL;
}

static Node *alternatives(Regex *r)
{
    Node *all = NULL;
    do {
        Node *one = NULL;
        while (r->at < r->end && !ahead(r, "|") && !ahead(r, ")")) {
            Node *next = repeated(r);
            if (next == NULL)
                return NULL;
            one = one == NULL ? next : node(CAT, 0, one, next);
        }
        if (one == NULL)
            one = node(EMPTY, 0, NULL, NULL);
        all = all == NULL ? one : node(ALT, 0, all, one);
    } while (take(r, "|"));
    return all;
}

static size_t emit(Regex *r, Op op, uint32_t x, uint32_t y)
{
    if (r->length == CODE_MAX) {
        wrong(r, "it is too large when its counts are written out");
        return 0;
    }
    r->code[r->length] = (Instruction){op, x, y};
    return r->length++;
}

static void emit_split(Regex *r, size_t at, size_t into, size_t past, bool lazy)
{
    r->code[at].x = (uint32_t)(lazy ? past : into);
    r->code[at].y = (uint32_t)(lazy ? into : past);
}

static void emit_tree(Regex *r, const Node *n);

static void emit_repeat(Regex *r, const Node *n)
{
    for (int i = 0; i < n->min && r->problem == NULL; i++)
        emit_tree(r, n->left);
    if (n->max < 0) {
        size_t split = emit(r, OP_SPLIT, 0, 0);
        emit_tree(r, n->left);
        emit(r, OP_JUMP, (uint32_t)split, 0);
        emit_split(r, split, split + 1, r->length, n->lazy);
        return;
    }
    size_t splits[REPEAT_MAX];
    int more = n->max - n->min;
    for (int i = 0; i < more && r->problem == NULL; i++) {
        splits[i] = emit(r, OP_SPLIT, 0, 0);
        emit_tree(r, n->left);
    }
    for (int i = 0; i < more && r->problem == NULL; i++)
        emit_split(r, splits[i], splits[i] + 1, r->length, n->lazy);
}

static void emit_tree(Regex *r, const Node *n)
{
    /* Counts of nothing, nested, emit nothing for ever: the calls are counted too. */
    if (r->problem != NULL || ++r->emitted > 16 * CODE_MAX) {
        wrong(r, "it is too large when its counts are written out");
        return;
    }
    size_t split, jump;
    switch (n->kind) {
    case EMPTY:
        return;
    case CHAR:
        emit(r, OP_CHAR, n->value, 0);
        return;
    case ANY:
        emit(r, OP_ANY, 0, 0);
        return;
    case CLASS:
        emit(r, OP_CLASS, n->value, 0);
        return;
    case ASSERT:
        emit(r, OP_ASSERT, n->value, 0);
        return;
    case CAT:
        emit_tree(r, n->left);
        emit_tree(r, n->right);
        return;
    case ALT:
        split = emit(r, OP_SPLIT, 0, 0);
        emit_tree(r, n->left);
        jump = emit(r, OP_JUMP, 0, 0);
        emit_split(r, split, split + 1, r->length, false);
        emit_tree(r, n->right);
        r->code[jump].x = (uint32_t)r->length;
        return;
    case REPEAT:
        emit_repeat(r, n);
        return;
    case GROUP:
        emit(r, OP_SAVE, 2 * n->value, 0);
        emit_tree(r, n->left);
        emit(r, OP_SAVE, 2 * n->value + 1, 0);
        return;
    }
}

static void make_threads(Regex *r, Threads *t)
{
    t->dense = room(r->length * sizeof *t->dense);
    t->sparse = room(r->length * sizeof *t->sparse);
    memset(t->sparse, 0, r->length * sizeof *t->sparse);
    t->spans = room(r->length * 2 * r->groups * sizeof *t->spans);
    t->count = 0;
}

Regex *regex_compile(Text pattern, unsigned flags, const char **problem)
{
    Regex *r = room(sizeof *r);
    memset(r, 0, sizeof *r);
    r->flags = flags;
    r->groups = 1;
    r->at = pattern.at;
    r->end = pattern.at + pattern.length;
    r->code = room(CODE_MAX * sizeof *r->code);
    Node *tree = alternatives(r);
    if (tree != NULL && r->at < r->end)
        wrong(r, "a ) has no (");
    if (r->problem == NULL) {
        emit(r, OP_SAVE, 0, 0);
        emit_tree(r, tree);
        if (flags & REGEX_WHOLE)
            emit(r, OP_ASSERT, TEXT_END, 0);
        emit(r, OP_SAVE, 1, 0);
        emit(r, OP_MATCH, 0, 0);
    }
    *problem = r->problem;
    if (r->problem != NULL)
        return NULL;
    r->code = more_room(r->code, r->length * sizeof *r->code); /* no more than is used: there may be many */
    make_threads(r, &r->now);
    make_threads(r, &r->next);
    r->todo = room((2 * r->length + 2) * sizeof *r->todo);
    return r;
}

size_t regex_groups(const Regex *r) { return r->groups; }
Text regex_group_name(const Regex *r, size_t group) { return r->names[group]; }

static uint32_t fold(uint32_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

static bool in_ranges(const Regex *r, const Class *class, uint32_t c)
{
    for (size_t i = 0; i < class->count; i++)
        if (c >= r->ranges[class->first + i].low && c <= r->ranges[class->first + i].high)
            return true;
    return false;
}

static bool in_class(const Regex *r, const Class *class, uint32_t c)
{
    bool found = in_ranges(r, class, c);
    uint32_t small = fold(c);
    if (!found && r->flags & REGEX_IGNORE_CASE && small >= 'a' && small <= 'z')
        found = in_ranges(r, class, small) || in_ranges(r, class, small & ~0x20u);
    return found != class->inverse;
}

static bool takes(const Regex *r, const Instruction *i, uint32_t c)
{
    switch (i->op) {
    case OP_CHAR:
        return i->x == c || (r->flags & REGEX_IGNORE_CASE && fold(i->x) == fold(c));
    case OP_ANY:
        return r->flags & REGEX_DOT_ALL || (c != '\n' && (c != '\r' || !(r->flags & REGEX_NO_RETURN)));
    default:
        return in_class(r, &r->classes[i->x], c);
    }
}

static bool word_at(Text text, size_t at)
{
    char c = text.at[at], low = c | 0x20;
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static bool holds(Assertion what, Text text, size_t at)
{
    bool before = at > 0 && word_at(text, at - 1), after = at < text.length && word_at(text, at);
    switch (what) {
    case TEXT_START:
        return at == 0;
    case TEXT_END:
        return at == text.length;
    case LINE_START:
        return at == 0 || text.at[at - 1] == '\n';
    case LINE_END:
        return at == text.length || text.at[at] == '\n';
    case BORDER:
        return before != after;
    case NO_BORDER:
        return before == after;
    }
    return false;
}

static void spend(Regex *r)
{
    if (++r->steps > STEPS_MAX)
        fail("the pattern and the text together are too much work: give less of either");
}

/* Follows jumps from `start`; a thread waits at each instruction that takes a character. `r->scratch` has its spans. */
static void add_threads(Regex *r, Threads *t, size_t start, Text text, size_t at)
{
    size_t todo = 0, places = 2 * r->groups;
    r->todo[todo++] = (Todo){.at = start};
    while (todo > 0) {
        Todo one = r->todo[--todo];
        if (one.restore) {
            r->scratch[one.at] = one.old;
            continue;
        }
        spend(r);
        size_t known = t->sparse[one.at];
        if (known < t->count && t->dense[known] == one.at)
            continue;
        t->sparse[one.at] = t->count;
        t->dense[t->count++] = one.at;
        const Instruction *i = &r->code[one.at];
        switch (i->op) {
        case OP_JUMP:
            r->todo[todo++] = (Todo){.at = i->x};
            break;
        case OP_SPLIT:
            r->todo[todo++] = (Todo){.at = i->y};
            r->todo[todo++] = (Todo){.at = i->x};
            break;
        case OP_SAVE:
            r->todo[todo++] = (Todo){i->x, true, r->scratch[i->x]};
            r->scratch[i->x] = at;
            r->todo[todo++] = (Todo){.at = one.at + 1};
            break;
        case OP_ASSERT:
            if (holds((Assertion)i->x, text, at))
                r->todo[todo++] = (Todo){.at = one.at + 1};
            break;
        default:
            memcpy(t->spans + one.at * places, r->scratch, places * sizeof *r->scratch);
        }
    }
}

bool regex_find(Regex *r, Text text, size_t from, size_t *spans)
{
    size_t places = 2 * r->groups;
    bool found = false;
    r->now.count = 0;
    for (size_t at = from;;) {
        if (!found && (at == 0 || !(r->flags & REGEX_WHOLE))) {
            for (size_t i = 0; i < places; i++)
                r->scratch[i] = REGEX_NOWHERE;
            add_threads(r, &r->now, 0, text, at);
        }
        if (r->now.count == 0)
            return found;
        const char *next = text.at + at;
        uint32_t c = at < text.length ? utf8_next(&next) : 0;
        size_t after = (size_t)(next - text.at);
        r->next.count = 0;
        for (size_t k = 0; k < r->now.count; k++) {
            size_t where = r->now.dense[k];
            const Instruction *i = &r->code[where];
            if (i->op == OP_MATCH) { /* what comes later is liked less */
                memcpy(spans, r->now.spans + where * places, places * sizeof *spans);
                found = true;
                break;
            }
            spend(r);
            if (i->op <= OP_CLASS && at < text.length && takes(r, i, c)) {
                memcpy(r->scratch, r->now.spans + where * places, places * sizeof *r->scratch);
                add_threads(r, &r->next, where + 1, text, after);
            }
        }
        if (at >= text.length)
            return found;
        Threads swap = r->now;
        r->now = r->next;
        r->next = swap;
        at = after;
    }
}
