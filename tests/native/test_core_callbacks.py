"""Python functions that C calls: progress, abort, eval; their exceptions arrive at the calling line."""

from __future__ import annotations

from typing import Any

import pytest

from llama_bind.core.handle import Handle
from llama_bind.core.model import Model
from llama_bind.errors import DecodeAbortedError, InputError, ModelLoadError, ReentryError
from llama_bind.lib import ggml_h
from llama_bind.params import ModelParams
from tests.core_helpers import filled, make_context, model_file, run_child


class BoomError(Exception):
    pass


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    Model.load(model_file(), ModelParams(progress_callback=seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_progress_can_stop_the_load() -> None:
    live = Handle.live()
    with pytest.raises(ModelLoadError, match="progress_callback"):
        Model.load(model_file(), ModelParams(progress_callback=lambda _share: False))
    assert Handle.live() == live


def test_an_exception_in_progress_arrives() -> None:
    calls: list[float] = []

    def progress(share: float) -> None:
        calls.append(share)
        raise BoomError("in progress")

    with pytest.raises(BoomError, match="in progress"):
        Model.load(model_file(), ModelParams(progress_callback=progress))
    assert len(calls) == 1


def test_interrupts_arrive_too() -> None:
    def progress(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Model.load(model_file(), ModelParams(progress_callback=progress))


def test_progress_must_be_callable() -> None:
    with pytest.raises(InputError):
        Model.load(model_file(), ModelParams(progress_callback=1))  # type: ignore[arg-type]


def test_abort_callback_stops_and_lets_go_on() -> None:
    answer = False
    calls = 0

    def abort() -> bool:
        nonlocal calls
        calls += 1
        return answer

    context = make_context(abort_callback=abort)
    filled(context)
    assert calls > 0
    context.memory.clear()
    answer = True
    with pytest.raises(DecodeAbortedError):
        filled(context)
    answer = False
    context.memory.clear()
    filled(context)
    context.memory.clear()
    context.request_abort()
    with pytest.raises(DecodeAbortedError):
        filled(context)


def test_an_exception_in_abort_arrives() -> None:
    fail = False

    def abort() -> bool:
        if fail:
            raise BoomError("in abort")
        return False

    context = make_context(abort_callback=abort)
    fail = True
    with pytest.raises(BoomError, match="in abort"):
        filled(context)
    fail = False
    context.memory.clear()
    filled(context)


def test_eval_callback_sees_tensors() -> None:
    names: list[str] = []

    def evaluate(tensor: Any, ask: bool) -> bool:
        if not ask:
            names.append((ggml_h.ggml_get_name(tensor) or b"").decode())
        return True

    context = make_context(eval_callback=evaluate)
    filled(context)
    assert any(name.startswith("result_output") for name in names)


def test_eval_callback_can_stop() -> None:
    context = make_context(eval_callback=lambda _tensor, ask: bool(ask))
    with pytest.raises(DecodeAbortedError, match="eval"):
        filled(context)


def test_an_exception_in_eval_arrives() -> None:
    calls = 0

    def evaluate(_tensor: Any, _ask: bool) -> bool:
        nonlocal calls
        calls += 1
        if fail:
            raise BoomError("in eval")
        return False

    fail = False
    context = make_context(eval_callback=evaluate)
    filled(context)
    fail, calls = True, 0
    context.memory.clear()
    with pytest.raises(BoomError, match="in eval"):
        filled(context, [5])
    assert calls == 1


def test_a_context_cannot_be_used_from_inside_its_callback() -> None:
    seen: list[BaseException] = []

    def abort() -> bool:
        try:
            context.memory.seq_pos_max(0)
        except ReentryError as error:
            seen.append(error)
        return False

    context = make_context(abort_callback=abort)
    filled(context)
    assert seen


def test_closing_from_inside_a_callback() -> None:
    child = run_child(
        """
        from llama_bind.errors import DecodeAbortedError
        def abort():
            if armed: model.close()
            return False
        armed = False
        model = Model.load(model_file())
        context = make_context(model, abort_callback=abort)
        armed = True
        try:
            filled(context)
        except DecodeAbortedError:
            print("aborted")
        print(context.closed)
        """
    )
    assert (child.returncode, child.stderr, child.stdout.split()) == (0, "", ["aborted", "True"])
