/* Regular expressions that are matched in time linear in the text (times the pattern), whatever they are.

   A set of threads steps through the text together (Thompson, Pike), so there is nothing to backtrack. Known: literals,
   . | ( ) (?: ) (?<name> ), classes with ranges, \d \w \s \b and their opposites, ^ $ \A \z, * + ? {m,n} and their lazy
   forms, \n \t \r \f \v \xHH \x{H} \uHHHH. Not known, for they can't be linear: back references and look-around. */
#pragma once

#include "cargo.h"

enum {
    REGEX_IGNORE_CASE = 1, /* of ASCII letters */
    REGEX_MULTILINE = 2,   /* ^ and $ also at line ends */
    REGEX_DOT_ALL = 4,     /* . also takes line ends */
    REGEX_WHOLE = 8,       /* the whole text must match */
    REGEX_NO_RETURN = 16,  /* . takes no carriage return either, as in RFC 9485 */
};

#define REGEX_GROUPS_MAX 64
#define REGEX_NOWHERE SIZE_MAX

typedef struct Regex Regex;

/* NULL when the pattern is wrong, and why in `problem`. */
Regex *regex_compile(Text pattern, unsigned flags, const char **problem);
/* With the whole match as group 0. */
size_t regex_groups(const Regex *regex);
/* Of length 0 for a group without one. */
Text regex_group_name(const Regex *regex, size_t group);
/* The leftmost match at or after the byte `from`: start and end of each group in `spans`, or REGEX_NOWHERE. */
bool regex_find(Regex *regex, Text text, size_t from, size_t *spans);
