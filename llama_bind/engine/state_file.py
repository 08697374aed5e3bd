"""The saved state of one text as a file: its layout, written whole or not at all, read with every check.

Header, tokens, state; a checksum over header and tokens, so that an index needs no more than those, and one over the
state. A salt is only there as `salt_label` makes it. The tokens are in clear: who can read the file can read the text.
Not for: which files there are (disk_store), or what is in a state (core.state checks that again).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import struct
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = [
    "LABEL_SIZE",
    "SUFFIX",
    "TEMPORARY",
    "BadStateFileError",
    "Entry",
    "entry_cost",
    "entry_of",
    "file_size",
    "read_entry",
    "read_state",
    "salt_label",
    "write_state",
]

SUFFIX = ".state"
TEMPORARY = ".new-"
LABEL_SIZE = 16
SALT_KEY = b"llama_bind"  # the same everywhere, or files written by one process would be of no use to another
_MAGIC = b"LBINDSEQ"
_VERSION = 1
# magic, version, salted (0 or 1), fingerprint, salt label, count of tokens, bytes of state, checksum of the state
_HEADER = struct.Struct("<8sII16s16sQQ16s")
_CHECKSUM = 16
_WORD = 4  # bytes of a token id


class BadStateFileError(Exception):
    """A file is not what its name says. Stays within the stores, which log it: no caller ever sees one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """What a store holds of one text.

    Attributes:
        key: Of the text under its salt and fingerprint, 32 hex digits: the same in every tier and process.
        tokens: Shape (n_tokens,), at least one, not to be written to.
        n_bytes: Length of the state.
        salt: As `salt_label` gives it, b"" for none.
    """

    key: str
    tokens: npt.NDArray[np.int32]
    n_bytes: int
    salt: bytes

    @property
    def cost(self) -> int:
        """Bytes in memory."""
        return entry_cost(len(self.tokens), self.n_bytes)

    @property
    def file_size(self) -> int:
        """Bytes on disk."""
        return file_size(self.cost)


def entry_cost(n_tokens: int, n_bytes: int) -> int:
    """Bytes in memory of an entry of so many tokens and bytes of state."""
    return n_bytes + _WORD * n_tokens


def file_size(cost: int) -> int:
    """Bytes on disk of what takes `cost` bytes in memory."""
    return _HEADER.size + _CHECKSUM + cost


def salt_label(salt: str | None, key: bytes = SALT_KEY) -> bytes:
    """16 bytes in place of a salt of any size; b"" for none. A keyed BLAKE2b (RFC 7693)."""
    if not salt:
        return b""
    text = salt.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=LABEL_SIZE, key=key, person=b"llama_bind salt").digest()


def entry_of(tokens: npt.ArrayLike, salt: bytes, n_bytes: int, fingerprint: bytes) -> Entry:
    """The entry of a text.

    Raises:
        ValueError: no tokens, or a salt that is no label: one in clear would end up on disk.
    """
    ids = np.array(tokens, np.int32)
    if ids.ndim != 1 or not len(ids):
        raise ValueError("a text has at least one token")
    if not isinstance(salt, bytes) or len(salt) not in (0, LABEL_SIZE):
        raise ValueError("give the salt as salt_label() makes it")
    ids.flags.writeable = False
    digest = hashlib.blake2b(salt, digest_size=16, key=fingerprint, person=b"llama_bind text")
    digest.update(ids.astype("<i4", copy=False).tobytes())
    return Entry(digest.hexdigest(), ids, n_bytes, salt)


def write_state(folder: Path, entry: Entry, state: bytes, fingerprint: bytes) -> Path:
    """Write an entry's file; gives its path. A process that is killed leaves a temporary file or the whole one.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    head = _HEADER.pack(
        _MAGIC,
        _VERSION,
        1 if entry.salt else 0,
        fingerprint,
        entry.salt.ljust(LABEL_SIZE, b"\0"),
        len(entry.tokens),
        len(state),
        _checksum(state),
    )
    tokens = entry.tokens.astype("<i4", copy=False).tobytes()
    target = folder / f"{entry.key}{SUFFIX}"
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=SUFFIX, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(head)
            file.write(_checksum(head, tokens))
            file.write(tokens)
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return target


def read_entry(path: Path, fingerprint: bytes) -> Entry:
    """The entry of a file, from its beginning; the state is not read.

    Raises:
        BadStateFileError: damaged, cut off, of another fingerprint or version, or not such a file.
        OSError: it cannot be read.
    """
    with _open(path) as file:
        return _read_head(file, path, fingerprint)[0]


def read_state(path: Path, fingerprint: bytes) -> bytes:
    """The state in a file. Raises as `read_entry`."""
    with _open(path) as file:
        entry, checksum = _read_head(file, path, fingerprint)
        state = file.read(entry.n_bytes)
    if len(state) != entry.n_bytes or _checksum(state) != checksum:
        raise BadStateFileError("the state is damaged")
    return state


def _open(path: Path) -> BinaryIO:
    """A link is not followed, and opening a pipe does not wait, where the system can say so."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(path, flags), "rb")


def _read_head(file: BinaryIO, path: Path, fingerprint: bytes) -> tuple[Entry, bytes]:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise BadStateFileError("it is too short")
    magic, version, salted, mark, label, n_tokens, n_bytes, checksum = _HEADER.unpack(head)
    if magic != _MAGIC or version != _VERSION:
        raise BadStateFileError(f"it is not a state file of version {_VERSION}")
    if mark != fingerprint:
        raise BadStateFileError("it belongs to another model or context")
    # Before anything is read by the numbers in it, they must agree with the file's size.
    size = os.fstat(file.fileno()).st_size
    if n_tokens < 1 or salted > 1 or _HEADER.size + _CHECKSUM + _WORD * n_tokens + n_bytes != size:
        raise BadStateFileError("its size is not what its header says")
    expected, tokens = file.read(_CHECKSUM), file.read(_WORD * n_tokens)
    if _checksum(head, tokens) != expected:
        raise BadStateFileError("its header is damaged")
    ids = np.frombuffer(tokens, "<i4").astype(np.int32)
    entry = entry_of(ids, label if salted else b"", n_bytes, fingerprint)
    if path.name != f"{entry.key}{SUFFIX}":
        raise BadStateFileError("its name is that of another text")
    return entry, checksum


def _checksum(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECKSUM)
    for part in parts:
        digest.update(part)
    return digest.digest()
