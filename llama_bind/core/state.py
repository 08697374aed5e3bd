"""Saving and restoring what a context remembers: all of it, or one sequence, as bytes or as llama.cpp's session files.

Bytes carry a header with a fingerprint of the model and a checksum, so that native code never sees a damaged state or
one of another model. A state has no logits: decode the last token again before sampling. Adapters are not part of it.

Not for: deciding what to keep (``engine``).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llama_bind.core import log
from llama_bind.errors import InputError, NativeAbortError, StateError, UnsupportedError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.core.model import Model

__all__ = [
    "PARTIAL_ONLY",
    "exchange_seqs",
    "fingerprint",
    "load_file",
    "load_seq_file",
    "load_seq_state",
    "load_state",
    "save_file",
    "save_seq_file",
    "save_seq_state",
    "save_state",
    "seq_state_size",
    "state_size",
]

PARTIAL_ONLY = 1
"""Flag: only what cannot be cut at any point: sliding-window cache and recurrent state."""
_MAGIC = b"LBST"
_VERSION = 1
_ALL = 0xFFFFFFFF
# magic, version, flags, sequence (_ALL: everything), fingerprint, length and checksum of what follows
_HEADER = struct.Struct("<4sIII16sQ16s")
_FILE_HEADER = struct.Struct("<III")  # magic, version, count of tokens


def fingerprint(model: Model, context: Context) -> bytes:
    """16 bytes that are equal where a state can be exchanged: same model file, types of cache and RoPE options."""
    digest = hashlib.blake2b(digest_size=16)
    facts = (model.arch, model.n_params, model.size, model.n_layer, model.n_embd, model.vocab.n_tokens, model.ftype)
    options = context.describe()
    names = ("type_k", "type_v", "rope_freq_base", "rope_freq_scale", "rope_scaling_type", "yarn_orig_ctx", "swa_full")
    digest.update(repr((facts, [(name, options[name]) for name in names], sorted(model.metadata.items()))).encode())
    return digest.digest()


def state_size(context: Context) -> int:
    """Bytes that `save_state` gives."""
    with context._use() as pointer:
        size = guard_h.lb_llama_state_get_size(pointer)
        check_guard()
    return int(size) + _HEADER.size


def save_state(context: Context) -> bytes:
    """Everything the memory holds.

    Raises:
        StateError: llama.cpp could not save it.
    """
    with context._use() as pointer:
        size = int(guard_h.lb_llama_state_get_size(pointer))
        check_guard()
        return _saved(context, _ALL, 0, size, lambda data, n: guard_h.lb_llama_state_get_data(pointer, data, n))


def load_state(context: Context, state: bytes | bytearray | memoryview) -> None:
    """Replace everything the memory holds.

    Raises:
        StateError: damaged, of another model or kind of context, or too large; the memory is empty then, unless the
            header was already wrong.
    """
    payload = _payload(context, state, _ALL, 0)
    place = log.mark()
    try:
        with context._use() as pointer:
            read = guard_h.lb_llama_state_set_data(pointer, _bytes(payload), len(payload))
            check_guard()
        if read != len(payload):
            raise StateError(_why("the state does not fit this context", place))
    except (StateError, NativeAbortError) as error:
        context.memory.clear()
        raise error if isinstance(error, StateError) else StateError(error.native_message) from error


def seq_state_size(context: Context, seq_id: int, flags: int = 0) -> int:
    """Bytes that `save_seq_state` gives."""
    _check_seq(context, seq_id, flags)
    with context._use() as pointer:
        size = guard_h.lb_llama_state_seq_get_size_ext(pointer, seq_id, flags)
        check_guard()
    return int(size) + _HEADER.size


def save_seq_state(context: Context, seq_id: int, flags: int = 0) -> bytes:
    """What the memory holds of one sequence. `flags`: 0 or `PARTIAL_ONLY`.

    Raises:
        StateError: llama.cpp could not save it.
    """
    _check_seq(context, seq_id, flags)
    with context._use() as pointer:
        size = int(guard_h.lb_llama_state_seq_get_size_ext(pointer, seq_id, flags))
        check_guard()
        return _saved(
            context,
            seq_id,
            flags,
            size,
            lambda data, n: guard_h.lb_llama_state_seq_get_data_ext(pointer, data, n, seq_id, flags),
        )


def load_seq_state(context: Context, state: bytes | bytearray | memoryview, seq_id: int, flags: int = 0) -> None:
    """Replace what the memory holds of sequence `seq_id` by a saved sequence, which may have had another id.

    Raises:
        StateError: as `load_state`; the sequence is empty then.
    """
    _check_seq(context, seq_id, flags)
    payload = _payload(context, state, None, flags)
    place = log.mark()
    try:
        with context._use() as pointer:
            read = guard_h.lb_llama_state_seq_set_data_ext(pointer, _bytes(payload), len(payload), seq_id, flags)
            check_guard()
        if read == 0:
            raise StateError(_why(f"the state does not fit into sequence {seq_id} of this context", place))
    except (StateError, NativeAbortError) as error:
        context.memory.seq_rm(seq_id)
        raise error if isinstance(error, StateError) else StateError(error.native_message) from error


def exchange_seqs(context: Context, a: int, b: int) -> None:
    """Let two sequences change places in the memory, as they are: nothing is written down, so nothing is checked.

    Raises:
        StateError: llama.cpp could not do it; both are empty then.
    """
    memory = context.memory
    for seq in (a, b):
        _check_seq(context, seq, 0)
    held = [(_copied(context, seq), to) for seq, to in ((a, b), (b, a)) if memory.seq_pos_max(seq) >= 0]
    memory.seq_rm(a)
    memory.seq_rm(b)
    place = log.mark()
    try:
        for data, to in held:
            with context._use() as pointer:
                read = guard_h.lb_llama_state_seq_set_data_ext(pointer, _bytes(data), len(data), to, 0)
                check_guard()
            if read == 0:
                raise StateError(_why(f"no room for what sequence {to} is to hold", place))
    except (StateError, NativeAbortError) as error:
        memory.seq_rm(a)
        memory.seq_rm(b)
        raise error if isinstance(error, StateError) else StateError(error.native_message) from error


def _copied(context: Context, seq: int) -> npt.NDArray[np.uint8]:
    place = log.mark()
    with context._use() as pointer:
        size = int(guard_h.lb_llama_state_seq_get_size_ext(pointer, seq, 0))
        check_guard()
        data = np.empty(size, np.uint8)
        written = guard_h.lb_llama_state_seq_get_data_ext(pointer, _bytes(data), size, seq, 0)
        check_guard()
    if written == 0 or written > size:
        raise StateError(_why(f"sequence {seq} could not be copied", place))
    return data[:written]


def save_file(context: Context, path: str | os.PathLike[str], tokens: Sequence[int] = ()) -> None:
    """Write a session file of llama.cpp: the state, and the tokens that it stands for. The file appears whole or not at
    all.

    Raises:
        StateError: it could not be written.
        TokenError: a token that does not exist.
    """
    array = _tokens(context, tokens)

    def write(name: bytes) -> Any:
        with context._use() as pointer:
            return guard_h.lb_llama_state_save_file(pointer, name, array, len(array))

    _write_file(path, write)


def load_file(context: Context, path: str | os.PathLike[str], n_token_capacity: int | None = None) -> list[int]:
    """Load a session file; gives its tokens. `n_token_capacity` is the most that are accepted (default: n_ctx).

    Raises:
        StateError: not such a file, damaged, too many tokens, or of another kind of context; the memory is empty then.
    """
    magic = (llama_h.LLAMA_SESSION_MAGIC, llama_h.LLAMA_SESSION_VERSION)
    array = _room(context, path, magic, n_token_capacity)
    count = ctypes.c_size_t()

    def read() -> Any:
        with context._use() as pointer:
            name = os.fsencode(path)
            return guard_h.lb_llama_state_load_file(pointer, name, array, len(array), ctypes.byref(count))

    _read_file(path, read, context.memory.clear)
    return [int(token) for token in array[: count.value]]


def save_seq_file(context: Context, path: str | os.PathLike[str], seq_id: int, tokens: Sequence[int] = ()) -> None:
    """Write one sequence as a file of llama.cpp; as `save_file`."""
    _check_seq(context, seq_id, 0)
    array = _tokens(context, tokens)

    def write(name: bytes) -> Any:
        with context._use() as pointer:
            return guard_h.lb_llama_state_seq_save_file(pointer, name, seq_id, array, len(array))

    _write_file(path, write)


def load_seq_file(
    context: Context, path: str | os.PathLike[str], seq_id: int, n_token_capacity: int | None = None
) -> list[int]:
    """Load a file of one sequence into sequence `seq_id`; as `load_file`."""
    _check_seq(context, seq_id, 0)
    magic = (llama_h.LLAMA_STATE_SEQ_MAGIC, llama_h.LLAMA_STATE_SEQ_VERSION)
    array = _room(context, path, magic, n_token_capacity)
    count = ctypes.c_size_t()

    def read() -> Any:
        with context._use() as pointer:
            name = os.fsencode(path)
            return guard_h.lb_llama_state_seq_load_file(pointer, name, seq_id, array, len(array), ctypes.byref(count))

    _read_file(path, read, lambda: context.memory.seq_rm(seq_id))
    return [int(token) for token in array[: count.value]]


def _saved(context: Context, seq: int, flags: int, size: int, get: Callable[[Any, int], int]) -> bytes:
    state = bytearray(_HEADER.size + size)
    view = (ctypes.c_uint8 * size).from_buffer(state, _HEADER.size)
    place = log.mark()
    written = get(view, size)
    check_guard()
    del view
    if written == 0 or written > size:
        raise StateError(_why("llama.cpp could not save the state", place))
    del state[_HEADER.size + written :]
    checksum = _checksum(memoryview(state)[_HEADER.size :])
    mark = fingerprint(context.model, context)
    _HEADER.pack_into(state, 0, _MAGIC, _VERSION, flags, seq, mark, written, checksum)
    return bytes(state)


def _payload(context: Context, state: bytes | bytearray | memoryview, seq: int | None, flags: int) -> memoryview:
    if not isinstance(state, (bytes, bytearray, memoryview)):
        raise InputError(f"state must be bytes, not {type(state).__name__}", param="state")
    if len(state) < _HEADER.size:
        raise StateError("this is not a saved state: it is too short")
    magic, version, kept, source, mark, length, checksum = _HEADER.unpack_from(state)
    if magic != _MAGIC:
        raise StateError("this is not a saved state")
    if version != _VERSION:
        raise StateError(f"the state has version {version}, this library reads version {_VERSION}")
    if (source == _ALL) != (seq == _ALL):
        raise StateError("a state of one sequence and one of a whole context are different things")
    if kept != flags:
        raise StateError(f"the state was saved with flags {kept}, not {flags}")
    if mark != fingerprint(context.model, context):
        raise StateError("the state belongs to another model, or to a context with other cache types or RoPE options")
    payload = memoryview(state)[_HEADER.size :]
    if len(payload) != length or _checksum(payload) != checksum:
        raise StateError("the state is damaged")
    return payload


def _checksum(data: memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _bytes(payload: memoryview | npt.NDArray[np.uint8]) -> Any:
    """The payload's memory for C, without a copy."""
    address = np.frombuffer(payload, np.uint8).ctypes.data
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))


def _check_seq(context: Context, seq_id: int, flags: int) -> None:
    if not isinstance(seq_id, int) or not 0 <= seq_id < context.n_seq_max:
        raise InputError(f"seq_id must be 0 to {context.n_seq_max - 1}, not {seq_id!r}", param="seq_id")
    if not isinstance(flags, int) or flags not in (0, PARTIAL_ONLY):
        # LLAMA_STATE_SEQ_FLAGS_ON_DEVICE is left out: llama.cpp crashes when such a state does not fit.
        raise InputError(f"flags must be 0 or PARTIAL_ONLY (1), not {flags!r}", param="flags")
    if not context.memory.exists:
        raise UnsupportedError("this model keeps nothing between calls: there is no state of a sequence")


def _tokens(context: Context, tokens: Sequence[int]) -> Any:
    context.model.vocab.check_tokens(tokens)
    return (ctypes.c_int32 * len(tokens))(*tokens)


def _room(
    context: Context, path: str | os.PathLike[str], expected: tuple[int, int], n_token_capacity: int | None
) -> Any:
    """An array for the file's tokens, after a look at its header."""
    capacity = context.n_ctx if n_token_capacity is None else n_token_capacity
    try:
        with open(path, "rb") as file:
            head = file.read(_FILE_HEADER.size)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise StateError(f"the state file {os.fspath(path)!r} cannot be read: {error}") from error
    if len(head) < _FILE_HEADER.size:
        raise StateError(f"{os.fspath(path)!r} is not a state file: it is too short")
    magic, version, count = _FILE_HEADER.unpack(head)
    if (magic, version) != expected:
        raise StateError(
            f"{os.fspath(path)!r} is not a state file of this kind and version "
            f"({magic:#x} version {version}, not {expected[0]:#x} version {expected[1]})"
        )
    if count > capacity or _FILE_HEADER.size + 4 * count > size:
        raise StateError(
            f"the state file claims {count} tokens; at most {capacity} are accepted, and it has {size} bytes"
        )
    return (ctypes.c_int32 * max(1, capacity))()


def _write_file(path: str | os.PathLike[str], write: Callable[[bytes], Any]) -> None:
    target = Path(path)
    place = log.mark()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise StateError(f"the state cannot be written to {target}: {error}") from error
    try:
        done = write(os.fsencode(name))
        check_guard()
        if not done:
            raise StateError(_why(f"llama.cpp could not write the state to {target}", place))
        os.replace(name, target)
    except NativeAbortError as error:
        raise StateError(f"llama.cpp could not write the state to {target}: {error.native_message}") from error
    except OSError as error:
        raise StateError(f"the state cannot be written to {target}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _read_file(path: str | os.PathLike[str], read: Callable[[], Any], forget: Callable[[], Any]) -> None:
    place = log.mark()
    try:
        done = read()
        check_guard()
    except NativeAbortError as error:
        forget()
        raise StateError(f"llama.cpp failed on {os.fspath(path)!r}: {error.native_message}") from error
    if not done:
        forget()
        raise StateError(_why(f"the state file {os.fspath(path)!r} does not fit this context", place))


def _why(what: str, place: int) -> str:
    reason = "; ".join(log.explain(place))
    return f"{what}: {reason}" if reason else what
