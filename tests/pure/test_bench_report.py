from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pairs import Result
from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.report import HEADER, Occasion, append, number, results_row, table
from benchmarks.stats import compare

OCCASION = Occasion("2030-01-02 03:04", "abc1234", "a | b processor, 2 CPUs", "python -m benchmarks run")
COLUMNS = HEADER.strip().splitlines()[-1].count("|")


def measured(_: Settings) -> Measurement:
    return Measurement(1.0)


def result(goal: Goal | None, ours: list[float], theirs: list[float] | None, disturbed: int = 0) -> Result:
    benchmark = Benchmark("decode", "a title", "tokens/s", measured, goal=goal)
    return Result(benchmark, compare(ours, theirs), {"engine": 12.5}, {"cpu backend (ours)": "x.so"}, disturbed)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12346"), (999.94, "999.9"), (121.37, "121.4"), (12.345, "12.35"), (1.5, "1.500"), (0.04973, "0.0497")],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.replace("\\|", "/").strip().strip("|").split("|")]


def test_a_row_holds_every_figure() -> None:
    row = results_row(result(Goal("ratio", 0.97), [98.0, 96.0, 97.0], [100.0, 100.0, 100.0], 2), OCCASION)
    assert cells(row) == [
        "2030-01-02 03:04",
        "abc1234",
        "a / b processor, 2 CPUs",
        "decode",
        "`python -m benchmarks run`",
        "97.00 tokens/s",
        "100.0 tokens/s",
        "0.970",
        "0.960 to 0.980",
        "ratio >= 0.97",
        "yes",
        "2",
    ]


def test_rows_and_header_have_the_same_columns() -> None:
    for one in (result(None, [1.0], None), result(Goal("ratio", 2.0), [1.0], [1.0])):
        assert results_row(one, OCCASION).replace("\\|", "").count("|") == COLUMNS


def test_a_missed_goal_stands_out_and_no_goal_claims_nothing() -> None:
    assert cells(results_row(result(Goal("ratio", 0.97), [90.0], [100.0]), OCCASION))[-2] == "NO"
    assert cells(results_row(result(None, [90.0], [100.0]), OCCASION))[-2] == "-"
    assert cells(results_row(result(Goal("value", 1.0), [2.0], None), OCCASION))[5:9] == ["2.000 tokens/s"] + ["-"] * 3


def test_append_begins_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    one = result(None, [1.0], [2.0])
    append(path, [one], OCCASION)
    append(path, [one, one], OCCASION)
    assert path.read_text() == HEADER + 3 * results_row(one, OCCASION)


def test_the_table_is_aligned_and_shows_details() -> None:
    text = table([result(Goal("ratio", 0.97), [90.0], [100.0], 1), result(None, [1.0], None)])
    lines = text.splitlines()
    assert lines[0].startswith("benchmark  ours")
    assert len({line.index("tokens/s") for line in lines[2:3]}) == 1
    assert "NO (1 disturbed)" in lines[2]
    assert "    engine 12.50" in lines
    assert "    cpu backend (ours): x.so" in lines


def test_a_count_of_zero_is_shown_without_a_ratio() -> None:
    benchmark = Benchmark("cells", "a title", "requests", measured, measured, Goal("least", 32), counts=True)
    one = Result(benchmark, compare([32.0], [0.0], counts=True), {}, {}, 0)
    assert cells(results_row(one, OCCASION))[5:11] == [
        "32.00 requests",
        "0.0000 requests",
        "-",
        "-",
        "ours >= 32 requests",
        "yes",
    ]
    assert "ours >= 32 requests" in table([one])
