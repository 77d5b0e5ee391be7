/* What a query selects (RFC 9535, section 2). */
#include "path.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 1000000
#define STEPS_MAX 50000000

static uint64_t steps;

static void spend(uint64_t how_many)
{
    steps += how_many;
    if (steps > STEPS_MAX)
        fail("the query is too much work on this data: make it narrower");
}

/* Memory of the nodes: what a filter takes for one candidate is given back before the next. */
typedef struct Block Block;
struct Block {
    Block *before;
    size_t used, size;
};

static Block *blocks;

static void *node_room(size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (blocks == NULL || blocks->size - blocks->used < bytes) {
        size_t size = bytes > 65536 ? bytes : 65536;
        Block *block = room(sizeof *block + 16 + size);
        *block = (Block){blocks, 0, size};
        blocks = block;
    }
    void *memory = (char *)(blocks + 1) + blocks->used;
    blocks->used += bytes;
    return memory;
}

static void give_back(Block *block, size_t used)
{
    while (blocks != block) {
        Block *gone = blocks;
        blocks = gone->before;
        free(gone);
    }
    if (blocks != NULL)
        blocks->used = used;
}

static void add(Nodes *nodes, const Place *parent, const Value *value, bool indexed, int64_t index)
{
    spend(1);
    if (nodes->count == nodes->room) {
        if (nodes->count >= NODES_MAX)
            fail("the query selects more than 1000000 nodes");
        const Place **more = node_room((nodes->room = nodes->room * 2 + 16) * sizeof *more);
        if (nodes->count > 0)
            memcpy(more, nodes->at, nodes->count * sizeof *more);
        nodes->at = more;
    }
    Place *place = node_room(sizeof *place);
    *place = (Place){parent, value, indexed, index};
    nodes->at[nodes->count++] = place;
}

static bool holds(const Expression *e, const Value *current, const Value *root);

static bool passes(const Expression *e, const Value *current, const Value *root)
{
    Block *block = blocks;
    size_t used = block != NULL ? block->used : 0;
    bool passed = holds(e, current, root);
    give_back(block, used);
    return passed;
}

static void select_slice(Nodes *into, const Place *of, const Selector *s)
{
    int64_t length = (int64_t)of->value->count, step = s->index;
    if (step == 0 || length == 0)
        return;
    int64_t start = s->has_start ? s->start : step > 0 ? 0 : length - 1;
    int64_t end = s->has_end ? s->end : step > 0 ? length : -length - 1;
    start = start < 0 ? start + length : start;
    end = end < 0 ? end + length : end;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
    start = start < low ? low : start > high ? high : start;
    end = end < low ? low : end > high ? high : end;
    const Value **items = node_room((size_t)length * sizeof *items);
    size_t i = 0;
    for (const Value *child = of->value->first; child != NULL; child = child->next)
        items[i++] = child;
    spend((uint64_t)length);
    for (int64_t at = start; step > 0 ? at < end : at > end; at += step)
        add(into, of, items[at], true, at);
}

static void select(Nodes *into, const Place *of, const Selector *s, const Value *root)
{
    const Value *value = of->value;
    bool array = value->kind == JSON_ARRAY;
    if (!array && value->kind != JSON_OBJECT)
        return;
    int64_t index = 0, wanted = s->index < 0 ? s->index + (int64_t)value->count : s->index;
    if (s->kind == SELECT_SLICE) {
        if (array)
            select_slice(into, of, s);
        return;
    }
    if ((s->kind == SELECT_NAME && array) || (s->kind == SELECT_INDEX && !array))
        return;
    const Value *named = NULL;
    for (const Value *child = value->first; child != NULL; child = child->next, index++) {
        spend(1);
        switch (s->kind) {
        case SELECT_NAME:
            if (same_text(child->name, s->name))
                named = child;
            break;
        case SELECT_ALL:
            add(into, of, child, array, index);
            break;
        case SELECT_INDEX:
            if (index == wanted) {
                add(into, of, child, true, index);
                return;
            }
            break;
        default:
            if (passes(s->filter, child, root))
                add(into, of, child, array, index);
        }
    }
    if (named != NULL)
        add(into, of, named, false, 0);
}

static void apply(Nodes *into, const Place *of, const Segment *segment, const Value *root)
{
    for (const Selector *s = segment->selectors; s != NULL; s = s->next)
        select(into, of, s, root);
    if (!segment->descends)
        return;
    int64_t index = 0;
    for (const Value *child = of->value->first; child != NULL; child = child->next) {
        Place *place = node_room(sizeof *place);
        spend(1);
        *place = (Place){of, child, of->value->kind == JSON_ARRAY, index++};
        apply(into, place, segment, root);
    }
}

static Nodes evaluate_from(const Query *query, const Value *start, const Value *root)
{
    Nodes nodes = {NULL, 0, 0};
    add(&nodes, NULL, start, false, 0);
    for (const Segment *segment = query->segments; segment != NULL; segment = segment->next) {
        Nodes next = {NULL, 0, 0};
        for (size_t i = 0; i < nodes.count; i++)
            apply(&next, nodes.at[i], segment, root);
        nodes = next;
    }
    return nodes;
}

Nodes evaluate(const Query *query, const Value *root) { return evaluate_from(query, root, root); }

static bool equal(const Value *a, const Value *b)
{
    spend(1);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JSON_NULL:
        return true;
    case JSON_BOOLEAN:
        return a->truth == b->truth;
    case JSON_NUMBER:
        return number_of(a) == number_of(b);
    case JSON_STRING:
        return same_text(a->text, b->text);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    if (a->count != b->count)
        return false;
    const Value *y = b->first;
    for (const Value *x = a->first; x != NULL; x = x->next, y = y->next) {
        const Value *other = y;
        if (a->kind == JSON_OBJECT)
            for (other = b->first; other != NULL && !same_text(other->name, x->name); other = other->next)
                spend(1);
        if (other == NULL || !equal(x, other))
            return false;
    }
    return true;
}

static bool less(const Value *a, const Value *b)
{
    if (a == NULL || b == NULL || a->kind != b->kind)
        return false;
    if (a->kind == JSON_NUMBER)
        return number_of(a) < number_of(b);
    if (a->kind != JSON_STRING)
        return false;
    size_t common = a->text.length < b->text.length ? a->text.length : b->text.length;
    int order = memcmp(a->text.at, b->text.at, common); /* the order of bytes is that of characters */
    return order != 0 ? order < 0 : a->text.length < b->text.length;
}

static const Value *whole_value(size_t number)
{
    Value *value = node_room(sizeof *value);
    char *digits = node_room(24), *at = digits + 24;
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    *value = (Value){.kind = JSON_NUMBER, .text = {at, (size_t)(digits + 24 - at)}};
    return value;
}

static const Value *value_of(const Expression *e, const Value *current, const Value *root);

static const Value *length_of(const Value *value)
{
    if (value == NULL || value->kind < JSON_STRING)
        return NULL;
    if (value->kind != JSON_STRING)
        return whole_value(value->count);
    size_t characters = 0;
    for (size_t i = 0; i < value->text.length; i++)
        characters += ((unsigned char)value->text.at[i] & 0xC0) != 0x80;
    return whole_value(characters);
}

static Nodes nodes_of(const Query *query, const Value *current, const Value *root)
{
    return evaluate_from(query, query->relative ? current : root, root);
}

/* NULL for nothing, which equals only nothing. */
static const Value *value_of(const Expression *e, const Value *current, const Value *root)
{
    if (e->kind == LITERAL)
        return &e->literal;
    if (e->kind == QUERY) {
        Nodes nodes = nodes_of(e->query, current, root);
        return nodes.count == 1 ? nodes.at[0]->value : NULL;
    }
    if (e->function == LENGTH)
        return length_of(value_of(e->left, current, root));
    Nodes nodes = nodes_of(e->left->query, current, root);
    if (e->function == COUNT)
        return whole_value(nodes.count);
    return nodes.count == 1 ? nodes.at[0]->value : NULL;
}

static bool matches(const Expression *e, const Value *current, const Value *root)
{
    const Value *text = value_of(e->left, current, root), *pattern = value_of(e->right, current, root);
    if (text == NULL || text->kind != JSON_STRING || pattern == NULL || pattern->kind != JSON_STRING)
        return false;
    Expression *kept = (Expression *)e; /* a literal's expression is compiled once */
    Regex *regex = kept->regex;
    if (!kept->regex_known) {
        const char *problem;
        unsigned flags = REGEX_NO_RETURN | (e->function == MATCH ? REGEX_WHOLE : 0);
        spend(20000);
        regex = pattern->text.length <= 4096 ? regex_compile(pattern->text, flags, &problem) : NULL;
        if (e->right->kind == LITERAL) {
            kept->regex = regex;
            kept->regex_known = true;
        }
    }
    size_t spans[2 * REGEX_GROUPS_MAX];
    return regex != NULL && regex_find(regex, text->text, 0, spans);
}

static bool compare(const Expression *e, const Value *current, const Value *root)
{
    const Value *a = value_of(e->left, current, root), *b = value_of(e->right, current, root);
    bool same = a == NULL || b == NULL ? a == b : equal(a, b);
    switch (e->comparison) {
    case EQUAL:
        return same;
    case UNEQUAL:
        return !same;
    case LESS:
        return less(a, b);
    case LESS_EQUAL:
        return less(a, b) || same;
    case GREATER:
        return less(b, a);
    default:
        return less(b, a) || same;
    }
}

static bool holds(const Expression *e, const Value *current, const Value *root)
{
    switch (e->kind) {
    case OR:
        return holds(e->left, current, root) || holds(e->right, current, root);
    case AND:
        return holds(e->left, current, root) && holds(e->right, current, root);
    case NOT:
        return !holds(e->left, current, root);
    case COMPARE:
        return compare(e, current, root);
    case QUERY:
        return nodes_of(e->query, current, root).count > 0;
    default:
        return matches(e, current, root);
    }
}
