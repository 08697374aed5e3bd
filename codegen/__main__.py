"""``python -m codegen``: write all that is generated; ``--check``: compare with what lies there.

The mirror and its report, the facts about models, the keyword arguments, the pages of options and commands.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from codegen import emit, guard, headers, kwargs, model_facts, options_page, report
from codegen.parse import parse
from llama_bind.cli import reference


def main() -> int:
    """Exit status 1 when ``--check`` finds a difference, which is printed."""
    parser = argparse.ArgumentParser(prog="python -m codegen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit with 1 if any")
    check = parser.parse_args().check
    stale = _apply({headers.NATIVE / guard.FILE: guard.source()}, check)
    mirror = parse()
    wanted = {headers.OUTPUT / f"{name}.py": text for name, text in emit.modules(mirror).items()}
    wanted[headers.ROOT / "codegen" / "REPORT.md"] = report.text(mirror)
    wanted[model_facts.TARGET] = model_facts.generate()
    wanted[kwargs.TARGET] = kwargs.generate()
    wanted[options_page.TARGET] = options_page.generate()
    wanted[headers.ROOT / "docs" / "cli.md"] = reference.markdown()
    stale += _apply(wanted, check)
    if stale:
        print("The generated files differ from their sources: run `python -m codegen`.", file=sys.stderr)
    return 1 if stale else 0


def _apply(files: dict[Path, str], check: bool) -> int:
    """Write the files, or count and print those that differ."""
    stale = 0
    for path, text in files.items():
        present = path.read_text(encoding="utf-8") if path.is_file() else ""
        if present == text:
            continue
        if not check:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(headers.ROOT)}")
            continue
        stale += 1
        name = str(path.relative_to(headers.ROOT))
        sys.stdout.writelines(
            difflib.unified_diff(present.splitlines(True), text.splitlines(True), name, f"{name} (generated)")
        )
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
