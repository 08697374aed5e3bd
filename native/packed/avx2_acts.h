// Activations as kernel_avx2.h multiplies them. Needs AVX2, FMA and F16C.
#pragma once

#include "sizes.h"

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace llama_bind::packed::avx2 {

constexpr int QUADS = BLOCK / 4;  // of four values each

// One block of each of up to 16 texts, quantized as ggml does (largest value to 127). What lies beside depends on the
// weights: for those that have a minimum, or of which each block is unsigned by the same amount, the sum of the values,
struct acts_summed {
    float  d[TEXTS];
    float  s[TEXTS];  // times d
    int8_t q[TEXTS][BLOCK];
};

// for those with a scale for each half of a block, of which an offset of 32 is taken, twice -16 times the sum of a half.
struct acts_halves {
    float   d[TEXTS];
    int16_t s[2][TEXTS][2];  // 16 * 16 * 127 fits 16 bits, 32 times the sum would not
    int8_t  q[TEXTS][BLOCK];
};

struct rounded {
    __m256i q[4];
    float   d;
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

inline rounded round_block(const float * x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256       v[4];
    __m256       top = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        top  = _mm256_max_ps(top, _mm256_andnot_ps(sign, v[i]));
    }
    const float  most = largest(top);
    const __m256 inv  = _mm256_set1_ps(most != 0.0f ? 127.0f / most : 0.0f);
    rounded      to;
    for (int i = 0; i < 4; i++) {
        to.q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inv));
    }
    to.d = most / 127.0f;
    return to;
}

inline void store(int8_t * to, const rounded & x) {
    // packing works on each half of a register by itself: put the groups of four back in order
    const __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(x.q[0], x.q[1]), _mm256_packs_epi32(x.q[2], x.q[3]));
    _mm256_storeu_si256((__m256i *) to, _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

inline void quantize(acts_summed & to, int text, const float * from) {
    const rounded x = round_block(from);
    to.d[text]      = x.d;
    to.s[text] = x.d * (float) added(_mm256_add_epi32(_mm256_add_epi32(x.q[0], x.q[1]), _mm256_add_epi32(x.q[2], x.q[3])));
    store(to.q[text], x);
}

inline void quantize(acts_halves & to, int text, const float * from) {
    const rounded x = round_block(from);
    to.d[text]      = x.d;
    for (int half = 0; half < 2; half++) {
        const int sum         = added(_mm256_add_epi32(x.q[2 * half], x.q[2 * half + 1]));
        to.s[half][text][0] = to.s[half][text][1] = (int16_t) (-16 * sum);
    }
    store(to.q[text], x);
}

// Four bytes for every row.
inline __m256i broadcast(const void * x) {
    int32_t four;
    std::memcpy(&four, x, sizeof(four));
    return _mm256_set1_epi32(four);
}

}  // namespace llama_bind::packed::avx2
