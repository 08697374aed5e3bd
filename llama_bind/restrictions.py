"""The options min_tokens, bad_words and allowed_token_ids of a call, as the engine's rules: words become token ids.

Not for: applying them (``engine.rules``), or other options (``calls``).
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.calls import Call, token_ids
from llama_bind.errors import InputError, TokenError

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab
    from llama_bind.engine.rules import TokenRules
    from llama_bind.prompts import PromptReader

__all__ = ["read_rules"]

MAX_BAD_WORDS = 1024
MAX_WORD_TOKENS = 256


def read_rules(call: Call, vocab: Vocab, prompts: PromptReader, forbidden: Sequence[str] = ()) -> TokenRules | None:
    """The rules of a call; None where it has none.

    Args:
        call: The call.
        vocab: The model's vocabulary.
        prompts: Tokenizes words.
        forbidden: Texts that must not be written, as one control token where there is one.

    Raises:
        InputError: a value of the wrong kind, too many, or nothing left to choose.
        TokenError: an id outside the vocabulary.
    """
    from llama_bind.engine.rules import TokenRules

    request = call.request
    if not (request.min_tokens or forbidden) and request.bad_words is None and request.allowed_token_ids is None:
        return None
    banned = tuple(tuple(prompts.tokenize(text, False, True)) for text in forbidden)
    words = (*_words(request.bad_words, vocab, prompts), *banned)
    allowed = _allowed(request.allowed_token_ids, vocab)
    if not (request.min_tokens or words or allowed):
        return None
    return TokenRules(
        n_vocab=vocab.n_tokens,
        ends=frozenset(_known({*vocab.eog_tokens, *call.stop_token_ids}, vocab)),
        min_tokens=request.min_tokens,
        bad_words=words,
        allowed=allowed,
        never=_banned(call, vocab),
    )


def _banned(call: Call, vocab: Vocab) -> frozenset[int]:
    """What the samplers ban, whatever the logits are."""
    from llama_bind.core.sampler_chain import merge_biases

    ends = vocab.eog_tokens if call.sampling.ignore_eos else ()
    biases = merge_biases(call.sampling.logit_bias, vocab.n_tokens, [*vocab.suppress_tokens, *ends])
    return frozenset(token for token, bias in biases.items() if bias == -math.inf)


def _allowed(value: Sequence[int] | None, vocab: Vocab) -> frozenset[int] | None:
    if value is None:
        return None
    tokens = frozenset(_checked(value, vocab, "allowed_token_ids"))
    if not tokens:
        raise InputError(
            "allowed_token_ids is empty; list at least one token, or leave it out", param="allowed_token_ids"
        )
    return tokens


def _words(
    value: Sequence[str | Sequence[int]] | None, vocab: Vocab, prompts: PromptReader
) -> tuple[tuple[int, ...], ...]:
    if value is None:
        return ()
    given: list[Any] = [value] if isinstance(value, str) else _listed(value)
    if len(given) > MAX_BAD_WORDS:
        raise InputError(f"bad_words has {len(given)} words; {MAX_BAD_WORDS} are the most", param="bad_words")
    found: dict[tuple[int, ...], None] = {}
    for word in given:
        spellings = prompts.spellings(word) if isinstance(word, str) else [_checked(word, vocab, "bad_words")]
        for tokens in spellings:
            if not 0 < len(tokens) <= MAX_WORD_TOKENS:
                raise InputError(
                    f"a bad word has 1 to {MAX_WORD_TOKENS} tokens, and {reprlib.repr(word)} has {len(tokens)}",
                    param="bad_words",
                )
            found[tuple(tokens)] = None
    return tuple(found)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (bytes, dict)) or not hasattr(value, "__iter__"):
        raise InputError("bad_words must be a list of strings or of lists of token ids", param="bad_words")
    return list(value)


def _checked(value: Any, vocab: Vocab, param: str) -> list[int]:
    if value is None or isinstance(value, (bytes, dict)):
        raise InputError(f"{param} must be a list of token ids, not {type(value).__name__}", param=param)
    tokens = token_ids(value, param)
    for token in tokens:
        if not 0 <= token < vocab.n_tokens:
            raise TokenError(token, vocab.n_tokens, param=param)
    return list(tokens)


def _known(tokens: Iterable[int], vocab: Vocab) -> Iterable[int]:
    return (token for token in tokens if 0 <= token < vocab.n_tokens)
