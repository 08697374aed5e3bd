// What the kernels of packed.cpp agree on.
#pragma once

namespace llama_bind::packed {

constexpr int TEXTS = 16;  // activations that lie together
constexpr int BLOCK = 32;  // values with a scale of their own

}  // namespace llama_bind::packed
