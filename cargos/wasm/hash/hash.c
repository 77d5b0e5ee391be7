/* Digests of text or bytes: checksums, hashes and HMAC. */
#include "../common/cargo.h"
#include "digests.h"

#include <string.h>

static const char *const FIELDS[] = {"text", "base64", "algorithms", "hmac_key", NULL};

static void say_hex(const uint8_t *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++)
        say_bytes((char[]){digits[bytes[i] >> 4], digits[bytes[i] & 15]}, 2);
}

static void hmac(const Algorithm *a, Text key, const uint8_t *bytes, size_t length, uint8_t *out)
{
    uint8_t pad[DIGEST_BLOCK_MAX] = {0}, inner[DIGEST_BYTES_MAX];
    State state;
    if (key.length > a->block) {
        a->start(&state);
        a->add(&state, (const uint8_t *)key.at, key.length);
        a->end(&state, pad);
    } else
        memcpy(pad, key.at, key.length);
    for (int outer = 0; outer < 2; outer++) {
        uint8_t mixed[DIGEST_BLOCK_MAX];
        for (size_t i = 0; i < a->block; i++)
            mixed[i] = pad[i] ^ (outer ? 0x5C : 0x36);
        a->start(&state);
        a->add(&state, mixed, a->block);
        if (outer)
            a->add(&state, inner, a->bytes);
        else
            a->add(&state, bytes, length);
        a->end(&state, outer ? out : inner);
    }
}

static const Algorithm *find(const Value *name)
{
    if (name->kind == JSON_STRING)
        for (const Algorithm *a = ALGORITHMS; a->name != NULL; a++)
            if (text_is(name->text, a->name))
                return a;
    bad_input("algorithms must be names among sha256, sha512, sha1, md5, blake2b, crc32");
}

static void say_digest(const Algorithm *a, bool keyed, Text key, const uint8_t *bytes, size_t length)
{
    uint8_t digest[DIGEST_BYTES_MAX];
    if (keyed && a->block > 0)
        hmac(a, key, bytes, length, digest);
    else {
        State state;
        a->start(&state);
        a->add(&state, bytes, length);
        a->end(&state, digest);
    }
    say("\"");
    say(a->name);
    say("\":\"");
    say_hex(digest, a->bytes);
    say("\"");
}

int main(void)
{
    const Value *input = read_input();
    only_fields(input, FIELDS);
    if ((member(input, "text") == NULL) == (member(input, "base64") == NULL))
        bad_input("give either text or base64");
    const uint8_t *bytes;
    size_t length;
    if (member(input, "text") != NULL) {
        Text text = want_text(input, "text", 8 << 20);
        bytes = (const uint8_t *)text.at;
        length = text.length;
    } else
        bytes = read_base64(want_text(input, "base64", 12 << 20), "base64", &length);
    bool keyed = member(input, "hmac_key") != NULL;
    Text key = text_or(input, "hmac_key", "", 4096);
    const Value *names = list_or_null(input, "algorithms", 16);
    if (names != NULL && names->count == 0)
        bad_input("algorithms must name at least one");
    static const Value sha256 = {.kind = JSON_STRING, .text = {"sha256", 6}};
    const Value *first = names == NULL ? &sha256 : names->first;
    for (const Value *name = first; name != NULL; name = name->next)
        if (keyed && find(name)->block == 0)
            bad_input("crc32 is a checksum and takes no hmac_key");
    say("{\"bytes\":");
    say_whole((int64_t)length);
    say(keyed ? ",\"hmac\":{" : ",\"digests\":{");
    for (const Value *name = first; name != NULL; name = name->next) {
        if (name != first)
            say(",");
        say_digest(find(name), keyed, key, bytes, length);
    }
    say("}}");
    finish();
}
