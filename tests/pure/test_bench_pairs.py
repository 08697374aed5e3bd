from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import benchmarks.pairs
from benchmarks.cases import ALL, find
from benchmarks.pairs import Limits, run
from benchmarks.programs import samples_of
from benchmarks.registry import Benchmark, Goal, Measurement, Settings, SideName

SETTINGS = Settings(Path("model.gguf"))
QUIET = Limits(repeats=3)


def unused(_: Settings) -> Measurement:
    raise AssertionError("sides run in processes of their own")


BOTH = Benchmark("both", "title", "tokens/s", unused, unused, Goal("ratio", 0.97))
ALONE = Benchmark("alone", "title", "s", unused, goal=Goal("value", 0.15), repeats=4)


class Fake:
    """Stands in for the processes: counts them and gives prepared values."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, busy: list[float] | None = None) -> None:
        self.order: list[SideName] = []
        self.notes: dict[SideName, dict[str, str]] = {"ours": {}, "theirs": {}}
        self.outputs: dict[SideName, tuple[str, ...]] = {"ours": (), "theirs": ()}
        self.busy = busy or []
        monkeypatch.setattr(benchmarks.pairs, "measure", self.measure)
        monkeypatch.setattr(benchmarks.pairs, "OtherWork", lambda: self)

    def measure(self, benchmark: Benchmark, side: SideName, settings: Settings) -> Measurement:
        assert settings == SETTINGS
        assert side in ("ours", "theirs")
        assert benchmark.name in (BOTH.name, ALONE.name)
        self.order.append(side)
        value, extras = 99.0 if side == "ours" else 100.0, {"count": float(len(self.order))}
        return Measurement(value, extras, self.notes[side], self.outputs[side])

    def taken(self) -> float:
        return self.busy.pop(0) if self.busy else 0.0


def test_sides_take_turns_and_the_first_of_each_only_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    told: list[str] = []
    result = run(BOTH, SETTINGS, QUIET, told.append)
    assert fake.order == ["ours", "theirs", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert result.comparison.ours.count == 3
    assert result.comparison.ratio == pytest.approx(0.99)
    assert result.met is True
    # medians: ours were the 3rd, 6th and 7th process
    assert result.extras == {"count": 6.0, "count (theirs)": 5.0}
    assert len(told) == 8
    assert [line.endswith("warmed up") for line in told] == [True] * 2 + [False] * 6


def test_what_warms_up_by_itself_is_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    run(dataclasses.replace(BOTH, warm=False), SETTINGS, QUIET, lambda _: None)
    assert fake.order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_one_side_alone_and_its_own_number_of_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    result = run(ALONE, SETTINGS, QUIET, lambda _: None)
    assert fake.order == ["ours"] * 5
    assert result.comparison.theirs is None
    assert result.met is False  # 99 s


def test_a_disturbed_measurement_is_made_again_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, busy=[0.9, 0.9, 0.0, 0.5, 0.5, 0.5])
    result = run(BOTH, SETTINGS, Limits(repeats=2, other_work=0.15, retries=2), lambda _: None)
    # ours again twice and then quiet; theirs thrice and still disturbed; then two quiet ones
    assert fake.order[2:] == ["ours"] * 3 + ["theirs"] * 3 + ["theirs", "ours"]
    assert result.disturbed == 1


def test_different_cpu_backends_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    fake.notes = {"ours": {"cpu backend": "a.so"}, "theirs": {"cpu backend": "b.so"}}
    with pytest.raises(RuntimeError, match=r"a\.so, b\.so"):
        run(BOTH, SETTINGS, QUIET, lambda _: None)
    fake.notes["theirs"]["cpu backend"] = "a.so"
    assert run(BOTH, SETTINGS, QUIET, lambda _: None).notes["cpu backend (theirs)"] == "a.so"


def test_texts_of_both_sides_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch)
    fake.outputs = {"ours": ("a", "b", "c"), "theirs": ("a", "x", "c")}
    assert run(BOTH, SETTINGS, QUIET, lambda _: None).notes["texts"] == "2 of 3 the same on both sides"
    fake.outputs["theirs"] = ()
    assert "texts" not in run(BOTH, SETTINGS, QUIET, lambda _: None).notes
    fake.outputs["theirs"] = ("a",)
    with pytest.raises(ValueError, match="argument"):
        run(BOTH, SETTINGS, QUIET, lambda _: None)


def test_settings_and_measurements_survive_the_way_between_processes() -> None:
    settings = Settings(Path("a b.gguf"), threads=7, inner=1, n_ctx=99, n_batch=8, n_ubatch=4, step_target=0.5)
    assert Settings.from_json(settings.to_json()) == settings
    measurement = Measurement(0.1, {"x": 2.5}, {"y": "z"}, ("a text", "another"))
    assert Measurement.from_json(measurement.to_json()) == measurement


def test_names_are_unique_and_found() -> None:
    assert len({benchmark.name for benchmark in ALL}) == len(ALL)
    assert all(find(benchmark.name) is benchmark for benchmark in ALL)
    with pytest.raises(KeyError):
        find("nothing")


def test_comparing_goals_have_something_to_compare_with() -> None:
    for benchmark in ALL:
        comparing = benchmark.goal is not None and benchmark.goal.kind not in ("value", "least")
        assert benchmark.theirs is not None or not comparing, benchmark.name


def test_samples_of_llama_bench() -> None:
    assert samples_of(json.dumps([{"samples_ts": [100, 101.5], "avg_ts": 1}])) == [100.0, 101.5]


@pytest.mark.parametrize("output", ["[]", "{}", '[{"samples_ts": []}]', '[{"avg_ts": 3}]', "[{}, {}]", "nonsense"])
def test_other_output_of_llama_bench_is_refused(output: str) -> None:
    with pytest.raises(ValueError, match=r"llama-bench|Expecting"):
        samples_of(output)
