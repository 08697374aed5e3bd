// Weights laid out for this processor's integer dot products: a buffer type for ggml's CPU backend.
//
// ggml multiplies most types of weights with one row of activations at a time: sixteen texts unpack every weight sixteen
// times. Here as many rows of weights lie interleaved as a register has lanes (sixteen with AVX-512 VNNI, eight with
// AVX2), so that one instruction serves all of them, and what was unpacked serves several texts. The same products are
// summed in the same order whatever the number of texts, so a text does not depend on what is computed beside it.
//
// Compiled into each of ggml's CPU modules with that module's instructions; modules without the instructions it needs
// hold lb_packed_register only, which then does nothing. Not for mixtures of experts (ggml has layouts for some types).
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#    define LB_PACKED_API __declspec(dllexport)
#else
#    define LB_PACKED_API __attribute__((visibility("default")))
#endif

// Offers the buffer type to whoever loads a model with use_extra_bufts. To be called once, before the first model is
// loaded. Returns 1, or 0 if this module has none.
#ifdef __cplusplus
extern "C"
#endif
LB_PACKED_API int32_t lb_packed_register(void);
