// See llama_bind_draw.h.
#include "llama_bind_draw.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <vector>

namespace llama_bind {

namespace {

// Numbers compared at once, in lanes that compilers turn into vector instructions.
constexpr int32_t lanes = 16;
// Logits beyond this overflow llama.cpp's sorting into buckets (k > 128), whose order is then its own.
constexpr float sortable = 1e6f;

struct buffers {
    std::vector<float>            maxima;
    std::vector<float>            ranked;
    std::vector<llama_token_data> candidates;
};

// One for each thread: sequences take turns, so one list of candidates serves them all.
thread_local buffers scratch;

// Adds the biases to the row; takes them out again at the end, whatever happens between.
class biased {
  public:
    biased(float * row, int32_t n, const lb_chain & chain) : row(row), chain(chain), before(chain.n_biases) {
        for (int32_t i = 0; i < chain.n_biases; ++i) {
            const llama_logit_bias & bias = chain.biases[i];
            if (bias.token < 0 || bias.token >= n) {
                restore(i);
                throw std::runtime_error("a logit bias is for a token that does not exist");
            }
            before[i] = row[bias.token];
            row[bias.token] += bias.bias;
        }
    }
    ~biased() { restore(chain.n_biases); }
    biased(const biased &) = delete;
    biased & operator=(const biased &) = delete;

  private:
    void restore(int32_t count) {
        while (count-- > 0) {
            row[chain.biases[count].token] = before[count];
        }
    }

    float *            row;
    const lb_chain &   chain;
    std::vector<float> before;
};

// The largest of each whole block; false if there is a NaN in one.
bool block_maxima(const float * x, int32_t n_blocks, int32_t block, float * maxima) {
    int32_t nan[lanes] = {};
    for (int32_t b = 0; b < n_blocks; ++b, x += block) {
        float top[lanes];
        for (int32_t j = 0; j < lanes; ++j) {
            top[j] = x[j];
            nan[j] |= x[j] != x[j];
        }
        for (int32_t i = lanes; i < block; i += lanes) {
            for (int32_t j = 0; j < lanes; ++j) {
                top[j] = x[i + j] > top[j] ? x[i + j] : top[j];
                nan[j] |= x[i + j] != x[i + j];
            }
        }
        for (int32_t width = lanes / 2; width > 0; width /= 2) {
            for (int32_t j = 0; j < width; ++j) {
                top[j] = top[j + width] > top[j] ? top[j + width] : top[j];
            }
        }
        maxima[b] = top[0];
    }
    int32_t any = 0;
    for (int32_t j = 0; j < lanes; ++j) {
        any |= nan[j];
    }
    return any == 0;
}

void collect(const float * row, int32_t begin, int32_t end, float least, std::vector<llama_token_data> & found) {
    for (int32_t i = begin; i < end; ++i) {
        if (row[i] >= least) {
            found.push_back({ i, row[i], 0.0f });
        }
    }
}

bool higher(const llama_token_data & a, const llama_token_data & b) {
    return a.logit > b.logit;
}

// The k likeliest tokens, sorted as llama.cpp's top-k leaves them. False where its order may be another: equal logits
// among the k + 1 likeliest, a NaN, numbers that its sorting cannot take. Then, and for few logits, the whole list is
// to be sorted.
//
// The k + 1 highest maxima of blocks are k + 1 logits of the row, so the lowest of them bounds the answer from below,
// and only the blocks that reach it are looked at again.
bool likeliest(const float * row, int32_t n, int32_t k, std::vector<llama_token_data> & found) {
    int32_t block = lanes;
    while (n / block > 1024) {
        block *= 2;
    }
    const int32_t n_blocks = n / block;
    if (n_blocks <= k) {
        return false;
    }
    std::vector<float> & maxima = scratch.maxima;
    maxima.resize(n_blocks);
    if (!block_maxima(row, n_blocks, block, maxima.data())) {
        return false;
    }
    for (int32_t i = n_blocks * block; i < n; ++i) {
        if (row[i] != row[i]) {
            return false;
        }
    }
    std::vector<float> & ranked = scratch.ranked;
    ranked = maxima;
    std::nth_element(ranked.begin(), ranked.begin() + k, ranked.end(), std::greater<float>());
    const float least = ranked[k];
    found.clear();
    for (int32_t b = 0; b < n_blocks; ++b) {
        if (maxima[b] >= least) {
            collect(row, b * block, (b + 1) * block, least, found);
        }
    }
    collect(row, n_blocks * block, n, least, found);
    std::partial_sort(found.begin(), found.begin() + k + 1, found.end(), higher);
    for (int32_t i = 0; i < k; ++i) {
        if (!(found[i].logit > found[i + 1].logit)) {
            return false;
        }
    }
    found.resize(k);
    return found[0].logit <= sortable;
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

bool select(float * row, int32_t n, const lb_chain & chain) {
    biased with(row, n, chain);
    return likeliest(row, n, chain.top_k, scratch.candidates);
}

}  // namespace

int32_t argmax(const float * x, int32_t n) {
    constexpr int32_t wide = 32;
    if (n <= 0 || x[0] != x[0]) {
        return 0;
    }
    float best = x[0];
    int32_t i = 0;
    if (n >= wide) {
        float top[wide];
        for (int32_t j = 0; j < wide; ++j) {
            top[j] = x[0];
        }
        for (; i + wide <= n; i += wide) {
            for (int32_t j = 0; j < wide; ++j) {
                top[j] = x[i + j] > top[j] ? x[i + j] : top[j];
            }
        }
        for (int32_t j = 0; j < wide; ++j) {
            best = top[j] > best ? top[j] : best;
        }
    }
    for (; i < n; ++i) {
        best = x[i] > best ? x[i] : best;
    }
    for (i = 0; x[i] != best; ++i) {
    }
    return i;
}

llama_token draw_row(float * row, int32_t n, const lb_chain & chain) {
    if (chain.top_k < 0) {  // such a chain remembers nothing, so it need not be told
        biased with(row, n, chain);
        return argmax(row, n);
    }
    const bool        is_short = chain.top_k > 0 && chain.top_k < n && select(row, n, chain);
    const llama_token token = is_short ? draw_rest(scratch.candidates, chain) : draw_whole(row, n, chain);
    llama_sampler_accept(chain.chain, token);
    return token;
}

llama_token draw(struct llama_context * ctx, int32_t i, const lb_chain & chain) {
    if (llama_get_sampled_token_ith(ctx, i) != LLAMA_TOKEN_NULL || llama_get_sampled_logits_ith(ctx, i)) {
        return llama_sampler_sample(chain.chain, ctx, i);  // samplers that someone gave to the context itself
    }
    float * row = llama_get_logits_ith(ctx, i);
    if (!row) {
        throw std::runtime_error("that token gave no logits");
    }
    return draw_row(row, llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(ctx))), chain);
}

}  // namespace llama_bind
