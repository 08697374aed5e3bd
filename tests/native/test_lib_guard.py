"""Failed native assertions and exceptions become Python errors; the same calls without a guard end the process."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_bind.errors import NativeAbortError
from llama_bind.lib import check_guard, ggml_h, guard_h, llama_h, resolve
from tests.tiny_gguf import write_tiny_llama

ROOT = Path(__file__).resolve().parents[2]
INT32_MIN = -(2**31)


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("how", "words"), [(0, "failed on purpose"), (1, "thrown on purpose"), (2, "not a std::exception")]
)
def test_each_kind_of_failure_becomes_an_error(how: int, words: str) -> None:
    assert guard_h.lb_fail(how) == INT32_MIN
    with pytest.raises(NativeAbortError, match=words) as caught:
        check_guard()
    assert words in caught.value.native_message
    assert "test_each_kind_of_failure" in str(caught.value)
    check_guard()  # forgotten once raised


def test_success_leaves_nothing_behind() -> None:
    guard_h.lb_fail(0)
    assert guard_h.lb_fail(7) == 7
    assert guard_h.lb_last_error() is None
    check_guard()


def test_an_assertion_keeps_its_file_and_line() -> None:
    assert guard_h.lb_ggml_backend_dev_get(10_000) is None
    with pytest.raises(NativeAbortError, match=r"ggml-backend-reg\.cpp:\d+: GGML_ASSERT\(index < "):
        check_guard()


def test_functions_without_a_result_and_floats() -> None:
    guard_h.lb_llama_batch_free(llama_h.llama_batch_init(1, 0, 1))
    check_guard()
    assert guard_h.lb_llama_time_us() > 0


def test_errors_belong_to_the_thread() -> None:
    guard_h.lb_fail(1)
    seen = []

    def work() -> None:
        seen.append(guard_h.lb_last_error())
        guard_h.lb_fail(0)
        seen.append(guard_h.lb_last_error())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert seen[0] is None
    assert b"failed on purpose" in (seen[1] or b"")
    assert guard_h.lb_last_error() == b"thrown on purpose"
    guard_h.lb_clear_error()
    assert guard_h.lb_last_error() is None


def test_without_the_guard_the_same_call_ends_the_process() -> None:
    code = "from llama_bind.lib import {0}\n{0}.{1}ggml_backend_dev_get(10000)\nprint('alive')\n"
    bare = child("import os; os.environ['GGML_NO_BACKTRACE'] = '1'\n" + code.format("ggml_backend_h", ""))
    assert bare.returncode == -signal.SIGABRT
    assert "alive" not in bare.stdout
    guarded = child(code.format("guard_h", "lb_"))
    assert (guarded.returncode, guarded.stdout) == (0, "alive\n"), guarded.stderr


def test_an_assertion_outside_a_guarded_call_still_ends_the_process_and_is_printed() -> None:
    done = child(
        "from llama_bind.lib import ggml_backend_h, guard_h\n"
        "guard_h.lb_guard_install()\n"
        "ggml_backend_h.ggml_backend_dev_get(10000)\n"
    )
    assert done.returncode == -signal.SIGABRT
    assert "GGML_ASSERT(index < " in done.stderr


def test_a_callback_set_before_is_kept_for_unguarded_calls() -> None:
    done = child(
        "import os\n"
        "from llama_bind.lib import ggml_backend_h, ggml_h, guard_h\n"
        "@ggml_h.ggml_abort_callback_t\n"
        "def mine(message):\n"
        "    os.write(1, b'mine: ' + message)\n"
        "    os._exit(3)\n"
        "ggml_h.ggml_set_abort_callback(mine)\n"
        "assert guard_h.lb_fail(0) < 0\n"
        "ggml_backend_h.ggml_backend_dev_get(10000)\n"
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("mine: ")
    assert "GGML_ASSERT" in done.stdout


def test_the_abort_flag_is_a_callback_without_python() -> None:
    flag = ctypes.c_int32(0)
    function = ggml_h.ggml_abort_callback(ctypes.cast(resolve(guard_h.lb_abort_flag), ctypes.c_void_p).value or 0)
    assert function(ctypes.addressof(flag)) is False
    flag.value = 1
    assert function(ctypes.addressof(flag)) is True


def test_every_public_llama_function_has_a_twin_with_the_same_types() -> None:
    twins = 0
    for name, value in vars(llama_h).items():
        stub = getattr(value, "_stub", value)
        if not hasattr(stub, "_binding") or hasattr(stub, "__deprecated__") or stub.__module__ != llama_h.__name__:
            continue
        guarded = getattr(guard_h, f"lb_{name}")
        twin = getattr(guarded, "_stub", guarded)
        assert twin._binding[3] == stub._binding[3], name
        assert twin._binding[2] is stub._binding[2], name
        twins += 1
    assert twins > 200


class TestOnAModel:
    """Assertions deep inside decoding, on a real context."""

    @pytest.fixture
    def context(self, tmp_path: Path) -> Iterator[int]:
        quiet, before, data = ggml_h.ggml_log_callback(lambda *_: None), ggml_h.ggml_log_callback(), ctypes.c_void_p()
        llama_h.llama_log_get(before, ctypes.pointer(data))
        llama_h.llama_log_set(quiet, None)
        path = write_tiny_llama(tmp_path / "tiny.gguf")
        model = guard_h.lb_llama_model_load_from_file(str(path).encode(), llama_h.llama_model_default_params())
        check_guard()
        params = llama_h.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_threads, params.n_threads_batch = 64, 16, 1, 1
        context = guard_h.lb_llama_init_from_model(model, params)
        check_guard()
        assert context is not None
        yield context
        llama_h.llama_free(context)
        llama_h.llama_model_free(model)
        llama_h.llama_log_set(before, data)

    def decode(self, context: int, n_tokens: int, token: int = 5, seq: int = 0) -> int:
        batch = llama_h.llama_batch_init(64, 0, 1)
        batch.n_tokens = n_tokens
        for index in range(n_tokens):
            batch.token[index], batch.pos[index], batch.n_seq_id[index] = token, index, 1
            batch.seq_id[index][0], batch.logits[index] = seq, index == n_tokens - 1
        try:
            return guard_h.lb_llama_decode(context, batch)
        finally:
            llama_h.llama_batch_free(batch)

    def test_a_good_batch_passes(self, context: int) -> None:
        assert self.decode(context, 4) == 0
        check_guard()
        assert guard_h.lb_llama_get_logits_ith(context, -1)

    def test_a_batch_larger_than_n_batch(self, context: int) -> None:
        assert self.decode(context, 64) == INT32_MIN
        with pytest.raises(NativeAbortError, match="n_batch"):
            check_guard()

    @pytest.mark.parametrize("seq", [-5, 4, 10_000])
    def test_sequences_that_do_not_exist(self, context: int, seq: int) -> None:
        assert self.decode(context, 1, seq=seq) < 0

    def test_tokens_outside_the_vocabulary(self, context: int) -> None:
        assert self.decode(context, 1, token=1_000_000) < 0
        vocab = llama_h.llama_model_get_vocab(llama_h.llama_get_model(context))
        assert guard_h.lb_llama_vocab_get_text(vocab, 1_000_000) is None
        with pytest.raises(NativeAbortError):
            check_guard()

    def test_memory_operations_on_sequences_that_do_not_exist(self, context: int) -> None:
        memory = llama_h.llama_get_memory(context)
        guard_h.lb_llama_memory_seq_cp(memory, 0, 5000, 0, -1)
        with pytest.raises(NativeAbortError, match="seq_id_dst"):
            check_guard()
        assert guard_h.lb_llama_memory_seq_rm(memory, 5000, 0, -1) is False
        with pytest.raises(NativeAbortError):
            check_guard()

    def test_damaged_state(self, context: int) -> None:
        data = (ctypes.c_uint8 * 64)(*range(64))
        assert guard_h.lb_llama_state_set_data(context, data, 64) == 0
        assert self.decode(context, 1) == 0

    def test_the_context_works_after_an_error(self, context: int) -> None:
        self.decode(context, 64)
        with pytest.raises(NativeAbortError):
            check_guard()
        assert self.decode(context, 3) == 0
