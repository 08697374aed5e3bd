"""A plugin for pytest with which llama.cpp's own server tests run against another server and other models.

The models that they name are not fetched; others stand in for them. So that what is judged is the server and not a
model's text, the patterns for texts match everything, and numbers of tokens in parameters are equal to any number.
Results are written to a JSON file. Not for: choosing what runs, or judging (``server_suite``).
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

SUITE = os.environ["LLAMA_SUITE_TESTS"]
FILES = os.environ["LLAMA_SUITE_FILES"]
"""A JSON file: what stands in for files that tests download, by name."""
REPORT = os.environ["LLAMA_SUITE_REPORT"]

COUNTS = frozenset({"n_prompt", "n_predicted", "n_tokens", "n_token_output", "n_cache", "batch_count"})
"""Parameters that are numbers of tokens of the model that was meant, or follow from them."""


class AnyNumber(int):
    """Equal to every number."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


class _NoLock:
    """In place of a lock between several runs: there is one."""

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __enter__(self) -> _NoLock:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _prepare() -> Any:
    """Make the suite's helpers importable, and change them; gives the module."""
    sys.path.insert(0, SUITE)
    wget, filelock = types.ModuleType("wget"), types.ModuleType("filelock")
    filelock.FileLock = _NoLock  # type: ignore[attr-defined]
    sys.modules.setdefault("wget", wget)
    sys.modules["filelock"] = filelock
    import utils  # type: ignore[import-not-found]  # the suite's

    utils.ServerPreset.load_all = staticmethod(lambda: None)
    utils.ServerProcess.make_request = _patient(utils.ServerProcess.make_request)
    utils.match_regex = lambda _regex, _text: True
    utils.download_file = _stand_in
    return utils


def _patient(make_request: Any) -> Any:
    """The same, but whoever asks a server that is not there yet waits before asking again: it needs the processor. The
    names of headers have no case, as in HTTP. What llama-server tells because it was started with --verbose is asked
    for by each request.
    """

    def patient(self: Any, method: str, path: str, data: Any = None, *arguments: Any, **more: Any) -> Any:
        if self.debug and isinstance(data, dict):
            data = {**data, "verbose": True}
        try:
            answer = make_request(self, method, path, data, *arguments, **more)
        except OSError:
            if path == "/health":
                time.sleep(0.2)
            raise
        answer.headers = CaseInsensitiveDict(answer.headers)
        return answer

    return patient


def _stand_in(url: str, output_file_path: str | None = None) -> str:
    files: dict[str, str] = json.loads(Path(FILES).read_text(encoding="utf-8"))
    name = url.rpartition("/")[2]
    if name not in files:
        raise RuntimeError(f"nothing stands in for {name} ({output_file_path})")
    return files[name]


utils = _prepare()
results: dict[str, dict[str, Any]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Numbers of tokens match any."""
    for item in items:
        params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        for name in COUNTS & set(params):
            if isinstance(params[name], int):
                params[name] = AnyNumber(params[name])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember how a test ended: by its call, or by what failed before or after it."""
    known = results.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0, "said": ""})
    known["seconds"] += report.duration
    if report.outcome != "passed" and known["outcome"] == "passed":
        known["outcome"] = report.outcome
        crash = getattr(report.longrepr, "reprcrash", None)
        known["said"] = str(crash.message if crash is not None else report.longrepr)[:500]


def pytest_sessionfinish() -> None:
    """Write the results."""
    Path(REPORT).write_text(json.dumps(results), encoding="utf-8")
