"""What the chunks of a stream say besides text, where a request asks for it: how far its prompt is, timings so far.

Under llama-server's names. Pure, but for the clock. Not for: text, or the counts at the end of a result (``results``).
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from llama_bind.types import PromptProgress, TimingsDict
from llama_bind.values import PieceEvent, Progress, Timings, Usage

__all__ = ["Reports", "progress_dict", "timings_dict"]


def timings_dict(timings: Timings, usage: Usage) -> TimingsDict:
    """llama-server's field names. The first token comes out of the prompt: the rate is that of the ones after it."""
    prompt_ms, predicted_ms = 1e3 * timings.prompt, 1e3 * timings.generation
    after_first = max(timings.generated_tokens - 1, 0)
    found: TimingsDict = {
        "cache_n": usage.cached_tokens,
        "prompt_n": timings.prompt_tokens,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / timings.prompt_tokens if timings.prompt_tokens else 0.0,
        "prompt_per_second": timings.prompt_tokens / timings.prompt if timings.prompt > 0 else 0.0,
        "predicted_n": timings.generated_tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / after_first if after_first else 0.0,
        "predicted_per_second": timings.tokens_per_second,
        "queued_ms": 1e3 * timings.queued,
    }
    if timings.drafted_tokens:
        found["draft_n"] = timings.drafted_tokens
        found["draft_n_accepted"] = timings.accepted_tokens
    return found


def progress_dict(progress: Progress) -> PromptProgress:
    """llama-server's field names."""
    return {
        "total": progress.total,
        "cache": progress.cached,
        "processed": progress.done,
        "time_ms": 1e3 * progress.seconds,
    }


@dataclasses.dataclass
class _Text:
    """How far one text is. `first`, `last`: when its tokens came."""

    prompt: Progress = dataclasses.field(default_factory=lambda: Progress(0, 0))
    n_tokens: int = 0
    first: float = 0.0
    last: float = 0.0


class Reports:
    """Follows the texts of one call, which the engine must tell of its prompts' progress.

    Args:
        n: Texts.
        progress: Report each part of a prompt that was computed.
        timings: Report the timings with every chunk.
    """

    def __init__(self, n: int, *, progress: bool, timings: bool) -> None:
        self.progress = progress
        self.timings = timings
        self._texts = [_Text() for _ in range(n)]

    def fields(self, index: int, event: PieceEvent) -> dict[str, Any]:
        """What the chunk of an event says besides its text; nothing where an event deserves no chunk of its own."""
        text = self._texts[index]
        if event.progress is not None:
            text.prompt = event.progress
            if not self.progress:
                return {}
        else:
            text.last = time.perf_counter()
            text.first = text.first or text.last
            text.n_tokens += len(event.tokens)
        found: dict[str, Any] = {"timings": self._timings(text)} if self.timings else {}
        if event.progress is not None:
            found["prompt_progress"] = progress_dict(event.progress)
        return found

    @staticmethod
    def _timings(text: _Text) -> TimingsDict:
        prompt = text.prompt
        timings = Timings(
            queued=prompt.queued,
            prompt=prompt.seconds,
            generation=text.last - text.first,
            prompt_tokens=prompt.done - prompt.cached,
            generated_tokens=text.n_tokens,
        )
        return timings_dict(timings, Usage(prompt.total, text.n_tokens, prompt.cached))
