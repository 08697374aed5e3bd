"""Turns the keyword arguments of a call into requests for the engine. Pure.

Not for: tokenizing or templates (the facade hands in token ids), or results.
"""

from __future__ import annotations

import dataclasses
import operator
import random
import secrets
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from llama_bind.engine.request import Request
from llama_bind.engine.rules import TokenRules
from llama_bind.engine.speculative import MOST_GUESSES, Proposer
from llama_bind.engine.state_file import salt_label
from llama_bind.errors import InputError
from llama_bind.options import options_of, refuse_unknown, validate
from llama_bind.params import ChatParams, RequestParams, SamplingParams
from llama_bind.text.stop import check_stops

__all__ = ["Call", "Seeds", "as_list", "read_call", "split", "token_ids"]

T = TypeVar("T")

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's word for "choose a seed": never passed on, so that the seed used is known."""
MAX_LOGPROBS = 1000


def split(given: Mapping[str, Any], classes: Sequence[type[Any]], where: str) -> list[dict[str, Any]]:
    """Divide keyword arguments among option classes; None stands for the default and is left out.

    Raises:
        UnknownOptionError: a name that none of them has.
    """
    known = [options_of(cls) for cls in classes]
    refuse_unknown(given, [name for options in known for name in options], where)
    return [{k: v for k, v in given.items() if k in options and v is not None} for options in known]


def as_list(value: Any, param: str) -> tuple[Any, ...]:
    """One callable or several, as a tuple."""
    items = () if value is None else tuple(value) if isinstance(value, Sequence) else (value,)
    for item in items:
        if not callable(item):
            raise InputError(f"{param} must be a function or a list of functions, not {item!r}", param=param)
    return items


@dataclasses.dataclass(frozen=True)
class Call:
    """The options of one call, checked."""

    sampling: SamplingParams
    request: RequestParams
    chat: ChatParams
    logprobs: int | None
    stop_token_ids: tuple[int, ...] = ()

    @property
    def include_usage(self) -> bool:
        return bool((self.request.stream_options or {}).get("include_usage"))

    @property
    def candidates(self) -> int:
        """How many texts are generated."""
        return self.request.n if self.request.best_of is None else self.request.best_of

    @property
    def best(self) -> int | None:
        """How many candidates to give, best first; None: all, in order."""
        return self.request.n if self.candidates > 1 and self.request.best_of is not None else None

    def ending(self, tokens: Sequence[int]) -> Call:
        """The same, ended by these tokens too."""
        return dataclasses.replace(self, stop_token_ids=(*self.stop_token_ids, *tokens))

    def _conduct(self) -> dict[str, Any]:
        """What says how the request stands beside others."""
        request = self.request
        return {
            "key": request.user,
            "request_id": request.request_id,
            "salt": salt_label(request.cache_salt),
            "queue_timeout": request.queue_timeout,
            "first_token_timeout": request.first_token_timeout,
            "timeout": request.timeout,
            "reproducible": request.reproducible,
            "fresh": not request.cache_prompt,
            "progress": request.stream and (request.return_progress or request.timings_per_token),
            "overflow": request.context_overflow,
            "n_keep": request.n_keep,
        }

    def requests(
        self,
        prompt: Sequence[int],
        seed: int,
        *,
        stop: Sequence[str] = (),
        echo_logprobs: bool = False,
        proposer: Proposer | None = None,
        n_draft: int = MOST_GUESSES,
        rules: TokenRules | None = None,
        visible: frozenset[int] = frozenset(),
        constraint: Hashable | None = None,
    ) -> list[Request]:
        """One request for each candidate; their seeds count up from `seed`. `stop` comes before the caller's own.

        `visible`: control tokens that show in the text; `constraint`: what it is held to.
        """
        stops = (*stop, *check_stops(self.request.stop))
        limit = self.request.max_tokens
        # Candidates are compared by the log probabilities of their tokens.
        logprobs = 0 if self.logprobs is None and self.best is not None else self.logprobs
        return [
            Request(
                prompt=prompt,
                sampling=self.sampling,
                seed=(seed + i) % RANDOM_SEED,
                max_tokens=None if limit is None or limit < 0 else limit,
                stop=check_stops(stops),
                stop_token_ids=frozenset(self.stop_token_ids),
                logprobs=logprobs,
                after_samplers=self.request.post_sampling_probs,
                prompt_logprobs=self.logprobs if echo_logprobs and i == 0 else None,
                logits_processors=as_list(self.request.logits_processor, "logits_processor"),
                stopping_criteria=as_list(self.request.stopping_criteria, "stopping_criteria"),
                constraint=constraint,
                rules=rules,
                visible=visible,
                proposer=proposer,
                n_draft=n_draft,
                priority=self.request.priority,
                buffered=not self.request.stream,
                **self._conduct(),
            )
            for i in range(self.candidates)
        ]


def read_call(given: Mapping[str, Any], defaults: SamplingParams, where: str, *, chat: bool = False) -> Call:
    """Check a call's keyword arguments; what is not given comes from `defaults`.

    Raises:
        UnknownOptionError, InputError: a name or a value that cannot be used.
    """
    sampling, request, extra = split(given, (SamplingParams, RequestParams, ChatParams), where)
    call = Call(dataclasses.replace(defaults, **sampling), RequestParams(**request), ChatParams(**extra), None)
    for part in (call.sampling, call.request, call.chat):
        validate(part)
    wanted = _chat_logprobs(call) if chat else _logprobs(call.request.logprobs)
    _check_counts(call.request)
    options = call.request.stream_options
    if options is not None and not isinstance(options, Mapping):
        raise InputError("stream_options must be a dict such as {'include_usage': True}", param="stream_options")
    return dataclasses.replace(call, logprobs=wanted, stop_token_ids=token_ids(call.request.stop_token_ids))


def token_ids(value: Sequence[int] | None, param: str = "stop_token_ids") -> tuple[int, ...]:
    """Token ids as whole numbers; in the vocabulary or not.

    Raises:
        InputError: something else.
    """
    try:
        return () if value is None else tuple(operator.index(token) for token in value)
    except TypeError:
        raise InputError(f"{param} must be a list of token ids", param=param) from None


def _check_counts(request: RequestParams) -> None:
    """Counts that depend on each other."""
    limit, best_of = request.max_tokens, request.best_of
    if limit is not None and 0 <= limit < request.min_tokens:
        raise InputError(
            f"min_tokens ({request.min_tokens}) is more than max_tokens ({limit}); lower it", param="min_tokens"
        )
    if best_of is not None and best_of < request.n:
        raise InputError(f"best_of ({best_of}) is less than n ({request.n}); raise it", param="best_of")
    if best_of is not None and request.stream:
        raise InputError("best_of needs all texts before the first is given; leave out stream", param="best_of")


def _logprobs(value: int | bool | None) -> int | None:
    if value is None or value is False:
        return None
    if value is True:
        return 0
    if not isinstance(value, int) or not 0 <= value <= MAX_LOGPROBS:
        raise InputError(f"logprobs must be a whole number from 0 to {MAX_LOGPROBS}, not {value!r}", param="logprobs")
    return value


def _chat_logprobs(call: Call) -> int | None:
    """OpenAI's chat form: logprobs is a flag, top_logprobs a number."""
    flag, top = call.request.logprobs, call.chat.top_logprobs
    if not isinstance(flag, bool) and flag is not None:
        raise InputError("logprobs of a chat completion is True or False; top_logprobs is the number", param="logprobs")
    if top is not None and flag is not True:
        raise InputError("top_logprobs needs logprobs=True", param="top_logprobs")
    return (top or 0) if flag else None


class Seeds:
    """Seeds for requests that bring none: from a seed of their own, or real entropy."""

    def __init__(self, seed: int | None) -> None:
        self._random = None if _unset(seed) else random.Random(seed)

    def next(self, given: int | None) -> int:
        """The request's own seed modulo 2**32, or the next one; never llama.cpp's 0xFFFFFFFF."""
        if given is not None and not _unset(given):
            return int(given) % 2**32
        if self._random is not None:
            return self._random.randrange(RANDOM_SEED)
        return secrets.randbelow(RANDOM_SEED)


def _unset(seed: int | None) -> bool:
    return seed is None or seed in (-1, RANDOM_SEED)
