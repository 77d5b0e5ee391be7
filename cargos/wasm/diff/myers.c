/* Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), section 4b. */
#include "myers.h"

#include <string.h>

#define STEPS_MAX 100000000

static const uint32_t *a, *b;
static bool *gone, *come, rough;
static int64_t *forward, *backward; /* furthest place on each diagonal, from both ends */
static uint64_t steps;

typedef struct {
    int64_t x, y, u, v; /* a run of equal lines in the middle of a shortest way: from (x, y) to (u, v) */
    bool found;
} Snake;

static Snake middle(int64_t a0, int64_t n, int64_t b0, int64_t m, int64_t zero)
{
    int64_t delta = n - m, most = (n + m + 1) / 2;
    bool odd = delta & 1;
    forward[zero + 1] = backward[zero + 1] = 0;
    for (int64_t d = 0; d <= most; d++) {
        for (int64_t k = -d; k <= d; k += 2) {
            int64_t x = k == -d || (k != d && forward[zero + k - 1] < forward[zero + k + 1])
                            ? forward[zero + k + 1]
                            : forward[zero + k - 1] + 1;
            int64_t y = x - k, x0 = x, y0 = y;
            while (x < n && y < m && a[a0 + x] == b[b0 + y])
                x++, y++, steps++;
            forward[zero + k] = x;
            int64_t c = delta - k;
            if (odd && c >= -(d - 1) && c <= d - 1 && x + backward[zero + c] >= n)
                return (Snake){x0, y0, x, y, true};
        }
        for (int64_t k = -d; k <= d; k += 2) {
            int64_t x = k == -d || (k != d && backward[zero + k - 1] < backward[zero + k + 1])
                            ? backward[zero + k + 1]
                            : backward[zero + k - 1] + 1;
            int64_t y = x - k, x0 = x, y0 = y;
            while (x < n && y < m && a[a0 + n - x - 1] == b[b0 + m - y - 1])
                x++, y++, steps++;
            backward[zero + k] = x;
            int64_t c = delta - k;
            if (!odd && c >= -d && c <= d && x + forward[zero + c] >= n)
                return (Snake){n - x, m - y, n - x0, m - y0, true};
        }
        steps += 2 * (uint64_t)d + 2;
        if (steps > STEPS_MAX)
            break;
    }
    return (Snake){.found = false};
}

static void compare(int64_t a0, int64_t n, int64_t b0, int64_t m, int64_t zero)
{
    for (;;) { /* the second half is done by going round, so that only the first one nests */
        while (n > 0 && m > 0 && a[a0] == b[b0])
            a0++, b0++, n--, m--;
        while (n > 0 && m > 0 && a[a0 + n - 1] == b[b0 + m - 1])
            n--, m--;
        Snake s = {.found = false};
        if (n > 0 && m > 0)
            s = middle(a0, n, b0, m, zero);
        bool stuck = s.found && ((s.u == 0 && s.v == 0) || (s.x == n && s.y == m));
        if (!s.found || stuck) {
            rough = rough || (n > 0 && m > 0);
            memset(gone + a0, true, (size_t)n);
            memset(come + b0, true, (size_t)m);
            return;
        }
        compare(a0, s.x, b0, s.y, zero);
        a0 += s.u, b0 += s.v, n -= s.u, m -= s.v;
    }
}

bool differ(const uint32_t *old, size_t old_count, const uint32_t *new, size_t new_count, bool *gone_, bool *come_)
{
    size_t diagonals = old_count + new_count + 4;
    a = old, b = new, gone = gone_, come = come_;
    forward = room(2 * diagonals * sizeof *forward);
    backward = room(2 * diagonals * sizeof *backward);
    memset(gone, false, old_count);
    memset(come, false, new_count);
    compare(0, (int64_t)old_count, 0, (int64_t)new_count, (int64_t)diagonals);
    return rough;
}
