"""llama-cpp-python's `LlamaSampler`: a chain of llama.cpp's samplers built by hand, with Python functions among them.

Not for: the samplers of completions (``core.sampler``).
"""

from __future__ import annotations

import contextlib
import ctypes
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_bind.core.backend import ensure_backend
from llama_bind.errors import GrammarError, UnsupportedError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard

__all__ = ["CustomSampler", "LlamaSampler"]


class CustomSampler:
    """A sampler that calls a Python function with a pointer to a ``llama_token_data_array``.

    Keep it for as long as the chain that it is in.
    """

    def __init__(self, apply_func: Callable[[Any], None]) -> None:
        self.apply_func = apply_func
        fields: dict[str, Any] = dict(llama_h.llama_sampler_i._fields_)
        self._interface = llama_h.llama_sampler_i()
        self._apply = fields["apply"](lambda _sampler, candidates: self.apply_func(candidates))
        self._interface.apply = self._apply
        self.sampler = llama_h.llama_sampler()
        self.sampler.iface = ctypes.pointer(self._interface)
        self.sampler.ctx = None

    def get_sampler(self) -> Any:
        """A pointer to it, for ``llama_sampler_chain_add``."""
        return ctypes.pointer(self.sampler)


class LlamaSampler:
    """A chain of samplers, in the order in which they are added."""

    def __init__(self) -> None:
        ensure_backend()
        self.sampler: Any = llama_h.llama_sampler_chain_init(llama_h.llama_sampler_chain_default_params())
        self.custom_samplers: list[tuple[int, CustomSampler]] = []
        self._exit_stack = contextlib.ExitStack()
        self._exit_stack.callback(self._free)

    def _free(self) -> None:
        chain, self.sampler = self.sampler, None
        if chain is None:
            return
        for index, _ in reversed(self.custom_samplers):  # Python's own: llama.cpp must not free them
            llama_h.llama_sampler_chain_remove(chain, index)
        llama_h.llama_sampler_free(chain)

    def close(self) -> None:
        """Free it; any number of times."""
        self._exit_stack.close()

    def __del__(self) -> None:
        stack = getattr(self, "_exit_stack", None)
        if stack is not None:
            stack.close()

    def _add(self, made: Any, what: str) -> None:
        check_guard()
        if not made:
            raise UnsupportedError(f"llama.cpp cannot make the sampler {what} with these arguments")
        llama_h.llama_sampler_chain_add(self.sampler, made)

    def add_greedy(self) -> None:
        self._add(llama_h.llama_sampler_init_greedy(), "greedy")

    def add_dist(self, seed: int) -> None:
        self._add(llama_h.llama_sampler_init_dist(seed % 2**32), "dist")

    def add_softmax(self) -> None:
        """Does nothing: the last draw sorts by itself."""
        warnings.warn("add_softmax is deprecated and does nothing", DeprecationWarning, stacklevel=2)

    def add_top_k(self, k: int) -> None:
        self._add(llama_h.llama_sampler_init_top_k(k), "top_k")

    def add_top_p(self, p: float, min_keep: int = 1) -> None:
        self._add(llama_h.llama_sampler_init_top_p(p, min_keep), "top_p")

    def add_min_p(self, p: float, min_keep: int = 1) -> None:
        self._add(llama_h.llama_sampler_init_min_p(p, min_keep), "min_p")

    def add_typical(self, p: float, min_keep: int = 1) -> None:
        self._add(llama_h.llama_sampler_init_typical(p, min_keep), "typical")

    def add_temp(self, temp: float) -> None:
        self._add(llama_h.llama_sampler_init_temp(temp), "temp")

    def add_temp_ext(self, t: float, delta: float, exponent: float) -> None:
        self._add(llama_h.llama_sampler_init_temp_ext(t, delta, exponent), "temp_ext")

    def add_xtc(self, p: float, t: float, min_keep: int, seed: int) -> None:
        self._add(llama_h.llama_sampler_init_xtc(p, t, min_keep, seed % 2**32), "xtc")

    def add_top_n_sigma(self, n: float) -> None:
        self._add(llama_h.llama_sampler_init_top_n_sigma(n), "top_n_sigma")

    def add_mirostat(self, n_vocab: int, seed: int, tau: float, eta: float, m: int) -> None:
        self._add(llama_h.llama_sampler_init_mirostat(n_vocab, seed % 2**32, tau, eta, m), "mirostat")

    def add_mirostat_v2(self, seed: int, tau: float, eta: float) -> None:
        self._add(llama_h.llama_sampler_init_mirostat_v2(seed % 2**32, tau, eta), "mirostat_v2")

    def add_grammar(self, model: Any, grammar: Any) -> None:
        """Add a grammar for the vocabulary of `model`; raises `GrammarError` for one that cannot run on it."""
        text, root = grammar._grammar.encode(), grammar._root.encode()
        self._add_grammar(guard_h.lb_llama_sampler_init_grammar(model.vocab, text, root))

    def add_grammar_lazy_patterns(
        self, model: Any, grammar: Any, trigger_patterns: Sequence[str], trigger_tokens: Sequence[int]
    ) -> None:
        """Add a grammar that holds from one of the patterns or tokens on."""
        patterns = (ctypes.c_char_p * len(trigger_patterns))(*(text.encode() for text in trigger_patterns))
        tokens = (llama_h.llama_token * len(trigger_tokens))(*trigger_tokens)
        text, root = grammar._grammar.encode(), grammar._root.encode()
        made = guard_h.lb_llama_sampler_init_grammar_lazy_patterns(
            model.vocab, text, root, patterns, len(patterns), tokens, len(tokens)
        )
        self._add_grammar(made)

    def _add_grammar(self, made: Any) -> None:
        check_guard()
        if not made:
            raise GrammarError("llama.cpp cannot run this grammar; one made of a JSON Schema is for completions only")
        llama_h.llama_sampler_chain_add(self.sampler, made)

    def add_penalties(
        self, n_vocab: int, penalty_last_n: int, penalty_repeat: float, penalty_freq: float, penalty_present: float
    ) -> None:
        arguments = (n_vocab, penalty_last_n, penalty_repeat, penalty_freq, penalty_present)
        self._add(llama_h.llama_sampler_init_penalties(*arguments), "penalties")

    def add_dry(
        self,
        model: Any,
        dry_multiplier: float,
        dry_base: float,
        dry_allowed_length: int,
        dry_penalty_last_n: int,
        seq_breakers: Sequence[str],
    ) -> None:
        breakers = (ctypes.c_char_p * len(seq_breakers))(*(text.encode() for text in seq_breakers))
        numbers = (dry_multiplier, dry_base, dry_allowed_length, dry_penalty_last_n)
        self._add(guard_h.lb_llama_sampler_init_dry(model.vocab, *numbers, breakers, len(breakers)), "dry")

    def add_logit_bias(self, n_vocab: int, logit_bias: Mapping[int, float]) -> None:
        biases = (llama_h.llama_logit_bias * len(logit_bias))()
        for entry, (token, bias) in zip(biases, logit_bias.items(), strict=True):
            entry.token, entry.bias = int(token), float(bias)
        self._add(llama_h.llama_sampler_init_logit_bias(n_vocab, len(biases), biases), "logit_bias")

    def add_infill(self, model: Any) -> None:
        self._add(guard_h.lb_llama_sampler_init_infill(model.vocab), "infill")

    def add_custom(self, apply_func: Callable[[Any], None]) -> None:
        """Add a Python function that changes the candidates."""
        custom = CustomSampler(apply_func)
        llama_h.llama_sampler_chain_add(self.sampler, custom.get_sampler())
        self.custom_samplers.append((int(llama_h.llama_sampler_chain_n(self.sampler)) - 1, custom))

    def get_seed(self) -> int:
        return int(llama_h.llama_sampler_get_seed(self.sampler))

    def sample(self, ctx: Any, idx: int = -1) -> int:
        """Choose a token from output `idx` of the last decode, and accept it; raises `NativeAbortError`."""
        token = guard_h.lb_llama_sampler_sample(self.sampler, ctx.ctx, idx)
        check_guard()
        return int(token)

    def accept(self, token: int) -> None:
        guard_h.lb_llama_sampler_accept(self.sampler, token)
        check_guard()

    def reset(self) -> None:
        llama_h.llama_sampler_reset(self.sampler)

    def clone(self) -> LlamaSampler:
        """A chain that goes on from this one's state; raises `UnsupportedError` with Python functions in it."""
        if self.custom_samplers:
            raise UnsupportedError("a chain with Python functions cannot be cloned; build it again")
        twin = LlamaSampler.__new__(LlamaSampler)
        twin.sampler, twin.custom_samplers = llama_h.llama_sampler_clone(self.sampler), []
        twin._exit_stack = contextlib.ExitStack()
        twin._exit_stack.callback(twin._free)
        return twin
