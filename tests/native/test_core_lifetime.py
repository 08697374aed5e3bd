"""Objects that are dropped, closed, used late, used by two threads, and left open at exit."""

from __future__ import annotations

import functools
import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind.core.adapter import Adapter
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.handle import Handle
from llama_bind.core.model import Model
from llama_bind.errors import ClosedError, DecodeAbortedError, ForkedError, LlamaBindError
from llama_bind.params import ContextParams, ModelParams
from tests.core_helpers import filled, make_context, model_file, run_child, shared_model


def resident() -> int:
    """Bytes of physical memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_model() -> None:
    Model.load(model_file(), ModelParams(check_model=False))


def make_vocab_only() -> None:
    Model.load(model_file(), ModelParams(check_model=False, vocab_only=True)).vocab.tokenize("hello")


def make_a_context() -> None:
    context = make_context()
    filled(context).clear()
    context.logits()


def make_adapter() -> None:
    Adapter.load(shared_model(), model_file("lora"))


def make_batch() -> None:
    Batch(64, 4).append(1, 0)


@pytest.mark.parametrize("make", [make_model, make_vocab_only, make_a_context, make_adapter, make_batch])
def test_a_thousand_of_each_leave_nothing_behind(make: Callable[[], None]) -> None:
    for _ in range(100):  # what is allocated once is allocated now
        make()
    gc.collect()
    before, objects = resident(), Handle.live()
    for _ in range(1000):
        make()
    gc.collect()
    assert Handle.live() == objects
    # A leaked model or context is 100 KB or more; allocators may keep a few MB for themselves.
    assert resident() - before < 16 * 2**20


def test_dropped_objects_need_no_garbage_collector() -> None:
    before = Handle.live()
    gc.disable()
    try:
        model = Model.load(model_file())
        context = make_context(model)
        filled(context)
        context.logits()
        context.memory.seq_pos_max(0)
        adapter = Adapter.load(model, model_file("lora"))
        context.set_adapters([(adapter, 1.0)])
        model.vocab.tokenize("hello")
        assert Handle.live() != before
        del model, context, adapter
        assert Handle.live() == before
    finally:
        gc.enable()


def test_leak_check_sees_a_leak() -> None:
    kept = [Model.load(model_file(), ModelParams(check_model=False)) for _ in range(3)]
    assert Handle.live()["Model"] >= 3
    count = Handle.live()["Model"]
    for model in kept:
        model.close()
    assert Handle.live().get("Model", 0) == count - 3


def test_closing_a_model_closes_what_stands_on_it() -> None:
    model = Model.load(model_file())
    context = make_context(model)
    adapter = Adapter.load(model, model_file("lora"))
    context.set_adapters([(adapter, 1.0)])
    filled(context)
    model.close()
    assert context.closed
    assert adapter.closed


def test_a_context_keeps_its_model() -> None:
    context = make_context(Model.load(model_file()))
    gc.collect()
    filled(context)


def test_every_use_after_close_is_an_error() -> None:
    model = Model.load(model_file())
    context = make_context(model)
    batch = filled(context)
    model.close()
    uses: list[Callable[[], Any]] = [
        lambda: context.decode(batch),
        lambda: context.logits(),
        lambda: context.embeddings(),
        lambda: context.embeddings_seq(0),
        lambda: context.synchronize(),
        lambda: context.perf(),
        lambda: context.set_threads(1),
        lambda: context.set_causal_attn(True),
        lambda: context.set_embeddings(False),
        lambda: context.set_adapters([]),
        lambda: context.set_control_vector(None),
        lambda: context.warmup(),
        lambda: context.memory.clear(),
        lambda: context.memory.seq_rm(0),
        lambda: context.memory.seq_pos_max(0),
        lambda: context.memory.can_shift,
        lambda: make_context(model),
        lambda: Adapter.load(model, model_file("lora")),
        lambda: model.vocab.tokenize("hello"),
        lambda: model.vocab.token_to_piece(270),
        lambda: model.vocab.detokenize([270]),
        lambda: model.vocab.text(1),
        lambda: model.vocab.is_control(1),
        lambda: model.vocab.ptr,
        lambda: model.chat_template(),
        lambda: model.desc,
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()
    context.request_abort()
    context.clear_abort()
    assert "closed" in repr(context)
    assert "closed" in repr(model)


def test_use_after_close_from_another_thread() -> None:
    context = make_context()
    batch = filled(context)
    context.close()
    errors: list[BaseException] = []

    def use() -> None:
        try:
            context.decode(batch)
        except ClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    assert len(errors) == 1


def test_logits_outlive_the_context() -> None:
    context = make_context()
    filled(context)
    view = context.logits()
    kept = view.copy()
    live = Handle.live()["Context"]
    context.close()
    assert Handle.live()["Context"] == live
    np.testing.assert_array_equal(view, kept)
    part = view[:3]
    del view
    gc.collect()
    np.testing.assert_array_equal(part, kept[:3])
    del part
    gc.collect()
    assert Handle.live().get("Context", 0) == live - 1


def test_logits_of_a_dropped_context() -> None:
    view = _logits()
    gc.collect()
    assert np.isfinite(view).all()


def _logits() -> np.ndarray[Any, Any]:
    context = make_context()
    filled(context)
    return context.logits()


def test_two_threads_on_one_context() -> None:
    context = make_context(n_seq_max=2, n_ctx=512)
    errors: list[BaseException] = []

    def work(seq_id: int) -> None:
        batch = Batch(16)
        try:
            for _ in range(30):
                context.memory.seq_rm(seq_id)
                batch.clear()
                batch.extend([5, 6, 7, 8], 0, seq_id, output_last=True)
                context.decode(batch)
                context.logits()
        except LlamaBindError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seq_id,)) for seq_id in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []


def until_closed(started: threading.Event, outcome: list[LlamaBindError], step: Callable[[], Any]) -> None:
    started.set()
    try:
        while True:
            step()
    except LlamaBindError as error:
        outcome.append(error)


def closed_meanwhile(handle: Handle, step: Callable[[], Any]) -> LlamaBindError:
    """What a thread that steps for ever gets when the handle is closed under it."""
    started, outcome = threading.Event(), list[LlamaBindError]()
    thread = threading.Thread(target=until_closed, args=(started, outcome, step))
    thread.start()
    started.wait()
    time.sleep(0.01)
    handle.close()
    thread.join(60)
    assert not thread.is_alive()
    return outcome[0]


def test_closing_while_another_thread_decodes() -> None:
    model = Model.load(model_file(n_layer=4, n_embd=128, n_ff=512))
    batch = Batch(2048)
    batch.extend([5] * 2000, 0)
    for _ in range(5):
        context = make_context(model, n_ctx=2048)

        def step(context: Context = context) -> None:
            context.memory.clear(data=False)
            context.decode(batch)

        error = closed_meanwhile(context, step)
        assert isinstance(error, (ClosedError, DecodeAbortedError))
    model.close()


def test_closing_while_another_thread_tokenizes() -> None:
    text = "hello world " * 20000
    for _ in range(5):
        model = Model.load(model_file())
        assert isinstance(closed_meanwhile(model, functools.partial(model.vocab.tokenize, text)), ClosedError)


def test_clean_exit_with_everything_open() -> None:
    child = run_child(
        """
        from llama_bind.core import handle
        handle.EXIT_TIMEOUT = 3600  # nothing is running, so nothing may be waited for
        from llama_bind.core.adapter import Adapter
        model = Model.load(model_file())
        context = make_context(model, n_threads=2)
        adapter = Adapter.load(model, model_file("lora"))
        context.set_adapters([(adapter, 0.5)])
        batch = filled(context)
        view = context.logits()
        cycle = [model, context]; cycle.append(cycle)
        bert = make_context(Model.load(model_file("bert")), embedding=True)
        """
    )
    assert (child.returncode, child.stderr, child.stdout) == (0, "", "")


def test_clean_exit_while_threads_compute() -> None:
    child = run_child(
        """
        import threading, time
        def work(context, batch):
            while True:
                context.memory.clear(data=False)
                context.decode(batch)
        model = Model.load(model_file(n_layer=4, n_embd=128, n_ff=512))
        for _ in range(2):
            context = make_context(model, n_ctx=2048, n_threads=2)
            batch = Batch(2048); batch.extend([5] * 2000, 0)
            threading.Thread(target=work, args=(context, batch), daemon=True).start()
        threading.excepthook = lambda *_: None
        time.sleep(0.3)
        """
    )
    assert (child.returncode, child.stderr, child.stdout) == (0, "", "")


def test_exit_with_a_verbose_log_does_not_crash() -> None:
    child = run_child(
        """
        import logging
        from llama_bind.core import log
        log.set_verbose(True, logging.DEBUG)
        context = make_context(Model.load(model_file()))
        filled(context)
        """
    )
    assert child.returncode == 0
    assert "n_ctx" in child.stderr
    assert "Traceback" not in child.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_cannot_use_the_parents_objects() -> None:
    child = run_child(
        """
        import os
        from llama_bind.errors import ForkedError
        model = Model.load(model_file())
        context = make_context(model, n_threads=2)
        batch = filled(context)
        before = context.logits().copy()
        pid = os.fork()
        if pid == 0:
            refused = 0
            for use in (
                lambda: context.decode(batch),
                lambda: context.logits(),
                lambda: context.memory.clear(),
                lambda: model.vocab.tokenize("hello"),
                lambda: make_context(model),
                lambda: Model.load(model_file()),
            ):
                try:
                    use()
                except ForkedError:
                    refused += 1
            context.close()
            model.close()
            del context, model
            raise SystemExit(refused)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status))
        context.memory.clear()
        context.decode(batch)
        assert (context.logits() == before).all()
        """
    )
    assert (child.returncode, child.stderr, child.stdout.strip()) == (0, "", "6")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_before_the_first_use_is_fine() -> None:
    child = run_child(
        """
        import os
        file = model_file()
        pid = os.fork()
        filled(make_context(Model.load(file), n_threads=2))
        if pid:
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status))
        """
    )
    assert (child.returncode, child.stderr, child.stdout.strip()) == (0, "", "0")


def test_forked_error_names_what_to_do() -> None:
    assert "spawn" in str(ForkedError("Model"))


def test_context_params_are_kept() -> None:
    params = ContextParams(n_ctx=256, n_threads=1)
    context = Context.create(shared_model(), params)
    assert context.params is params
