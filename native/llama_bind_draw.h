// Draws a token from a row of logits with a sampler chain, by a shorter way where that gives the same token.
//
// Inside of the library only: what Python calls is in llama_bind_guard.h, which turns the exceptions into errors.
// Not for: building chains, or deciding which of them may take the shorter way (llama_bind/core/sampler_draw.py).
#pragma once

#include "llama_bind_guard.h"

namespace llama_bind {

// The index of the largest of n numbers, the first of equals. As in llama.cpp a NaN never beats a number; and nothing
// beats a NaN in front.
int32_t argmax(const float * x, int32_t n);

// Lets the chain, and its history, know of a token.
void accept(lb_chain & chain, llama_token token);

// Draws from a row of n logits and lets the chain accept the token. The row is changed meanwhile if there are biases,
// and restored. Throws std::runtime_error where the chain chooses no token.
llama_token draw_row(float * row, int32_t n, lb_chain & chain);

// Draws from output i of the last decode. Throws std::runtime_error where there is no such output.
llama_token draw(struct llama_context * ctx, int32_t i, lb_chain & chain);

}  // namespace llama_bind
