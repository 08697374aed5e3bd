// Attention for ggml's CPU backend: GGML_OP_FLASH_ATTN_EXT with keys and values of any number of queries.
//
// ggml computes one query of one head at a time where fewer than 64 texts or tokens come together, and an exponential for
// each key. Here a tile of keys is unpacked once for all queries and heads that read it, tiles that a text may not see
// are passed over, and everything is summed in 32-bit floats. A query's sums are the same whatever is computed beside
// it, with however many threads, and, up to 512 keys, wherever its keys lie.
//
// Compiled into each of ggml's CPU modules with that module's instructions; modules without those that it needs hold
// lb_attention_register only, which then does nothing. Not for attention without GGML_OP_FLASH_ATTN_EXT.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#    define LB_ATTENTION_API __declspec(dllexport)
#else
#    define LB_ATTENTION_API __attribute__((visibility("default")))
#endif

// Has ggml's CPU backend compute attention here. To be called once, before the first context is made.
// Returns 1, or 0 if this module has no instructions for it.
#ifdef __cplusplus
extern "C"
#endif
LB_ATTENTION_API int32_t lb_attention_register(void);
