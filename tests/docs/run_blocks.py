"""Runs Python code blocks that come as JSON on standard input: a list of [place, line, code, fresh].

Run as a program in a process of its own. A block with `fresh` gets a namespace of its own, the others share one.
Tracebacks show the document and its line.
"""

from __future__ import annotations

import json
import linecache
import sys
from typing import Any


def main() -> None:
    """Run them in order; the first that fails ends the process with its traceback."""
    shared: dict[str, Any] = {"__name__": "__main__"}
    for name, line, code, fresh in json.load(sys.stdin):
        text = "\n" * (line - 1) + code
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec", dont_inherit=True), {"__name__": "__main__"} if fresh else shared)


if __name__ == "__main__":
    main()
