// Layouts and inner loops of packed.cpp: 16 rows of weights by 1 to 16 rows of activations. Needs AVX-512 with VNNI.
#pragma once

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#include "sizes.h"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace llama_bind::packed::avx512 {

constexpr int ROWS = 16;  // weights side by side: the 32-bit lanes of a register

// Activations of up to 16 texts: one block of each, quantized as ggml does (largest value to 127), with the scale and
// the sum kept in full precision.
struct acts_plain {
    float  d[TEXTS];
    float  s[TEXTS];
    int8_t q[TEXTS][BLOCK];
};
// Stored with 128 added, as the unsigned operand of the dot product.
struct acts_flipped : acts_plain {};

// Weights. Lane r of every group of four values belongs to row r. As many bytes as ggml's own blocks.
struct tile_q4_1 {
    using source                = block_q4_1;
    using acts                  = acts_plain;
    static constexpr int VALUES = BLOCK;
    uint16_t d[ROWS];
    uint16_t m[ROWS];
    uint8_t  q[4][ROWS][4];  // group c: low nibbles are values 4c to 4c+3, high nibbles those 16 further
};
struct tile_q8_0 {
    using source                = block_q8_0;
    using acts                  = acts_flipped;
    static constexpr int VALUES = BLOCK;
    uint16_t d[ROWS];
    int8_t   q[8][ROWS][4];
};
static_assert(sizeof(tile_q4_1) == ROWS * sizeof(block_q4_1), "a tile takes the place of its blocks");
static_assert(sizeof(tile_q8_0) == ROWS * sizeof(block_q8_0), "a tile takes the place of its blocks");

inline void pack(tile_q4_1 & tile, const block_q4_1 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&tile.d[r], &row->data.data.d, sizeof(uint16_t));
        std::memcpy(&tile.m[r], &row->data.data.m, sizeof(uint16_t));
        for (int c = 0; c < 4; c++) {
            std::memcpy(tile.q[c][r], row->qs + 4 * c, 4);
        }
    }
}

inline void unpack(const tile_q4_1 & tile, block_q4_1 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&row->data.data.d, &tile.d[r], sizeof(uint16_t));
        std::memcpy(&row->data.data.m, &tile.m[r], sizeof(uint16_t));
        for (int c = 0; c < 4; c++) {
            std::memcpy(row->qs + 4 * c, tile.q[c][r], 4);
        }
    }
}

inline void pack(tile_q8_0 & tile, const block_q8_0 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&tile.d[r], &row->d, sizeof(uint16_t));
        for (int c = 0; c < 8; c++) {
            std::memcpy(tile.q[c][r], row->qs + 4 * c, 4);
        }
    }
}

inline void unpack(const tile_q8_0 & tile, block_q8_0 * row, int64_t stride) {
    for (int r = 0; r < ROWS; r++, row += stride) {
        std::memcpy(&row->d, &tile.d[r], sizeof(uint16_t));
        for (int c = 0; c < 8; c++) {
            std::memcpy(row->qs + 4 * c, tile.q[c][r], 4);
        }
    }
}

template <bool FLIP> inline void quantize_as(acts_plain & to, int text, const float * x) {
    const __m512 a   = _mm512_loadu_ps(x);
    const __m512 b   = _mm512_loadu_ps(x + 16);
    const float  top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    const __m512 inv = _mm512_set1_ps(top != 0.0f ? 127.0f / top : 0.0f);
    const __m512i i  = _mm512_cvtps_epi32(_mm512_mul_ps(a, inv));
    const __m512i j  = _mm512_cvtps_epi32(_mm512_mul_ps(b, inv));
    const float   d  = top / 127.0f;
    to.d[text]       = d;
    to.s[text]       = d * (float) _mm512_reduce_add_epi32(_mm512_add_epi32(i, j));
    const __m128i flip = FLIP ? _mm_set1_epi8((char) 0x80) : _mm_setzero_si128();
    __m128i *     q    = (__m128i *) to.q[text];
    _mm_storeu_si128(q + 0, _mm_xor_si128(_mm512_cvtsepi32_epi8(i), flip));
    _mm_storeu_si128(q + 1, _mm_xor_si128(_mm512_cvtsepi32_epi8(j), flip));
}

inline void quantize(acts_plain & to, int text, const float * x) {
    quantize_as<false>(to, text, x);
}

inline void quantize(acts_flipped & to, int text, const float * x) {
    quantize_as<true>(to, text, x);
}

inline __m512i group(const int8_t * q) {
    int32_t four;
    std::memcpy(&four, q, sizeof(four));
    return _mm512_set1_epi32(four);
}

inline __m512 scales(const uint16_t * x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) x));
}

// N rows of activations by the 16 rows of `tiles`: 16 floats each to `out`, `stride` floats apart.
template <int N> inline void multiply(const tile_q4_1 * tiles, const acts_plain * x, int64_t blocks, float * out, int64_t stride) {
    const __m512i low = _mm512_set1_epi8(0x0f);
    __m512        sum[N];
    for (int n = 0; n < N; n++) {
        sum[n] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < blocks; k++) {
        __m512i w[8];
        for (int c = 0; c < 4; c++) {
            const __m512i q = _mm512_loadu_si512(tiles[k].q[c]);
            w[c]            = _mm512_and_si512(q, low);
            w[c + 4]        = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
        }
        const __m512 d = scales(tiles[k].d);
        const __m512 m = scales(tiles[k].m);
        for (int n = 0; n < N; n++) {
            __m512i dot = _mm512_setzero_si512();
            for (int c = 0; c < 8; c++) {
                dot = _mm512_dpbusd_epi32(dot, w[c], group(x[k].q[n] + 4 * c));
            }
            sum[n] = _mm512_fmadd_ps(m, _mm512_set1_ps(x[k].s[n]), sum[n]);
            sum[n] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x[k].d[n])), _mm512_cvtepi32_ps(dot), sum[n]);
        }
    }
    for (int n = 0; n < N; n++) {
        _mm512_storeu_ps(out + n * stride, sum[n]);
    }
}

template <int N> inline void multiply(const tile_q8_0 * tiles, const acts_plain * x, int64_t blocks, float * out, int64_t stride) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512        sum[N];
    for (int n = 0; n < N; n++) {
        sum[n] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < blocks; k++) {
        __m512i w[8];
        __m512i added = _mm512_setzero_si512();
        for (int c = 0; c < 8; c++) {
            w[c]  = _mm512_loadu_si512(tiles[k].q[c]);
            added = _mm512_dpbusd_epi32(added, ones, w[c]);
        }
        // what the 128 added to each activation contributes
        const __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(added, 7));
        const __m512  d     = scales(tiles[k].d);
        for (int n = 0; n < N; n++) {
            __m512i dot = start;
            for (int c = 0; c < 8; c++) {
                dot = _mm512_dpbusd_epi32(dot, group(x[k].q[n] + 4 * c), w[c]);
            }
            sum[n] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x[k].d[n])), _mm512_cvtepi32_ps(dot), sum[n]);
        }
    }
    for (int n = 0; n < N; n++) {
        _mm512_storeu_ps(out + n * stride, sum[n]);
    }
}

// multiply<n>. Every number of texts has a loop of its own, as the sums must stay in registers.
template <typename Tile, int N = TEXTS>
inline void multiply_n(int n, const Tile * tiles, const acts_plain * x, int64_t blocks, float * out, int64_t stride) {
    if (n == N) {
        return multiply<N>(tiles, x, blocks, out, stride);
    }
    if constexpr (N > 1) {
        multiply_n<Tile, N - 1>(n, tiles, x, blocks, out, stride);
    }
}

}  // namespace llama_bind::packed::avx512
