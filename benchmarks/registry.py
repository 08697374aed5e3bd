"""What a benchmark is: two sides that measure the same thing, and the figure to reach. Not for: running them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

__all__ = ["Benchmark", "Goal", "Measurement", "Settings", "SideName"]

SideName = Literal["ours", "theirs"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What both sides are told.

    Attributes:
        model: GGUF file.
        threads: Threads for prompt and generation alike.
        inner: Measurements inside one process; its median is the process's value.
        n_ctx: Context of ours; llama-bench takes no more than its test needs.
        n_batch, n_ubatch: llama-bench's defaults.
        step_target: Seconds that a step may take while anything decodes, for the benchmarks that set it; None: their
            own.
    """

    model: Path
    threads: int = 2
    inner: int = 3
    n_ctx: int = 4096
    n_batch: int = 2048
    n_ubatch: int = 512
    step_target: float | None = None

    def to_json(self) -> str:
        return json.dumps({**dataclasses.asdict(self), "model": str(self.model)})

    @classmethod
    def from_json(cls, text: str) -> Settings:
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "model": Path(values["model"])})


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one process measured: the value in the benchmark's unit, and other numbers worth seeing.

    Attributes:
        outputs: Texts that both sides should have generated alike; `pairs` compares them.
    """

    value: float
    extras: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Measurement:
        values: dict[str, Any] = json.loads(text)
        return cls(float(values["value"]), values["extras"], values["notes"], tuple(values["outputs"]))


@dataclasses.dataclass(frozen=True)
class Goal:
    """The figure to reach.

    Attributes:
        kind: "ratio": ours / theirs is at least `bound`; "share": ours / theirs is at most `bound`; "difference":
            ours - theirs is at most `bound`; "value": ours is at most `bound`; "least": ours is at least `bound`.
        bound: In the benchmark's unit, but for a ratio and a share.
    """

    kind: Literal["ratio", "share", "difference", "value", "least"]
    bound: float

    def met(self, ours: float, theirs: float | None) -> bool:
        """Whether these medians reach it.

        Raises:
            ValueError: the goal compares, and there is nothing to compare with.
        """
        if self.kind == "value":
            return ours <= self.bound
        if self.kind == "least":
            return ours >= self.bound
        if theirs is None:
            raise ValueError(f"a goal of kind {self.kind} needs both sides")
        if self.kind == "difference":
            return ours - theirs <= self.bound
        return ours / theirs >= self.bound if self.kind == "ratio" else ours / theirs <= self.bound

    def text(self, unit: str) -> str:
        if self.kind in ("ratio", "share"):
            return f"ratio {'>=' if self.kind == 'ratio' else '<='} {self.bound:.4g}"
        if self.kind == "least":
            return f"ours >= {self.bound:g} {unit}"
        return f"{'ours - theirs' if self.kind == 'difference' else 'ours'} <= {self.bound:g} {unit}"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One thing to measure.

    Attributes:
        name: What the command line and the table call it.
        title: What is measured, in one line.
        unit: Of the values.
        ours, theirs: Measure one side; called in a process of their own, which ends afterwards. No `theirs`: nothing
            to compare with, only a goal for ours.
        goal: None where the number is for information.
        repeats: Processes per side where the usual number does not fit.
        counts: The values are numbers of things, and 0 is one of them.
        warm: Each side is measured once beforehand, to no account. Not where that takes minutes and begins by itself
            with work that is not counted.
    """

    name: str
    title: str
    unit: str
    ours: Callable[[Settings], Measurement]
    theirs: Callable[[Settings], Measurement] | None = None
    goal: Goal | None = None
    repeats: int | None = None
    counts: bool = False
    warm: bool = True

    def side(self, name: SideName) -> Callable[[Settings], Measurement]:
        """The function that measures a side.

        Raises:
            ValueError: the benchmark has no such side.
        """
        function = self.ours if name == "ours" else self.theirs
        if function is None:
            raise ValueError(f"the benchmark {self.name} has no side {name!r}")
        return function
