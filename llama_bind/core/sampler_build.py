"""From a plan to native objects: the chain, and the grammar beside it.

DRY reads the whole vocabulary for each of its breakers (a tenth of a second), so the first sampler with given DRY
options is kept with the model and cloned for later ones.

Not for: what goes into a chain (``sampler_chain``).
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from llama_bind.core.handle import Resource
from llama_bind.core.sampler_chain import Stage, remembers_text
from llama_bind.core.sampler_native import free_one, native
from llama_bind.errors import GrammarError, NativeAbortError
from llama_bind.lib import llama_h
from llama_bind.lib._guard import check_guard
from llama_bind.structured.grammar import LlamaGrammar

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab

__all__ = ["build_chain", "grammar_source", "init_grammar", "longest_piece"]

_KEPT_DRY = 4

_lock = threading.Lock()


def build_chain(stages: list[Stage], vocab: Vocab) -> int:
    """The address of a chain of these samplers. The model is pinned, so that it cannot go away meanwhile."""
    functions = native()
    vocab._resource.pin()
    try:
        chain: int = functions.chain_init(llama_h.llama_sampler_chain_params(True))
        try:
            for stage in stages:
                functions.chain_add(chain, _dry(stage, vocab) if remembers_text(stage) else _init(stage))
        except BaseException:
            functions.free(chain)
            raise
        return chain
    finally:
        vocab._resource.unpin()


def _init(stage: Stage) -> int:
    sampler: int | None = native().init[stage.name](*stage.args)
    check_guard()
    if not sampler:
        raise NativeAbortError(f"llama.cpp made no {stage.name} sampler")
    return sampler


def _dry(stage: Stage, vocab: Vocab) -> int:
    key = (*stage.args[1:5], *stage.args[5])
    with _lock:
        # Resources and no handles: what a model keeps must not keep the model.
        kept: dict[Any, Resource] = vocab._lazy.setdefault("dry", {})
        template = kept.pop(key, None)
        if template is None:
            template = Resource("DryTemplate", _init(stage), free_one, vocab._resource)
            if len(kept) >= _KEPT_DRY:
                kept.pop(next(iter(kept))).close()
        kept[key] = template  # the latest used is last
        copy: int = native().clone(template.check())
    check_guard()
    return copy


def grammar_source(grammar: Any, vocab: Vocab) -> LlamaGrammar:
    """The checked grammar, with the tokens that it names looked up in the vocabulary.

    Raises:
        GrammarError: it is not a grammar, or names a token that does not exist.
    """
    if not isinstance(grammar, (str, LlamaGrammar)):
        raise GrammarError(f"grammar must be GBNF text or a LlamaGrammar, not {type(grammar).__name__}")
    source = _checked_text(grammar) if isinstance(grammar, str) else grammar
    for use in source.parsed.tokens:
        if use.id is not None and use.id >= vocab.n_tokens:
            message = f"token id {use.id} is outside the vocabulary (0 to {vocab.n_tokens - 1})"
        elif use.id is None and len(vocab.tokenize(use.text, add_special=False, parse_special=True)) != 1:
            message = f"{use.text} is not one token of this vocabulary; write it as a string, or as <[id]>"
        else:
            continue
        raise GrammarError(message, line=use.line, column=use.column)
    return source


@functools.lru_cache(maxsize=16)
def _checked_text(text: str) -> LlamaGrammar:
    return LlamaGrammar(text)


def init_grammar(source: LlamaGrammar, vocab: Vocab) -> int:
    """The address of a grammar sampler at its start."""
    vocab._resource.pin()
    try:
        grammar: int | None = native().init["grammar"](vocab.ptr, source.text.encode(), source.root.encode())
        check_guard()
    finally:
        vocab._resource.unpin()
    if not grammar:
        raise GrammarError("llama.cpp refused the grammar; its log (logger 'llama_bind') says why")
    return grammar


def longest_piece(vocab: Vocab) -> int:
    """Bytes of the longest token."""
    if "longest_piece" not in vocab._lazy:
        vocab._lazy["longest_piece"] = max(len(vocab.token_to_piece(token)) for token in range(vocab.n_tokens))
    length: int = vocab._lazy["longest_piece"]
    return length
