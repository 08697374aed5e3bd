"""llama.cpp through `llama_bind.lib` and nothing above it: what Python reaches at best, and what loading costs in C.

Not for: measuring the package's own classes.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.registry import Settings
from llama_bind.lib import ggml_h, llama_h
from llama_bind.lib._loader import backend_module_path

__all__ = ["RawContext", "cpu_variant"]


class RawContext:
    """A model and a context as llama.cpp's own programs make them: default parameters but for those in `settings`.

    Raises:
        RuntimeError: llama.cpp refused the file or the context.
    """

    def __init__(self, settings: Settings) -> None:
        self._log = ggml_h.ggml_log_callback(lambda *_: None)
        llama_h.llama_log_set(self._log, None)
        llama_h.llama_backend_init()
        model = llama_h.llama_model_load_from_file(os.fsencode(settings.model), llama_h.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp could not load {settings.model}")
        params = llama_h.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = settings.n_ctx, settings.n_batch, settings.n_ubatch
        params.n_threads = params.n_threads_batch = settings.threads
        context = llama_h.llama_init_from_model(model, params)
        if not context:
            raise RuntimeError("llama.cpp made no context")
        self.model, self.context = model, context
        self.vocab = llama_h.llama_model_get_vocab(model)

    def forget(self) -> None:
        """Empty the memory."""
        llama_h.llama_memory_clear(llama_h.llama_get_memory(self.context), False)

    def bos(self) -> int:
        return int(llama_h.llama_vocab_bos(self.vocab))

    def generate_greedily(self, first: int, count: int) -> list[int]:
        """`count` times: decode one token, take the likeliest next one. The shortest loop that there can be."""
        sampler = llama_h.llama_sampler_init_greedy()
        token = (llama_h.llama_token * 1)(first)
        batch = llama_h.llama_batch_get_one(token, 1)
        context, decode, sample = self.context, llama_h.llama_decode, llama_h.llama_sampler_sample
        tokens: list[int] = []
        for _ in range(count):
            if decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            token[0] = sample(sampler, context, -1)
            tokens.append(token[0])
        llama_h.llama_sampler_free(sampler)
        return tokens

    def compute(self, tokens: list[int]) -> None:
        """Decode tokens in one batch and wait until that is done."""
        ids = (llama_h.llama_token * len(tokens))(*tokens)  # the batch points into it
        if llama_h.llama_decode(self.context, llama_h.llama_batch_get_one(ids, len(tokens))) != 0:
            raise RuntimeError("llama_decode failed")
        llama_h.llama_synchronize(self.context)

    def close(self) -> None:
        llama_h.llama_free(self.context)
        llama_h.llama_model_free(self.model)
        llama_h.llama_log_set(None, None)


def cpu_variant() -> str:
    """File name of the CPU backend that ggml chose in this process."""
    path = backend_module_path("CPU")
    return Path(path).name if path else ""
