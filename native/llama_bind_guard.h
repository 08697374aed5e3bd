// Calls into llama.cpp that report a failed native assertion or a C++ exception instead of ending the process.
//
// llama.cpp aborts (GGML_ASSERT) or throws on some inputs. Through a foreign function interface either one kills the
// caller. lb_NAME has the signature of NAME; when native code fails inside it, it returns a value that says so:
// NULL, false, 0 for unsigned counts, INT32_MIN for signed ones, NaN, a zeroed struct. lb_last_error() then holds the
// message of the calling thread.
//
// Limits:
// - A failed assertion becomes a C++ exception that unwinds through llama.cpp. What was half done stays half done:
//   after an error free the context (or model) that the call was made on. Memory owned by plain C code may leak.
// - ggml's C files must be compiled with -fexceptions; without it unwinding through them ends the process.
// - Assertions in ggml's worker threads (OpenMP or its own pool) are outside of any guarded call and stay fatal, as are
//   those of the calling thread inside an OpenMP region, which no exception may leave: so all that fail while a graph
//   is computed with several threads. Fatal too: destructors and other noexcept code, and real crashes.
#pragma once

#include "ggml-backend.h"
#include "gguf.h"
#include "llama.h"
#include "mtmd-helper.h"
#include "mtmd.h"

#if defined(_WIN32) && !defined(__MINGW32__)
#    ifdef LLAMA_BIND_GUARD_BUILD
#        define LB_API __declspec(dllexport)
#    else
#        define LB_API __declspec(dllimport)
#    endif
#else
#    define LB_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Install ggml's abort callback. Any guarded call does it, once; a callback that was there before is kept for assertions
// outside of guarded calls. Call it again if something else has replaced the callback since.
LB_API void lb_guard_install(void);

// The message of what failed in the last guarded call of this thread, or NULL if that call did not fail.
// Valid until the thread's next guarded call.
LB_API const char * lb_last_error(void);

// Forget the message of this thread.
LB_API void lb_clear_error(void);

// An abort callback for llama_context_params and llama_set_abort_callback that costs no call into Python:
// true when the int32_t that data points to is not 0.
LB_API bool lb_abort_flag(void * data);

// A log callback that drops every line: for the time after the interpreter has ended.
LB_API void lb_log_drop(enum ggml_log_level level, const char * text, void * data);

// Calls ggml_backend_rpc_add_server (function: its address, which the RPC backend gives), which aborts when the server
// does not answer. NULL when it failed.
LB_API ggml_backend_reg_t lb_rpc_add_server(void * function, const char * endpoint);

// How to draw with a chain: see lb_draw. Its owner keeps all that it points to.
//
// top_k 0: the chain is applied to all tokens. -1: it takes the likeliest token, by logits and biases alone, and
// remembers nothing. Above 0: what it does first is to add biases, if there are any; then to penalize tokens that it
// accepted lately, if there is a history; then to keep the top_k likeliest tokens.
struct lb_chain {
    struct llama_sampler *          chain;
    int32_t                         top_k;
    int32_t                         rest;       // index of the sampler after the one that keeps top_k tokens
    int32_t                         penalties;  // index of the penalties sampler, where there is a history
    int32_t                         n_biases;   // tokens whose logits the chain adds to, each once
    const struct llama_logit_bias * biases;
    int32_t                         history_size;  // how many accepted tokens the penalties look back at
    int32_t                         history_next;  // where the next one goes
    llama_token *                   history;       // those tokens, in a ring; -1: none yet
};

// Lets the chain accept a token that came about in another way.
LB_API void lb_accept(struct lb_chain * chain, llama_token token);

// Draws a token from output i of the last decode (negative: from the end) and lets the chain accept it: the token that
// llama_sampler_sample would give, with the same state of the chain afterwards. Where top_k allows it, the whole
// vocabulary is neither copied nor sorted. -1: lb_last_error() says what failed.
LB_API int32_t lb_draw(struct llama_context * ctx, int32_t i, struct lb_chain * chain);

// The same from a row of n logits. The row is changed meanwhile if there are biases or a history, and restored.
LB_API int32_t lb_draw_row(float * row, int32_t n, struct lb_chain * chain);

// lb_draw for several outputs, each with a chain of its own, in order. Gives how many were drawn: with fewer than n,
// drawing at that place failed, lb_last_error() says why, and a call with those after it goes on.
LB_API int32_t lb_draw_many(struct llama_context * ctx, int32_t n, const int32_t * outputs,
                            struct lb_chain * const * chains, int32_t * tokens);

// One step of a sequence that runs alone: puts token and pos into the batch (which has room for one), decodes it and
// draws the next token. Gives the token, or -1 and in *code what llama_decode returned (INT32_MIN: a failure that
// lb_last_error() names).
LB_API int32_t lb_step(struct llama_context * ctx, struct llama_batch * batch, llama_token token, llama_pos pos,
                       struct lb_chain * chain, int32_t * code);

// The index of the largest of n numbers, the first of equals; what llama.cpp's greedy sampler chooses.
LB_API int32_t lb_argmax(const float * x, int32_t n);

// Fails on purpose, to show what a guarded call does with it. how = 0: a failed ggml assertion, 1: a C++ exception,
// 2: something thrown that is not a std::exception; anything else: no failure, and how is returned.
LB_API int32_t lb_fail(int32_t how);

// One declaration for each guarded function.
#define LB_CALL(result, name, failed, params, args) LB_API result lb_##name params;
#define LB_CALL_VOID(name, params, args)            LB_API void lb_##name params;
#include "llama_bind_guard_calls.h"
#undef LB_CALL
#undef LB_CALL_VOID

#ifdef __cplusplus
}
#endif
