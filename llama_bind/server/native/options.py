"""Options of requests as llama-server names and writes them, as ours; and ours again as its generation_settings.

Not for: checking values (the library does), or prompts (``prompts``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llama_bind.engine.request import Request
from llama_bind.errors import InputError, UnsupportedError
from llama_bind.params import SamplingParams
from llama_bind.prompts import PromptReader

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab

__all__ = ["Wanted", "generation_settings", "sampling_settings", "translated"]

LETTERS = {
    "d": "dry",
    "k": "top_k",
    "y": "typical_p",
    "p": "top_p",
    "s": "top_n_sigma",
    "m": "min_p",
    "t": "temperature",
    "x": "xtc",
    "i": "infill",
    "e": "penalties",
    "a": "adaptive_p",
}
"""One letter for each sampler (``common_sampler_type_to_chr``, common/sampling.cpp)."""
KEEP_ALL = 2**31 - 1
THEIR_NAMES = {"penalty_last_n": "repeat_last_n", "mirostat_mode": "mirostat"}
NOT_SETTINGS = frozenset({"seed", "logit_bias", "grammar", "grammar_backend"})
"""Options of `SamplingParams` that are shown in a form of their own."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What an answer is to say, and limits that llama-server has and the engine has not.

    Attributes:
        stream: Piece by piece.
        tokens: Token ids of the whole text.
        n_probs: Likeliest tokens for each token.
        after: Their probabilities after the samplers, instead of the model's own as logarithms.
        timings: With each chunk.
        progress: Of the prompt.
        fields: Names of what is given, nested ones with slashes; empty: everything.
        n_indent: Spaces with which lines after the first must begin; the first that has fewer ends the text.
        milliseconds: After so many, a line break ends the text. 0: never.
    """

    stream: bool = False
    tokens: bool = False
    n_probs: int = 0
    after: bool = False
    timings: bool = False
    progress: bool = False
    fields: tuple[str, ...] = ()
    n_indent: int = 0
    milliseconds: int = 0

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Wanted:
        """Out of a body that fits the schema."""
        return cls(
            stream=value.get("stream") is True,
            tokens=value.get("return_tokens") is True,
            n_probs=_n_probs(value),
            after=value.get("post_sampling_probs") is True,
            timings=value.get("timings_per_token") is True,
            progress=value.get("return_progress") is True,
            fields=tuple(value.get("response_fields") or ()),
            n_indent=value.get("n_indent") or 0,
            milliseconds=max(value.get("t_max_predict_ms") or 0, 0),
        )

    @property
    def watches(self) -> bool:
        """Whether the text must be looked at while it comes."""
        return self.n_indent > 0 or self.milliseconds > 0


def _n_probs(value: Mapping[str, Any]) -> int:
    for name in ("n_probs", "logprobs"):
        if value.get(name) is not None:
            return int(value[name])
    return 0


def translated(value: Mapping[str, Any], reader: PromptReader) -> dict[str, Any]:
    """A body with our options in place of llama-server's.

    Raises:
        InputError: a value that means nothing.
        UnsupportedError: adapters of a single request.
    """
    found = {k: v for k, v in value.items() if v is not None}
    found["logprobs"] = _n_probs(value) or None
    if found.get("lora"):
        raise UnsupportedError("lora: adapters are chosen when the model is loaded, for all requests", param="lora")
    if found.get("n_keep") == -1:
        found["n_keep"] = KEEP_ALL
    if isinstance(found.get("samplers"), str):
        found["samplers"] = [_by_letter(letter) for letter in found["samplers"]]
    if isinstance(found.get("stop"), list):
        found["stop"] = [text for text in found["stop"] if text != ""]
    if "logit_bias" in found:
        found["logit_bias"] = _biases(found["logit_bias"], reader)
    if found.get("grammar") == "":  # as clients write that there is none
        del found["grammar"]
    if "grammar" in found:
        found.pop("json_schema", None)  # so llama-server
    return found


def _by_letter(letter: str) -> str:
    if letter not in LETTERS:
        known = ", ".join(f"{k} {v}" for k, v in LETTERS.items())
        raise InputError(f"samplers has {letter!r}; the letters are {known}", param="samplers")
    return LETTERS[letter]


def _biases(given: Any, reader: PromptReader) -> dict[int, float]:
    """Pairs or an object; tokens by id, or all tokens of a text; false bans."""
    pairs = list(given.items()) if isinstance(given, dict) else given
    found: dict[int, float] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise InputError("logit_bias has an entry that is no pair of token and bias", param="logit_bias")
        key, bias = pair
        if bias is False:
            bias = -math.inf
        elif isinstance(bias, bool) or not isinstance(bias, (int, float)):
            raise InputError("a bias is a number, or false to ban the token", param="logit_bias")
        for token in _tokens(key, reader):
            found[token] = found.get(token, 0.0) + bias
    return found


def _tokens(key: Any, reader: PromptReader) -> list[int]:
    if isinstance(key, int) and not isinstance(key, bool):
        return [key]
    if not isinstance(key, str):
        raise InputError("logit_bias: a token is an id or a text", param="logit_bias")
    try:
        return [int(key)]
    except ValueError:
        return reader.tokenize(key, False, False)


# -- ours as theirs ----------------------------------------------------------------------------------------------


def sampling_settings(sampling: SamplingParams) -> dict[str, Any]:
    """Sampling options under llama-server's names."""
    names = [field.name for field in dataclasses.fields(sampling) if field.name not in NOT_SETTINGS]
    return {THEIR_NAMES.get(name, name): getattr(sampling, name) for name in names}


def generation_settings(request: Request, wanted: Wanted, vocab: Vocab, grammar: str = "") -> dict[str, Any]:
    """What a text was made with. A bias of null is minus infinity, which JSON has not."""
    sampling = request.sampling
    biases = {int(token): float(bias) for token, bias in (sampling.logit_bias or {}).items()}
    if sampling.ignore_eos:
        biases |= dict.fromkeys(vocab.eog_tokens, -math.inf)
    limit = -1 if request.max_tokens is None else request.max_tokens
    return {
        "seed": request.seed,
        **sampling_settings(sampling),
        "stop": list(request.stop),
        "max_tokens": limit,
        "n_predict": limit,
        "n_keep": request.n_keep,
        "n_discard": 0,
        "stream": wanted.stream,
        "logit_bias": [{"token": t, "bias": b if math.isfinite(b) else None} for t, b in biases.items()],
        "n_probs": wanted.n_probs,
        "grammar": grammar,
        "timings_per_token": wanted.timings,
        "post_sampling_probs": wanted.after,
        "lora": [],
    }
