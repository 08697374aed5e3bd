// Layouts of ggml's K types for AVX2: 256 values of 8 rows, eight blocks. Otherwise as avx2_tiles.h.
#pragma once

#include "avx2_tiles.h"

namespace llama_bind::packed::avx2 {

constexpr int K_BLOCKS = QK_K / BLOCK;

// One byte for each row.
inline __m128i load_row_bytes(const void * x) {
    return _mm_loadl_epi64((const __m128i *) x);
}

inline __m256 bytes_to_floats(__m128i x) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x));
}

// Each row's signed byte in both 16-bit halves of its lane.
inline __m256i bytes_to_pairs(__m128i x) {
    const __m256i each = _mm256_cvtepi8_epi32(x);
    return _mm256_or_si256(_mm256_slli_epi32(each, 16), _mm256_and_si256(each, _mm256_set1_epi32(0xffff)));
}

inline void expand_nibbles_k(const uint8_t * qs, uint8_t * values) {
    for (int i = 0; i < QK_K / 2; i++) {
        const int at    = i / BLOCK * 2 * BLOCK + i % BLOCK;
        values[at]         = qs[i] & 0x0f;
        values[at + BLOCK] = qs[i] >> 4;
    }
}

inline void contract_nibbles_k(uint8_t * qs, const uint8_t * values) {
    for (int i = 0; i < QK_K / 2; i++) {
        const int at = i / BLOCK * 2 * BLOCK + i % BLOCK;
        qs[i]        = (uint8_t) ((values[at] & 0x0f) | (values[at + BLOCK] << 4));
    }
}

inline void expand(const block_q4_K & from, uint8_t * values) { expand_nibbles_k(from.qs, values); }

inline void contract(block_q4_K & to, const uint8_t * values) { contract_nibbles_k(to.qs, values); }

inline void expand(const block_q5_K & from, uint8_t * values) {
    expand_nibbles_k(from.qs, values);
    for (int i = 0; i < QK_K; i++) {
        values[i] = (uint8_t) (values[i] | ((from.qh[i % BLOCK] >> (i / BLOCK)) & 1) << 4);
    }
}

inline void contract(block_q5_K & to, const uint8_t * values) {
    contract_nibbles_k(to.qs, values);
    std::memset(to.qh, 0, sizeof(to.qh));
    for (int i = 0; i < QK_K; i++) {
        to.qh[i % BLOCK] = (uint8_t) (to.qh[i % BLOCK] | (values[i] >> 4) << (i / BLOCK));
    }
}

// In each half of a Q6_K block (128 values) four runs of 32 share bytes: run p has nibble p / 2 of its byte in ql, and
// bits 2p and 2p + 1 of its byte in qh.
inline void expand(const block_q6_K & from, uint8_t * values) {
    for (int i = 0; i < QK_K; i++) {
        const int half = i / 128, run = i % 128 / 32, l = i % 32;
        const int low  = (from.ql[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4)) & 0x0f;
        const int high = (from.qh[half * 32 + l] >> (run * 2)) & 3;
        values[i]      = (uint8_t) (low | high << 4);
    }
}

inline void contract(block_q6_K & to, const uint8_t * values) {
    std::memset(to.ql, 0, sizeof(to.ql));
    std::memset(to.qh, 0, sizeof(to.qh));
    for (int i = 0; i < QK_K; i++) {
        const int half = i / 128, run = i % 128 / 32, l = i % 32;
        uint8_t & low  = to.ql[half * 64 + run % 2 * 32 + l];
        uint8_t & high = to.qh[half * 32 + l];
        low            = (uint8_t) (low | (values[i] & 0x0f) << (run / 2 * 4));
        high           = (uint8_t) (high | (values[i] >> 4) << (run * 2));
    }
}

// Q4_K and Q5_K: d * scale * q - dmin * minimum, scales and minimums of 6 bits.
template <typename Source, int BITS_> struct tile_k {
    using source                = Source;
    using acts                  = acts_summed;
    static constexpr int VALUES = QK_K;
    static constexpr int BITS   = BITS_;
    uint16_t             d[ROWS];
    uint16_t             m[ROWS];
    uint8_t              scales[K_SCALE_SIZE][ROWS];  // byte i of each row
    values_of<BITS>      q[K_BLOCKS];

    void load_values(int block, __m256i * w) const { q[block].load(w); }

    void save_values(int block, const __m256i * w) { q[block].save(w); }

    void load_scales(int block, __m256i & whole, __m256 & scale, __m256 & least) const {
        const __m128i six = _mm_set1_epi8(0x3f), four = _mm_set1_epi8(0x0f), two = _mm_set1_epi8(0x30);
        __m128i       s, l;
        if (block < 4) {
            s = _mm_and_si128(load_row_bytes(scales[block]), six);
            l = _mm_and_si128(load_row_bytes(scales[block + 4]), six);
        } else {  // four bits each in one byte, the upper two where the first four blocks leave them free
            const __m128i low = load_row_bytes(scales[block + 4]);
            s = _mm_or_si128(_mm_and_si128(low, four),
                             _mm_and_si128(_mm_srli_epi16(load_row_bytes(scales[block - 4]), 2), two));
            l = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(low, 4), four),
                             _mm_and_si128(_mm_srli_epi16(load_row_bytes(scales[block]), 2), two));
        }
        whole = bytes_to_pairs(s);
        scale = halves_to_floats(d);
        least = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_mul_ps(halves_to_floats(m), bytes_to_floats(l)));
    }

    void put_scales(int r, const source & row) {
        d[r] = row.data.data.d;
        m[r] = row.data.data.dmin;
        for (int i = 0; i < K_SCALE_SIZE; i++) {
            scales[i][r] = row.scales[i];
        }
    }

    void take_scales(source & row, int r) const {
        row.data.data.d    = d[r];
        row.data.data.dmin = m[r];
        for (int i = 0; i < K_SCALE_SIZE; i++) {
            row.scales[i] = scales[i][r];
        }
    }
};

using tile_q4_K = tile_k<block_q4_K, 4>;
using tile_q5_K = tile_k<block_q5_K, 5>;

// d * scale * (q - 32), with a signed scale for each half of a block.
struct tile_q6_K {
    using source                = block_q6_K;
    using acts                  = acts_halves;
    static constexpr int VALUES = QK_K;
    uint16_t             d[ROWS];
    int8_t               scales[2 * K_BLOCKS][ROWS];
    struct {  // one after the other, as they are read: processors fetch such memory ahead
        bytes nibbles[QUADS / 2];
        bytes high[2];  // of a half: bits 2c and 2c + 1 are the upper ones of its quad c
    } q[K_BLOCKS];

    void load_values(int block, __m256i * w) const {
        load_nibbles(q[block].nibbles, w);
        const __m256i two = _mm256_set1_epi8(0x30);
        for (int half = 0; half < 2; half++) {
            const __m256i bits = load(q[block].high[half]);
            const __m256i up[] = { _mm256_slli_epi16(bits, 4), _mm256_slli_epi16(bits, 2), bits, _mm256_srli_epi16(bits, 2) };
            for (int c = 0; c < 4; c++) {
                w[4 * half + c] = _mm256_or_si256(w[4 * half + c], _mm256_and_si256(up[c], two));
            }
        }
    }

    void save_values(int block, const __m256i * w) {
        save_nibbles(q[block].nibbles, w);
        for (int half = 0; half < 2; half++) {
            __m256i bits = _mm256_setzero_si256();
            for (int c = 0; c < 4; c++) {
                const __m256i two = _mm256_and_si256(_mm256_srli_epi16(w[4 * half + c], 4), _mm256_set1_epi8(3));
                bits              = _mm256_or_si256(bits, _mm256_slli_epi16(two, 2 * c));
            }
            save(q[block].high[half], bits);
        }
    }

    __m256i scale_of(int half) const { return bytes_to_pairs(load_row_bytes(scales[half])); }

    void put_scales(int r, const source & row) {
        d[r] = row.d;
        for (int half = 0; half < 2 * K_BLOCKS; half++) {
            scales[half][r] = row.scales[half];
        }
    }

    void take_scales(source & row, int r) const {
        row.d = d[r];
        for (int half = 0; half < 2 * K_BLOCKS; half++) {
            row.scales[half] = scales[half][r];
        }
    }
};

static_assert(takes_the_place_of_its_blocks<tile_q4_K> && takes_the_place_of_its_blocks<tile_q5_K>);
static_assert(takes_the_place_of_its_blocks<tile_q6_K>);

}  // namespace llama_bind::packed::avx2
