"""What goes wrong is said clearly, ends one call only, and never the process."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind import Llama
from llama_bind.errors import (
    ClosedError,
    ContextError,
    ContextOverflowError,
    ForkedError,
    GrammarError,
    InputError,
    LlamaBindError,
    MessageError,
    ModelError,
    ModelFormatError,
    ModelNotFoundError,
    TemplateError,
    TextEncodingError,
    TokenError,
    UnknownOptionError,
)
from tests.core_helpers import model_file
from tests.llamas import TEMPLATE, shared, tiny

USER = [{"role": "user", "content": "Hi"}]


def still_works(llm: Llama) -> None:
    result = llm("Hello", max_tokens=3, temperature=0, ignore_eos=True)
    assert result["usage"] is not None
    assert result["usage"]["completion_tokens"] == 3


# -- files


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nothing\.gguf") as caught:
        Llama(tmp_path / "nothing.gguf")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"director|folder"):
        Llama(tmp_path)


def test_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("these are not weights\n" * 100)
    with pytest.raises(ModelFormatError, match="GGUF"):
        Llama(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    data = model_file("llama").read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelFormatError):
        Llama(path)


def test_bit_flips_in_the_header_never_kill(tmp_path: Path) -> None:
    data = bytearray(model_file("llama").read_bytes())
    path = tmp_path / "flipped.gguf"
    for place in range(0, 400, 5):
        flipped = bytearray(data)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        try:
            with Llama(path, n_ctx=256, n_threads=1) as llm:
                llm("Hello", max_tokens=1)
        except LlamaBindError:
            pass


# -- options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("top_p", math.nan),
        ("min_p", -1),
        ("repeat_penalty", 0),
        ("repeat_penalty", math.nan),
        ("frequency_penalty", math.inf),
        ("top_k", 2**40),
        ("top_k", 1.5),
        ("mirostat_mode", 3),
        ("samplers", ["top_q"]),
        ("samplers", "top_k"),
        ("dry_sequence_breakers", [1]),
        ("max_tokens", 1.5),
        ("max_tokens", "many"),
        ("n", 0),
        ("n", 10**9),
        ("logprobs", -1),
        ("logprobs", 10**9),
        ("logprobs", "all"),
        ("stop", [""]),
        ("stop", [3]),
        ("stop", "\ud800"),
        ("seed", "lucky"),
        ("logit_bias", {10**6: 1.0}),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {"word": 1.0}),
        ("logit_bias", {5: math.nan}),
        ("logit_bias", [1, 2]),
        ("grammar", 7),
        ("logits_processor", 7),
        ("stopping_criteria", [None]),
        ("stream_options", "usage"),
        ("echo", "yes"),
        ("ignore_eos", 1),
        ("priority", 10**9),
    ],
)
def test_bad_values_of_a_call_are_named(name: str, value: Any) -> None:
    llm: Any = shared()
    with pytest.raises(InputError) as caught:
        llm("Hello", max_tokens=3, **{name: value}) if name != "max_tokens" else llm("Hello", max_tokens=value)
    assert caught.value.param == name
    still_works(llm)


def test_an_unknown_option_names_the_nearest() -> None:
    llm: Any = shared()
    with pytest.raises(UnknownOptionError, match="did you mean 'temperature'") as caught:
        llm("Hello", temprature=1)
    assert isinstance(caught.value, TypeError)
    with pytest.raises(UnknownOptionError, match="did you mean 'n_ctx'"):
        Llama(model_file("llama"), nctx=512)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_ctx", -1),
        ("n_ctx", 2**40),
        ("n_batch", 0),
        ("n_batch", -5),
        ("n_ubatch", 0),
        ("n_seq_max", 0),
        ("n_seq_max", 10**6),
        ("n_threads", 0),
        ("n_threads", 10**6),
        ("type_k", 999),
        ("type_k", "q9"),
        ("type_v", -3),
        ("split_mode", 9),
        ("pooling_type", "median"),
        ("rope_freq_base", math.nan),
        ("flash_attn", "maybe"),
        ("kv_overrides", {"llama.block_count": "two" * 100}),
        ("kv_overrides", {"k" * 500: 1}),
        ("tensor_split", [1.0] * 1000),
        ("tensor_split", [math.nan]),
        ("devices", ["GPU that is not there"]),
        ("tensor_buft_overrides", [("(", "CPU")]),
        ("tensor_buft_overrides", [("x", "no such type")]),
        ("main_gpu", -1),
        ("numa", "sideways"),
        ("rpc_servers", ["no port"]),
        ("chat_format", "no-such-format"),
        ("seed", "x"),
        ("verbose", "loud"),
    ],
)
def test_bad_options_of_a_model_are_named(name: str, value: Any) -> None:
    options: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, name: value}
    with pytest.raises((InputError, ContextError)) as caught, Llama(model_file("llama"), **options) as llm:
        llm.create_chat_completion(USER, max_tokens=1)
    assert name in str(caught.value) or getattr(caught.value, "param", None) == name


@pytest.mark.parametrize(
    "options",
    [
        {"n_batch": 1},
        {"n_batch": 7, "n_ubatch": 3},
        {"n_batch": 3, "n_ubatch": 1000},
        {"n_batch": 100000},
        {"type_k": "q8_0", "type_v": "q8_0"},
        {"type_v": "q4_0", "flash_attn": False},
        {"n_ctx": 1},
        {"n_ctx": 0},
        {"kv_overrides": {"llama.attention.head_count": 7}},
        {"kv_overrides": {"llama.embedding_length": 0}},
        {"kv_overrides": {"tokenizer.ggml.bos_token_id": 10**6}},
        {"rope_scaling_type": "yarn", "yarn_orig_ctx": 1},
    ],
    ids=str,
)
def test_odd_options_work_or_are_refused(options: dict[str, Any]) -> None:
    try:
        llm = tiny(**options)
    except LlamaBindError:
        return
    with llm:
        llm("Hello there, how are you?", max_tokens=3)


# -- prompts


def test_a_prompt_longer_than_the_context() -> None:
    llm = shared()
    with pytest.raises(ContextOverflowError, match=r"Requested tokens \(\d+\) exceed context window of 256") as caught:
        llm("word " * 500)
    assert isinstance(caught.value, ValueError)
    assert caught.value.limit == 256
    with pytest.raises(ContextOverflowError):
        llm.create_chat_completion([{"role": "user", "content": "word " * 500}])
    still_works(llm)


def test_a_megabyte_of_text() -> None:
    llm = shared()
    text = "The quick brown fox. " * 50_000
    assert len(llm.tokenize(text)) > 256
    with pytest.raises(ContextOverflowError):
        llm(text)
    assert len(llm.tokenize("a" * 1_000_000)) > 1000
    still_works(llm)


def test_an_empty_prompt_begins_with_bos() -> None:
    prompts: tuple[Any, ...] = ("", b"", [])
    for prompt in prompts:
        result = shared()(prompt, max_tokens=2, ignore_eos=True)
        assert result["usage"] is not None
        assert (result["usage"]["prompt_tokens"], result["usage"]["completion_tokens"]) == (1, 2)


@pytest.mark.parametrize("prompt", [[10**6], [-1], [2**40], [5, 3, -2]])
def test_token_ids_that_do_not_exist(prompt: list[int]) -> None:
    with pytest.raises(TokenError):
        shared()(prompt)
    with pytest.raises(TokenError):
        shared().detokenize(prompt)


@pytest.mark.parametrize("prompt", [None, 5, object(), ["a"], {"a": 1}, [None], [1.5]])
def test_things_that_are_no_prompt(prompt: Any) -> None:
    with pytest.raises(InputError):
        shared()(prompt)


def test_a_lone_surrogate() -> None:
    with pytest.raises(TextEncodingError):
        shared()("a\ud800b")
    with pytest.raises(TextEncodingError):
        shared().tokenize("\udfff")
    with pytest.raises((TextEncodingError, MessageError)):
        shared().create_chat_completion([{"role": "user", "content": "\ud800"}])


@pytest.mark.parametrize("data", [b"\xff\xfe", b"abc\xc3", b"\x80" * 100, b"\xf0\x9f\x92", bytes(range(256))])
def test_bytes_that_are_not_utf8(data: bytes) -> None:
    with contextlib.suppress(TextEncodingError):
        shared().tokenize(data)
    still_works(shared())


def test_nul_bytes_are_kept() -> None:
    llm = shared()
    assert llm.detokenize(llm.tokenize(b"a\x00b", False)) == b"a\x00b"


# -- grammars


@pytest.mark.parametrize(
    "grammar",
    [
        "",
        "root",
        'root ::= "',
        "root ::= [a-",
        "root ::= (",
        "root ::= missing",
        'start ::= "a"',
        'root ::= root "a"',
        'root ::= "a"{5,2}',
        'root ::= "a"{99999999}',
        "root ::= " + "(" * 100_000,
        'root ::= "\\x"',
        'root ::= "a" \x00',
        'root ::= "a"**' + "*" * 1000,
        "root ::= " + "x" * 100_000,
        "root ::= <[99999999]>",
        '\ud800 ::= "a"',
    ],
    ids=lambda g: ascii(g)[:30],
)
def test_broken_grammars(grammar: str) -> None:
    with pytest.raises(GrammarError):
        shared()("Hello", grammar=grammar, max_tokens=2)
    still_works(shared())


def test_a_grammar_error_says_where() -> None:
    with pytest.raises(GrammarError) as caught:
        shared()("Hello", grammar='root ::= "a"\nother ::= [a-')
    assert caught.value.line == 2


# -- chats


@pytest.mark.parametrize(
    "messages",
    [
        [],
        None,
        "Hi",
        {"role": "user", "content": "Hi"},
        ["Hi"],
        [{}],
        [{"role": "wizard", "content": "Hi"}],
        [{"role": "user"}],
        [{"role": "user", "content": 5}],
        [{"role": None, "content": "Hi"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
    ],
)
def test_messages_of_the_wrong_shape(messages: Any) -> None:
    llm = shared()
    with pytest.raises((MessageError, LlamaBindError)) as caught:
        llm.create_chat_completion(messages, max_tokens=1)
    assert isinstance(caught.value, ValueError)
    still_works(llm)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 10 ** 10000000000 }}",
        "{% for",
        "{{ undefined_thing.attribute }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_hostile_templates(template: str) -> None:
    with tiny(chat_template=template) as llm:
        started = time.perf_counter()
        with pytest.raises(TemplateError):
            llm.create_chat_completion(USER, max_tokens=1)
        assert time.perf_counter() - started < 30
        still_works(llm)


def test_a_broken_template_does_not_keep_a_model_from_loading() -> None:
    with tiny(file={"chat_template": "{% for"}) as llm:
        still_works(llm)
        with pytest.raises(TemplateError):
            llm.create_chat_completion(USER)


# -- callbacks


def test_a_callback_that_raises_ends_its_request_only() -> None:
    def broken(_ids: Any, _scores: Any) -> Any:
        raise KeyError("mine")

    llm = shared()
    with pytest.raises(KeyError, match="mine"):
        llm("Hello", logits_processor=broken, max_tokens=3)
    with pytest.raises(KeyError, match="mine"):
        llm("Hello", stopping_criteria=broken, max_tokens=3)
    with pytest.raises(KeyError, match="mine"):
        list(llm("Hello", stopping_criteria=broken, max_tokens=3, stream=True))
    still_works(llm)


@pytest.mark.parametrize(
    "made",
    [None, 5, np.zeros(3, np.float32), np.full(400, np.nan, np.float32), "scores"],
    ids=["none", "int", "short", "long", "str"],
)
def test_a_processor_that_returns_nonsense(made: Any) -> None:
    llm = shared()
    with pytest.raises((InputError, ValueError, TypeError)):
        llm("Hello", logits_processor=lambda _ids, _scores: made, max_tokens=3)
    still_works(llm)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_processor_that_returns_no_usable_number(value: float) -> None:
    llm = shared()
    shape = llm.n_vocab()
    with contextlib.suppress(LlamaBindError, ValueError):
        llm("Hello", logits_processor=lambda _ids, _scores: np.full(shape, value, np.float32), max_tokens=3)
    still_works(llm)


# -- life


def test_use_after_close_also_from_another_thread() -> None:
    llm = tiny()
    llm.close()
    llm.close()
    calls: list[Any] = [
        lambda: llm("Hello"),
        lambda: list(llm("Hello", stream=True)),
        lambda: llm.create_chat_completion(USER),
        lambda: llm.tokenize("Hello"),
        lambda: llm.detokenize([5]),
        lambda: llm.save_state(),
        lambda: llm.reset(),
        lambda: llm.engine,
    ]
    outcomes: list[BaseException | None] = []

    def attempt(call: Any) -> None:
        try:
            call()
        except BaseException as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    for call in calls:
        attempt(call)
        thread = threading.Thread(target=attempt, args=(call,))
        thread.start()
        thread.join(20)
    assert [type(o) for o in outcomes] == [ClosedError] * (2 * len(calls))
    repr(llm)


def test_close_while_other_threads_generate() -> None:
    for _ in range(5):
        llm = tiny()
        outcomes: list[str] = []

        def run(llm: Llama = llm, outcomes: list[str] = outcomes) -> None:
            try:
                for _ in range(50):
                    llm("Hello", ignore_eos=True)
                    llm.tokenize("some text")
                outcomes.append("finished")
            except ClosedError:
                outcomes.append("closed")

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        llm.close()
        for thread in threads:
            thread.join(30)
        assert outcomes == ["closed"] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_use_after_fork() -> None:
    llm = tiny()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        seen = b""
        for call in (lambda: llm("Hello"), lambda: llm.tokenize("x")):
            try:
                call()
                seen += b"none "
            except ForkedError:
                seen += b"forked "
            except BaseException as error:
                seen += type(error).__name__.encode() + b" "
        os.write(write, seen)
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"forked forked "
    os.close(read)
    still_works(llm)
    llm.close()


CTRL_C = """
import os, signal, sys, threading, time
from llama_bind import Llama
llm = Llama(sys.argv[1], n_ctx=32768, n_threads=1, n_batch=int(sys.argv[3]))
prompt = [5 + i % 200 for i in range(30000)] if sys.argv[2] == "prompt" else "Hello"
threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.perf_counter()
try:
    if sys.argv[2] == "stream":
        for _ in llm(prompt, stream=True, ignore_eos=True): pass
    else:
        llm(prompt, ignore_eos=True)
    print("finished")
except KeyboardInterrupt:
    print("interrupted", round(time.perf_counter() - started - 0.4, 3))
result = llm("Hello", max_tokens=3, ignore_eos=True)
print(result["usage"]["completion_tokens"])
llm.close()
"""


@pytest.mark.parametrize(("where", "n_batch"), [("prompt", 16384), ("generation", 512), ("stream", 512)])
def test_ctrl_c_returns_promptly_and_leaves_the_model_usable(where: str, n_batch: int) -> None:
    path = model_file("llama", n_ctx_train=32768, n_layer=4)
    command = [sys.executable, "-c", CTRL_C, str(path), where, str(n_batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("interrupted"), done.stdout
    assert float(first.split()[1]) < 5
    assert second == "3"


EXIT = """
import sys, threading
from llama_bind import Llama
llm = Llama(sys.argv[1], n_ctx=8192, n_threads=1)
stream = llm("Hello", stream=True, ignore_eos=True)
next(stream)
threading.Thread(target=lambda: llm("Hello again", ignore_eos=True), daemon=True).start()
other = Llama(sys.argv[1], n_ctx=256, n_threads=1)
"""


def test_the_interpreter_exits_cleanly_with_everything_open() -> None:
    path = model_file("llama", n_ctx_train=8192)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXIT, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_crash_test_can_fail() -> None:
    done = subprocess.run([sys.executable, "-c", "import os; os.abort()"], timeout=20, check=False)
    assert done.returncode == -signal.SIGABRT


def test_loading_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with Llama(model_file("llama", chat_template=TEMPLATE), n_ctx=256, n_threads=1) as llm:
        llm("Hello", max_tokens=1)
    assert capfd.readouterr() == ("", "")
