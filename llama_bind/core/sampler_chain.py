"""Which of llama.cpp's samplers a `SamplingParams` means, in order, with their arguments: the plan of a chain.

Follows ``common_sampler_init`` (common/sampling.cpp): logit bias first; then the samplers in the given order, or
mirostat in their place; last the one that chooses the token. Where the temperature is 0 the choice is greedy, and the
samplers that could not change it are left out. Every argument that native code asserts on, or that would make it
allocate or compute without bound, is checked here.

Not for: calling native code (``sampler``), or grammars, which stand beside the chain.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llama_bind import options
from llama_bind.errors import InputError, TokenError, UnsupportedError
from llama_bind.lib import llama_h
from llama_bind.params import SAMPLERS, SamplingParams

__all__ = [
    "Stage",
    "VocabFacts",
    "merge_biases",
    "plan",
    "remembers",
    "remembers_text",
    "sampler_names",
    "usable_seed",
]

GREEDY_BELOW = 1e-6
"""Temperatures below are 0: dividing by them would overflow, and gives the likeliest token anyway."""
MIN_PENALTY = 1e-30
"""Below, one divided by the repeat penalty is not finite in C."""
MAX_HISTORY = 1 << 20
"""Most tokens that penalties and DRY look back at (llama.cpp allocates that many)."""
MAX_INFILL_TOP_K = 1000
"""Most candidates that the infill sampler, which compares all pairs of them, may be given."""
MAX_PIECE = 512
"""Longest token piece that llama.cpp's infill sampler can hold."""
MAX_BREAKER = 40
"""Longest DRY sequence breaker in bytes (llama.cpp would cut it)."""
MAX_BREAKERS = 64
"""Most DRY sequence breakers: llama.cpp goes through the vocabulary for each."""
MIROSTAT_M = 100

_OTHER_NAMES = {"typ_p": "typical_p", "typ": "typical_p", "nucleus": "top_p", "temp": "temperature"}
_NAMES = {
    spelling: name
    for known, name in [*((name, name) for name in SAMPLERS), *_OTHER_NAMES.items()]
    for spelling in (known, known.replace("_", "-"), known.replace("_", ""))
}
"""Every spelling that common_sampler_types_from_names takes, and ours."""

_KEEPS_THE_LIKELIEST = frozenset({"top_k", "top_p", "min_p", "top_n_sigma", "temperature"})


class Stage(NamedTuple):
    """One sampler: the function ``llama_sampler_init_<name>`` and its arguments."""

    name: str
    args: tuple[Any, ...]


class VocabFacts(NamedTuple):
    """What the plan needs to know of a vocabulary."""

    pointer: int
    n_tokens: int
    has_end: bool
    longest_piece: Callable[[], int]  # in bytes; slow, so only asked where it matters


def plan(
    params: SamplingParams, vocab: VocabFacts, *, n_ctx: int, seed: int, biases: Mapping[int, float]
) -> list[Stage]:
    """The samplers of a chain.

    Args:
        params: checked here as a whole.
        vocab: facts of the vocabulary.
        n_ctx: the context in tokens, for the options whose -1 means it.
        seed: for the samplers that draw; see `usable_seed`.
        biases: what to add to logits, from `merge_biases`.

    Raises:
        InputError: an option that is not allowed; `param` names it.
        UnsupportedError: the infill sampler with a vocabulary that it cannot work on.
    """
    options.validate(params)
    names = sampler_names(params.samplers)
    if params.repeat_penalty < MIN_PENALTY:
        raise InputError("repeat_penalty is too close to 0; 1 is for none", param="repeat_penalty")
    stages = [_logit_bias(vocab.n_tokens, biases)] if biases else []
    if params.mirostat_mode:
        return stages + _mirostat(params, vocab.n_tokens, seed)
    greedy = params.temperature < GREEDY_BELOW and params.dynatemp_range <= 0
    kept = [n for n in names if _needed(n, params)] if greedy and "infill" not in names else names
    stages += [_stage(name, params, vocab, n_ctx, seed) for name in kept if name != "adaptive_p"]
    if "infill" in names:
        _check_infill(names, params, vocab)
    if greedy:
        stages.append(Stage("greedy", ()))
    elif "adaptive_p" in names:
        stages.append(Stage("adaptive_p", (params.adaptive_target, params.adaptive_decay, seed)))
    else:
        stages.append(Stage("dist", (seed,)))
    return stages


def usable_seed(seed: int) -> int:
    """`seed` as llama.cpp takes it: modulo 2**32, without the value that would mean "choose one yourself"."""
    value = seed % (1 << 32)
    return value - 1 if value == llama_h.LLAMA_DEFAULT_SEED else value


def sampler_names(given: Sequence[str]) -> list[str]:
    """The names of `params.SAMPLERS` for what the caller wrote; llama.cpp's other spellings are understood."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError("samplers must be a sequence of names, such as ['top_k', 'temperature']", param="samplers")
    names: list[str] = []
    for item in given:
        name = _NAMES.get(item.lower()) if isinstance(item, str) else None
        if name is None:
            near = options.nearest(item, SAMPLERS) if isinstance(item, str) else None
            hint = f"; did you mean {near!r}?" if near else f"; there are {', '.join(SAMPLERS)}"
            raise InputError(f"there is no sampler {item!r}{hint}", param="samplers")
        names.append(name)
    if len(names) > 64:
        raise InputError("more than 64 samplers; each is needed once", param="samplers")
    return names


def merge_biases(
    given: Mapping[int, float] | Mapping[str, float] | None, n_tokens: int, banned: Iterable[int] = ()
) -> dict[int, float]:
    """All logit biases by token id: the caller's, and minus infinity for `banned`.

    Raises:
        TokenError: a token id that the vocabulary does not have.
        InputError: a key or a value that is not a number.
    """
    biases: dict[int, float] = {}
    if given is not None and not isinstance(given, Mapping):
        raise InputError("logit_bias must map token ids to numbers", param="logit_bias")
    for key, value in (given or {}).items():
        token = _token_id(key)
        if not 0 <= token < n_tokens:
            raise TokenError(token, n_tokens, param="logit_bias")
        biases[token] = biases.get(token, 0.0) + _bias(value)
    for token in banned:
        if 0 <= token < n_tokens:
            biases[token] = -math.inf
    return biases


def remembers(stage: Stage) -> int:
    """How many accepted tokens a sampler looks back at."""
    if stage.name == "penalties":
        last, *values = stage.args[1:]
        return 0 if tuple(values) == (1.0, 0.0, 0.0) else int(last)
    if stage.name == "dry":
        multiplier, base, _, last = stage.args[1:5]
        return int(last) if multiplier != 0 and base >= 1 else 0
    return 0


def remembers_text(stage: Stage) -> bool:
    """Whether a sampler does, and reads the tokens' texts."""
    return stage.name == "dry" and remembers(stage) > 0


def _token_id(key: Any) -> int:
    try:
        if isinstance(key, (bool, float)):
            raise ValueError
        return int(key)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"logit_bias has the key {key!r}, which is not a token id", param="logit_bias") from None


def _bias(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or number > 1e30 or (number < -1e30 and number != -math.inf):
        raise InputError(f"logit_bias has the value {value!r}; use a number from -100 to 100", param="logit_bias")
    return number


def _logit_bias(n_tokens: int, biases: Mapping[int, float]) -> Stage:
    array = (llama_h.llama_logit_bias * len(biases))(*(llama_h.llama_logit_bias(t, b) for t, b in biases.items()))
    return Stage("logit_bias", (n_tokens, len(biases), array))


def _mirostat(params: SamplingParams, n_tokens: int, seed: int) -> list[Stage]:
    temperature = 0.0 if params.temperature < GREEDY_BELOW else params.temperature
    first = Stage("temp", (temperature,))
    if params.mirostat_mode == 1:
        return [first, Stage("mirostat", (n_tokens, seed, params.mirostat_tau, params.mirostat_eta, MIROSTAT_M))]
    return [first, Stage("mirostat_v2", (seed, params.mirostat_tau, params.mirostat_eta))]


def _needed(name: str, params: SamplingParams) -> bool:
    """Whether a sampler can change which token is the likeliest of those left."""
    if name in _KEEPS_THE_LIKELIEST:
        return False
    if name == "typical_p":
        return params.typical_p < 1
    if name == "xtc":
        return params.xtc_probability > 0 and params.xtc_threshold <= 0.5
    return True


def _stage(name: str, params: SamplingParams, vocab: VocabFacts, n_ctx: int, seed: int) -> Stage:
    keep = params.min_keep
    if name == "penalties":
        last = _history(params.penalty_last_n, n_ctx)
        values = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
        return Stage("penalties", (vocab.n_tokens, last, *values))
    if name == "dry":
        return _dry(params, vocab, n_ctx)
    if name == "temperature":
        value = 0.0 if params.temperature < GREEDY_BELOW else params.temperature
        return Stage("temp_ext", (value, params.dynatemp_range, params.dynatemp_exponent))
    if name == "xtc":
        return Stage("xtc", (params.xtc_probability, params.xtc_threshold, keep, seed))
    simple: dict[str, Stage] = {
        "top_k": Stage("top_k", (max(params.top_k, 0),)),
        "top_n_sigma": Stage("top_n_sigma", (params.top_n_sigma,)),
        "typical_p": Stage("typical", (params.typical_p, keep)),
        "top_p": Stage("top_p", (params.top_p, keep)),
        "min_p": Stage("min_p", (params.min_p, keep)),
        "infill": Stage("infill", (vocab.pointer,)),
    }
    return simple[name]


def _history(last_n: int, n_ctx: int) -> int:
    return min(max(n_ctx, 0) if last_n < 0 else last_n, MAX_HISTORY)


def _dry(params: SamplingParams, vocab: VocabFacts, n_ctx: int) -> Stage:
    breakers = params.dry_sequence_breakers
    if isinstance(breakers, (str, bytes)) or not isinstance(breakers, Iterable):
        raise InputError("dry_sequence_breakers must be a sequence of strings", param="dry_sequence_breakers")
    encoded = [_breaker(text) for text in breakers]
    if len(encoded) > MAX_BREAKERS:
        raise InputError(f"more than {MAX_BREAKERS} dry_sequence_breakers; use fewer", param="dry_sequence_breakers")
    array = (ctypes.c_char_p * len(encoded))(*encoded)
    last = _history(params.dry_penalty_last_n, n_ctx)
    numbers = (params.dry_multiplier, params.dry_base, params.dry_allowed_length, last)
    return Stage("dry", (vocab.pointer, *numbers, array, len(encoded)))


def _breaker(text: Any) -> bytes:
    try:
        encoded = bytes(text.encode()) if isinstance(text, str) else b""
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded or len(encoded) > MAX_BREAKER:
        raise InputError(
            f"dry_sequence_breakers has {text!r}; use strings of 1 to {MAX_BREAKER} bytes without NUL",
            param="dry_sequence_breakers",
        )
    return encoded


def _check_infill(names: Sequence[str], params: SamplingParams, vocab: VocabFacts) -> None:
    before = names[: names.index("infill")]
    if "top_k" not in before or not 1 <= params.top_k <= MAX_INFILL_TOP_K:
        raise InputError(
            f"the infill sampler needs top_k, from 1 to {MAX_INFILL_TOP_K}, before it: it compares all pairs of tokens",
            param="samplers",
        )
    if not vocab.has_end:
        raise UnsupportedError("the infill sampler needs a vocabulary with an end-of-text token; leave it out")
    if vocab.longest_piece() > MAX_PIECE:
        raise UnsupportedError(f"the infill sampler cannot hold this vocabulary's pieces of over {MAX_PIECE} bytes")
