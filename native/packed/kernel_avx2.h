// Layouts and inner loops of packed.cpp: 8 rows of weights by 1 to 16 rows of activations. Needs AVX2, FMA and F16C.
#pragma once

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace llama_bind::packed {

constexpr int ROWS  = 8;   // weights side by side: the 32-bit lanes of a register
constexpr int TEXTS = 16;  // activations that lie together
constexpr int BLOCK = 32;  // values with a scale of their own, in the weights and in the activations
constexpr int QUADS = 8;   // of four values each, in a block
constexpr int PASS  = 4;   // activations that one unpacking of the weights serves: their sums stay in registers

// Weights. Lane r of every quad belongs to row r. As many bytes as ggml's own blocks.
struct tile_q4_1 {
    using source = block_q4_1;
    uint16_t d[ROWS];
    uint16_t m[ROWS];
    uint8_t  q[QUADS / 2][ROWS][4];  // low nibbles are quads 0 to 3, high nibbles quads 4 to 7
};
struct tile_q8_0 {
    using source = block_q8_0;
    uint16_t d[ROWS];
    int8_t   q[QUADS][ROWS][4];
};
static_assert(sizeof(tile_q4_1) == ROWS * sizeof(block_q4_1), "a tile takes the place of its blocks");
static_assert(sizeof(tile_q8_0) == ROWS * sizeof(block_q8_0), "a tile takes the place of its blocks");

inline void pack(tile_q4_1 & tile, const block_q4_1 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&tile.d[r], &row->data.data.d, sizeof(uint16_t));
        std::memcpy(&tile.m[r], &row->data.data.m, sizeof(uint16_t));
        for (int c = 0; c < QUADS / 2; c++) {
            std::memcpy(tile.q[c][r], row->qs + 4 * c, 4);
        }
    }
}

inline void unpack(const tile_q4_1 & tile, block_q4_1 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&row->data.data.d, &tile.d[r], sizeof(uint16_t));
        std::memcpy(&row->data.data.m, &tile.m[r], sizeof(uint16_t));
        for (int c = 0; c < QUADS / 2; c++) {
            std::memcpy(row->qs + 4 * c, tile.q[c][r], 4);
        }
    }
}

inline void pack(tile_q8_0 & tile, const block_q8_0 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&tile.d[r], &row->d, sizeof(uint16_t));
        for (int c = 0; c < QUADS; c++) {
            std::memcpy(tile.q[c][r], row->qs + 4 * c, 4);
        }
    }
}

inline void unpack(const tile_q8_0 & tile, block_q8_0 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&row->d, &tile.d[r], sizeof(uint16_t));
        for (int c = 0; c < QUADS; c++) {
            std::memcpy(row->qs + 4 * c, tile.q[c][r], 4);
        }
    }
}

// Activations of up to 16 texts: one block of each, quantized as ggml does (largest value to 127), with the scale and
// the sum kept in full precision.
struct acts {
    float  d[TEXTS];
    float  s[TEXTS];
    int8_t q[TEXTS][BLOCK];
};

inline float largest(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y        = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
}

inline int32_t added(__m256i x) {
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y         = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}

template <bool> inline void quantize(acts & to, int text, const float * x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256       v[4];
    __m256       top = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        top  = _mm256_max_ps(top, _mm256_andnot_ps(sign, v[i]));
    }
    const float  most = largest(top);
    const __m256 inv  = _mm256_set1_ps(most != 0.0f ? 127.0f / most : 0.0f);
    __m256i      i[4];
    for (int j = 0; j < 4; j++) {
        i[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v[j], inv));
    }
    const float d = most / 127.0f;
    to.d[text]    = d;
    to.s[text]    = d * (float) added(_mm256_add_epi32(_mm256_add_epi32(i[0], i[1]), _mm256_add_epi32(i[2], i[3])));
    // packing works on each half of a register by itself: put the groups of four back in order
    const __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
    _mm256_storeu_si256((__m256i *) to.q[text],
                        _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

inline __m256i quad(const int8_t * q) {
    int32_t four;
    std::memcpy(&four, q, sizeof(four));
    return _mm256_set1_epi32(four);
}

inline __m256 scales(const uint16_t * x) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) x));
}

inline __m256i load(const void * x) {
    return _mm256_loadu_si256((const __m256i *) x);
}

// What a block adds to the sums of N texts, from text `first` on.
template <int N> inline void add_block(__m256 * sum, const tile_q4_1 & tile, const acts & x, int first) {
    const __m256i low  = _mm256_set1_epi8(0x0f);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i       w[QUADS];
    for (int c = 0; c < QUADS / 2; c++) {
        const __m256i q = load(tile.q[c]);
        w[c]            = _mm256_and_si256(q, low);
        w[c + 4]        = _mm256_and_si256(_mm256_srli_epi16(q, 4), low);
    }
    const __m256 d = scales(tile.d);
    const __m256 m = scales(tile.m);
    for (int n = 0; n < N; n++) {
        const int8_t * q   = x.q[first + n];
        __m256i        dot = _mm256_maddubs_epi16(w[0], quad(q));
        for (int c = 1; c < QUADS; c++) {  // at most 16 * 15 * 127: it fits 16 bits
            dot = _mm256_add_epi16(dot, _mm256_maddubs_epi16(w[c], quad(q + 4 * c)));
        }
        dot    = _mm256_madd_epi16(dot, ones);
        sum[n] = _mm256_fmadd_ps(m, _mm256_set1_ps(x.s[first + n]), sum[n]);
        sum[n] = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(x.d[first + n])), _mm256_cvtepi32_ps(dot), sum[n]);
    }
}

template <int N> inline void add_block(__m256 * sum, const tile_q8_0 & tile, const acts & x, int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i       dot[N];
    for (int n = 0; n < N; n++) {
        dot[n] = _mm256_setzero_si256();
    }
    for (int c = 0; c < QUADS; c++) {
        // a product needs one unsigned operand: the weight without its sign, which the activation takes over
        const __m256i w   = load(tile.q[c]);
        const __m256i abs = _mm256_abs_epi8(w);
        for (int n = 0; n < N; n++) {
            const __m256i pairs = _mm256_maddubs_epi16(abs, _mm256_sign_epi8(quad(x.q[first + n] + 4 * c), w));
            dot[n]              = _mm256_add_epi32(dot[n], _mm256_madd_epi16(pairs, ones));
        }
    }
    const __m256 d = scales(tile.d);
    for (int n = 0; n < N; n++) {
        sum[n] = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(x.d[first + n])), _mm256_cvtepi32_ps(dot[n]), sum[n]);
    }
}

// N rows of activations by the 8 rows of `tiles`: 8 floats each to `out`, `stride` floats apart.
template <int N, typename Tile>
inline void multiply(const Tile * tiles, const acts * x, int first, int64_t blocks, float * out, int64_t stride) {
    __m256 sum[N];
    for (int n = 0; n < N; n++) {
        sum[n] = _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < blocks; k++) {
        add_block<N>(sum, tiles[k], x[k], first);
    }
    for (int n = 0; n < N; n++) {
        _mm256_storeu_ps(out + n * stride, sum[n]);
    }
}

// The same for n of them.
template <typename Tile>
inline void multiply_n(int n, const Tile * tiles, const acts * x, int64_t blocks, float * out, int64_t stride) {
    int first = 0;
    for (; first + PASS <= n; first += PASS) {
        multiply<PASS>(tiles, x, first, blocks, out + first * stride, stride);
    }
    switch (n - first) {
        case 1: return multiply<1>(tiles, x, first, blocks, out + first * stride, stride);
        case 2: return multiply<2>(tiles, x, first, blocks, out + first * stride, stride);
        case 3: return multiply<3>(tiles, x, first, blocks, out + first * stride, stride);
    }
}

}  // namespace llama_bind::packed
