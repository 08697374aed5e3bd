"""Errors keep what they carry when they are pickled."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from llama_bind import errors

MADE: list[errors.LlamaBindError] = [
    errors.ContextOverflowError(10, 5),
    errors.ContextOverflowError(10, 5, "a hint"),
    errors.TokenError(7, 5, param="prompt"),
    errors.UnknownOptionError("x", where="f()", nearest="y"),
    errors.ClosedError("this"),
    errors.ForkedError("this"),
    errors.ReentryError("this"),
    errors.QueueFullError(4),
    errors.DeadlineError(2, 5),
    errors.EngineCrashedError(-11, ("line",)),
    errors.EngineCrashedError(3),
    errors.GrammarError("bad", line=1, column=2),
    errors.SchemaError("bad", keyword="not", path="/a"),
    errors.ModelFormatError("bad", path="p", reason="r", offset=5),
    errors.ChecksumError("bad", path="p", source="s", expected="e", actual="a"),
    errors.SymbolNotFoundError("bad", symbol="s", library="l"),
    errors.NativeAbortError("bad", native_message="n"),
    errors.DecodeAbortedError("bad", code=2),
]


def classes() -> list[type[Any]]:
    return [getattr(errors, name) for name in errors.__all__]


def test_every_error_can_be_pickled() -> None:
    made = {type(error) for error in MADE}
    for error in [*MADE, *(cls("a message") for cls in classes() if cls not in made)]:
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(again) is type(error)
            assert str(again) == str(error)
            assert vars(again) == vars(error)
            assert again.args == error.args


@pytest.mark.parametrize(
    ("code", "name"), [(-9, "SIGKILL"), (-11, "SIGSEGV"), (0, None), (3, None), (-250, "signal 250")]
)
def test_the_name_of_a_signal(code: int, name: str | None) -> None:
    assert errors.EngineCrashedError(code).signal == name
