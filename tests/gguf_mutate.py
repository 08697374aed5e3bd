"""Seeded damage to GGUF files: what a broken download, a bad converter or an enemy would do.

`RawGguf` takes a good file apart into plain lists and writes it back without any check, so wrong counts, types and
offsets can be written at will. `mutate` applies one to three random changes and says which, in words.
Not for: reading files that are not known to be good.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["RawGguf", "mutate"]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_INTERESTING = (
    0,
    1,
    2,
    3,
    7,
    31,
    33,
    255,
    256,
    257,
    511,
    513,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), float("-inf"))
_TEXTS = (
    b"", b"\0", b"\xff\xfe", b"gpt2", b"llama", b"bert", b"t5", b"rwkv", b"none", b"yarn", b"longrope", b" ",
    b"a" * 300, b"<|im_end|>", b"\xe2\x96\x81", b"\xc4", b"<0x0A>", b"<0xZZ>", b"mamba", b"qwen2", b"default",
)  # fmt: skip


@dataclass
class RawGguf:
    """A file in parts. ``kv``: [key, type, value], where an array's value is [item type, items].

    ``tensors``: [name, dims, type, offset].
    """

    version: int
    kv: list[list[Any]]
    tensors: list[list[Any]]
    data: bytearray
    n_kv: int | None = None  # None: as many as there are
    n_tensors: int | None = None
    magic: bytes = b"GGUF"
    header_size: int = field(default=0, init=False)  # set by to_bytes

    @classmethod
    def parse(cls, blob: bytes) -> RawGguf:
        """Take a good file apart."""
        at = 4

        def take(fmt: str) -> Any:
            nonlocal at
            value = struct.unpack_from("<" + fmt, blob, at)[0]
            at += struct.calcsize("<" + fmt)
            return value

        def take_bytes() -> bytes:
            nonlocal at
            n = take("Q")
            at += n
            return blob[at - n : at]

        def take_value(kind: int) -> Any:
            if kind == _STRING:
                return take_bytes()
            if kind == _ARRAY:
                item, n = take("I"), take("Q")
                return [item, [take_value(item) for _ in range(n)]]
            return take(_SCALARS[kind])

        version, n_tensors, n_kv = take("I"), take("Q"), take("Q")
        kv = []
        for _ in range(n_kv):
            key, kind = take_bytes(), take("I")
            kv.append([key, kind, take_value(kind)])
        tensors = [
            [take_bytes(), [take("Q") for _ in range(take("I"))], take("I"), take("Q")] for _ in range(n_tensors)
        ]
        return cls(version, kv, tensors, bytearray(blob[-(-at // 32) * 32 :]))

    def to_bytes(self) -> bytes:
        """Write the parts back, right or wrong."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_kv = len(self.kv) if self.n_kv is None else self.n_kv
        out = bytearray(self.magic + struct.pack("<IQQ", self.version, n_tensors, n_kv))
        for key, kind, value in self.kv:
            out += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind)
            self._put(out, kind, value)
        for name, dims, kind, offset in self.tensors:
            out += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
            out += b"".join(struct.pack("<Q", d % 2**64) for d in dims) + struct.pack("<IQ", kind, offset % 2**64)
        self.header_size = len(out)
        out += bytes(-len(out) % 32)
        return bytes(out + self.data)

    def _put(self, out: bytearray, kind: int, value: Any) -> None:
        if isinstance(value, bytes):
            out += struct.pack("<Q", len(value)) + value
        elif isinstance(value, list):
            out += struct.pack("<IQ", value[0], len(value[1]))
            for item in value[1]:
                self._put(out, value[0], item)
        elif kind in _SCALARS:
            fmt = _SCALARS[kind]
            if fmt in "fd":
                out += struct.pack("<" + fmt, value)
            else:
                size = struct.calcsize(fmt)
                out += (int(value) if value == value and abs(value) < 2**70 else 0).to_bytes(16, "little", signed=True)[
                    :size
                ]
        else:
            out += struct.pack("<I", int(value) % 2**32 if abs(value) < 2**70 else 0)


def mutate(blob: bytes, seed: int) -> tuple[bytes, str]:
    """The damaged file and a sentence that says what was done to it; always the same for one ``blob`` and ``seed``."""
    rng = random.Random(seed)
    raw = RawGguf.parse(blob)
    notes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choices(_CHANGES, _WEIGHTS)[0]
        notes.append(change(raw, rng))
    out = bytearray(raw.to_bytes())
    if rng.random() < 0.35:
        notes.append(_bytes(out, raw.header_size, rng))
    return bytes(out), "; ".join(n for n in notes if n)


def _bytes(out: bytearray, header: int, rng: random.Random) -> str:
    """Damage without knowledge of the format."""
    kind = rng.choice(("flip", "flip", "flip", "zero", "ones", "truncate", "insert"))
    at = rng.randrange(min(header, len(out)) if rng.random() < 0.8 else len(out))
    if kind == "flip":
        out[at] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        out[at : at + rng.randrange(1, 5)] = bytes(4)
    elif kind == "ones":
        out[at] = 255
    elif kind == "truncate":
        del out[at:]
    else:
        out[at:at] = bytes([rng.randrange(256)])
    return f"{kind} at byte {at} of {header} + data"


def _scalar(raw: RawGguf, rng: random.Random) -> str:
    picks = [e for e in raw.kv if e[1] in _SCALARS]
    if not picks:
        return ""
    entry = rng.choice(picks)
    old = entry[2]
    if entry[1] in (6, 12):
        entry[2] = rng.choice((*_FLOATS, old * 2, -old))
    else:
        entry[2] = rng.choice((*_INTERESTING, old + 1, old - 1, old * 2, old // 2, -old))
    return f"{entry[0].decode(errors='replace')}: {old} -> {entry[2]}"


def _text(raw: RawGguf, rng: random.Random) -> str:
    picks = [e for e in raw.kv if e[1] == _STRING]
    if not picks:
        return ""
    entry = rng.choice(picks)
    old, entry[2] = entry[2], _other_text(entry[2], rng)
    return f"{entry[0].decode(errors='replace')}: {old[:40]!r} -> {entry[2][:40]!r}"


def _other_text(old: bytes, rng: random.Random) -> bytes:
    pick = rng.randrange(4)
    if pick == 0 or not old:
        return rng.choice(_TEXTS)
    at = rng.randrange(len(old))
    return (old[:at], old[:at] + bytes([rng.randrange(256)]) + old[at + 1 :], old + old)[pick - 1]


def _kind(raw: RawGguf, rng: random.Random) -> str:
    """Another type for the same key, written as that type."""
    if not raw.kv:
        return ""
    entry = rng.choice(raw.kv)
    old, entry[1] = entry[1], rng.choice((0, 1, 4, 5, 6, 7, 8, 9, 10, 12, 13))
    if entry[1] == _STRING:
        entry[2] = b"7"
    elif entry[1] == _ARRAY:
        entry[2] = [rng.choice((4, 5, 6)), [1] * rng.choice((0, 1, 2, 4))]
    elif isinstance(entry[2], bytes | list):
        entry[2] = 1
    if entry[1] in _SCALARS and entry[1] not in (6, 12):
        entry[2] = int(entry[2]) if abs(entry[2]) < 2**64 else 0
    return f"{entry[0].decode(errors='replace')}: type {old} -> {entry[1]}"


def _key(raw: RawGguf, rng: random.Random) -> str:
    if not raw.kv:
        return ""
    i = rng.randrange(len(raw.kv))
    old = raw.kv[i][0].decode(errors="replace")
    pick = rng.randrange(4)
    if pick == 0:
        del raw.kv[i]
        return f"{old} removed"
    if pick == 1:
        raw.kv.insert(i, list(raw.kv[i]))
        return f"{old} twice"
    if pick == 2:
        j = rng.randrange(len(raw.kv))
        raw.kv[i][2], raw.kv[j][2], raw.kv[i][1], raw.kv[j][1] = raw.kv[j][2], raw.kv[i][2], raw.kv[j][1], raw.kv[i][1]
        return f"values of {old} and {raw.kv[j][0].decode(errors='replace')} swapped"
    raw.kv[i][0] = _other_text(raw.kv[i][0], rng)
    return f"{old} renamed {raw.kv[i][0][:40]!r}"


def _array(raw: RawGguf, rng: random.Random) -> str:
    """The vocabulary lives here: an item changed, swapped, doubled, dropped; the array cut or grown."""
    arrays = [e for e in raw.kv if e[1] == _ARRAY]
    if not arrays:
        return ""
    entry = rng.choice(arrays)
    key, (item, items) = entry[0].decode(errors="replace"), entry[2]
    if not items:
        return ""
    items = list(items)
    entry[2] = [item, items]
    i, j = rng.randrange(len(items)), rng.randrange(len(items))
    pick = rng.randrange(7)
    if pick == 0:
        items[i] = items[j]
        return f"{key}[{i}] = [{j}]"
    if pick == 1:
        del items[rng.choice((0, 1, i, len(items) - 1)) % len(items) :]
        return f"{key} cut to {len(items)}"
    if pick == 2:
        items += items[: rng.randrange(1, 4)]
        return f"{key} grown to {len(items)}"
    if pick == 3:
        entry[2][0] = rng.choice((0, 4, 5, 6, 7, 8, 10, 99))
        to_bytes = entry[2][0] == _STRING and item != _STRING
        entry[2][1] = [b"x" if to_bytes else x if entry[2][0] == item else 1 for x in items]
        return f"{key} item type {item} -> {entry[2][0]}"
    old = items[i]
    if isinstance(old, bytes):
        items[i] = _other_text(old, rng)
    else:
        items[i] = rng.choice(_FLOATS) if isinstance(old, float) else rng.choice(_INTERESTING)
    return f"{key}[{i}]: {str(old)[:40]} -> {str(items[i])[:40]}"


def _tensor(raw: RawGguf, rng: random.Random) -> str:
    if not raw.tensors:
        return ""
    t, other = rng.choice(raw.tensors), rng.choice(raw.tensors)
    name, pick = t[0].decode(errors="replace"), rng.randrange(8)
    if pick == 0:
        t[0] = _other_text(t[0], rng)
        return f"tensor {name} renamed {t[0][:40]!r}"
    if pick == 1:
        t[0], other[0] = other[0], t[0]
        return f"tensor names {name} and {t[0].decode(errors='replace')} swapped"
    if pick == 2:
        old, t[2] = t[2], rng.choice((*range(42), 99))
        return f"tensor {name} type {old} -> {t[2]}"
    if pick == 3:
        t[2], other[2] = other[2], t[2]
        return f"tensor types of {name} and {other[0].decode(errors='replace')} swapped"
    if pick == 4 and t[1]:
        i = rng.randrange(len(t[1]))
        old, t[1][i] = t[1][i], rng.choice((*_INTERESTING, t[1][i] * 2, t[1][i] + 1, t[1][i] - 1))
        return f"tensor {name} dim {i}: {old} -> {t[1][i]}"
    if pick == 5:
        t[1] = rng.choice((t[1][::-1], t[1][:1], [*t[1], 1], [*t[1], 2], [], [1] * 5))
        return f"tensor {name} dims -> {t[1]}"
    if pick == 6:
        old, t[3] = t[3], rng.choice((*_INTERESTING, t[3] + 32, t[3] - 32, other[3]))
        return f"tensor {name} offset {old} -> {t[3]}"
    raw.tensors.remove(t)
    return f"tensor {name} removed"


def _rebuilt(raw: RawGguf, rng: random.Random) -> str:
    """Type or shape of a tensor changed and the offsets made right again: the container is sound, the model is not."""
    if not raw.tensors:
        return ""
    t = rng.choice(raw.tensors)
    old = (t[2], list(t[1]))
    if rng.random() < 0.6:
        t[2] = rng.choice([k for k in _BLOCKS if t[1] and t[1][0] % _BLOCKS[k][0] == 0] or [t[2]])
    else:
        t[1] = rng.choice(([*t[1][:-1], max(t[1][-1] // 2, 1)] if t[1] else [1], t[1][::-1], [1], [0], [*t[1], 2]))
    at = 0
    for other in raw.tensors:
        block, size = _BLOCKS.get(other[2], (1, 4))
        n = 1
        for d in other[1]:
            n *= d
        other[3] = at
        at += -(-(n // block * size) // 32) * 32
    if at < 2**22:
        raw.data += bytes(rng.randrange(256) for _ in range(max(0, at - len(raw.data))))
    return f"tensor {t[0].decode(errors='replace')} {old} -> {(t[2], t[1])}, offsets rebuilt"


def _weights(raw: RawGguf, rng: random.Random) -> str:
    """NaN, infinity or noise in the data."""
    if len(raw.data) < 64:
        return ""
    value = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\xff\xff", b"\xff\xff\x7f\x7f"))
    at, n = rng.randrange(0, len(raw.data) - 4, 4), rng.choice((1, 16, 4096, len(raw.data)))
    n = min(n, (len(raw.data) - at) // 4)
    raw.data[at : at + 4 * n] = value * n
    return f"{n} weights from byte {at} are {value.hex()}"


def _header(raw: RawGguf, rng: random.Random) -> str:
    pick = rng.randrange(4)
    if pick == 0:
        raw.version = rng.choice((0, 1, 2, 4, 0x03000000, 2**32 - 1))
        return f"version {raw.version}"
    count = rng.choice((0, 1, 5, 1000, 2**31, 2**40, 2**63 - 1, 2**64 - 1))
    if pick == 1:
        raw.n_kv = count
        return f"n_kv {count}"
    if pick == 2:
        raw.n_tensors = count
        return f"n_tensors {count}"
    raw.magic = rng.choice((b"FUGG", b"ggml", b"GGUE", b"\0\0\0\0"))
    return f"magic {raw.magic!r}"


# ggml type: elements and bytes of a block, for the types whose layout is plain
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 15: (256, 292),
    20: (32, 18), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2), 39: (32, 17), 40: (64, 36),
}  # fmt: skip
_CHANGES: list[Callable[[RawGguf, random.Random], str]] = [
    _scalar, _text, _kind, _key, _array, _tensor, _rebuilt, _weights, _header,
]  # fmt: skip
_WEIGHTS = (8, 2, 3, 3, 5, 3, 4, 1, 1)


def main() -> None:
    """``python gguf_mutate.py FILE SEED OUT``: write one damaged file, to look at a case by hand."""
    import sys

    blob, note = mutate(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))
    Path(sys.argv[3]).write_bytes(blob)
    print(note)


if __name__ == "__main__":
    main()
