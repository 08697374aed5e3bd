// Layouts of weights for AVX2: 8 rows interleaved, in as many bytes as ggml's own blocks take.
//
// A tile can `load_values` of one block of 32 and `save_values`: a register for each quad (four values that follow each
// other), in which lane r belongs to row r. `expand` and `contract` turn ggml's blocks into a byte for each value and back.
// Not for computing with them (kernel_avx2.h), nor for ggml's K types (avx2_tiles_k.h).
#pragma once

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#include "avx2_acts.h"

namespace llama_bind::packed::avx2 {

constexpr int ROWS = 8;  // weights side by side: the 32-bit lanes of a register

using bytes = uint8_t[ROWS][4];  // a quad of all rows

inline __m256i load(const void * x) {
    return _mm256_loadu_si256((const __m256i *) x);
}

inline void save(void * to, __m256i x) {
    _mm256_storeu_si256((__m256i *) to, x);
}

inline __m256 halves_to_floats(const uint16_t * x) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) x));
}

// The lower and the upper four bits of each byte.
inline __m256i lower(__m256i x) {
    return _mm256_and_si256(x, _mm256_set1_epi8(0x0f));
}

inline __m256i upper(__m256i x) {
    return lower(_mm256_srli_epi16(x, 4));
}

// Four registers of which the low nibbles are the quads 0 to 3 of a block, the high nibbles quads 4 to 7.
inline void load_nibbles(const bytes * from, __m256i * w) {
    for (int c = 0; c < QUADS / 2; c++) {
        const __m256i x = load(from[c]);
        w[c]            = lower(x);
        w[c + 4]        = upper(x);
    }
}

inline void save_nibbles(bytes * to, const __m256i * w) {
    for (int c = 0; c < QUADS / 2; c++) {
        save(to[c], _mm256_or_si256(lower(w[c]), _mm256_slli_epi16(lower(w[c + 4]), 4)));
    }
}

// Sets bit 4 of quad c to bit c of `from`.
inline void load_fifth(const bytes & from, __m256i * w) {
    const __m256i five = _mm256_set1_epi8(0x10);
    const __m256i bits = load(from);
    const __m256i up[] = { _mm256_slli_epi16(bits, 4), _mm256_slli_epi16(bits, 3), _mm256_slli_epi16(bits, 2),
                           _mm256_slli_epi16(bits, 1), bits,                       _mm256_srli_epi16(bits, 1),
                           _mm256_srli_epi16(bits, 2), _mm256_srli_epi16(bits, 3) };
    for (int c = 0; c < QUADS; c++) {
        w[c] = _mm256_or_si256(w[c], _mm256_and_si256(up[c], five));
    }
}

inline void save_fifth(bytes & to, const __m256i * w) {
    const __m256i one  = _mm256_set1_epi8(1);
    __m256i       bits = _mm256_setzero_si256();
    for (int c = 0; c < QUADS; c++) {
        bits = _mm256_or_si256(bits, _mm256_slli_epi16(_mm256_and_si256(_mm256_srli_epi16(w[c], 4), one), c));
    }
    save(to, bits);
}

// A row's values, a byte each, to and from its lanes of quads.
inline void scatter(bytes * to, int r, const uint8_t * values, int count) {
    for (int c = 0; c < count / 4; c++) {
        std::memcpy(to[c][r], values + 4 * c, 4);
    }
}

inline void gather(uint8_t * values, const bytes * from, int r, int count) {
    for (int c = 0; c < count / 4; c++) {
        std::memcpy(values + 4 * c, from[c][r], 4);
    }
}

inline void load_all(const bytes * from, __m256i * w) {
    for (int c = 0; c < QUADS; c++) {
        w[c] = load(from[c]);
    }
}

inline void save_all(bytes * to, const __m256i * w) {
    for (int c = 0; c < QUADS; c++) {
        save(to[c], w[c]);
    }
}

inline __m256i no_scale() {
    return _mm256_set1_epi16(1);
}

template <typename Block> inline void expand_nibbles(const Block & from, uint8_t * values) {
    for (int i = 0; i < BLOCK / 2; i++) {
        values[i]             = from.qs[i] & 0x0f;
        values[i + BLOCK / 2] = from.qs[i] >> 4;
    }
}

template <typename Block> inline void contract_nibbles(Block & to, const uint8_t * values) {
    for (int i = 0; i < BLOCK / 2; i++) {
        to.qs[i] = (uint8_t) ((values[i] & 0x0f) | (values[i + BLOCK / 2] << 4));
    }
}

template <typename Block> inline void expand_fives(const Block & from, uint8_t * values) {
    uint32_t high;
    std::memcpy(&high, from.qh, sizeof(high));
    expand_nibbles(from, values);
    for (int i = 0; i < BLOCK; i++) {
        values[i] = (uint8_t) (values[i] | ((high >> i) & 1) << 4);
    }
}

template <typename Block> inline void contract_fives(Block & to, const uint8_t * values) {
    uint32_t high = 0;
    for (int i = 0; i < BLOCK; i++) {
        high |= (uint32_t) (values[i] >> 4) << i;
    }
    contract_nibbles(to, values);
    std::memcpy(to.qh, &high, sizeof(high));
}

inline void expand(const block_q4_0 & from, uint8_t * values) { expand_nibbles(from, values); }
inline void expand(const block_q4_1 & from, uint8_t * values) { expand_nibbles(from, values); }
inline void expand(const block_q5_0 & from, uint8_t * values) { expand_fives(from, values); }
inline void expand(const block_q5_1 & from, uint8_t * values) { expand_fives(from, values); }
inline void expand(const block_q8_0 & from, uint8_t * values) { std::memcpy(values, from.qs, BLOCK); }

inline void contract(block_q4_0 & to, const uint8_t * values) { contract_nibbles(to, values); }
inline void contract(block_q4_1 & to, const uint8_t * values) { contract_nibbles(to, values); }
inline void contract(block_q5_0 & to, const uint8_t * values) { contract_fives(to, values); }
inline void contract(block_q5_1 & to, const uint8_t * values) { contract_fives(to, values); }
inline void contract(block_q8_0 & to, const uint8_t * values) { std::memcpy(to.qs, values, BLOCK); }

// The values of a block: BITS of each, 4 or 5.
template <int BITS> struct values_of {
    bytes nibbles[QUADS / 2];

    void load(__m256i * w) const { load_nibbles(nibbles, w); }

    void save(const __m256i * w) { save_nibbles(nibbles, w); }
};

template <> struct values_of<5> {
    bytes nibbles[QUADS / 2];
    bytes fifth;

    void load(__m256i * w) const {
        load_nibbles(nibbles, w);
        load_fifth(fifth, w);
    }

    void save(const __m256i * w) {
        save_nibbles(nibbles, w);
        save_fifth(fifth, w);
    }
};

// Q4_0 and Q5_0: d * (q - half of the range).
template <typename Source, int BITS_> struct tile_centred {
    using source                = Source;
    using acts                  = acts_summed;
    static constexpr int VALUES = BLOCK;
    static constexpr int BITS   = BITS_;
    uint16_t             d[ROWS];
    values_of<BITS>      q;

    void load_values(int, __m256i * w) const { q.load(w); }

    void save_values(int, const __m256i * w) { q.save(w); }

    void load_scales(int, __m256i & whole, __m256 & scale, __m256 & least) const {
        whole = no_scale();
        scale = halves_to_floats(d);
        least = _mm256_mul_ps(scale, _mm256_set1_ps(-(float) (1 << (BITS - 1))));
    }

    void put_scales(int r, const source & row) { d[r] = row.d; }

    void take_scales(source & row, int r) const { row.d = d[r]; }
};

// Q4_1 and Q5_1: d * q + m.
template <typename Source, int BITS_> struct tile_from_least {
    using source                = Source;
    using acts                  = acts_summed;
    static constexpr int VALUES = BLOCK;
    static constexpr int BITS   = BITS_;
    uint16_t             d[ROWS];
    uint16_t             m[ROWS];
    values_of<BITS>      q;

    void load_values(int, __m256i * w) const { q.load(w); }

    void save_values(int, const __m256i * w) { q.save(w); }

    void load_scales(int, __m256i & whole, __m256 & scale, __m256 & least) const {
        whole = no_scale();
        scale = halves_to_floats(d);
        least = halves_to_floats(m);
    }

    void put_scales(int r, const source & row) {
        d[r] = row.data.data.d;
        m[r] = row.data.data.m;
    }

    void take_scales(source & row, int r) const {
        row.data.data.d = d[r];
        row.data.data.m = m[r];
    }
};

using tile_q4_0 = tile_centred<block_q4_0, 4>;
using tile_q5_0 = tile_centred<block_q5_0, 5>;
using tile_q4_1 = tile_from_least<block_q4_1, 4>;
using tile_q5_1 = tile_from_least<block_q5_1, 5>;

// d * q, with signs.
struct tile_q8_0 {
    using source                = block_q8_0;
    using acts                  = acts_summed;
    static constexpr int VALUES = BLOCK;
    uint16_t             d[ROWS];
    bytes                q[QUADS];

    void load_values(int, __m256i * w) const { load_all(q, w); }

    void save_values(int, const __m256i * w) { save_all(q, w); }

    void put_scales(int r, const source & row) { d[r] = row.d; }

    void take_scales(source & row, int r) const { row.d = d[r]; }
};

template <typename Tile> constexpr bool takes_the_place_of_its_blocks = sizeof(Tile) == ROWS * sizeof(typename Tile::source);
static_assert(takes_the_place_of_its_blocks<tile_q4_0> && takes_the_place_of_its_blocks<tile_q4_1>);
static_assert(takes_the_place_of_its_blocks<tile_q5_0> && takes_the_place_of_its_blocks<tile_q5_1>);
static_assert(takes_the_place_of_its_blocks<tile_q8_0>);

}  // namespace llama_bind::packed::avx2
