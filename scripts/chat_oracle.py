"""How much of llama.cpp's own expectations of chat output our reading meets: the rate, and every failure.

`python -m scripts.chat_oracle` in the checkout: a line per template, then each failure with its difference;
`--template TEXT` for some templates only, `--quiet` for the rates alone, `--markdown` for the table of `docs/chat.md`.
Needs no model and no native library. What is compared, and how, stands at the head of `tests/vectors/chat_run.py`.

Exit status: 0 when all that fails is known to (`tests/vectors/chat_known.py`); else 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from typing import NamedTuple

from llama_bind.chat.tools.registry import find_format
from tests.vectors.chat_cases import ChatCase, chat_cases
from tests.vectors.chat_known import KNOWN
from tests.vectors.chat_run import run_case


class Row(NamedTuple):
    """Of one template: the format that reads its answers, how many cases there are, and how many pass."""

    format: str
    template: str
    cases: int
    passed: int


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit status."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--template", default="", help="only templates whose name contains this")
    options.add_argument("--quiet", action="store_true", help="no differences")
    options.add_argument("--markdown", action="store_true", help="the table in Markdown")
    chosen = options.parse_args(argv)
    cases = [case for case in chat_cases() if chosen.template.lower() in case.template.lower()]
    failures = {case.name: found for case in cases if (found := run_case(case))}
    rows = _rows(cases, failures)
    print(_markdown(rows) if chosen.markdown else _plain(rows))
    if not chosen.quiet and not chosen.markdown:
        for case in cases:
            if case.name in failures:
                print(f"\n{case.name}  {KNOWN.get(case.name, 'NOT KNOWN')}\n  read {case.text!r}")
                print("".join(f"  {difference}\n" for difference in failures[case.name]), end="")
    return int(not failures.keys() <= KNOWN.keys())


def _rows(cases: list[ChatCase], failures: dict[str, list[str]]) -> list[Row]:
    """A row for each template, and one for all at the end."""
    grouped: dict[str, list[ChatCase]] = defaultdict(list)
    for case in cases:
        grouped[case.template].append(case)
    rows = [
        Row(find_format(group[0].source).name, template, len(group), sum(case.name not in failures for case in group))
        for template, group in grouped.items()
    ]
    return [*sorted(rows), Row("all", "", len(cases), len(cases) - len(failures))]


def _plain(rows: list[Row]) -> str:
    lines = [f"{row.passed:4d}/{row.cases:<4d} {row.format:16s} {row.template}" for row in rows]
    return "\n".join([*lines, f"{100 * rows[-1].passed / max(1, rows[-1].cases):.1f} %"])


def _markdown(rows: list[Row]) -> str:
    formats: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        formats[row.format][0] += row.passed
        formats[row.format][1] += row.cases
    lines = ["| format | cases | passed |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {cases} | {passed} |" for name, (passed, cases) in formats.items())])


if __name__ == "__main__":
    sys.exit(main())
