from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_bind.core.gguf_reader import GGUFArray, read_gguf
from llama_bind.errors import ModelFormatError, ModelNotFoundError
from tests.gguf_mutate import RawGguf
from tests.tiny_gguf import tiny_llama, write_tiny_llama

ROOT = Path(__file__).resolve().parents[2]
VOCABS = [ROOT / f"vendor/llama.cpp/models/ggml-vocab-{name}.gguf" for name in ("phi-3", "bert-bge", "deepseek-coder")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def damaged(tiny: Path, tmp_path: Path, change: Callable[[RawGguf], None]) -> Path:
    raw = RawGguf.parse(tiny.read_bytes())
    change(raw)
    path = tmp_path / "damaged.gguf"
    path.write_bytes(raw.to_bytes())
    return path


def error_of(path: Path) -> ModelFormatError:
    with pytest.raises(ModelFormatError) as info:
        read_gguf(path)
    assert info.value.path == str(path)
    assert info.value.reason in str(info.value)
    return info.value


def test_reads_what_was_written(tiny: Path) -> None:
    file, model = read_gguf(tiny), tiny_llama()
    assert file.version == 3
    assert file.architecture == "llama"
    assert list(file.metadata) == list(model.metadata)
    for key, value in file.items():
        wanted: Any = model.metadata[key]
        got = value.list() if isinstance(value, GGUFArray) else value
        assert got == pytest.approx(wanted) if isinstance(wanted, float) else got == wanted
    assert {n: t.shape for n, t in file.tensors.items()} == {n: t.shape[::-1] for n, t in model.tensors.items()}
    assert file.n_params == sum(t.size for t in model.tensors.values())


@pytest.mark.parametrize("path", VOCABS, ids=lambda p: p.stem)
def test_agrees_with_the_gguf_package(path: Path) -> None:
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    fields = {k: f for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert list(ours.metadata) == list(fields)
    for key in ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.bos_token_id"):
        if key in fields:
            assert ours.get(key) == fields[key].contents()
    tokens = fields["tokenizer.ggml.tokens"]
    array = ours.get("tokenizer.ggml.tokens")
    assert len(array) == len(tokens.data)
    for i in (0, 1, len(array) // 2, len(array) - 1):
        assert array.raw_strings()[i] == bytes(tokens.parts[tokens.data[i]])


def test_arrays_know_what_they_hold(tiny: Path) -> None:
    file = read_gguf(tiny)
    types, tokens = file.get("tokenizer.ggml.token_type"), file.get("tokenizer.ggml.tokens")
    assert types.numpy().dtype == np.int32
    assert types.list()[:2] == [3, 3]
    assert repr(tokens) == f"GGUFArray(str x {len(tokens)})"
    with pytest.raises(TypeError, match="raw_strings"):
        tokens.numpy()
    with pytest.raises(TypeError, match="holds no strings"):
        types.raw_strings()


def test_version_2_is_read(tiny: Path, tmp_path: Path) -> None:
    path = damaged(tiny, tmp_path, lambda raw: setattr(raw, "version", 2))
    assert read_gguf(path).version == 2


def test_missing_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no file"):
        read_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelNotFoundError, match="there is no file"):
        read_gguf("a\0b")
    (tmp_path / "inside.gguf").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match=r"is a directory.*inside\.gguf"):
        read_gguf(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_gguf(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelNotFoundError, match="not a regular file"):
        read_gguf(tmp_path / "pipe")


def test_no_permission(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert "no permission" in error_of(tiny).reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"GG", "too short"),
        (b"Hello, I am a text file.\n", "text file"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04rest", "PyTorch"),
        (struct.pack("<Q", 100) + b'{"a":1}     ', "safetensors"),
        (bytes(100), "did not finish"),
        (b"lmgg" + bytes(60), "old GGML"),
        (b"\xde\xad\xbe\xef" + bytes(60), "it starts with"),
        (b"GGUF\0\0\0\x03" + bytes(16), "byte-swapped"),
        (b"GGUF\1\0\0\0" + bytes(16), "version 1"),
        (b"GGUF\4\0\0\0" + bytes(16), "version 4"),
        (b"GGUF\3\0\0\0", "the file ends in the number of tensors"),
        (b"GGUF\3\0\0\0" + b"\xff" * 16, "cannot fit"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file.gguf"
    path.write_bytes(content)
    assert reason in error_of(path).reason


def test_every_truncation_is_noticed(tiny: Path, tmp_path: Path) -> None:
    blob, path = tiny.read_bytes(), tmp_path / "cut.gguf"
    header = read_gguf(tiny).data_offset
    for size in [*range(1, header, 97), header, header + 1, len(blob) // 2, len(blob) - 33]:
        path.write_bytes(blob[:size])
        error_of(path)


def set_row(i: int, part: int, value: Any) -> Callable[[RawGguf], None]:
    return lambda raw: raw.tensors[i].__setitem__(part, value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw.kv.append(list(raw.kv[0])), "occurs twice"),
        (lambda raw: raw.kv.insert(0, [b"", 4, 1]), "0 characters"),
        (lambda raw: raw.kv.insert(0, [b"k" * 70000, 4, 1]), "70000 characters"),
        (lambda raw: raw.kv.insert(0, [b"k", 99, 1]), "unknown type 99"),
        (lambda raw: raw.kv.insert(0, [b"k", 9, [99, []]]), "unknown item type 99"),
        (lambda raw: raw.kv.insert(0, [b"k", 9, [9, []]]), "unknown item type 9"),
        (lambda raw: raw.kv.append([b"general.alignment", 4, 24]), "power of two"),
        (lambda raw: raw.kv.append([b"general.alignment", 4, 0]), "power of two"),
        (lambda raw: raw.kv.append([b"general.alignment", 10, 32]), "power of two"),
        (set_row(1, 0, b"token_embd.weight"), "occurs twice"),
        (set_row(0, 0, b"n" * 64), "longer than 63"),
        (set_row(0, 1, [1] * 5), "5 dimensions"),
        (set_row(0, 1, [32, 0]), "impossible shape"),
        (set_row(0, 1, [2**62, 2**62]), "impossible shape"),
        (set_row(0, 1, [2**63]), "impossible shape"),
        (set_row(0, 2, 99), "unknown type 99"),
        (set_row(0, 2, 4), "unknown type 4"),
        (set_row(0, 2, 12), "multiples of 256"),
        (set_row(1, 3, 64), "where"),
        (set_row(-1, 1, [32, 999]), "truncated"),
        (lambda raw: setattr(raw, "n_kv", 10**6), "cannot fit"),
        (lambda raw: setattr(raw, "n_tensors", 2**63), "cannot fit"),
    ],
)
def test_damage_to_the_container(tiny: Path, tmp_path: Path, change: Callable[[RawGguf], None], reason: str) -> None:
    error = error_of(damaged(tiny, tmp_path, change))
    assert reason in error.reason
    assert error.offset is not None


def test_an_absurd_array_is_refused_at_once(tiny: Path, tmp_path: Path) -> None:
    blob = bytearray(tiny.read_bytes())
    at = blob.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 8
    blob[at : at + 8] = struct.pack("<Q", 2**40)
    path = tmp_path / "array.gguf"
    path.write_bytes(blob)
    assert "more than the file holds" in error_of(path).reason


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_end_in_an_error_or_a_file(tiny: Path, tmp_path: Path, data: st.DataObject) -> None:
    blob = bytearray(tiny.read_bytes()[:9000])
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, 8999))] = data.draw(st.integers(0, 255))
    path = tmp_path / "any.gguf"
    path.write_bytes(blob)
    with contextlib.suppress(ModelFormatError):
        assert read_gguf(path).size == 9000
