"""Every option of the dataclasses is a flag, and its text becomes the right value."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from llama_bind.cli.options import CALL, LOAD, NOT_IN_CHAT, add_options, collect, flags_of
from llama_bind.cli.parser import Parser
from llama_bind.errors import InputError
from llama_bind.options import options_of, validate
from llama_bind.params import ContextParams, ModelParams, RequestParams, SamplingParams

LEFT_OUT = {
    "logits_all",
    "stream",
    "n",
    "priority",
    "no_perf",
    "vocab_only",
    "embedding",
    "pooling_type",
    "attention_type",
}


def parse(*arguments: str, classes: tuple[type[Any], ...] = (*CALL, *LOAD)) -> dict[str, Any]:
    parser = Parser(prog="t")
    add_options(parser, classes)
    return collect(parser.parse_args(arguments), classes)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def test_every_option_has_a_flag_or_a_reason() -> None:
    for cls in (*LOAD, *CALL):
        wanted = {name for name, entry in options_of(cls).items() if entry.cli} - LEFT_OUT
        assert {flag.name for flag in flags_of(cls)} == wanted
    assert not {f.name for f in flags_of(RequestParams, NOT_IN_CHAT)} & {"echo", "suffix"}


def test_nothing_given_is_nothing_collected() -> None:
    assert parse() == {}


def test_every_default_can_be_written_and_read_back() -> None:
    for cls in (*LOAD, *CALL):
        for flag in flags_of(cls):
            if isinstance(flag.default, (int, float, str)) and not isinstance(flag.default, bool):
                assert flag.parse(str(flag.default)) == flag.default, flag.name


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--n-ctx", "4096"), "n_ctx", 4096),
        (("--n_ctx=4096",), "n_ctx", 4096),
        (("-c", "4096"), "n_ctx", 4096),
        (("-ngl", "-1"), "n_gpu_layers", -1),
        (("--temp", "0"), "temperature", 0.0),
        (("--top-n-sigma", "-1"), "top_n_sigma", -1.0),
        (("--no-use-mmap",), "use_mmap", False),
        (("--use-mlock",), "use_mlock", True),
        (("--no-host",), "no_host", True),
        (("--load-mtp",), "load_mtp", True),
        (("--flash-attn", "auto"), "flash_attn", "auto"),
        (("--flash-attn", "ON"), "flash_attn", "on"),
        (("--flash-attn", "false"), "flash_attn", False),
        (("--numa", "off"), "numa", False),
        (("--numa", "distribute"), "numa", "distribute"),
        (("--split-mode", "row"), "split_mode", "row"),
        (("--split-mode", "2"), "split_mode", 2),
        (("--mirostat-mode", "2"), "mirostat_mode", 2),
        (("--type-k", "q8_0"), "type_k", "q8_0"),
        (("--type-k", "8"), "type_k", 8),
        (("--tensor-split", "3,1.5"), "tensor_split", [3.0, 1.5]),
        (("--devices", "CUDA0, CUDA1", "--devices", "RPC"), "devices", ["CUDA0", "CUDA1", "RPC"]),
        (("--devices", ""), "devices", []),
        (("--samplers", "top_k,temperature"), "samplers", ["top_k", "temperature"]),
        (("--stop", "a,b", "--stop", r"\n\\n"), "stop", ["a,b", "\n\\n"]),
        (("--seed", "0"), "seed", 0),
        (("--grammar", 'root ::= "a"'), "grammar", 'root ::= "a"'),
        (("--max-tokens", "-1"), "max_tokens", -1),
    ],
)
def test_values(arguments: tuple[str, ...], name: str, value: Any) -> None:
    given = parse(*arguments)
    assert given == {name: value}
    assert type(given[name]) is type(value)


def test_values_pass_the_checks_of_their_options() -> None:
    given = parse("--flash-attn", "off", "--numa", "mirror", "--samplers", "top_k", "--tensor-split", "1,2")
    for cls in (ModelParams, ContextParams, SamplingParams):
        validate(cls(**{k: v for k, v in given.items() if k in options_of(cls)}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--n-ctx", "many"), "n_ctx must be a whole number, not 'many'"),
        (("--top-p", "x"), "top_p must be a number, not 'x'"),
        (("--split-mode", "diagonal"), "must be one of none, layer, row, tensor, not 'diagonal'"),
        (("--numa", "true1"), "must be one of"),
        (("--temprature", "1"), "there is no option --temprature; did you mean --temperature?"),
        (("--n_gpu_layer=1",), "did you mean --n-gpu-layers?"),
        (("--zzzz",), "`t --help` lists them"),
        (("two", "words"), "unexpected argument 'two'"),
        (("--n-ctx",), "expected one argument"),
        (("--grammar", "@/nonexistent/file"), "cannot be read from /nonexistent/file"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(capsys, *arguments)


def test_long_texts_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "g.gbnf"
    file.write_text('root ::= "é"', encoding="utf-8")
    assert parse("--grammar", f"@{file}") == {"grammar": 'root ::= "é"'}
    assert parse("--chat-format", "@x") == {"chat_format": "@x"}


def test_the_environment_is_below_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_BIND_N_CTX", "1024")
    monkeypatch.setenv("LLAMA_BIND_USE_MMAP", "off")
    monkeypatch.setenv("LLAMA_BIND_TOP_K", "")
    assert parse() == {"n_ctx": 1024, "use_mmap": False}
    assert parse("--n-ctx", "2048", "--use-mmap") == {"n_ctx": 2048, "use_mmap": True}
    monkeypatch.setenv("LLAMA_BIND_N_CTX", "x")
    with pytest.raises(InputError, match="n_ctx must be a whole number"):
        parse()


def test_help_can_be_formatted_and_names_defaults() -> None:
    parser = Parser(prog="t")
    add_options(parser, (*CALL, *LOAD))
    text = parser.format_help()
    assert "(default: 0.8)" in text
    assert "{none,layer,row,tensor}" in text
    assert isinstance(parser, argparse.ArgumentParser)
