"""What an engine has done and how long it took, as one value that is copied out.

The engine's thread tells of each step and request; whoever wants to know takes a copy. Not for: exporting (the server
does), or the times of one request (values.Timings).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from llama_bind.engine.histogram import TOKENS, Histogram

__all__ = ["EngineStats", "Tier"]

Tier = Literal["device", "host", "disk"]
"""Where the beginning of a prompt was found: in the context, in host memory, or in a file."""


def _tokens() -> Histogram:
    return Histogram(TOKENS)


@dataclasses.dataclass
class EngineStats:
    """Totals since the engine started, and how things stand. Times in seconds.

    Attributes:
        requests: That arrived.
        finished: That ended with a result: by themselves, by a limit, cancelled, or at a deadline.
        cancelled, deadlines: Those of them that were cancelled, or ended at a deadline.
        failed: That ended with an error.
        steps: Computed.
        prompt_tokens: Of prompts, computed.
        cached_tokens: Of prompts, taken from what was computed before.
        generated_tokens: Of requests that have ended.
        drafts: Steps of a text in which tokens were guessed.
        drafted_tokens, accepted_tokens: Guessed, and guessed right.
        longest: Tokens of the longest text so far, prompt and answer.
        forced_tokens: That had to follow by what a text is held to, and were not drawn.
        decode_seconds: Spent in steps.
        moves: How often a running text changed its stream, to lie beside others.
        preemptions: How often a running request went back to the queue for want of memory.
        evictions: How often something remembered was given up for want of memory.
        device_hits, host_hits, disk_hits, misses: Requests by where the beginning of their prompt was found.
        saved, restored: States that went from the context to a store, and back.
        waiting, running: Requests now.
        cells_used, cells_total: Tokens that the context's memory holds now, and could.
        queue_seconds: From arrival to the start.
        first_token_seconds: From arrival to the first token.
        token_seconds: Between two tokens of a text, for each token after the first.
        total_seconds: From arrival to the end.
        step_seconds: Of a step.
        step_tokens: Tokens computed in a step.
        step_decoding: Texts that got a token in a step.
        step_prompt: Tokens of prompts in a step, those without any left out.
    """

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    deadlines: int = 0
    failed: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    drafts: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    longest: int = 0
    forced_tokens: int = 0
    decode_seconds: float = 0.0
    preemptions: int = 0
    moves: int = 0
    evictions: int = 0
    device_hits: int = 0
    host_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    saved: int = 0
    restored: int = 0
    waiting: int = 0
    running: int = 0
    cells_used: int = 0
    cells_total: int = 0
    queue_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    first_token_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    token_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    total_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    step_seconds: Histogram = dataclasses.field(default_factory=Histogram)
    step_tokens: Histogram = dataclasses.field(default_factory=_tokens)
    step_decoding: Histogram = dataclasses.field(default_factory=_tokens)
    step_prompt: Histogram = dataclasses.field(default_factory=_tokens)

    # -- told by the engine's thread -------------------------------------------------------------------------------

    def on_step(
        self, seconds: float, n_tokens: int, n_decoding: int, n_prompt: int, *, interval: float | None = None
    ) -> None:
        """A step was computed.

        Args:
            seconds: It took.
            n_tokens: It computed, guesses among them.
            n_decoding: Texts that got a token.
            n_prompt: Prompt tokens among `n_tokens`.
            interval: Since the step before, where that is more: what those who read the texts waited.
        """
        self.steps += 1
        self.decode_seconds += seconds
        self.prompt_tokens += n_prompt
        self.step_seconds.observe(seconds)
        self.step_tokens.observe(n_tokens)
        if n_decoding:
            self.step_decoding.observe(n_decoding)
            self.token_seconds.observe(seconds if interval is None else interval, n_decoding)
        if n_prompt:
            self.step_prompt.observe(n_prompt)

    def on_alone(self, seconds: float, n_tokens: int) -> None:
        """A text that ran alone got `n_tokens`, one a step; the steps count as equally long."""
        if n_tokens < 1:
            return
        self.steps += n_tokens
        self.decode_seconds += seconds
        self.step_seconds.observe(seconds / n_tokens, n_tokens)
        self.token_seconds.observe(seconds / n_tokens, n_tokens)
        self.step_tokens.observe(1, n_tokens)
        self.step_decoding.observe(1, n_tokens)

    def on_draft(self, guessed: int, held: int) -> None:
        """`held` of `guessed` tokens were right."""
        self.drafts += 1
        self.drafted_tokens += guessed
        self.accepted_tokens += held

    def on_start(self, queued: float, n_cached: int = 0, tier: Tier = "device") -> None:
        """A request started after `queued` seconds; `n_cached` tokens of its prompt were found in `tier`."""
        self.queue_seconds.observe(queued)
        self.cached_tokens += n_cached
        if not n_cached:
            self.misses += 1
        elif tier == "device":
            self.device_hits += 1
        elif tier == "host":
            self.host_hits += 1
        else:
            self.disk_hits += 1

    def on_first_token(self, seconds: float) -> None:
        """The first token of a request came `seconds` after its arrival."""
        self.first_token_seconds.observe(seconds)

    def on_finish(self, reason: str, seconds: float, generated: int) -> None:
        """A request ended with a result, `seconds` after its arrival."""
        self.finished += 1
        self.cancelled += reason == "cancelled"
        self.deadlines += reason == "deadline"
        self.generated_tokens += generated
        self.total_seconds.observe(seconds)

    def on_fail(self, generated: int) -> None:
        """A request ended with an error."""
        self.failed += 1
        self.generated_tokens += generated

    # -- for whoever has a copy ------------------------------------------------------------------------------------

    @property
    def acceptance(self) -> float:
        """Share of the guesses that were right; 0 without any."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    @property
    def cached_share(self) -> float:
        """Share of the prompts' tokens that did not have to be computed; 0 without any."""
        total = self.prompt_tokens + self.cached_tokens
        return self.cached_tokens / total if total else 0.0

    def copy(self) -> EngineStats:
        """A snapshot; safe while the engine's thread goes on."""
        made = dataclasses.replace(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Histogram):
                setattr(made, field.name, value.copy())
        return made

    def to_dict(self) -> dict[str, Any]:
        """Everything, histograms as `Histogram.to_dict`; ready for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found = {name: v.to_dict() if isinstance(v, Histogram) else v for name, v in values.items()}
        return {**found, "acceptance": self.acceptance, "cached_share": self.cached_share}
