"""A model file checked before llama.cpp sees it, so that damage is an error with a reason and never a crash.

Container (`gguf_reader`), shards, vocabulary (`gguf_vocab`), hyperparameters and tensor types (`gguf_rules`). What
llama.cpp itself refuses cleanly may be left to it; what it would assert, crash or hang on must be found here.
Weights are not looked at: that is ``check_tensors`` of the model's options.

Not for: adapters (`adapter`), or telling whether a model is any good.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_bind.core.gguf_reader import GGUFFile, TensorInfo, ValueType, read_gguf
from llama_bind.core.gguf_rules import check_hyperparameters, check_tensors
from llama_bind.core.gguf_view import ModelView, Override
from llama_bind.core.gguf_vocab import check_vocab
from llama_bind.errors import ModelFormatError, ModelNotFoundError

__all__ = ["GGUFSummary", "check_model_file", "shard_paths"]

MAX_SHARDS = 65535  # split.count is a 16-bit number
_SHARD_NAME = re.compile(r"^(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.DOTALL)


@dataclass(frozen=True)
class GGUFSummary:
    """What a checked model file says about itself. Sizes in bytes; ``n_vocab`` 0 where there is no vocabulary."""

    paths: tuple[str, ...]  # all shards, in order
    architecture: str
    name: str
    version: int
    n_vocab: int
    n_ctx_train: int
    n_embd: int
    n_layer: int
    n_tensors: int
    n_params: int
    size: int
    file: GGUFFile  # header of the (first) file


def check_model_file(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    vocab_only: bool = False,
    kv_overrides: Mapping[str, Override] | None = None,
) -> GGUFSummary:
    """Check a model, given as one file, the first of several shards, or the list of its shards.

    With ``vocab_only`` hyperparameters and tensors are passed over, as llama.cpp does. ``kv_overrides`` replace values
    of the metadata before anything is judged. Raises `ModelNotFoundError` (no such file, or a directory) and
    `ModelFormatError` (``path``, ``reason``, and ``offset`` where the damage has a place).
    """
    files = _read_all(path, kv_overrides)
    first, view = files[0], ModelView(files[0], kv_overrides)
    kind = view.text("general.type")
    if kind in ("adapter", "imatrix", "control_vector"):
        view.fail(f"the file is of the type {kind!r}, not a model; an adapter goes into lora_path")
    tensors = _all_tensors(files)
    if not vocab_only:
        check_hyperparameters(view, tensors)
    n_vocab = check_vocab(view)
    if not vocab_only:
        if not tensors:
            view.fail("the file holds a vocabulary but no tensors; it can only be loaded with vocab_only=True")
        check_tensors(view, tensors)
    a = view.arch
    return GGUFSummary(
        paths=tuple(f.path for f in files),
        architecture=a,
        name=str(view.file.get("general.name", "")),
        version=first.version,
        n_vocab=n_vocab,
        n_ctx_train=_int(view, f"{a}.context_length"),
        n_embd=_int(view, f"{a}.embedding_length"),
        n_layer=_int(view, f"{a}.block_count"),
        n_tensors=len(tensors),
        n_params=sum(f.n_params for f in files),
        size=sum(f.n_bytes for f in files),
        file=first,
    )


def shard_paths(path: str | os.PathLike[str], count: int) -> list[str]:
    """Names of all shards, made from the name of the first: ``<prefix>-00001-of-<count>.gguf``."""
    path = os.fspath(path)
    match = _SHARD_NAME.match(path)
    if match is None or int(match["number"]) != 1 or int(match["count"]) != count:
        reason = f"the file is one of {count} shards but is not named like <name>-00001-of-{count:05d}.gguf"
        raise ModelFormatError(f"{path}: {reason}; give it its name back", path=path, reason=reason)
    return [f"{match['prefix']}-{i:05d}-of-{count:05d}.gguf" for i in range(1, count + 1)]


def _read_all(path: Any, overrides: Mapping[str, Override] | None) -> list[GGUFFile]:
    given = None if isinstance(path, (str, os.PathLike)) else [os.fspath(p) for p in path]
    if given is not None and not given:
        raise ModelNotFoundError("the list of shards is empty; name at least one file")
    first = read_gguf(path if given is None else given[0])
    view = ModelView(first, overrides)
    count = view.integer("split.count", low=0, high=MAX_SHARDS) or 0
    if count <= 1:
        if given is not None and len(given) > 1:
            view.fail(f"{len(given)} shards were given but the first says it is the whole model")
        return [first]
    _shard_number(first, 0, count)
    names = given if given is not None else shard_paths(first.path, count)
    if len(names) != count:
        view.fail(f"{len(names)} shards were given but the model has {count}")
    files = [first]
    for i, name in enumerate(names[1:], 1):
        files.append(_read_shard(name, i, count))
    total = view.integer("split.tensors.count", required=True)
    found = sum(len(f.tensors) for f in files)
    if total != found:
        view.fail(f"the shards hold {found} tensors but split.tensors.count is {total}")
    return files


def _read_shard(name: str, i: int, count: int) -> GGUFFile:
    try:
        file = read_gguf(name)
    except ModelNotFoundError as e:
        reason = f"shard {i + 1} of {count} is missing"
        raise ModelFormatError(f"{name}: {reason}; put all shards into one directory", path=name, reason=reason) from e
    _shard_number(file, i, count)
    return file


def _shard_number(file: GGUFFile, i: int, count: int) -> None:
    view = ModelView(file)
    number = view.integer("split.no", required=True)
    if file.kind("split.no") != ValueType.UINT16 or number != i:
        view.fail(f"the file says it is shard {number} (from 0), where shard {i} of {count} is due")


def _all_tensors(files: list[GGUFFile]) -> dict[str, TensorInfo]:
    tensors = dict(files[0].tensors)
    for file in files[1:]:
        for name, info in file.tensors.items():
            if name in tensors:
                ModelView(file).fail(f"tensor {name!r} is in two shards")
            tensors[name] = info
    return tensors


def _int(view: ModelView, key: str) -> int:
    value = view.overrides.get(key, view.file.get(key))
    return value if isinstance(value, int) else 0
