/* Markdown to HTML that is safe to show: no HTML of the text's own, no links that run programs. */
#include "../common/cargo.h"
#include "../vendor/md4c/md4c-html.h"

#include <string.h>

static const char *const FIELDS[] = {"text", "dialect", "allow_html", "hard_breaks", NULL};
static const char *const DIALECTS[] = {"github", "commonmark", NULL};

typedef struct {
    char *at;
    size_t used, size;
} Buffer;

static void put(const char *at, MD_SIZE length, void *to)
{
    Buffer *b = to;
    if (b->used + length > ((size_t)16 << 20))
        bad_input("the result would have more than 16 MiB");
    if (b->used + length > b->size)
        b->at = more_room(b->at, b->size = 2 * (b->used + length) + 4096);
    if (length > 0)
        memcpy(b->at + b->used, at, length);
    b->used += length;
}

static bool begins(const char *at, const char *end, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0;
}

/* A link of a known scheme, or without one. What a browser would skip or decode before a colon makes it unknown. */
static bool harmless(const char *at, const char *end)
{
    static const char *const schemes[] = {"http", "https", "mailto", "tel", NULL};
    char scheme[8];
    size_t length = 0;
    for (; at < end && strchr("/?#", *at) == NULL; at++) {
        if (*at == ':') {
            for (int i = 0; schemes[i] != NULL; i++)
                if (length == strlen(schemes[i]) && memcmp(scheme, schemes[i], length) == 0)
                    return true;
            return false;
        }
        /* An entity, a percent sign or a control character may hide a scheme or its colon. */
        if (*at == '&' || *at == '%' || (unsigned char)*at <= ' ')
            length = sizeof scheme;
        if (*at == '&')
            return begins(at, end, "&amp;"); /* a query without its question mark: no scheme can follow */
        if (length < sizeof scheme)
            scheme[length++] = *at | 0x20;
    }
    return true;
}

/* Says the HTML with each link that is not harmless replaced by `#`. The renderer writes `"` in text as an entity, so
   that these words stand only where it made a link. */
static Buffer without_programs(const Buffer *html)
{
    Buffer safe = {NULL, 0, 0};
    const char *at = html->at, *end = html->at + html->used, *copied = at;
    while (at < end) {
        const char *start = begins(at, end, "<a href=\"")     ? at + 9
                            : begins(at, end, "<img src=\"") ? at + 10
                                                             : NULL;
        if (start == NULL) {
            at++;
            continue;
        }
        const char *quote = memchr(start, '"', (size_t)(end - start));
        if (quote == NULL)
            break;
        if (!harmless(start, quote)) {
            put(copied, (MD_SIZE)(start - copied), &safe);
            put("#", 1, &safe);
            copied = quote;
        }
        at = quote;
    }
    put(copied, (MD_SIZE)(end - copied), &safe);
    return safe;
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    Text text = want_text(input, "text", 2 << 20);
    bool github = choice_or(input, "dialect", DIALECTS, 0) == 0, html_too = truth_or(input, "allow_html", false);
    unsigned flags = (github ? MD_FLAG_PERMISSIVEAUTOLINKS | MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS
                             : MD_DIALECT_COMMONMARK) |
                     (html_too ? 0 : MD_FLAG_NOHTML) |
                     (truth_or(input, "hard_breaks", false) ? MD_FLAG_HARD_SOFT_BREAKS : 0);
    Buffer html = {NULL, 0, 0};
    if (md_html(text.at, (MD_SIZE)text.length, put, &html, flags, MD_HTML_FLAG_XHTML) != 0)
        fail("there is not enough memory for this input");
    if (!html_too && html.used > 0)
        html = without_programs(&html);
    say("{\"html\":");
    say_string((Text){html.at, html.used});
    say("}");
    finish();
}
