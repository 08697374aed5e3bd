// See llama_bind_draw.h.
#include "llama_bind_draw.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <vector>

// The libraries are compiled for the least of processors; this file's one long loop also for better ones.
#if defined(__x86_64__) && defined(__GNUC__)
#    define LB_AVX2
#    define LB_INLINE __attribute__((always_inline))
#else
#    define LB_INLINE
#endif

namespace llama_bind {

namespace {

// Numbers compared at once, in lanes that compilers turn into vector instructions.
constexpr int32_t lanes = 32;  // find_maxima puts four by eight together
// Logits beyond this overflow llama.cpp's sorting into buckets (k > 128), whose order is then its own.
constexpr float sortable = 1e6f;

struct buffers {
    std::vector<float>            maxima;
    std::vector<float>            ranked;
    std::vector<llama_token_data> candidates;
    std::vector<llama_token_data> seen;
};

// One for each thread: sequences take turns, so one list of candidates serves them all.
thread_local buffers scratch;

// Changes to a row that are undone at the end, whatever happens between.
class changes {
  public:
    explicit changes(float * row) : row(row) {}
    ~changes() {
        for (auto i = before.rbegin(); i != before.rend(); ++i) {
            row[i->id] = i->logit;
        }
    }
    changes(const changes &) = delete;
    changes & operator=(const changes &) = delete;

    void set(llama_token token, float logit) {
        before.push_back({ token, row[token], 0.0f });
        row[token] = logit;
    }

  private:
    float *                       row;
    std::vector<llama_token_data> before;
};

void add_biases(const float * row, int32_t n, const lb_chain & chain, changes & made) {
    for (int32_t i = 0; i < chain.n_biases; ++i) {
        const llama_logit_bias & bias = chain.biases[i];
        if (bias.token < 0 || bias.token >= n) {
            throw std::runtime_error("a logit bias is for a token that does not exist");
        }
        made.set(bias.token, row[bias.token] + bias.bias);
    }
}

inline LB_INLINE float higher(float a, float b) {
    return a > b ? a : b;
}

// A row as blocks of equal length, and what is left at the end.
struct blocks {
    int32_t length = lanes;
    int32_t count;

    explicit blocks(int32_t n) {
        while (n / length > 512) {
            length *= 2;
        }
        count = n / length;
    }
    int32_t end() const { return count * length; }
};

// The largest of each block; false if there is a NaN in one.
inline LB_INLINE bool find_maxima(const float * x, const blocks & in, float * maxima) {
    int32_t nan[lanes] = {};
    for (int32_t b = 0; b < in.count; ++b, x += in.length) {
        float top[lanes];
        for (int32_t j = 0; j < lanes; ++j) {
            top[j] = -INFINITY;
        }
        for (int32_t i = 0; i < in.length; i += lanes) {
            for (int32_t j = 0; j < lanes; ++j) {
                top[j] = higher(x[i + j], top[j]);
                nan[j] |= x[i + j] != x[i + j];
            }
        }
        float some[8];
        for (int32_t j = 0; j < 8; ++j) {
            some[j] = higher(higher(top[j], top[j + 8]), higher(top[j + 16], top[j + 24]));
        }
        maxima[b] = higher(higher(higher(some[0], some[1]), higher(some[2], some[3])),
                           higher(higher(some[4], some[5]), higher(some[6], some[7])));
    }
    int32_t any = 0;
    for (int32_t j = 0; j < lanes; ++j) {
        any |= nan[j];
    }
    return any == 0;
}

#ifdef LB_AVX2
__attribute__((target("avx2"))) bool find_maxima_avx2(const float * x, const blocks & in, float * maxima) {
    return find_maxima(x, in, maxima);
}
#endif

// The largest of each block, in scratch.maxima; false if there is a NaN anywhere in the row.
bool maxima_of(const float * row, int32_t n, const blocks & in) {
    scratch.maxima.resize(in.count);
    float * maxima = scratch.maxima.data();
#ifdef LB_AVX2
    static const bool avx2 = __builtin_cpu_supports("avx2");
    const bool        ok = avx2 ? find_maxima_avx2(row, in, maxima) : find_maxima(row, in, maxima);
#else
    const bool ok = find_maxima(row, in, maxima);
#endif
    for (int32_t i = in.end(); ok && i < n; ++i) {
        if (row[i] != row[i]) {
            return false;
        }
    }
    return ok;
}

void collect(const float * row, int32_t begin, int32_t end, float least, std::vector<llama_token_data> & found) {
    for (int32_t i = begin; i < end; ++i) {
        if (row[i] >= least) {
            found.push_back({ i, row[i], 0.0f });
        }
    }
}

bool likelier(const llama_token_data & a, const llama_token_data & b) {
    return a.logit > b.logit;
}

// The tokens of the history, each once, with their logits. False where one is a NaN, or is not in the row.
bool look_up_history(const float * row, int32_t n, const lb_chain & chain, std::vector<llama_token_data> & seen) {
    seen.clear();
    for (int32_t i = 0; i < chain.history_size; ++i) {
        const llama_token token = chain.history[i];
        if (token >= n || (token >= 0 && std::isnan(row[token]))) {
            return false;
        }
        if (token >= 0) {
            seen.push_back({ token, row[token], 0.0f });
        }
    }
    const auto less = [](const llama_token_data & a, const llama_token_data & b) { return a.id < b.id; };
    const auto same = [](const llama_token_data & a, const llama_token_data & b) { return a.id == b.id; };
    std::sort(seen.begin(), seen.end(), less);
    seen.erase(std::unique(seen.begin(), seen.end(), same), seen.end());
    return true;
}

// The count likeliest tokens, sorted, in scratch.candidates. False where the row has a NaN, or is too short for this.
//
// The `count` highest maxima of blocks are logits of the row, so the lowest of them bounds the answer from below, and
// only the blocks that reach it are looked at again.
bool find_likeliest(const float * row, int32_t n, int32_t count) {
    const blocks in(n);
    if (in.count < count || !maxima_of(row, n, in)) {
        return false;
    }
    const std::vector<float> & maxima = scratch.maxima;
    std::vector<float> &       ranked = scratch.ranked;
    ranked = maxima;
    std::nth_element(ranked.begin(), ranked.begin() + (count - 1), ranked.end(), std::greater<float>());
    const float                     least = ranked[count - 1];
    std::vector<llama_token_data> & found = scratch.candidates;
    found.clear();
    for (int32_t b = 0; b < in.count; ++b) {
        if (maxima[b] >= least) {
            collect(row, b * in.length, (b + 1) * in.length, least, found);
        }
    }
    collect(row, in.end(), n, least, found);
    std::partial_sort(found.begin(), found.begin() + count, found.end(), likelier);
    found.resize(count);
    return true;
}

// Keeps the k likeliest of the sorted candidates, which llama.cpp's top-k leaves in this order too. False where its
// order may be another: equal logits among the k + 1 likeliest, or numbers that its sorting cannot take.
bool keep(int32_t k) {
    std::vector<llama_token_data> & found = scratch.candidates;
    for (int32_t i = 0; i < k; ++i) {
        if (!(found[i].logit > found[i + 1].logit)) {
            return false;
        }
    }
    found.resize(k);
    return found[0].logit <= sortable;
}

// The same where penalties come first: they change the logits of the tokens of the history alone, so what is kept is
// among those tokens and the likeliest of all others.
bool keep_penalized(float * row, int32_t n, const lb_chain & chain) {
    std::vector<llama_token_data> & seen = scratch.seen;
    std::vector<llama_token_data> & found = scratch.candidates;
    if (!look_up_history(row, n, chain, seen)) {
        return false;
    }
    {
        changes hidden(row);  // if one is found all the same, as minus infinity, it is below k others or equal to one
        for (const llama_token_data & token : seen) {
            hidden.set(token.id, -INFINITY);
        }
        if (!find_likeliest(row, n, chain.top_k + 1)) {
            return false;
        }
    }
    found.insert(found.end(), seen.begin(), seen.end());
    llama_token_data_array candidates = { found.data(), found.size(), -1, false };
    llama_sampler_apply(llama_sampler_chain_get(chain.chain, chain.penalties), &candidates);
    std::partial_sort(found.begin(), found.begin() + chain.top_k + 1, found.end(), likelier);
    return keep(chain.top_k);
}

// What top-k leaves, in scratch.candidates. False: apply the whole chain.
bool select(float * row, int32_t n, const lb_chain & chain) {
    if (chain.top_k <= 0 || chain.top_k >= n) {
        return false;
    }
    changes with_biases(row);
    add_biases(row, n, chain, with_biases);
    if (chain.history_size > 0) {
        return keep_penalized(row, n, chain);
    }
    return find_likeliest(row, n, chain.top_k + 1) && keep(chain.top_k);
}

void remember(lb_chain & chain, llama_token token) {
    if (chain.history_size > 0) {
        chain.history[chain.history_next] = token;
        chain.history_next = (chain.history_next + 1) % chain.history_size;
    }
}

llama_token chosen(const llama_token_data_array & candidates) {
    if (candidates.selected < 0 || candidates.selected >= static_cast<int64_t>(candidates.size)) {
        throw std::runtime_error("the sampler chain chose no token");
    }
    return candidates.data[candidates.selected].id;
}

// As llama_sampler_sample, which would keep a list of candidates in every chain.
llama_token draw_whole(const float * row, int32_t n, const lb_chain & chain) {
    std::vector<llama_token_data> & all = scratch.candidates;
    all.resize(n);
    for (int32_t i = 0; i < n; ++i) {
        all[i] = { i, row[i], 0.0f };
    }
    llama_token_data_array candidates = { all.data(), all.size(), -1, false };
    llama_sampler_apply(chain.chain, &candidates);
    return chosen(candidates);
}

llama_token draw_rest(std::vector<llama_token_data> & found, const lb_chain & chain) {
    llama_token_data_array candidates = { found.data(), found.size(), -1, true };
    const int32_t          n_samplers = llama_sampler_chain_n(chain.chain);
    for (int32_t i = chain.rest; i < n_samplers; ++i) {
        llama_sampler_apply(llama_sampler_chain_get(chain.chain, i), &candidates);
    }
    return chosen(candidates);
}

}  // namespace

int32_t argmax(const float * x, int32_t n) {
    const blocks in(n);
    int32_t      best = 0;
    int32_t      begin = 0;
    if (in.count > 0 && maxima_of(x, n, in)) {
        const std::vector<float> & maxima = scratch.maxima;
        begin = static_cast<int32_t>(std::max_element(maxima.begin(), maxima.end()) - maxima.begin()) * in.length;
        best = begin;
        for (int32_t i = begin; i < begin + in.length; ++i) {
            best = x[i] > x[best] ? i : best;
        }
        begin = in.end();
    }
    for (int32_t i = begin; i < n; ++i) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

void accept(lb_chain & chain, llama_token token) {
    llama_sampler_accept(chain.chain, token);
    remember(chain, token);
}

llama_token draw_row(float * row, int32_t n, lb_chain & chain) {
    if (chain.top_k < 0) {  // such a chain remembers nothing, so it need not be told
        changes with_biases(row);
        add_biases(row, n, chain, with_biases);
        return argmax(row, n);
    }
    const bool        is_short = select(row, n, chain);
    const llama_token token = is_short ? draw_rest(scratch.candidates, chain) : draw_whole(row, n, chain);
    accept(chain, token);
    return token;
}

llama_token draw(struct llama_context * ctx, int32_t i, lb_chain & chain) {
    if (llama_get_sampled_token_ith(ctx, i) != LLAMA_TOKEN_NULL || llama_get_sampled_logits_ith(ctx, i)) {
        // Samplers that someone gave to the context itself.
        const llama_token token = llama_sampler_sample(chain.chain, ctx, i);
        remember(chain, token);
        return token;
    }
    float * row = llama_get_logits_ith(ctx, i);
    if (!row) {
        throw std::runtime_error("that token gave no logits");
    }
    return draw_row(row, llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(ctx))), chain);
}

}  // namespace llama_bind
