/* What every WASM Cargo of this folder shares: one JSON object in, JSON lines out, and how each kind of end is said.

   A run is one process: memory is taken and never given back, and every failure ends the process with a sentence. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *at;
    size_t length;
} Text; /* UTF-8, not ended by a zero */

typedef enum { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } Kind;

typedef struct Value Value;
struct Value {
    Kind kind;
    bool truth;
    Text text;       /* of a string: decoded; of a number: as it was written */
    Text name;       /* in an object */
    size_t count;    /* of an array or object */
    Value *first;    /* children are a list in the order of the text */
    Value *next;
};

/* Memory. Ends the run where there is none. */
void *room(size_t bytes);
void *more_room(void *old, size_t bytes);

/* The input: what stands under "input". Ends the run where standard input is not as the Island writes it. */
const Value *read_input(void);
bool parse_json(Text source, Value **value, const char **problem);
bool utf8_valid(const char *at, size_t length);
/* One character at `*at`, which moves on; the text must be valid UTF-8. */
uint32_t utf8_next(const char **at);
size_t utf8_put(uint32_t character, char *at);

const Value *member(const Value *object, const char *name);
double number_of(const Value *value);
bool text_is(Text text, const char *word);
bool same_text(Text one, Text other);

/* Fields of the input. A wrong one is the customer's mistake and ends the run. */
Text want_text(const Value *object, const char *name, size_t bytes_max);
Text text_or(const Value *object, const char *name, const char *otherwise, size_t bytes_max);
int64_t whole_or(const Value *object, const char *name, int64_t otherwise, int64_t min, int64_t max);
bool truth_or(const Value *object, const char *name, bool otherwise);
/* The index of the field's word in `words`, which ends with NULL. */
int choice_or(const Value *object, const char *name, const char *const *words, int otherwise);
const Value *list_or_null(const Value *object, const char *name, size_t items_max);
void only_fields(const Value *object, const char *const *words);

/* The answer: text, cut into items of at most 32 KiB on the borders of characters. */
void say(const char *text);
void say_bytes(const void *bytes, size_t length);
void say_string(Text text);       /* with quotes and escapes */
void say_whole(int64_t number);
void say_value(const Value *value);
void say_base64(const uint8_t *bytes, size_t length);
uint8_t *read_base64(Text text, const char *name, size_t *length);

/* How a run ends. None returns. */
_Noreturn void finish(void);
_Noreturn void fail(const char *sentence);
_Noreturn void bad_input(const char *sentence);
_Noreturn void bad_input_with(const char *before, Text middle, const char *after);

Text text_of(const char *word);
