"""How much of llama.cpp's own expectations of chat output our reading meets: the rate, and every failure.

`python -m scripts.chat_oracle` in the checkout: a line per template, then each failure with its difference;
`--template TEXT` for some templates only, `--quiet` for the table alone, `--markdown` for the table of `docs/chat.md`.
Needs no model and no native library. What is compared, and how, stands at the head of `tests/vectors/chat_run.py`.

Exit status: 0 when all that fails is known to (`tests/vectors/chat_known.py`); else 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict

from llama_bind.chat.tools.registry import find_format
from tests.vectors.chat_cases import ChatCase, chat_cases
from tests.vectors.chat_known import OUT_OF_SCOPE, known_reason
from tests.vectors.chat_run import run_case


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
                print(f"\n{case.name}  {known_reason(case) or 'NOT KNOWN'}\n  read {case.text!r}")
                print("".join(f"  {difference}\n" for difference in failures[case.name]), end="")
    return int(any(known_reason(case) is None for case in cases if case.name in failures))


def _rows(cases: list[ChatCase], failures: dict[str, list[str]]) -> list[tuple[str, str, int, int, int]]:
    """(family, template, in scope, passed of these, out of scope) of each template, and of all at the end."""
    grouped: dict[str, list[ChatCase]] = defaultdict(list)
    for case in cases:
        grouped[case.template].append(case)
    rows = []
    for template, group in grouped.items():
        scope = [case for case in group if case.name not in OUT_OF_SCOPE]
        passed = sum(case.name not in failures for case in scope)
        rows.append((find_format(group[0].source).name, template, len(scope), passed, len(group) - len(scope)))
    rows.sort()
    total = [sum(row[place] for row in rows) for place in (2, 3, 4)]
    return [*rows, ("all", "", total[0], total[1], total[2])]


def _plain(rows: list[tuple[str, str, int, int, int]]) -> str:
    return (
        "\n".join(
            f"{passed:4d}/{count:<4d}{f' (+{out})' if out else '':6s} {family:16s} {template}"
            for family, template, count, passed, out in rows
        )
        + f"\n{100 * rows[-1][3] / max(1, rows[-1][2]):.1f} % of those in scope"
    )


def _markdown(rows: list[tuple[str, str, int, int, int]]) -> str:
    families: dict[str, list[int]] = {}
    for family, _, count, passed, _ in rows:
        entry = families.setdefault(family, [0, 0])
        entry[0] += count
        entry[1] += passed
    lines = ["| format | cases in scope | passed |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {family} | {count} | {passed} |" for family, (count, passed) in families.items())])


if __name__ == "__main__":
    sys.exit(main())
