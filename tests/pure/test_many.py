"""Long lists of prompts: in order, a few at a time, and the bar."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from llama_bind.engine.loop import Engine
from llama_bind.engine.request import Request
from llama_bind.errors import InputError, QueueFullError, UnsupportedError
from llama_bind.many import AHEAD, Many
from llama_bind.progress import reporting
from llama_bind.results import TextShape
from llama_bind.session import Prepared
from tests.fakes import FakeContext, FakeRunner


class FakeSession:
    """Prompts are token ids; counts who is on the way."""

    def __init__(self, n_slots: int = 4, max_queue: int | None = None, n: int = 1) -> None:
        self.runner = FakeRunner(FakeContext(n_ctx=64, n_seq_max=n_slots))
        self.engine = Engine(self.runner, max_queue)  # type: ignore[arg-type]
        self.started = SimpleNamespace(n_slots=n_slots)
        self.params = SimpleNamespace(max_queue=max_queue)
        self.n = n
        self.shapes: weakref.WeakSet[TextShape] = weakref.WeakSet()
        self.most_alive = 0
        self.most_unfinished = 0

    def completion(self, prompt: list[int], options: dict[str, Any]) -> Prepared[TextShape]:
        if prompt == [999]:
            raise InputError("unlucky")
        shape = TextShape("fake", self.n)
        self.shapes.add(shape)
        self.most_alive = max(self.most_alive, len(self.shapes))
        request = Request(prompt=prompt, max_tokens=options.get("max_tokens", 2), buffered=True)
        return Prepared([request] * self.n, shape, False)

    def submit(self, requests: list[Request], events: Any, _shape: TextShape) -> list[Any]:
        handles: list[Any] = []
        try:
            for request in requests:
                handles.append(self.engine.submit(request, events))
        except BaseException:
            for handle in handles:
                handle.cancel()
            raise
        self.most_unfinished = max(self.most_unfinished, self.engine._worker.desk.unfinished)
        return handles


@contextlib.contextmanager
def session(**options: Any) -> Iterator[FakeSession]:
    made = FakeSession(**options)
    try:
        yield made
    finally:
        made.engine.close()


def run(fake: FakeSession, prompts: Any, **options: Any) -> list[str]:
    events: Any = SimpleQueue()
    many = Many(fake, prompts, options)  # type: ignore[arg-type]
    with many:
        while not many.finished:
            if many.has_room:
                many.fill(events)
            if not many.finished:
                many.take(*events.get(timeout=20))
    return [result["choices"][0]["text"] for result in many.results()]


def test_results_are_in_order_whatever_finishes_first() -> None:
    with session() as fake:
        prompts = [[i % 900 + 1] for i in range(200)]
        assert run(fake, prompts) == [f" {i % 900 + 2} {i % 900 + 3}" for i in range(200)]
        assert run(fake, []) == []


def test_only_a_few_are_read_ahead_of_those_that_run() -> None:
    with session() as fake:
        read = iter([i % 900 + 1] for i in range(3000))
        assert len(run(fake, read)) == 3000
        assert fake.most_alive <= 4 + AHEAD + 1
        gc.collect()
        assert len(fake.shapes) == 0


@pytest.mark.parametrize("max_queue", [0, 1, 5])
def test_a_bounded_queue_is_never_full_for_others(max_queue: int) -> None:
    with session(n_slots=2, max_queue=max_queue) as fake:
        assert len(run(fake, [[i + 1] for i in range(100)])) == 100
        assert fake.most_unfinished <= 2 + max_queue // 2


def test_a_queue_that_others_have_filled_is_waited_for() -> None:
    with session(n_slots=1, max_queue=0) as fake:
        fake.runner.hold.set()
        other = fake.engine.submit(Request(prompt=[1], max_tokens=2))
        assert fake.runner.entered.wait(10)
        with pytest.raises(QueueFullError):
            fake.engine.submit(Request(prompt=[1]))
        fake.runner.hold.clear()  # the step that runs is held on
        timer = threading.Timer(0.1, fake.runner.release.set)
        timer.start()
        assert run(fake, [[5], [6]]) == [" 6 7", " 7 8"]
        timer.join(10)
        assert other.done


def test_choices_that_never_fit_the_queue_are_refused() -> None:
    with session(n_slots=1, max_queue=1, n=3) as fake, pytest.raises(QueueFullError):
        run(fake, [[1]])
    with session(n_slots=1, max_queue=2, n=3) as fake:
        assert run(fake, [[1], [5]]) == [" 2 3", " 6 7"]


def test_an_error_ends_the_others() -> None:
    with session(n_slots=2) as fake:
        with pytest.raises(InputError, match="unlucky"):
            run(fake, [*([i + 1] for i in range(12)), [999]], max_tokens=50)
        fake.engine.call(lambda _: None)  # two steps later
        fake.engine.call(lambda _: None)
        stats = fake.engine.stats
        assert stats.running + stats.waiting == 0
        assert stats.cancelled > 0


def test_one_text_is_not_many() -> None:
    with session() as fake:
        for wrong in ("text", b"text", 5):
            with pytest.raises(InputError, match="several prompts"):
                run(fake, wrong)


def test_progress_is_told_once_for_each_number() -> None:
    told: list[tuple[int, int | None]] = []
    with reporting(lambda done, total: told.append((done, total)), 3) as update:
        for done in (0, 1, 1, 2, 3):
            update(done)
    assert told == [(1, 3), (2, 3), (3, 3)]
    with reporting(False, 3) as update:
        update(1)
    with pytest.raises(InputError, match="True, False or a function"), reporting("yes", 3):  # type: ignore[arg-type]
        pass


def test_the_bar_is_drawn_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    for total in (3, None):
        with reporting(True, total) as update:
            update(2)
        out, err = capsys.readouterr()
        assert out == ""
        assert f"2/{total or '?'}" in err


def test_without_rich_the_bar_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(UnsupportedError, match=r'pip install "llama-bind\[cli\]"'), reporting(True, 3):
        pass
