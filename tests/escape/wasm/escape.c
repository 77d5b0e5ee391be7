/* What a hostile module can try: calls of WASI that no library would make, and taking without end.

   The input names the attempt; the answer says whether it got out, `{"escaped": …, "said": …}`. Most end otherwise. */
#include "../../../cargos/wasm/common/cargo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

#pragma clang diagnostic ignored "-Wunused-result"
#pragma clang diagnostic ignored "-Winfinite-recursion"

#define HANDLES 64
#define MEMORY_MIB 256

static _Noreturn void answer(bool escaped, const char *said, long long number)
{
    char text[200];
    snprintf(text, sizeof text, said, number);
    say(escaped ? "{\"escaped\":true,\"said\":" : "{\"escaped\":false,\"said\":");
    say_string(text_of(text));
    say("}");
    finish();
}

static void open_files(void)
{
    static const char *const paths[] = {"/etc/passwd", "etc/passwd", ".", "..", "../../../../etc/passwd", "/proc/self/environ"};
    __wasi_errno_t last = 0;
    for (__wasi_fd_t folder = 0; folder < HANDLES; folder++)
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
            __wasi_fd_t opened;
            last = __wasi_path_open(folder, 1, paths[i], 0, 1ull << 1, 1ull << 1, 0, &opened);
            if (last == 0)
                answer(true, "opened a file in %lld", folder);
        }
    answer(false, "no folder is open (error %lld)", last);
}

static void make_files(void)
{
    for (__wasi_fd_t folder = 0; folder < HANDLES; folder++) {
        __wasi_fd_t opened;
        if (__wasi_path_open(folder, 0, "escape", 1, 1ull << 6, 1ull << 6, 0, &opened) == 0 ||
            __wasi_path_create_directory(folder, "escape") == 0 || __wasi_path_symlink("/etc", folder, "escape") == 0 ||
            __wasi_path_unlink_file(folder, "escape") == 0 || __wasi_path_rename(folder, "a", folder, "b") == 0)
            answer(true, "changed something in %lld", folder);
    }
    answer(false, "no folder is open (%lld tried)", HANDLES);
}

static void preopened(void)
{
    for (__wasi_fd_t folder = 0; folder < HANDLES; folder++) {
        __wasi_prestat_t what;
        if (__wasi_fd_prestat_get(folder, &what) == 0)
            answer(true, "%lld is a folder of the host", folder);
    }
    answer(false, "none (%lld tried)", HANDLES);
}

static void list_folders(void)
{
    static uint8_t buffer[4096];
    for (__wasi_fd_t folder = 0; folder < HANDLES; folder++) {
        __wasi_size_t used = 0;
        if (__wasi_fd_readdir(folder, buffer, sizeof buffer, 0, &used) == 0)
            answer(true, "listed %lld", folder);
    }
    answer(false, "none (%lld tried)", HANDLES);
}

static void sockets(void)
{
    for (__wasi_fd_t door = 0; door < HANDLES; door++) {
        __wasi_fd_t line;
        __wasi_size_t sent;
        __wasi_ciovec_t hello = {(const uint8_t *)"hello", 5};
        if (__wasi_sock_accept(door, 0, &line) == 0)
            answer(true, "accepted on %lld", door);
        if (__wasi_sock_send(door, &hello, 1, 0, &sent) == 0)
            answer(true, "sent on %lld", door);
    }
    answer(false, "none is a socket (%lld tried)", HANDLES);
}

static void other_handles(void)
{
    static uint8_t buffer[64];
    for (__wasi_fd_t handle = 3; handle < 4096; handle++) {
        __wasi_iovec_t into = {buffer, sizeof buffer};
        __wasi_ciovec_t from = {buffer, 1};
        __wasi_size_t size;
        if (__wasi_fd_read(handle, &into, 1, &size) == 0 || __wasi_fd_write(handle, &from, 1, &size) == 0)
            answer(true, "used handle %lld", handle);
    }
    answer(false, "there are three (%lld tried)", 4096);
}

static void move_handles(void)
{
    /* Standard error over standard output, then the other way, then closed: afterwards the answer is still ours to give. */
    __wasi_errno_t moved = __wasi_fd_renumber(2, 1);
    __wasi_fd_renumber(0, 2);
    __wasi_fd_close(0);
    for (__wasi_fd_t handle = 3; handle < HANDLES; handle++)
        __wasi_fd_renumber(1, handle);
    answer(false, "moved its own only (error %lld)", moved);
}

static void environment(void)
{
    __wasi_size_t count = 0, bytes = 0;
    __wasi_environ_sizes_get(&count, &bytes);
    answer(count > 0, "%lld variables", count);
}

static void arguments(void)
{
    __wasi_size_t count = 0, bytes = 0;
    static uint8_t *list[16], text[1024];
    __wasi_args_sizes_get(&count, &bytes);
    bool more = count > 1;
    if (count <= 16 && bytes <= sizeof text && __wasi_args_get(list, text) == 0 && count > 0)
        more = more || strchr((const char *)list[0], '/') != NULL;
    answer(more, "%lld, which names no path", count);
}

static void bad_pointers(void)
{
    __wasi_size_t size;
    __wasi_ciovec_t wild = {(const uint8_t *)0xFFFFFFF0, 0x7FFFFFFF};
    int refused = 0;
    refused += __wasi_fd_write(1, (const __wasi_ciovec_t *)0xFFFFFFF8, 1000, &size) != 0;
    refused += __wasi_fd_write(1, &wild, 1, &size) != 0;
    refused += __wasi_fd_write(1, &wild, 0x7FFFFFFF, &size) != 0;
    refused += __wasi_fd_read(0, (const __wasi_iovec_t *)0xFFFFFFF8, 1000, &size) != 0;
    refused += __wasi_random_get((uint8_t *)0xFFFFFFF0, 0x7FFFFFFF) != 0;
    refused += __wasi_fd_write(1, &wild, 0, (__wasi_size_t *)0xFFFFFFFE) != 0;
    answer(refused < 6, "%lld of 6 were refused", refused);
}

static void memory(void)
{
    long long mib = (long long)__builtin_wasm_memory_size(0) / 16;
    while (mib < 4096 && __builtin_wasm_memory_grow(0, 16) != SIZE_MAX)
        mib++;
    answer(mib > MEMORY_MIB, "got %lld MiB", mib);
}

static void memory_at_once(void)
{
    size_t got = __builtin_wasm_memory_grow(0, 65000);
    answer(got != SIZE_MAX, "memory.grow gave %lld", (long long)(int32_t)got);
}

static void loop(void)
{
    for (volatile unsigned i = 0;; i++) {
    }
}

static volatile int depth;

static int dig(int n)
{
    volatile char room[256];
    room[n % 256] = (char)n;
    depth = n;
    return dig(n + 1) + room[0];
}

static void recursion(void) { answer(true, "came back: %lld", dig(0)); }

static void flood_of(__wasi_fd_t handle, const char *text)
{
    __wasi_ciovec_t from = {(const uint8_t *)text, strlen(text)};
    __wasi_size_t size;
    long long wrote = 0;
    for (; wrote < 1ll << 30; wrote += (long long)from.buf_len)
        if (__wasi_fd_write(handle, &from, 1, &size) != 0)
            answer(false, "%lld bytes and then an error", wrote);
    answer(handle == 1, "wrote %lld bytes", wrote);
}

static void flood(void) { flood_of(1, "{\"text\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}\n"); }
static void flood_of_progress(void) { flood_of(1, "{\"progress\":{\"step\":1,\"total\":2}}\n"); }
static void line_without_end(void) { flood_of(1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); }
static void flood_of_complaints(void) { flood_of(2, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"); }

static void say_raw(const char *text, size_t length)
{
    __wasi_ciovec_t from = {(const uint8_t *)text, length};
    __wasi_size_t size;
    __wasi_fd_write(1, &from, 1, &size);
}

static void not_utf8(void)
{
    say_raw("{\"text\":\"\xff\xfe\"}\n", 14);
    answer(true, "went through%.0lld", 0);
}

static void half_a_character(void)
{
    say_raw("{\"text\":\"\\ud800\"}\n", 18);
    answer(true, "went through%.0lld", 0);
}

static void not_json(void)
{
    say_raw("hello\n", 6);
    answer(true, "went through%.0lld", 0);
}

static void deep_json(void)
{
    for (int i = 0; i < 100000; i++)
        say_raw("[", 1);
    say_raw("\n", 1);
    answer(true, "went through%.0lld", 0);
}

static void after_the_end(void)
{
    say_raw("{\"end\":{\"finish_reason\":\"stop\"}}\n", 33);
    answer(true, "went on%.0lld", 0);
}

static void exit_badly(void) { __wasi_proc_exit(7); }
static void trap(void) { __builtin_trap(); }

static void sleep_for_ever(void)
{
    __wasi_subscription_t wish = {.u = {.tag = 0}};
    wish.u.u.clock = (__wasi_subscription_clock_t){.id = 1, .timeout = 3600ull * 1000000000};
    __wasi_event_t event;
    __wasi_size_t count = 0;
    __wasi_errno_t error = __wasi_poll_oneoff(&wish, &event, 1, &count);
    answer(false, "it did not sleep (error %lld)", error);
}

static void chance_without_end(void)
{
    static uint8_t block[1 << 20];
    long long drawn = 0;
    for (; drawn < 1ll << 30; drawn += sizeof block)
        if (__wasi_random_get(block, sizeof block) != 0)
            answer(false, "%lld bytes and then an error", drawn);
    answer(true, "drew %lld bytes", drawn);
}

typedef struct {
    const char *name;
    void (*attempt)(void);
} Probe;

static const Probe PROBES[] = {
    {"open_files", open_files},
    {"make_files", make_files},
    {"preopened", preopened},
    {"list_folders", list_folders},
    {"sockets", sockets},
    {"other_handles", other_handles},
    {"move_handles", move_handles},
    {"environment", environment},
    {"arguments", arguments},
    {"bad_pointers", bad_pointers},
    {"memory", memory},
    {"memory_at_once", memory_at_once},
    {"loop", loop},
    {"recursion", recursion},
    {"flood", flood},
    {"flood_of_progress", flood_of_progress},
    {"flood_of_complaints", flood_of_complaints},
    {"line_without_end", line_without_end},
    {"not_utf8", not_utf8},
    {"half_a_character", half_a_character},
    {"not_json", not_json},
    {"deep_json", deep_json},
    {"after_the_end", after_the_end},
    {"exit_badly", exit_badly},
    {"trap", trap},
    {"sleep_for_ever", sleep_for_ever},
    {"chance_without_end", chance_without_end},
};

int main(void)
{
    Text name = want_text(read_input(), "probe", 100);
    for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++)
        if (text_is(name, PROBES[i].name))
            PROBES[i].attempt();
    bad_input("there is no such probe");
}
