// Packing and inner loops of packed.cpp for AVX2: 8 rows of weights by 1 to 16 rows of activations.
#pragma once

#include "avx2_tiles_k.h"

namespace llama_bind::packed::avx2 {

// 8 rows, whatever their type, by way of a byte for each value. `stride`: from one row's blocks to the next one's.
template <typename Tile> inline void pack(Tile & tile, const typename Tile::source * row, int64_t stride) {
    bytes all[Tile::VALUES / 4];
    for (int r = 0; r < ROWS; r++, row += stride) {
        uint8_t values[Tile::VALUES];
        expand(*row, values);
        scatter(all, r, values, Tile::VALUES);
        tile.put_scales(r, *row);
    }
    for (int block = 0; block < Tile::VALUES / BLOCK; block++) {
        __m256i w[QUADS];
        load_all(all + QUADS * block, w);
        tile.save_values(block, w);
    }
}

template <typename Tile> inline void unpack(const Tile & tile, typename Tile::source * row, int64_t stride) {
    bytes all[Tile::VALUES / 4];
    for (int block = 0; block < Tile::VALUES / BLOCK; block++) {
        __m256i w[QUADS];
        tile.load_values(block, w);
        save_all(all + QUADS * block, w);
    }
    for (int r = 0; r < ROWS; r++, row += stride) {
        uint8_t values[Tile::VALUES];
        gather(values, all, r, Tile::VALUES);
        contract(*row, values);
        tile.take_scales(*row, r);
    }
}

constexpr int AHEAD = 2048;  // bytes between what is read and what is asked for
constexpr int PASS  = 4;     // activations that one unpacking of the weights serves: their sums stay in registers

// What a block adds to the sums of N texts, from text `first` on. Overloaded by what kinds of weights differ in.

// Unsigned values with a minimum.
template <int N, typename Tile>
inline void add_block(__m256 * sum, const Tile & tile, int block, const acts_summed & x, int first) {
    constexpr int SAFE = Tile::BITS == 4 ? QUADS : QUADS / 2;  // 2 * SAFE products fit 16 bits
    __m256i       w[QUADS], whole;
    __m256        scale, least;
    tile.load_values(block, w);
    tile.load_scales(block, whole, scale, least);
    for (int n = 0; n < N; n++) {
        const int8_t * q   = x.q[first + n];
        __m256i        dot = _mm256_setzero_si256();
        for (int part = 0; part < QUADS; part += SAFE) {
            __m256i pairs = _mm256_maddubs_epi16(w[part], broadcast(q + 4 * part));
            for (int c = part + 1; c < part + SAFE; c++) {
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w[c], broadcast(q + 4 * c)));
            }
            dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, whole));
        }
        sum[n] = _mm256_fmadd_ps(least, _mm256_set1_ps(x.s[first + n]), sum[n]);
        sum[n] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x.d[first + n])), _mm256_cvtepi32_ps(dot), sum[n]);
    }
}

// Signed values: a product needs one unsigned operand, so the activation takes over the weight's sign.
template <int N>
inline void add_block(__m256 * sum, const tile_q8_0 & tile, int, const acts_summed & x, int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i       dot[N];
    for (int n = 0; n < N; n++) {
        dot[n] = _mm256_setzero_si256();
    }
    for (int c = 0; c < QUADS; c++) {
        const __m256i w   = load(tile.q[c]);
        const __m256i abs = _mm256_abs_epi8(w);
        for (int n = 0; n < N; n++) {
            const __m256i pairs = _mm256_maddubs_epi16(abs, _mm256_sign_epi8(broadcast(x.q[first + n] + 4 * c), w));
            dot[n]              = _mm256_add_epi32(dot[n], _mm256_madd_epi16(pairs, ones));
        }
    }
    const __m256 d = halves_to_floats(tile.d);
    for (int n = 0; n < N; n++) {
        sum[n] = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(x.d[first + n])), _mm256_cvtepi32_ps(dot[n]), sum[n]);
    }
}

// Unsigned values of which 32 is taken, with a scale for each half of the block.
template <int N>
inline void add_block(__m256 * sum, const tile_q6_K & tile, int block, const acts_halves & x, int first) {
    __m256i w[QUADS];
    __m256i dot[N];
    tile.load_values(block, w);
    for (int half = 0; half < 2; half++) {
        const __m256i   scale = tile.scale_of(2 * block + half);
        const __m256i * v     = w + 4 * half;
        for (int n = 0; n < N; n++) {
            const int8_t * q = x.q[first + n] + 16 * half;
            // four products of 63 * 127 fit 16 bits
            const __m256i  a = _mm256_add_epi16(_mm256_maddubs_epi16(v[0], broadcast(q)), _mm256_maddubs_epi16(v[1], broadcast(q + 4)));
            const __m256i  b = _mm256_add_epi16(_mm256_maddubs_epi16(v[2], broadcast(q + 8)), _mm256_maddubs_epi16(v[3], broadcast(q + 12)));
            const __m256i  both = _mm256_add_epi32(_mm256_madd_epi16(a, scale), _mm256_madd_epi16(b, scale));
            const __m256i  less = _mm256_madd_epi16(broadcast(x.s[half][first + n]), scale);
            const __m256i  here = _mm256_add_epi32(both, less);
            dot[n]              = half == 0 ? here : _mm256_add_epi32(dot[n], here);
        }
    }
    const __m256 d = halves_to_floats(tile.d);
    for (int n = 0; n < N; n++) {
        sum[n] = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(x.d[first + n])), _mm256_cvtepi32_ps(dot[n]), sum[n]);
    }
}

// N rows of activations by the 8 rows of `tiles`: 8 floats each to `out`, `stride` floats apart.
template <int N, typename Tile>
inline void multiply(const Tile * tiles, const typename Tile::acts * x, int first, int64_t blocks, float * out, int64_t stride) {
    constexpr int BLOCKS = Tile::VALUES / BLOCK;
    __m256        sum[N];
    for (int n = 0; n < N; n++) {
        sum[n] = _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < blocks; k++) {
        if constexpr (BLOCKS > 1) {  // scales are read again for every block, which hides from the processor what comes next
            const char * ahead = (const char *) tiles + k * (int64_t) (sizeof(Tile) / BLOCKS) + AHEAD;
            for (size_t i = 0; i < sizeof(Tile) / BLOCKS; i += 64) {
                _mm_prefetch(ahead + i, _MM_HINT_T0);
            }
        }
        add_block<N>(sum, tiles[k / BLOCKS], (int) (k % BLOCKS), x[k], first);
    }
    for (int n = 0; n < N; n++) {
        _mm256_storeu_ps(out + n * stride, sum[n]);
    }
}

// The same for n of them.
template <typename Tile>
inline void multiply_n(int n, const Tile * tiles, const typename Tile::acts * x, int64_t blocks, float * out, int64_t stride) {
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

}  // namespace llama_bind::packed::avx2
