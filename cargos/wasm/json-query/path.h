/* A JSONPath query (RFC 9535) as a tree. */
#pragma once

#include "../common/cargo.h"
#include "../common/regex.h"

typedef struct Query Query;
typedef struct Expression Expression;

typedef enum { SELECT_NAME, SELECT_ALL, SELECT_INDEX, SELECT_SLICE, SELECT_FILTER } SelectorKind;

typedef struct Selector Selector;
struct Selector {
    SelectorKind kind;
    Text name;
    int64_t index;            /* or a slice's step */
    int64_t start, end;
    bool has_start, has_end;
    const Expression *filter;
    Selector *next;
};

typedef struct Segment Segment;
struct Segment {
    bool descends;
    Selector *selectors;
    Segment *next;
};

struct Query {
    bool relative; /* begins at the current node, @ */
    bool singular; /* selects one node at most */
    Segment *segments;
};

typedef enum { OR, AND, NOT, COMPARE, LITERAL, QUERY, CALL } ExpressionKind;
typedef enum { EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL } Comparison;
typedef enum { LENGTH, COUNT, MATCH, SEARCH, VALUE } Function;

struct Expression {
    ExpressionKind kind;
    Comparison comparison;
    Function function;
    const Expression *left, *right; /* of a call: its arguments */
    Value literal;
    const Query *query;
    Regex *regex; /* of match and search with a literal pattern */
    bool regex_known;
};

/* NULL when it is wrong, and why in `problem`. */
const Query *parse_path(Text text, const char **problem);

typedef struct Place Place;
struct Place {
    const Place *parent; /* NULL at the root */
    const Value *value;
    bool indexed;
    int64_t index;
};

typedef struct {
    const Place **at;
    size_t count, room;
} Nodes;

/* Everything that the query selects, in the order of RFC 9535. Ends the run when that is too much. */
Nodes evaluate(const Query *query, const Value *root);
