"""Beam search: follows the likeliest texts at once. Pure: gives the requests of each step and takes their events.

A text is finished when its last token ends it, or at the limit. At each step the 2 * width likeliest tokens after each
text are looked at, and the `width` likeliest texts that did not end are kept (as in vLLM and in Hugging Face's
transformers). Each step asks for one token after each text; that they begin alike is the prefix cache's business.

Not for: running requests (the facades do), or samplers: the model's own probabilities count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from llama_bind.engine.request import Request
from llama_bind.errors import RequestError
from llama_bind.params import SamplingParams
from llama_bind.values import Beam, FinishEvent, PieceEvent, TokenLogprob

__all__ = ["BeamSearch"]


@dataclasses.dataclass(frozen=True)
class _Path:
    """Generated tokens and the sum of their log probabilities."""

    tokens: tuple[int, ...]
    logprob: float
    ended: bool = False


class BeamSearch:
    """One search. Call `requests`, run them, give their events to `add`, until there are none; then `beams`.

    Args:
        prompt: Token ids.
        width: Texts that are followed, and given at the end.
        max_tokens: Most tokens of a text.
        length_penalty: The score of a text is its log probability divided by its number of tokens to this power.
        ends: Tokens that end a text.
        never: Tokens that are not chosen.
        priority: Of the requests.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        *,
        width: int,
        max_tokens: int,
        length_penalty: float = 1.0,
        ends: Collection[int] = (),
        never: Collection[int] = (),
        priority: int = 0,
    ) -> None:
        self.prompt = list(prompt)
        self.width = width
        self.max_tokens = max_tokens
        self.length_penalty = length_penalty
        self.ends = frozenset(ends) - frozenset(never)
        self.never = frozenset(never)
        self.priority = priority
        self.looked_at = max(2 * width, width + len(self.ends))  # so that `width` are left when every end is among them
        self._live = [_Path((), 0.0)]
        self._finished: list[_Path] = []
        self._found: list[tuple[TokenLogprob, ...]] | None = None

    def requests(self) -> list[Request]:
        """What to run next: a request for each text that is followed; none at the end."""
        if self._found is not None:
            self._step(self._found)
        if not self._live or self._is_over():
            return []
        self._found = [()] * len(self._live)
        return [self._request(path) for path in self._live]

    def _request(self, path: _Path) -> Request:
        return Request(
            prompt=[*self.prompt, *path.tokens],
            # A token that ends the text would come without log probabilities; which one is chosen does not matter.
            sampling=SamplingParams(temperature=0.0, ignore_eos=True),
            max_tokens=1,
            logprobs=self.looked_at + len(self.never),
            priority=self.priority,
            buffered=True,
        )

    def add(self, index: int, event: PieceEvent | FinishEvent) -> None:
        """Take an event of request `index` of those that were given last."""
        if self._found is not None and isinstance(event, PieceEvent) and event.logprobs:
            self._found[index] = event.logprobs[0].top

    def beams(self, piece: Callable[[int], bytes]) -> list[Beam]:
        """The best texts, best first: finished ones, and those at the limit. `piece`: a token's bytes."""
        whole = [path for path in self._live if len(path.tokens) == self.max_tokens]
        found = sorted([*self._finished, *whole], key=self._rank)[: self.width]
        return [self._beam(path, piece) for path in found]

    def _beam(self, path: _Path, piece: Callable[[int], bytes]) -> Beam:
        shown = path.tokens[:-1] if path.ended else path.tokens
        text = b"".join(map(piece, shown)).decode("utf-8", "replace")
        return Beam(text, path.tokens, path.logprob, self._score(path), "stop" if path.ended else "length")

    def _step(self, found: Sequence[Sequence[TokenLogprob]]) -> None:
        """Each text goes on with each of the tokens that were found after it; the best are kept."""
        self._found = None
        going_on: list[_Path] = []
        for path, entries in zip(self._live, found, strict=True):
            if not entries:
                raise RequestError("a step of the beam search ended without a token; try again")
            usable = [entry for entry in entries if entry.token not in self.never]
            for entry in usable[: self.looked_at]:
                ended = entry.token in self.ends
                following = _Path((*path.tokens, entry.token), path.logprob + entry.logprob, ended)
                (self._finished if ended else going_on).append(following)
        self._live = sorted(going_on, key=self._rank)[: self.width]
        self._finished = sorted(self._finished, key=self._rank)[: self.width]

    def _rank(self, path: _Path) -> tuple[float, tuple[int, ...]]:
        return -self._score(path), path.tokens

    def _score(self, path: _Path) -> float:
        return self._scored(path.logprob, len(path.tokens))

    def _scored(self, logprob: float, length: int) -> float:
        score: float = logprob / float(max(length, 1)) ** self.length_penalty
        return score

    def _is_over(self) -> bool:
        """At the limit, or as soon as no text that is followed can become better than those that have finished.

        A log probability only falls from here; the score is then highest at the greatest length for a penalty above 0,
        and at once for one below.
        """
        length = len(self._live[0].tokens)
        if length >= self.max_tokens:
            return True
        if len(self._finished) < self.width:
            return False
        best_length = self.max_tokens if self.length_penalty > 0 else length + 1
        highest = max(self._scored(path.logprob, best_length) for path in self._live)
        return highest < self._score(self._finished[-1])
