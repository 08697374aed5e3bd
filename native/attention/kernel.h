// Inner loops of attention.cpp: rows of queries by a tile of keys, and of weights by a tile of values.
// Needs AVX-512, or AVX2 with FMA and F16C.
#pragma once

#include "vec.h"

#include <immintrin.h>

#include <cmath>
#include <cstdint>

namespace llama_bind::attention {

constexpr int TILE = 64;  // keys that are worked on at a time

#if defined(__AVX512F__) && defined(__AVX512DQ__)

using vec             = __m512;
constexpr int WIDTH   = 16;
constexpr int COLUMNS = 4;  // registers side by side: with SIDE rows they leave room for operands
constexpr int SIDE    = 6;

inline vec  load(const float * x) { return _mm512_loadu_ps(x); }
inline void store(float * x, vec a) { _mm512_storeu_ps(x, a); }
inline vec  all(float x) { return _mm512_set1_ps(x); }
inline vec  add(vec a, vec b) { return _mm512_add_ps(a, b); }
inline vec  mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
inline vec  div(vec a, vec b) { return _mm512_div_ps(a, b); }
inline vec  fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
inline vec  max(vec a, vec b) { return _mm512_max_ps(a, b); }
inline vec  min(vec a, vec b) { return _mm512_min_ps(a, b); }
inline vec  half(const uint16_t * x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) x)); }
inline vec  whole(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vec  doubled(vec a, vec times) { return _mm512_scalef_ps(a, times); }  // a * 2^times, `times` whole numbers
inline float largest(vec a) { return _mm512_reduce_max_ps(a); }

// Lanes of both, in turn: of the first halves, of the second halves.
inline vec turns_low(vec a, vec b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}
inline vec turns_high(vec a, vec b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
}

#else

using vec             = __m256;
constexpr int WIDTH   = 8;
constexpr int COLUMNS = 2;
constexpr int SIDE    = 6;

inline vec  load(const float * x) { return _mm256_loadu_ps(x); }
inline void store(float * x, vec a) { _mm256_storeu_ps(x, a); }
inline vec  all(float x) { return _mm256_set1_ps(x); }
inline vec  add(vec a, vec b) { return _mm256_add_ps(a, b); }
inline vec  mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
inline vec  div(vec a, vec b) { return _mm256_div_ps(a, b); }
inline vec  fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
inline vec  max(vec a, vec b) { return _mm256_max_ps(a, b); }
inline vec  min(vec a, vec b) { return _mm256_min_ps(a, b); }
inline vec  half(const uint16_t * x) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) x)); }
inline float largest(vec a) {
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
inline vec whole(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// a * 2^times, `times` whole numbers up to 0; nothing is left of what is below the least number.
inline vec doubled(vec a, vec times) {
    const __m256  kept = _mm256_cmp_ps(times, _mm256_set1_ps(-126.0f), _CMP_GE_OQ);
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(times), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_and_ps(_mm256_castsi256_ps(bits), kept));
}
inline vec turns_low(vec a, vec b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
inline vec turns_high(vec a, vec b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}

#endif

static_assert(TILE % (WIDTH * COLUMNS) == 0, "a tile is whole turns of the inner loops");

// A square of WIDTH rows, mirrored, to `out`. Each round moves the highest bit of (row, column) to the end.
inline void transpose(vec * rows, float * out, int64_t stride) {
    for (int round = 1; round < WIDTH; round *= 2) {
        vec next[WIDTH];
        for (int i = 0; i < WIDTH / 2; i++) {
            next[2 * i]     = turns_low(rows[i], rows[i + WIDTH / 2]);
            next[2 * i + 1] = turns_high(rows[i], rows[i + WIDTH / 2]);
        }
        for (int i = 0; i < WIDTH; i++) {
            rows[i] = next[i];
        }
    }
    for (int i = 0; i < WIDTH; i++) {
        store(out + i * stride, rows[i]);
    }
}

// N rows `q` of `width` floats by `keys` ([width][TILE]): TILE floats each to `out`.
template <int N> inline void score(const float * const * q, const float * keys, int64_t width, float * const * out) {
    for (int64_t column = 0; column < TILE; column += COLUMNS * WIDTH) {
        vec sum[N][COLUMNS];
        for (int n = 0; n < N; n++) {
            for (int c = 0; c < COLUMNS; c++) {
                sum[n][c] = all(0.0f);
            }
        }
        for (int64_t d = 0; d < width; d++) {
            vec k[COLUMNS];
            for (int c = 0; c < COLUMNS; c++) {
                k[c] = load(keys + d * TILE + column + c * WIDTH);
            }
            for (int n = 0; n < N; n++) {
                const vec x = all(q[n][d]);
                for (int c = 0; c < COLUMNS; c++) {
                    sum[n][c] = fma(x, k[c], sum[n][c]);
                }
            }
        }
        for (int n = 0; n < N; n++) {
            for (int c = 0; c < COLUMNS; c++) {
                store(out[n] + column + c * WIDTH, sum[n][c]);
            }
        }
    }
}

// C registers of what N rows of weights `p` make of `values` ([TILE][width]), added to `out`.
template <int N, int C>
inline void gather(const float * const * p, const float * values, int64_t width, float * const * out, int64_t column) {
    vec sum[N][C];
    for (int n = 0; n < N; n++) {
        for (int c = 0; c < C; c++) {
            sum[n][c] = load(out[n] + column + c * WIDTH);
        }
    }
    for (int64_t k = 0; k < TILE; k++) {
        vec v[C];
        for (int c = 0; c < C; c++) {
            v[c] = load(values + k * width + column + c * WIDTH);
        }
        for (int n = 0; n < N; n++) {
            const vec x = all(p[n][k]);
            for (int c = 0; c < C; c++) {
                sum[n][c] = fma(x, v[c], sum[n][c]);
            }
        }
    }
    for (int n = 0; n < N; n++) {
        for (int c = 0; c < C; c++) {
            store(out[n] + column + c * WIDTH, sum[n][c]);
        }
    }
}

template <int N> inline void collect(const float * const * p, const float * values, int64_t width, float * const * out) {
    int64_t column = 0;
    for (; column + COLUMNS * WIDTH <= width; column += COLUMNS * WIDTH) {
        gather<N, COLUMNS>(p, values, width, out, column);
    }
    for (; column < width; column += WIDTH) {
        gather<N, 1>(p, values, width, out, column);
    }
}

// Any number of rows, SIDE at a time. What is left over has a loop of its own, as the sums must stay in registers.
template <int N = SIDE> inline void scores(int n, const float * const * q, const float * keys, int64_t width, float * const * out) {
    for (; n >= N; n -= N, q += N, out += N) {
        score<N>(q, keys, width, out);
    }
    if constexpr (N > 1) {
        scores<N - 1>(n, q, keys, width, out);
    }
}

template <int N = SIDE> inline void collects(int n, const float * const * p, const float * values, int64_t width, float * const * out) {
    for (; n >= N; n -= N, p += N, out += N) {
        collect<N>(p, values, width, out);
    }
    if constexpr (N > 1) {
        collects<N - 1>(n, p, values, width, out);
    }
}

// 2^x for x from -0.5 to 0.5.
inline vec power(vec x) {
    vec y = all(0x1.4258d8p-13f);
    y     = fma(y, x, all(0x1.5f44dcp-10f));
    y     = fma(y, x, all(0x1.3b2cc4p-7f));
    y     = fma(y, x, all(0x1.c6aed6p-5f));
    y     = fma(y, x, all(0x1.ebfbdcp-3f));
    y     = fma(y, x, all(0x1.62e430p-1f));
    return fma(y, x, all(1.0f));
}

// tanh, by the exponential of the vector loops; beyond 10 it is 1 in 32 bits.
inline vec bounded(vec x) {
    const vec e = ggml_v_expf(mul(max(min(x, all(10.0f)), all(-10.0f)), all(-2.0f)));
    return div(add(all(1.0f), mul(e, all(-1.0f))), add(all(1.0f), e));
}

}  // namespace llama_bind::attention
