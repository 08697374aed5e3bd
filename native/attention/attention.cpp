#include "attention.h"

#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "traits.h"

#if (defined(__AVX512F__) && defined(__AVX512DQ__)) || (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))

#include "kernel.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace llama_bind::attention {

constexpr int     MOST_ROWS = 48;   // queries (of some tokens, by some heads) that are worked on together
constexpr int64_t CHUNK     = 512;  // keys whose sums are formed by themselves, so that threads may share a query's keys
constexpr int64_t ALIGN     = 64;
constexpr float   LOG2E     = 1.44269504f;  // scores are those of 2^x

// What is left to the head: its slope where positions are told by slopes (ALiBi).
static float slope_of(float max_bias, int64_t heads, int64_t head) {
    if (max_bias <= 0.0f) {
        return 1.0f;
    }
    const int64_t power = (int64_t) 1 << (int64_t) std::floor(std::log2((double) heads));
    return head < power ? powf(powf(2.0f, -max_bias / (float) power), (float) (head + 1))
                        : powf(powf(2.0f, -max_bias / 2.0f / (float) power), (float) (2 * (head - power) + 1));
}

// The operation, and how it is divided: a unit is some tokens of a text by some of the heads that share their keys.
struct plan {
    const ggml_tensor *q, *k, *v, *mask, *sinks;
    int64_t wide_k, wide_v, tokens, heads, texts, keys, group;
    int64_t unit_heads, unit_tokens, head_units, token_units, units, chunks, rows;
    float   scale, max_bias, cap;

    explicit plan(const ggml_tensor * op) :
        q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]), sinks(op->src[4]), wide_k(k->ne[0]),
        wide_v(v->ne[0]), tokens(q->ne[1]), heads(q->ne[2]), texts(q->ne[3]), keys(k->ne[1]), group(heads / k->ne[2]) {
        const float * params = (const float *) op->op_params;
        scale = params[0], max_bias = params[1], cap = params[2];
        scale = cap != 0.0f ? scale / cap : scale * LOG2E;
        unit_heads  = std::min<int64_t>(group, MOST_ROWS);
        unit_tokens = std::min<int64_t>(tokens, MOST_ROWS / unit_heads);
        head_units  = (group + unit_heads - 1) / unit_heads;
        token_units = (tokens + unit_tokens - 1) / unit_tokens;
        units       = texts * k->ne[2] * head_units * token_units;
        chunks      = (keys + CHUNK - 1) / CHUNK;
        rows        = unit_heads * unit_tokens;
    }

    // Too few units to keep the threads busy: they share the keys as well.
    bool shared(int threads) const { return threads > 1 && chunks > 1 && units < 4 * threads; }

    // A value and, behind it, a one: what the weights make of it is their sum.
    int64_t wide_sum() const { return wide_v + WIDTH; }
    int64_t sums_size() const { return (rows * (wide_sum() + 1) + 15) / 16 * 16; }

    // Floats of memory that a thread works in, and of what is handed from thread to thread.
    int64_t own_size() const {
        const int64_t floats = TILE * (wide_k + wide_sum()) + rows * (wide_k + TILE) + 2 * sums_size() +
                               WIDTH * std::max(wide_k, wide_v);
        return (floats + 15) / 16 * 16;
    }
    int64_t bytes(int threads) const {
        const int64_t handed = shared(threads) ? units * chunks * sums_size() : 0;
        return (threads * own_size() + handed) * (int64_t) sizeof(float) + ALIGN;
    }
};

// For each row: the greatest exponent, a whole number, and the values and a one by their weights. Numbers that are brought
// to another exponent lose nothing, so they may be brought to it at any time: it makes no difference where a text's keys lie.
struct sums {
    float *top, *out;
    sums(float * memory, const plan & p) : top(memory), out(memory + p.rows) {}
    void clear(const plan & p, int64_t rows) const {
        std::fill_n(top, rows, -INFINITY);
        std::fill_n(out, rows * p.wide_sum(), 0.0f);
    }
};

// Which rows of the operation a unit has.
struct unit {
    int64_t text, kv_head, head, heads, token, tokens, rows;
    unit(const plan & p, int64_t i) {
        token = i % p.token_units * p.unit_tokens, i /= p.token_units;
        head = i % p.head_units * p.unit_heads, i /= p.head_units;
        kv_head = i % p.k->ne[2], text = i / p.k->ne[2];
        tokens = std::min(p.unit_tokens, p.tokens - token);
        heads  = std::min(p.unit_heads, p.group - head);
        head += kv_head * p.group;
        rows = tokens * heads;
    }
    int64_t token_of(int64_t row) const { return token + row / heads; }
    int64_t head_of(int64_t row) const { return head + row % heads; }
};

static const char * place(const ggml_tensor * x, int64_t i1, int64_t i2, int64_t i3) {
    return (const char *) x->data + i1 * x->nb[1] + i2 * x->nb[2] + i3 * x->nb[3];
}

class worker {
    const plan & p;
    const unit & u;
    float *keys, *values, *queries, *weights, *row;
    const float * query_of[MOST_ROWS];
    float *       weight_of[MOST_ROWS];
    float *       out_of[MOST_ROWS];
    int64_t       row_of[MOST_ROWS];
    bool          masked[MOST_ROWS];  // some of the tile's keys are, or weigh less

  public:
    worker(const plan & p, const unit & u, float * memory) : p(p), u(u) {
        keys    = memory;
        values  = keys + TILE * p.wide_k;
        queries = values + TILE * p.wide_sum();
        weights = queries + p.rows * p.wide_k;
        row     = weights + p.rows * TILE;
        for (int64_t r = 0; r < u.rows; r++) {
            const float * from = (const float *) place(p.q, u.token_of(r), u.head_of(r), u.text);
            for (int64_t d = 0; d < p.wide_k; d += WIDTH) {
                store(queries + r * p.wide_k + d, mul(load(from + d), all(p.scale)));
            }
        }
    }

    // Sums over the keys from `first` to `last`; of all rows, or `alone` of that one, untouched by what it does not see.
    void attend(int64_t first, int64_t last, sums to, int64_t alone = -1) {
        to.clear(p, u.rows);
        for (int64_t from = first; from < last; from += TILE) {
            const int64_t count = std::min<int64_t>(TILE, last - from);
            const int     n     = seen(from, count, to, alone);
            if (n == 0) {
                continue;
            }
            unpack_keys(from, count);
            fetch(p.v, from, count);
            if (alone >= 0) {
                hide_keys(alone, from, count);
            }
            scores(n, query_of, keys, p.wide_k, weight_of);
            for (int i = 0; i < n; i++) {
                weigh(i, from, count, to);
            }
            unpack_values(from, count);
            if (alone >= 0) {
                hide_values(alone, from, count);
            }
            fetch(p.k, from + TILE, std::min<int64_t>(TILE, p.keys - from - TILE));
            collects(n, (const float * const *) weight_of, values, p.wide_sum(), out_of);
        }
    }

  private:
    const uint16_t * mask_of(int64_t token, int64_t from) const {
        return (const uint16_t *) place(p.mask, token, 0, u.text % p.mask->ne[3]) + from;
    }

    // Keys of one head lie apart, where the processor does not expect the next one.
    void fetch(const ggml_tensor * x, int64_t from, int64_t count) const {
        const int64_t bytes = (int64_t) ggml_row_size(x->type, x->ne[0]);
        for (int64_t i = 0; i < count; i++) {
            const char * first = place(x, from + i, u.kv_head, u.text);
            for (int64_t b = 0; b < bytes; b += 64) {
                _mm_prefetch(first + b, _MM_HINT_T0);
            }
        }
    }

    // The rows that see anything of a tile, and how many they are.
    int seen(int64_t from, int64_t count, sums to, int64_t alone) {
        int n = 0;
        for (int64_t t = 0; t < u.tokens; t++) {
            uint16_t differ = p.mask == nullptr;  // not minus infinity
            uint16_t bits   = 0;
            if (p.mask != nullptr) {
                const uint16_t * mask = mask_of(u.token + t, from);
                for (int64_t i = 0; i < count; i++) {
                    differ |= mask[i] ^ 0xFC00;
                    bits |= mask[i];
                }
            }
            for (int64_t h = 0; differ != 0 && h < u.heads; h++) {
                const int64_t r = t * u.heads + h;
                if (alone >= 0 && r != alone) {
                    continue;
                }
                row_of[n]       = r;
                query_of[n]     = queries + r * p.wide_k;
                weight_of[n]    = weights + n * TILE;
                out_of[n]       = to.out + r * p.wide_sum();
                masked[n]       = bits != 0;
                n++;
            }
        }
        return n;
    }

    // Scores become weights, and what was summed before is brought to the same greatest score.
    void weigh(int i, int64_t from, int64_t count, sums to) {
        const int64_t r = row_of[i];
        constexpr int PARTS = TILE / WIDTH;
        vec           w[PARTS];
        std::fill(weight_of[i] + count, weight_of[i] + TILE, -INFINITY);
        for (int k = 0; k < PARTS; k++) {
            w[k] = load(weight_of[i] + k * WIDTH);
        }
        if (p.cap != 0.0f) {
            for (int k = 0; k < PARTS; k++) {
                w[k] = mul(bounded(w[k]), all(p.cap * LOG2E));
            }
        }
        if (masked[i] || (p.cap != 0.0f && count < TILE)) {
            add_mask(w, r, from, count);
        }
        vec top = w[0];
        for (int k = 1; k < PARTS; k++) {
            top = max(top, w[k]);
        }
        const float greatest = largest(whole(top));
        if (greatest > to.top[r]) {
            const vec less = all(to.top[r] - greatest);
            to.top[r]      = greatest;
            for (int64_t d = 0; d < p.wide_sum(); d += WIDTH) {
                store(out_of[i] + d, doubled(load(out_of[i] + d), less));
            }
        }
        for (int k = 0; k < PARTS; k++) {
            // of what is no number max() gives the second
            const vec exponent = max(all(-1e6f), whole(w[k]));
            const vec rest     = max(all(-0.5f), add(w[k], mul(exponent, all(-1.0f))));
            store(weight_of[i] + k * WIDTH, doubled(power(rest), add(exponent, all(-to.top[r]))));
        }
    }

    // What the mask says of a row's scores; minus infinity where there are no keys.
    void add_mask(vec * scores, int64_t r, int64_t from, int64_t count) const {
        uint16_t rest[TILE] = {};
        if (count < TILE) {
            std::fill(rest + count, rest + TILE, (uint16_t) 0xFC00);
        }
        const uint16_t * mask = rest;
        if (p.mask != nullptr) {
            mask = mask_of(u.token_of(r), from);
            if (count < TILE) {
                std::memcpy(rest, mask, (size_t) count * sizeof(uint16_t));
                mask = rest;
            }
        }
        const vec slope = all(LOG2E * slope_of(p.max_bias, p.heads, u.head_of(r)));
        for (int k = 0; k < TILE / WIDTH; k++) {
            scores[k] = fma(slope, half(mask + k * WIDTH), scores[k]);
        }
    }

    // A row of keys or values of another type as 32-bit floats, in `memory` or where it is.
    static const float * read(const ggml_tensor * x, const char * from, float * memory) {
        if (x->type == GGML_TYPE_F32) {
            return (const float *) from;
        }
        ggml_get_type_traits(x->type)->to_float(from, memory, x->ne[0]);
        return memory;
    }

    // [wide_k][TILE]; where there are no keys, the last one again.
    void unpack_keys(int64_t from, int64_t count) {
        for (int64_t first = 0; first < TILE; first += WIDTH) {
            const char *  at[WIDTH];
            const float * floats[WIDTH];
            const bool    halves = p.k->type == GGML_TYPE_F16;
            for (int64_t i = 0; i < WIDTH; i++) {
                at[i] = place(p.k, from + std::min(first + i, count - 1), u.kv_head, u.text);
                if (!halves) {
                    floats[i] = read(p.k, at[i], row + i * p.wide_k);
                }
            }
            const int64_t width = p.wide_k;
            for (int64_t d = 0; d < width; d += WIDTH) {
                vec square[WIDTH];
                if (halves) {
                    for (int i = 0; i < WIDTH; i++) {
                        square[i] = half((const uint16_t *) at[i] + d);
                    }
                } else {
                    for (int i = 0; i < WIDTH; i++) {
                        square[i] = load(floats[i] + d);
                    }
                }
                transpose(square, keys + d * TILE + first, TILE);
            }
        }
    }

    // [TILE][wide_sum]
    void unpack_values(int64_t from, int64_t count) {
        const int64_t width = p.wide_v;
        float *       to    = values;
        for (int64_t i = 0; i < count; i++, to += p.wide_sum()) {
            const char * value = place(p.v, from + i, u.kv_head, u.text);
            if (p.v->type == GGML_TYPE_F16) {
                for (int64_t d = 0; d < width; d += WIDTH) {
                    store(to + d, half((const uint16_t *) value + d));
                }
            } else {
                const float * floats = read(p.v, value, row);
                std::copy(floats, floats + width, to);
            }
            store(to + width, all(1.0f));
        }
        std::fill(to, values + TILE * p.wide_sum(), 0.0f);
    }

    // What a row does not see may hold what is no number, which a weight of zero does not undo.
    bool hidden(int64_t r, int64_t key) const { return p.mask != nullptr && *mask_of(u.token_of(r), key) == 0xFC00; }
    void hide_keys(int64_t r, int64_t from, int64_t count) {
        for (int64_t i = 0; i < count; i++) {
            for (int64_t d = 0; d < p.wide_k && hidden(r, from + i); d++) {
                keys[d * TILE + i] = 0.0f;
            }
        }
    }
    void hide_values(int64_t r, int64_t from, int64_t count) {
        for (int64_t i = 0; i < count; i++) {
            if (hidden(r, from + i)) {
                std::fill_n(values + i * p.wide_sum(), p.wide_v, 0.0f);
            }
        }
    }
};

// Adds the sums of further keys.
static void add_sums(const plan & p, const unit & u, sums to, sums more) {
    for (int64_t r = 0; r < u.rows; r++) {
        if (more.top[r] == -INFINITY) {
            continue;
        }
        const float top  = std::max(to.top[r], more.top[r]);
        const vec   old  = all(to.top[r] - top);
        const vec   part = all(more.top[r] - top);
        to.top[r]        = top;
        for (int64_t d = r * p.wide_sum(); d < (r + 1) * p.wide_sum(); d += WIDTH) {
            store(to.out + d, add(doubled(load(more.out + d), part), doubled(load(to.out + d), old)));
        }
    }
}

// A row once more, by itself. Rare, so its memory is taken here.
static void attend_again(const plan & p, const unit & u, worker & work, int64_t r, sums to) {
    std::vector<float> memory((size_t) (2 * p.sums_size()));
    const sums         all_keys(memory.data(), p), part(memory.data() + p.sums_size(), p);
    all_keys.clear(p, u.rows);
    for (int64_t first = 0; first < p.keys; first += CHUNK) {
        work.attend(first, std::min(first + CHUNK, p.keys), part, r);
        add_sums(p, u, all_keys, part);
    }
    to.top[r] = all_keys.top[r];
    std::copy_n(all_keys.out + r * p.wide_sum(), p.wide_sum(), to.out + r * p.wide_sum());
}

static bool numbers(const float * x, int64_t count) {
    float sum = 0.0f;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i] * 0.0f;
    }
    return sum == 0.0f;
}

// Writes a unit's results: [wide_v, heads, tokens, texts].
static void finish(const plan & p, const unit & u, worker & work, sums from, ggml_tensor * op) {
    for (int64_t r = 0; r < u.rows; r++) {
        const float * out = from.out + r * p.wide_sum();
        if (!numbers(out, p.wide_v + 1)) {
            attend_again(p, u, work, r, from);
        }
        float sum = out[p.wide_v], by = 1.0f;
        if (p.sinks != nullptr) {
            const float sink = ((const float *) p.sinks->data)[u.head_of(r)] * LOG2E;
            const float top  = std::max(from.top[r], sink);
            by               = exp2f(from.top[r] - top);
            sum              = sum * by + exp2f(sink - top);
        }
        const vec each = all(sum == 0.0f ? 0.0f : by / sum);
        float *   to   = (float *) ((char *) op->data + u.head_of(r) * op->nb[1] + u.token_of(r) * op->nb[2] + u.text * op->nb[3]);
        for (int64_t d = 0; d < p.wide_v; d += WIDTH) {
            store(to + d, mul(load(out + d), each));
        }
    }
}

class traits : public ggml::cpu::tensor_traits {
    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        size = (size_t) plan(op).bytes(n_threads);
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        const plan p(op);
        float *    memory = (float *) (((uintptr_t) params->wdata + ALIGN - 1) / ALIGN * ALIGN);
        float *    own    = memory + params->ith * p.own_size();
        float *    handed = memory + params->nth * p.own_size();
        float *    last   = own + p.own_size();
        const sums all_keys(last - p.sums_size(), p), part(last - 2 * p.sums_size(), p);
        const bool shared = p.shared(params->nth);
        const int64_t jobs = p.units * (shared ? p.chunks : 1);
        if (params->ith == 0) {
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        ggml_barrier(params->threadpool);
        for (int64_t i = params->ith; i < jobs; i = ggml_threadpool_chunk_add(params->threadpool, 1)) {
            const unit u(p, shared ? i / p.chunks : i);
            worker     work(p, u, own);
            if (shared) {
                const int64_t first = i % p.chunks * CHUNK;
                work.attend(first, std::min(first + CHUNK, p.keys), sums(handed + i * p.sums_size(), p));
                continue;
            }
            all_keys.clear(p, u.rows);
            for (int64_t first = 0; first < p.keys; first += CHUNK) {
                work.attend(first, std::min(first + CHUNK, p.keys), part);
                add_sums(p, u, all_keys, part);
            }
            finish(p, u, work, all_keys, op);
        }
        if (shared) {
            ggml_barrier(params->threadpool);
            for (int64_t i = params->ith; i < p.units; i += params->nth) {
                const unit u(p, i);
                worker     work(p, u, own);
                all_keys.clear(p, u.rows);
                for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
                    add_sums(p, u, all_keys, sums(handed + (i * p.chunks + chunk) * p.sums_size(), p));
                }
                finish(p, u, work, all_keys, op);
            }
        }
        return true;
    }
};

static bool readable(const ggml_tensor * x) {
    return x->ne[0] % WIDTH == 0 && x->nb[0] == ggml_type_size(x->type) &&
           (x->type == GGML_TYPE_F32 || x->type == GGML_TYPE_F16 || ggml_get_type_traits(x->type)->to_float != nullptr);
}

// Everything else is left to ggml.
static bool computable(const ggml_tensor * op) {
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    return op->op == GGML_OP_FLASH_ATTN_EXT && q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float) && readable(k) &&
           readable(v) && k->ne[2] == v->ne[2] && k->ne[3] == q->ne[3] && v->ne[3] == q->ne[3] &&
           q->ne[2] % k->ne[2] == 0 && k->ne[1] > 0 && op->ne[0] == v->ne[0] && op->nb[0] == sizeof(float) &&
           (mask == nullptr || (mask->type == GGML_TYPE_F16 && mask->nb[0] == sizeof(uint16_t) && mask->ne[2] == 1));
}

class extra_type : public ggml::cpu::extra_buffer_type {
    // No weights are kept here.
    bool supports_op(ggml_backend_dev_t, const ggml_tensor *) override { return false; }

    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        static traits attention;
        return computable(op) ? &attention : nullptr;
    }
};

static ggml_backend_buffer_type_t buffer_type() {
    static ggml_backend_buffer_type type = {
        /* .iface   = */ {
            /* .get_name       = */ [](ggml_backend_buffer_type_t) { return "CPU_ATTENTION"; },
            /* .alloc_buffer   = */ [](ggml_backend_buffer_type_t, size_t) { return (ggml_backend_buffer_t) nullptr; },
            /* .get_alignment  = */ [](ggml_backend_buffer_type_t) { return (size_t) ALIGN; },
            /* .get_max_size   = */ nullptr,
            /* .get_alloc_size = */ nullptr,
            /* .is_host        = */ nullptr,
        },
        /* .device  = */ ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        /* .context = */ new extra_type(),
    };
    return &type;
}

}  // namespace llama_bind::attention

int32_t lb_attention_register(void) {
    auto & types = ggml_backend_cpu_get_extra_buffer_types();
    auto   ours  = llama_bind::attention::buffer_type();
    if (std::find(types.begin(), types.end(), ours) == types.end()) {
        types.push_back(ours);
    }
    return 1;
}

#else

int32_t lb_attention_register(void) {
    return 0;
}

#endif
