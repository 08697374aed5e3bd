"""The input of one decode: tokens (or embeddings), their positions, their sequences, and which of them give output.

The arrays belong to numpy and the C struct points into them, so a batch has nothing native to free and can never
dangle. Filling it for a decode step costs about a microsecond.

Not for: deciding what goes into a batch (``engine``), or checking it against a model (`Context.decode` does).
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llama_bind.errors import InputError
from llama_bind.lib import llama_h

if TYPE_CHECKING:
    from typing import TypeAlias

    Int32Array: TypeAlias = npt.NDArray[np.int32]

__all__ = ["Batch"]

MAX_POS = 2**31 - 1
_POSITIONS = 4  # an embedding can have up to four positions (M-RoPE, GGML_MROPE_SECTIONS)


class Batch:
    """Room for `capacity` tokens (``llama_batch``).

    Args:
        n_tokens: capacity, at least 1.
        n_seq_max: most sequences that one token can belong to.
        embd: width of a row when the input is embeddings instead of tokens, else 0.

    Attributes:
        tokens: int32, shape (capacity,); absent (empty) when `embd` is given.
        embd: float32, shape (capacity, embd) or None.
        pos: int32, shape (capacity,); four times that for embeddings, where M-RoPE models read four sections of
            `n_tokens` each.
        n_seq_id: int32, shape (capacity,): how many entries of the token's row in `seq_ids` count.
        seq_ids: int32, shape (capacity, n_seq_max).
        logits: int8, shape (capacity,): not 0 where output is wanted.
        struct: the C struct; `n_tokens` is kept in it.
        u_tokens, u_pos, u_n_seq_id, u_seq_ids: the same memory as uint32.

    Raises:
        InputError: a size that is not positive or absurd.
    """

    __slots__ = (
        "_rows",
        "capacity",
        "embd",
        "logits",
        "n_embd",
        "n_seq_id",
        "n_seq_max",
        "pos",
        "seq_ids",
        "struct",
        "tokens",
        "u_n_seq_id",
        "u_pos",
        "u_seq_ids",
        "u_tokens",
    )

    def __init__(self, n_tokens: int, n_seq_max: int = 1, embd: int = 0) -> None:
        self.capacity = _size("n_tokens", n_tokens, 1, 2**24)
        self.n_seq_max = _size("n_seq_max", n_seq_max, 1, 256)
        self.n_embd = _size("embd", embd, 0, 2**20)
        count = self.capacity
        self.tokens: Int32Array = np.zeros(0 if embd else count, np.int32)
        self.embd: npt.NDArray[np.float32] | None = np.zeros((count, self.n_embd), np.float32) if embd else None
        self.pos: Int32Array = np.zeros(count * (_POSITIONS if embd else 1), np.int32)
        self.n_seq_id: Int32Array = np.ones(count, np.int32)
        self.seq_ids: Int32Array = np.zeros((count, self.n_seq_max), np.int32)
        self.logits: npt.NDArray[np.int8] = np.zeros(count, np.int8)
        # int32_t ** seq_id: the address of each row
        self._rows = self.seq_ids.ctypes.data + np.arange(count, dtype=np.uintp) * self.seq_ids.strides[0]
        # The same numbers without sign: one comparison finds what is negative or too large.
        self.u_tokens = self.tokens.view(np.uint32)
        self.u_pos = self.pos.view(np.uint32)
        self.u_n_seq_id = self.n_seq_id.view(np.uint32)
        self.u_seq_ids = self.seq_ids.view(np.uint32)
        struct = llama_h.llama_batch()
        struct.n_tokens = 0
        fields: dict[str, Any] = dict(type(struct)._fields_)
        for name, array in (
            ("token", None if embd else self.tokens),
            ("embd", self.embd),
            ("pos", self.pos),
            ("n_seq_id", self.n_seq_id),
            ("seq_id", self._rows),
            ("logits", self.logits),
        ):
            if array is not None:
                setattr(struct, name, ctypes.cast(array.ctypes.data, fields[name]))
        self.struct = struct

    @property
    def n_tokens(self) -> int:
        """Entries in use; settable, 0 to `capacity`."""
        return int(self.struct.n_tokens)

    @n_tokens.setter
    def n_tokens(self, count: int) -> None:
        self.struct.n_tokens = _size("n_tokens", count, 0, self.capacity)

    def __len__(self) -> int:
        return int(self.struct.n_tokens)

    def __repr__(self) -> str:
        return f"<Batch {self.n_tokens} of {self.capacity}>"

    def clear(self) -> None:
        """Forget all entries."""
        self.struct.n_tokens = 0

    def append(self, token: int, pos: int, seq_id: int = 0, output: bool = False) -> int:
        """Add one token; gives its index.

        Raises:
            InputError: the batch is full, it is for embeddings, or a number does not fit in 32 bits.
        """
        index: int = self.struct.n_tokens
        if index >= self.capacity:
            raise InputError(f"the batch is full ({self.capacity} tokens); decode it first", param="token")
        try:
            self.tokens[index] = operator.index(token)
            self.pos[index] = pos
            self.seq_ids[index, 0] = seq_id
        except (IndexError, OverflowError, TypeError) as error:
            raise self._refused(error) from error
        self.n_seq_id[index] = 1
        self.logits[index] = output
        self.struct.n_tokens = index + 1
        return index

    def extend(
        self,
        tokens: Sequence[int] | Int32Array,
        pos0: int,
        seq_id: int | Sequence[int] = 0,
        output_last: bool = False,
    ) -> range:
        """Add tokens at consecutive positions from `pos0`, all in the same sequence or sequences; gives their indices.

        `output_last` asks for output of the last one; set ``logits`` for others.

        Raises:
            InputError: they do not fit, or a number does not fit in 32 bits.
        """
        values = self._token_array(tokens)
        start: int = self.struct.n_tokens
        end = start + len(values)
        ids = (seq_id,) if isinstance(seq_id, (int, np.integer)) else tuple(seq_id)
        if end > self.capacity:
            raise InputError(
                f"{len(tokens)} tokens do not fit into {self.capacity - start} free places", param="tokens"
            )
        if not 1 <= len(ids) <= self.n_seq_max:
            raise InputError(f"a token of this batch is in 1 to {self.n_seq_max} sequences", param="seq_id")
        if pos0 + len(values) > MAX_POS:
            raise InputError(f"positions end at {MAX_POS}", param="pos0")
        if start == end:
            return range(start, end)
        try:
            self.tokens[start:end] = values
            self.pos[start:end] = np.arange(pos0, pos0 + (end - start))
            self.seq_ids[start:end, : len(ids)] = ids
        except (ValueError, OverflowError) as error:
            raise self._refused(error) from error
        self.n_seq_id[start:end] = len(ids)
        self.logits[start:end] = 0
        self.logits[end - 1] = output_last
        self.struct.n_tokens = end
        return range(start, end)

    def extend_each(self, tokens: Sequence[int], places: Sequence[int], seq_ids: Sequence[int]) -> range:
        """Add the next token of several sequences, each with its position, all with output; gives their indices.

        Raises:
            InputError: they do not fit, the lists differ in length, or a number does not fit in 32 bits.
        """
        start: int = self.struct.n_tokens
        end = start + len(tokens)
        if self.n_embd:
            raise self._refused(TypeError())
        if end > self.capacity or not len(tokens) == len(places) == len(seq_ids):
            free = self.capacity - start
            raise InputError(f"{len(tokens)} tokens, positions and sequences, at most {free} of each", param="tokens")
        try:
            self.tokens[start:end] = np.array(tokens, np.int32)
            self.pos[start:end] = np.array(places, np.int32)
            self.seq_ids[start:end, 0] = np.array(seq_ids, np.int32)
        except (ValueError, OverflowError, TypeError) as error:
            raise self._refused(error) from error
        self.n_seq_id[start:end] = 1
        self.logits[start:end] = 1
        self.struct.n_tokens = end
        return range(start, end)

    def extend_embeddings(
        self, rows: npt.ArrayLike, pos: int | npt.ArrayLike, seq_id: int = 0, output_last: bool = False
    ) -> range:
        """Fill the empty batch with embeddings, shape (n, embd).

        `pos` is the first position, or for M-RoPE models an array of shape (4, n).

        Raises:
            InputError: the batch is not empty or for tokens, or a shape does not fit.
        """
        data = np.asarray(rows, np.float32)
        if self.embd is None or self.n_tokens or data.ndim != 2 or data.shape[1] != self.n_embd:
            raise InputError(f"need an empty batch made with embd, and rows of width {self.n_embd}", param="rows")
        count = len(data)
        if not 1 <= count <= self.capacity:
            raise InputError(f"{count} rows do not fit into {self.capacity} places", param="rows")
        self.embd[:count] = data
        if isinstance(pos, (int, np.integer)):
            self.pos[: count * _POSITIONS] = 0
            for section in range(3):  # time, height and width advance together; the fourth section stays 0
                self.pos[section * count : (section + 1) * count] = np.arange(pos, pos + count)
        else:
            sections = np.asarray(pos)
            if sections.shape != (_POSITIONS, count):
                raise InputError(f"pos must have shape ({_POSITIONS}, {count})", param="pos")
            self.pos[: count * _POSITIONS] = sections.ravel()
        self.seq_ids[:count, 0] = seq_id
        self.n_seq_id[:count] = 1
        self.logits[:count] = 0
        self.logits[count - 1] = output_last
        self.struct.n_tokens = count
        return range(count)

    def _token_array(self, tokens: Sequence[int] | Int32Array) -> npt.NDArray[Any]:
        """Checked here because numpy would cut off what does not fit without a word."""
        if self.n_embd:
            raise self._refused(TypeError())
        try:
            values = np.asarray(tokens)
        except (ValueError, OverflowError) as error:
            raise self._refused(error) from error
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise InputError("tokens must be a list of token ids", param="tokens")
        if values.dtype != np.int32 and values.size and (values.max() > MAX_POS or values.min() < -MAX_POS - 1):
            raise InputError("token ids are 32-bit integers", param="tokens")
        return values

    def _refused(self, error: Exception) -> InputError:
        if self.n_embd:
            return InputError("this batch is for embeddings; use extend_embeddings", param="token")
        return InputError(f"token ids, positions and sequence ids are 32-bit integers: {error}", param="token")


def _size(name: str, value: int, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, not {value!r}", param=name) from None
    if not low <= number <= high:
        raise InputError(f"{name} must be {low} to {high}, not {number}", param=name)
    return number
