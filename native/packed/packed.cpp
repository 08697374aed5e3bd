#include "packed.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "repack.h"
#include "traits.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernel_avx2.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && \
    defined(__AVX512VNNI__)
#    define LB_PACKED_VNNI
#    include "kernel_avx512.h"
#endif

#include <algorithm>
#include <vector>

namespace llama_bind::packed {

ggml_backend_buffer_type_t buffer_type();

// Rows of activations, flattened over all dimensions but the first.
static const float * activations(const ggml_tensor * x, int64_t row) {
    const int64_t i1 = row % x->ne[1];
    const int64_t i2 = row / x->ne[1] % x->ne[2];
    const int64_t i3 = row / x->ne[1] / x->ne[2];
    return (const float *) ((const char *) x->data + i1 * x->nb[1] + i2 * x->nb[2] + i3 * x->nb[3]);
}

class traits_base : public ggml::cpu::tensor_traits {
  public:
    virtual void pack_all(const ggml_tensor * w, const void * from, void * to) const   = 0;
    virtual void unpack_all(const ggml_tensor * w, const void * from, void * to) const = 0;
};

template <typename Tile> class traits : public traits_base {
    using source = typename Tile::source;
    using acts   = typename Tile::acts;
    // Rows of weights in a tile, which takes the place of their blocks.
    static constexpr int64_t ROWS = sizeof(Tile) / sizeof(source);
    // Up to so many texts every thread quantizes them for itself, and needs not wait for the others.
    static constexpr int64_t ALONE = 4;
    // Bytes of activations that one turn over the weights works on: they should stay in the second-level cache.
    static constexpr int64_t TURN = 512 * 1024;

    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        const int64_t rows   = ggml_nrows(op->src[1]);
        const int64_t groups = (rows + TEXTS - 1) / TEXTS;
        const int64_t copies = rows <= ALONE ? n_threads : 1;
        size                 = (size_t) (copies * groups * (op->src[0]->ne[0] / BLOCK)) * sizeof(acts) + alignof(max_align_t);
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        if (op->op != GGML_OP_MUL_MAT) {
            return false;
        }
        const int64_t blocks = op->src[0]->ne[0] / BLOCK;
        const int64_t rows   = ggml_nrows(op->src[1]);
        const int64_t tiles  = op->src[0]->ne[1] / ROWS;
        auto *        x      = (acts *) params->wdata;
        if (rows <= ALONE) {
            x += params->ith * blocks;
            quantize_rows(op->src[1], x, blocks, 0, rows, 1);
            const int64_t first = tiles * params->ith / params->nth;
            const int64_t last  = tiles * (params->ith + 1) / params->nth;
            multiply_tiles(op, x, blocks, 0, rows, first, last);
            return true;
        }
        quantize_rows(op->src[1], x, blocks, params->ith, rows, params->nth);
        if (params->ith == 0) {
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        ggml_barrier(params->threadpool);
        // A few parts for each thread: one that is held up leaves its parts to the others.
        const int64_t turn  = std::max<int64_t>(1, TURN / (blocks * (int64_t) sizeof(acts))) * TEXTS;
        const int64_t turns = (rows + turn - 1) / turn;
        const int64_t parts = params->nth == 1 ? 1 : std::min<int64_t>(tiles, 4 * params->nth);
        for (int64_t i = params->ith; i < parts * turns; i = ggml_threadpool_chunk_add(params->threadpool, 1)) {
            const int64_t part = i % parts;
            const int64_t from = i / parts * turn;
            multiply_tiles(op, x, blocks, from, std::min(rows, from + turn), tiles * part / parts,
                           tiles * (part + 1) / parts);
        }
        return true;
    }

    static void quantize_rows(const ggml_tensor * x, acts * to, int64_t blocks, int64_t first, int64_t rows, int64_t step) {
        for (int64_t row = first; row < rows; row += step) {
            const float * from = activations(x, row);
            acts *        part = to + row / TEXTS * blocks;
            for (int64_t k = 0; k < blocks; k++) {
                quantize(part[k], (int) (row % TEXTS), from + k * BLOCK);
            }
        }
    }

    // Rows of activations [from, to), from a multiple of TEXTS, by tiles of weights [first, last).
    static void multiply_tiles(const ggml_tensor * op, const acts * x, int64_t blocks, int64_t from, int64_t to,
                               int64_t first, int64_t last) {
        const auto *  weights = (const Tile *) op->src[0]->data;
        const int64_t stride  = op->ne[0];
        const int64_t length  = op->src[0]->ne[0] / Tile::VALUES;
        for (int64_t tile = first; tile < last; tile++) {
            for (int64_t row = from; row < to; row += TEXTS) {
                multiply_n((int) std::min<int64_t>(TEXTS, to - row), weights + tile * length, x + row / TEXTS * blocks,
                           blocks, (float *) op->data + row * stride + tile * ROWS, stride);
            }
        }
    }

    void pack_all(const ggml_tensor * w, const void * from, void * to) const override {
        const int64_t length = w->ne[0] / Tile::VALUES;
        for (int64_t i = 0; i < w->ne[1] / ROWS * length; i++) {
            pack(((Tile *) to)[i], (const source *) from + i / length * ROWS * length + i % length, length);
        }
    }

    void unpack_all(const ggml_tensor * w, const void * from, void * to) const override {
        const int64_t length = w->ne[0] / Tile::VALUES;
        for (int64_t i = 0; i < w->ne[1] / ROWS * length; i++) {
            unpack(((const Tile *) from)[i], (source *) to + i / length * ROWS * length + i % length, length);
        }
    }
};

template <typename Tile> static traits_base * traits_of_type() {
    static traits<Tile> only;
    return &only;
}

static traits_base * traits_of(const ggml_tensor * w) {
    if (ggml_n_dims(w) != 2 || !ggml_is_contiguous(w) || w->ne[1] % 16 != 0) {
        return nullptr;
    }
    switch (w->type) {
#ifdef LB_PACKED_VNNI  // where ggml's own layouts of Q4_0 and Q4_K have kernels for AVX-512 too
        case GGML_TYPE_Q4_1: return traits_of_type<avx512::tile_q4_1>();
        case GGML_TYPE_Q8_0: return traits_of_type<avx512::tile_q8_0>();
#else
        case GGML_TYPE_Q4_0: return traits_of_type<avx2::tile_q4_0>();
        case GGML_TYPE_Q4_1: return traits_of_type<avx2::tile_q4_1>();
        case GGML_TYPE_Q8_0: return traits_of_type<avx2::tile_q8_0>();
        case GGML_TYPE_Q4_K: return traits_of_type<avx2::tile_q4_K>();
#endif
        case GGML_TYPE_Q5_0: return traits_of_type<avx2::tile_q5_0>();
        case GGML_TYPE_Q5_1: return traits_of_type<avx2::tile_q5_1>();
        case GGML_TYPE_Q5_K: return traits_of_type<avx2::tile_q5_K>();
        case GGML_TYPE_Q6_K: return traits_of_type<avx2::tile_q6_K>();
        default: return nullptr;
    }
}

static ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor * w) {
    w->extra = traits_of(w);
    return GGML_STATUS_SUCCESS;
}

static void set_tensor(ggml_backend_buffer_t, ggml_tensor * w, const void * data, size_t offset, size_t size) {
    GGML_ASSERT(w->extra && offset == 0 && size == ggml_nbytes(w) && "packed weights are written as a whole");
    ((const traits_base *) w->extra)->pack_all(w, data, w->data);
}

static void get_tensor(ggml_backend_buffer_t, const ggml_tensor * w, void * data, size_t offset, size_t size) {
    std::vector<uint8_t> all(ggml_nbytes(w));
    ((const traits_base *) w->extra)->unpack_all(w, w->data, all.data());
    std::memcpy(data, all.data() + offset, size);
}

static ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (buffer != nullptr) {
        buffer->buft              = type;
        buffer->iface.init_tensor = init_tensor;
        buffer->iface.set_tensor  = set_tensor;
        buffer->iface.get_tensor  = get_tensor;
        buffer->iface.cpy_tensor  = nullptr;
    }
    return buffer;
}

class extra_type : public ggml::cpu::extra_buffer_type {
    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        const ggml_tensor * w = op->src[0];
        const ggml_tensor * x = op->src[1];
        return op->op == GGML_OP_MUL_MAT && w->buffer && w->buffer->buft == buffer_type() && traits_of(w) &&
               x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) &&
               (!x->buffer || ggml_backend_buft_is_host(x->buffer->buft));
    }

    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        const ggml_tensor * w = op->src[0];
        if (op->op != GGML_OP_MUL_MAT || !w->buffer || w->buffer->buft != buffer_type()) {
            return nullptr;
        }
        return (ggml::cpu::tensor_traits *) (traits_base *) w->extra;
    }
};

ggml_backend_buffer_type_t buffer_type() {
    static ggml_backend_buffer_type type = {
        /* .iface   = */ {
            /* .get_name       = */ [](ggml_backend_buffer_type_t) { return "CPU_PACKED"; },
            /* .alloc_buffer   = */ alloc_buffer,
            /* .get_alignment  = */ [](ggml_backend_buffer_type_t) { return (size_t) 64; },
            /* .get_max_size   = */ nullptr,
            /* .get_alloc_size = */ nullptr,
            /* .is_host        = */ nullptr,
        },
        /* .device  = */ ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        /* .context = */ new extra_type(),
    };
    return &type;
}

}  // namespace llama_bind::packed

int32_t lb_packed_register(void) {
    auto & types = ggml_backend_cpu_get_extra_buffer_types();
    auto   ours  = llama_bind::packed::buffer_type();
    if (std::find(types.begin(), types.end(), ours) == types.end()) {
        // Ahead of ggml's layouts for AVX2, which serve some of these types as well, but not of those for AMX.
        types.insert(std::find(types.begin(), types.end(), ggml_backend_cpu_repack_buffer_type()), ours);
    }
    return 1;
}

#else

int32_t lb_packed_register(void) {
    return 0;
}

#endif
