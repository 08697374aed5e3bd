// See llama_bind_guard.h.
#include "llama_bind_draw.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <string>

#if defined(__GLIBCXX__)
#    include <cxxabi.h>
#endif

namespace {

struct assertion_failed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

thread_local int         depth = 0;
thread_local bool        failed = false;
thread_local std::string message;

std::mutex            install_mutex;
ggml_abort_callback_t previous = nullptr;

void on_abort(const char * text) {
    if (depth > 0) {
        throw assertion_failed(text);
    }
    if (previous) {
        previous(text);
    } else {
        std::fprintf(stderr, "%s\n", text);
    }
    // Returning lets ggml_abort call abort().
}

struct nested {
    nested() { ++depth; }
    ~nested() { --depth; }
};

void remember(const char * text) noexcept {
    failed = true;
    try {
        message = text;
    } catch (...) {
        message.clear();  // out of memory while keeping the message
    }
}

// Runs call() and turns whatever it throws into `fallback` and a message.
template <typename R, typename Call> R guarded(R fallback, Call call) {
    static const bool installed = (lb_guard_install(), true);
    (void) installed;
    nested inside;
    failed = false;
    try {
        return call();
    }
#if defined(__GLIBCXX__)
    // A thread that ends inside a callback (an interpreter shutting down) unwinds through here; that must go on.
    catch (abi::__forced_unwind &) {
        throw;
    }
#endif
    catch (const std::exception & error) {
        remember(error.what());
    } catch (...) {
        remember("native code threw something that is not a std::exception");
    }
    return fallback;
}

}  // namespace

extern "C" {

void lb_guard_install(void) {
    std::lock_guard<std::mutex> lock(install_mutex);
    ggml_abort_callback_t before = ggml_set_abort_callback(on_abort);
    if (before != on_abort) {
        previous = before;
    }
}

const char * lb_last_error(void) {
    return failed ? message.c_str() : nullptr;
}

void lb_clear_error(void) {
    failed = false;
}

bool lb_abort_flag(void * data) {
    return *static_cast<volatile int32_t *>(data) != 0;
}

void lb_log_drop(enum ggml_log_level, const char *, void *) {}

ggml_backend_reg_t lb_rpc_add_server(void * function, const char * endpoint) {
    auto add = reinterpret_cast<ggml_backend_reg_t (*)(const char *)>(function);
    return guarded<ggml_backend_reg_t>(nullptr, [=]() -> ggml_backend_reg_t { return add(endpoint); });
}

int32_t lb_argmax(const float * x, int32_t n) {
    return llama_bind::argmax(x, n);
}

void lb_accept(struct lb_chain * chain, llama_token token) {
    guarded<int>(0, [=]() -> int {
        llama_bind::accept(*chain, token);
        return 0;
    });
}

int32_t lb_draw(struct llama_context * ctx, int32_t i, struct lb_chain * chain) {
    return guarded<int32_t>(-1, [=]() -> int32_t { return llama_bind::draw(ctx, i, *chain); });
}

int32_t lb_draw_row(float * row, int32_t n, struct lb_chain * chain) {
    return guarded<int32_t>(-1, [=]() -> int32_t { return llama_bind::draw_row(row, n, *chain); });
}

int32_t lb_draw_many(struct llama_context * ctx, int32_t n, const int32_t * outputs,
                     struct lb_chain * const * chains, int32_t * tokens) {
    int32_t done = 0;
    guarded<int32_t>(0, [&]() -> int32_t {
        for (; done < n; ++done) {
            tokens[done] = llama_bind::draw(ctx, outputs[done], *chains[done]);
        }
        return 0;
    });
    return done;
}

int32_t lb_step(struct llama_context * ctx, struct llama_batch * batch, llama_token token, llama_pos pos,
                struct lb_chain * chain, int32_t * code) {
    *code = INT32_MIN;
    return guarded<int32_t>(-1, [=]() -> int32_t {
        batch->token[0] = token;
        batch->pos[0] = pos;
        *code = llama_decode(ctx, *batch);
        if (*code != 0) {
            return -1;
        }
        *code = INT32_MIN;
        return llama_bind::draw(ctx, -1, *chain);
    });
}

int32_t lb_fail(int32_t how) {
    return guarded<int32_t>(INT32_MIN, [=]() -> int32_t {
        if (how == 0) {
            GGML_ABORT("failed on purpose");
        }
        if (how == 1) {
            throw std::runtime_error("thrown on purpose");
        }
        if (how == 2) {
            throw how;
        }
        return how;
    });
}

#define LB_CALL(result, name, failed, params, args)                       \
    result lb_##name params {                                             \
        return guarded<result>(failed, [=]() -> result { return name args; }); \
    }
#define LB_CALL_VOID(name, params, args)  \
    void lb_##name params {               \
        guarded<int>(0, [=]() -> int {    \
            name args;                    \
            return 0;                     \
        });                               \
    }
#include "llama_bind_guard_calls.h"

}  // extern "C"
