"""GGUF files read in pure Python: header, metadata, tensor table. Bounds are checked at every step.

Fast enough to run before every load (array items are decoded when asked for), and suspicious: nothing read from the
file is believed before it has been compared with the size of the file. The format is that of ``ggml/src/gguf.cpp``
(versions 2 and 3, little-endian), with the same limits.

Not for: weights (they are never touched), writing, or judging whether a model makes sense (`gguf_check`).
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from llama_bind.core.gguf_strings import find_strings
from llama_bind.errors import ModelError, ModelFormatError, ModelNotFoundError

__all__ = ["TENSOR_TYPES", "GGUFArray", "GGUFFile", "TensorInfo", "TensorType", "ValueType", "read_gguf"]

MAX_STRING = 2**30  # GGUF_MAX_STRING_LENGTH
MAX_ARRAY = 2**30  # GGUF_MAX_ARRAY_ELEMENTS
MAX_NAME = 64  # GGML_MAX_NAME, with its closing zero
MAX_KEY = 65535  # the format allows no more
MAX_DIMS = 4  # GGML_MAX_DIMS
DEFAULT_ALIGNMENT = 32


class ValueType:
    """Numbers of ``enum gguf_type``."""

    UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
    NAMES = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64")


_SCALARS = {
    kind: (struct.Struct("<" + code), np.dtype("<" + dtype))
    for kind, code, dtype in (
        (ValueType.UINT8, "B", "u1"), (ValueType.INT8, "b", "i1"), (ValueType.UINT16, "H", "u2"),
        (ValueType.INT16, "h", "i2"), (ValueType.UINT32, "I", "u4"), (ValueType.INT32, "i", "i4"),
        (ValueType.FLOAT32, "f", "f4"), (ValueType.BOOL, "B", "u1"), (ValueType.UINT64, "Q", "u8"),
        (ValueType.INT64, "q", "i8"), (ValueType.FLOAT64, "d", "f8"),
    )
}  # fmt: skip
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class TensorType:
    """A ggml type: its name, and the elements and bytes of one block (``ggml_blck_size``, ``ggml_type_size``)."""

    name: str
    block_size: int
    type_size: int


TENSOR_TYPES: Mapping[int, TensorType] = {
    number: TensorType(name, block, size)
    for number, name, block, size in (
        (0, "f32", 1, 4), (1, "f16", 1, 2), (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22),
        (7, "q5_1", 32, 24), (8, "q8_0", 32, 34), (9, "q8_1", 32, 36), (10, "q2_K", 256, 84), (11, "q3_K", 256, 110),
        (12, "q4_K", 256, 144), (13, "q5_K", 256, 176), (14, "q6_K", 256, 210), (15, "q8_K", 256, 292),
        (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98), (19, "iq1_s", 256, 50),
        (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82), (23, "iq4_xs", 256, 136),
        (24, "i8", 1, 1), (25, "i16", 1, 2), (26, "i32", 1, 4), (27, "i64", 1, 8), (28, "f64", 1, 8),
        (29, "iq1_m", 256, 56), (30, "bf16", 1, 2), (34, "tq1_0", 256, 54), (35, "tq2_0", 256, 66),
        (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36), (41, "q1_0", 128, 18), (42, "q2_0", 64, 18),
    )
}  # fmt: skip
"""Every type of ``enum ggml_type`` that a file may hold, by number."""


@dataclass(frozen=True)
class TensorInfo:
    """One row of the tensor table. ``shape`` in ggml's order (the row length first), 1 to 4 numbers."""

    name: str
    shape: tuple[int, ...]
    type: int  # number of the ggml type
    offset: int  # from the start of the data section
    n_bytes: int

    @property
    def type_name(self) -> str:
        """Name that ggml gives the type, e.g. ``q4_0``."""
        return TENSOR_TYPES[self.type].name

    @property
    def n_elements(self) -> int:
        """Product of the shape."""
        return int(np.prod(self.shape, dtype=object)) if self.shape else 1


class GGUFArray:
    """An array of the metadata, decoded when asked for. ``item_type`` is a `ValueType` number; ``len()`` works."""

    __slots__ = ("_data", "_n", "_places", "_start", "item_type")

    def __init__(
        self, data: bytes, item_type: int, n: int, start: int, places: npt.NDArray[np.int64] | None = None
    ) -> None:
        self._data, self.item_type, self._n, self._start, self._places = data, item_type, n, start, places

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"GGUFArray({ValueType.NAMES[self.item_type]} x {self._n})"

    def numpy(self) -> npt.NDArray[Any]:
        """The items as a read-only array; booleans as 0 and 1. ``TypeError`` for strings."""
        if self.item_type == ValueType.STRING:
            raise TypeError("an array of strings has no numpy form; use raw_strings() or list()")
        return np.frombuffer(self._data, _SCALARS[self.item_type][1], self._n, self._start)

    def raw_strings(self) -> list[bytes]:
        """The strings as bytes, which need not be valid UTF-8. ``TypeError`` for numbers."""
        places, data = self._string_places().tolist(), self._data
        return [data[a + 8 : b] for a, b in itertools.pairwise(places)]

    def list(self) -> list[Any]:
        """The items as Python values; bytes that are no UTF-8 become U+FFFD."""
        if self.item_type == ValueType.STRING:
            return [s.decode("utf-8", "replace") for s in self.raw_strings()]
        values: list[Any] = self.numpy().tolist()
        return [bool(v) for v in values] if self.item_type == ValueType.BOOL else values

    def _string_places(self) -> npt.NDArray[np.int64]:
        if self._places is None:
            raise TypeError(f"an array of {ValueType.NAMES[self.item_type]} holds no strings; use numpy()")
        return self._places


class GGUFFile:
    """The header of one file.

    ``metadata`` maps a key to (type number, value); a value is int, float, bool, str or `GGUFArray`.
    """

    def __init__(self, path: str, size: int, version: int) -> None:
        self.path = path
        self.size = size  # bytes of the whole file
        self.version = version
        self.alignment = DEFAULT_ALIGNMENT
        self.data_offset = 0  # where the data section starts
        self.metadata: dict[str, tuple[int, Any]] = {}
        self.tensors: dict[str, TensorInfo] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``; arrays as `GGUFArray`."""
        entry = self.metadata.get(key)
        return default if entry is None else entry[1]

    def kind(self, key: str) -> int | None:
        """The `ValueType` number of ``key``, None where there is no such key."""
        entry = self.metadata.get(key)
        return None if entry is None else entry[0]

    @property
    def architecture(self) -> str:
        """``general.architecture``, or an empty string."""
        value = self.get("general.architecture", "")
        return value if isinstance(value, str) else ""

    @property
    def n_params(self) -> int:
        """Elements of all tensors."""
        return sum(t.n_elements for t in self.tensors.values())

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.n_bytes for t in self.tensors.values())

    def items(self) -> Iterator[tuple[str, Any]]:
        """Keys and values in the order of the file."""
        return ((key, value) for key, (_, value) in self.metadata.items())


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Read the header of a GGUF file.

    Raises `ModelNotFoundError` when there is no such file, `ModelFormatError` (``path``, ``reason``, ``offset``) for
    everything else: not permitted, empty, another format, truncated, counts that the file cannot hold, duplicates.
    """
    path = os.fspath(path)
    size = _check_file(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _Parser(path, view, size).run()
    except ModelError:
        raise
    except OSError as e:
        raise _os_error(path, e) from e


def _check_file(path: str) -> int:
    """The size of a regular file; opening a pipe or a device could wait for ever."""
    try:
        info = os.stat(path)
    except (OSError, ValueError) as e:  # ValueError: a zero byte in the path
        if isinstance(e, OSError) and e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
            raise _os_error(path, e) from e
        raise ModelNotFoundError(f"there is no file {path!r}; check the path", path=path) from e
    if stat.S_ISDIR(info.st_mode):
        inside = sorted(p.name for p in Path(path).glob("*.gguf"))[:3]
        hint = f"; it holds {', '.join(inside)}" if inside else ""
        raise ModelNotFoundError(f"{path!r} is a directory, not a GGUF file{hint}", path=path)
    if not stat.S_ISREG(info.st_mode):
        raise ModelNotFoundError(f"{path!r} is not a regular file", path=path)
    if info.st_size == 0:
        raise ModelFormatError(f"{path}: the file is empty; download it again", path=path, reason="empty", offset=0)
    return info.st_size


def _os_error(path: str, error: OSError) -> ModelFormatError:
    if isinstance(error, PermissionError):
        reason, advice = "no permission to read the file", "; check its owner and mode"
    else:
        reason, advice = f"the file cannot be read: {error.strerror or error}", ""
    return ModelFormatError(f"{path}: {reason}{advice}", path=path, reason=reason)


_FoundArray = tuple[str, int, int, int, npt.NDArray[np.int64] | None]  # key, item type, count, place, string places


class _Parser:
    """One pass over the header; `at` is the position in the file."""

    def __init__(self, path: str, view: mmap.mmap, size: int) -> None:
        self.path, self.view, self.at = path, view, 0
        self.end = min(size, len(view))
        self.size = size

    def run(self) -> GGUFFile:
        version, n_tensors, n_kv = self._header()
        out = GGUFFile(self.path, self.size, version)
        arrays: list[_FoundArray] = []
        for i in range(n_kv):
            self._pair(out, arrays, i, n_kv)
        self._alignment(out)
        infos = [self._tensor_row(i, n_tensors) for i in range(n_tensors)]
        self._place_tensors(out, infos)
        header = self.view[: self.at]  # a copy, so that nothing holds the file open
        for key, item_type, n, start, places in arrays:
            out.metadata[key] = (ValueType.ARRAY, GGUFArray(header, item_type, n, start, places))
        return out

    def fail(self, reason: str, *, at: int | None = None) -> NoReturn:
        offset = self.at if at is None else at
        raise ModelFormatError(
            f"{self.path}: {reason} (at byte {offset}); the file is damaged, download or convert it again",
            path=self.path, reason=reason, offset=offset,
        )  # fmt: skip

    def _header(self) -> tuple[int, int, int]:
        magic = self.view[:4]
        if magic != b"GGUF":
            reason = _not_gguf(self.view[:64])
            raise ModelFormatError(f"{self.path}: not a GGUF file: {reason}", path=self.path, reason=reason, offset=0)
        self.at = 4
        version = self.u32("the version")
        if version in (0, 1) or (version > 3 and version & 0xFFFF):
            reason = f"GGUF version {version} is not supported, only 2 and 3 are"
            raise ModelFormatError(
                f"{self.path}: {reason}; convert the model again", path=self.path, reason=reason, offset=4
            )
        if version > 3:
            reason = "the file is byte-swapped: it was written for big-endian machines"
            raise ModelFormatError(
                f"{self.path}: {reason}; get the little-endian file", path=self.path, reason=reason, offset=4
            )
        n_tensors, n_kv = self.u64("the number of tensors"), self.u64("the number of metadata entries")
        rest = self.end - self.at
        if n_kv > rest // 13 or n_tensors > rest // 24:  # fewest bytes of an entry of each kind
            self.fail(
                f"{n_kv} metadata entries and {n_tensors} tensors cannot fit in a file of {self.size} bytes", at=8
            )
        return version, n_tensors, n_kv

    def u32(self, what: str) -> int:
        if self.at + 4 > self.end:
            self.fail(f"the file ends in {what}")
        self.at += 4
        return int(_U32.unpack_from(self.view, self.at - 4)[0])

    def u64(self, what: str) -> int:
        if self.at + 8 > self.end:
            self.fail(f"the file ends in {what}")
        self.at += 8
        return int(_U64.unpack_from(self.view, self.at - 8)[0])

    def text(self, what: str, errors: str = "surrogateescape") -> str:
        start, n = self.at, self.u64(what)
        if n > MAX_STRING:
            self.fail(f"{what} claims a length of {n} bytes", at=start)
        if n > self.end - self.at:
            self.fail(f"the file ends in {what}", at=start)
        self.at += n
        return self.view[self.at - n : self.at].decode("utf-8", errors)

    def _pair(self, out: GGUFFile, arrays: list[_FoundArray], i: int, n_kv: int) -> None:
        start = self.at
        key = self.text(f"metadata key {i} of {n_kv}")
        if not key or len(key) > MAX_KEY:
            self.fail(f"metadata key {i} is {len(key)} characters long, not 1 to {MAX_KEY}", at=start)
        if key in out.metadata:
            self.fail(f"metadata key {key[:99]!r} occurs twice", at=start)
        kind = self.u32(f"the type of {key!r}")
        if kind == ValueType.STRING:
            out.metadata[key] = (kind, self.text(f"the value of {key!r}", "replace"))
        elif kind == ValueType.ARRAY:
            arrays.append(self._array(key))
            out.metadata[key] = (kind, None)  # filled once the header is complete
        elif kind in _SCALARS:
            reader, _ = _SCALARS[kind]
            if reader.size > self.end - self.at:
                self.fail(f"the file ends in the value of {key!r}")
            value = reader.unpack_from(self.view, self.at)[0]
            out.metadata[key] = (kind, bool(value) if kind == ValueType.BOOL else value)
            self.at += reader.size
        else:
            self.fail(f"metadata key {key[:99]!r} has the unknown type {kind}", at=self.at - 4)

    def _array(self, key: str) -> _FoundArray:
        item_type, n = self.u32(f"the array {key!r}"), self.u64(f"the array {key!r}")
        start, rest = self.at, self.end - self.at
        if item_type != ValueType.STRING and item_type not in _SCALARS:
            self.fail(f"the array {key!r} has the unknown item type {item_type}", at=start - 12)
        item_size = 8 if item_type == ValueType.STRING else _SCALARS[item_type][0].size
        if n > MAX_ARRAY or n * item_size > rest:
            self.fail(f"the array {key!r} claims {n} items, more than the file holds", at=start - 8)
        if item_type != ValueType.STRING:
            self.at += n * item_size
            return key, item_type, n, start, None
        found = find_strings(self.view, start, n, self.end)
        if found is None:
            self.fail(f"the file ends in the array {key!r}", at=self.end)
        places, self.at = found
        return key, item_type, n, start, places

    def _alignment(self, out: GGUFFile) -> None:
        entry = out.metadata.get("general.alignment")
        if entry is None:
            return
        kind, value = entry
        if kind != ValueType.UINT32 or value <= 0 or value & (value - 1):
            self.fail(f"general.alignment is {value!r} ({ValueType.NAMES[kind]}), not a power of two of type u32")
        out.alignment = value

    def _tensor_row(self, i: int, n_tensors: int) -> TensorInfo:
        start = self.at
        name = self.text(f"the name of tensor {i} of {n_tensors}")
        if len(name.encode("utf-8", "surrogateescape")) >= MAX_NAME:
            self.fail(f"the name of tensor {i} is longer than {MAX_NAME - 1} bytes", at=start)
        what = f"the entry of tensor {name!r}"
        n_dims = self.u32(what)
        if n_dims > MAX_DIMS:
            self.fail(f"tensor {name!r} has {n_dims} dimensions, more than {MAX_DIMS}", at=self.at - 4)
        shape = tuple(self.u64(what) for _ in range(n_dims))
        n = 1
        for d in shape:
            n *= d
        if any(d == 0 or d >= 2**63 for d in shape) or n >= 2**63:
            self.fail(f"tensor {name!r} has the impossible shape {list(shape)}", at=start)
        kind = self.u32(what)
        if kind not in TENSOR_TYPES:
            self.fail(f"tensor {name!r} has the unknown type {kind}", at=self.at - 4)
        traits = TENSOR_TYPES[kind]
        row = shape[0] if shape else 1
        if row % traits.block_size:
            self.fail(
                f"rows of tensor {name!r} hold {row} elements, {traits.name} needs multiples of {traits.block_size}",
                at=start,
            )
        return TensorInfo(name, shape, kind, self.u64(what), n // traits.block_size * traits.type_size)

    def _place_tensors(self, out: GGUFFile, infos: list[TensorInfo]) -> None:
        """Offsets must follow each other without holes, as ``gguf_init_from_reader`` demands, and end in the file."""
        pad = out.alignment - 1
        if not infos:
            out.data_offset = self.at
            return
        out.data_offset = (self.at + pad) & ~pad
        expected = 0
        for info in infos:
            if info.name in out.tensors:
                self.fail(f"tensor {info.name!r} occurs twice")
            if info.offset != expected:
                self.fail(f"tensor {info.name!r} has the offset {info.offset} where {expected} is due")
            if out.data_offset + info.offset + info.n_bytes > self.size:
                missing = out.data_offset + info.offset + info.n_bytes - self.size
                self.fail(
                    f"the file is truncated: the data of tensor {info.name!r} goes {missing} bytes past its end",
                    at=self.size,
                )
            expected += (info.n_bytes + pad) & ~pad
            out.tensors[info.name] = info


def _not_gguf(head: bytes) -> str:
    """What the file seems to be instead."""
    known = (
        (b"version https://git-lfs", "it is a Git LFS pointer; fetch the real file with `git lfs pull` or download it"),
        (b"FUGG", "it is byte-swapped"),
        (b"PK\x03\x04", "it is a zip archive or a PyTorch checkpoint; convert the model to GGUF"),
        (b"lmgg", "it is an old GGML file; get the model as GGUF"),
        (b"fmgg", "it is an old GGML file; get the model as GGUF"),
        (b"tjgg", "it is an old GGML file; get the model as GGUF"),
        (b"\x93NUMPY", "it is a numpy file"),
        (b"\x1f\x8b", "it is gzip-compressed; unpack it first"),
        (b"BZh", "it is bzip2-compressed; unpack it first"),
        (b"\xfd7zXZ", "it is xz-compressed; unpack it first"),
        (b"(\xb5/\xfd", "it is zstd-compressed; unpack it first"),
        (b"\x7fELF", "it is a program or library"),
        (b"\x80", "it is a Python pickle; convert the model to GGUF"),
    )
    for start, reason in known:
        if head.startswith(start):
            return reason
    if head.lstrip()[:9].lower() in (b"<!doctype", b"<html>\n<he") or head.lstrip()[:5].lower() == b"<html":
        return "it is a web page; the download went to the wrong address or needs a login"
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "it is a safetensors file; convert the model to GGUF"
    if len(head) < 4:
        return "it is too short"
    if all(b in b"\t\n\r\f" or 32 <= b < 127 for b in head):
        return "it is a text file"
    if head[:4] == bytes(4):
        return "it starts with zeros: the download did not finish"
    return f"it starts with {head[:4]!r} instead of b'GGUF'"
