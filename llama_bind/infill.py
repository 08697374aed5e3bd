r"""Prompts for models that fill a gap: prefix, suffix and other files, around the vocabulary's own tokens for that.

The pattern is llama-server's (vendor/llama.cpp, tools/server/server-common.cpp, ``format_prompt_infill``)::

    [FIM_REP]repository\n[FIM_SEP]filename\ntext ... [FIM_SEP]filename\n[FIM_PRE]prefix prompt[FIM_SUF]suffix[FIM_MID]

with these differences: BOS is the first token also where other files come before the gap; what does not fit is left
out file by file and not in the middle of a header; prefix and suffix share what there is, in no fixed parts; and
vocabularies that put a space before every text put none into the middle of a file.

Not for: sampling, or the shape of results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.errors import ContextOverflowError, InputError, UnsupportedError
from llama_bind.params import InfillParams

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab
    from llama_bind.prompts import PromptReader

__all__ = ["InfillReader", "Room"]

_NEEDED = ("fim_pre", "fim_suf", "fim_mid")
_ALL = (*_NEEDED, "fim_pad", "fim_rep", "fim_sep")
_SNIPPET = "\n\n--- snippet ---\n\n"
"""Between texts where the vocabulary has no token for it."""
_STEPS = 16
"""What is cut is cut in steps of this part of the room, so that the prompts of one typing begin alike: cached."""


@dataclasses.dataclass(frozen=True)
class Room:
    """Counts of tokens that a prompt has to do with.

    Attributes:
        context: What one text can have.
        batch: What the gap's surroundings may take at most: so much is computed at once (n_batch).
        answer: What is kept free for the model's text; None: a quarter of the context, at most 512.
    """

    context: int
    batch: int
    answer: int | None = None

    @property
    def prompt(self) -> int:
        """What the whole prompt may take."""
        answer = min(self.context // 4, 512) if self.answer is None else min(self.answer, self.context // 2)
        return self.context - max(answer, 1)


class InfillReader:
    """Makes prompts with one vocabulary."""

    def __init__(self, vocab: Vocab, prompts: PromptReader) -> None:
        self._vocab = vocab
        self._prompts = prompts

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that no text in a gap has: they end it, also those that the vocabulary itself does not end with."""
        found = (getattr(self._vocab, name) for name in _ALL)
        return tuple(token for token in found if token is not None)

    def read(self, prefix: str, suffix: str, params: InfillParams, room: Room) -> list[int]:
        """Token ids of a prompt.

        What does not fit is left out: first the oldest (first) of the other files, then the prefix from its beginning
        and the suffix from its end, at three to one where both are long.

        Raises:
            UnsupportedError: The vocabulary has no tokens for this.
            InputError, TextEncodingError: Not texts.
            ContextOverflowError: Not even the tokens around the gap and `prompt` fit.
        """
        pre, suf, mid = self._tokens()
        files = _checked_files(params.extra or ())
        for name, text in (("prefix", prefix), ("suffix", suffix), ("prompt", params.prompt)):
            if not isinstance(text, str):
                raise InputError(f"{name} must be a str, not {type(text).__name__}", param=name)
        vocab = self._vocab
        bos = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
        repository, current = self._headers(params)
        begun = self._within(params.prompt)
        fixed = len(bos) + len(repository) + len(current) + 3 + len(begun)
        if fixed > room.prompt:
            raise ContextOverflowError(fixed, room.prompt, "shorten `prompt` or load the model with a larger n_ctx")
        left = room.prompt - fixed
        before, after = self._prompts.tokenize(prefix, False, False), self._within(suffix)
        before, after = _cut(before, after, min(left, max(room.batch - fixed, 0)))
        others = self._others(files, left - _steps_up(len(before) + len(after), left))
        first, last = [pre, *before, *begun], [suf, *after]
        around = [*last, *first] if params.spm_infill else [*first, *last]
        return [*bos, *repository, *others, *current, *around, mid]

    def _tokens(self) -> tuple[int, int, int]:
        found = [getattr(self._vocab, name) for name in _NEEDED]
        missing = [name for name, token in zip(_NEEDED, found, strict=True) if token is None]
        if missing:
            raise UnsupportedError(
                f"this model cannot fill gaps: its vocabulary has no tokens {', '.join(missing)}; "
                "use a fill-in-the-middle model, such as a coder's base model"
            )
        return found[0], found[1], found[2]

    def _headers(self, params: InfillParams) -> tuple[list[int], list[int]]:
        """What comes before all files, and before the file with the gap."""
        vocab = self._vocab
        repository = [] if vocab.fim_rep is None else [vocab.fim_rep, *self._line(params.repository, "repository")]
        current = [] if vocab.fim_sep is None else [vocab.fim_sep, *self._line(params.filename, "filename")]
        return repository, current

    def _line(self, text: Any, param: str) -> list[int]:
        if not isinstance(text, str):
            raise InputError(f"{param} must be a str, not {type(text).__name__}", param=param)
        return self._within(text + "\n")

    def _within(self, text: str) -> list[int]:
        return self._prompts.within(text) if text else []

    def _others(self, files: Sequence[tuple[str, str]], room: int) -> list[int]:
        """The other files, as many from the end as fit; of the first of these what fits of its end."""
        sep = self._vocab.fim_sep
        parts: list[list[int]] = []
        for name, text in reversed(files):
            head = self._within(_SNIPPET) if sep is None else [sep, *self._line(name, "extra")]
            body = self._within(text)
            if len(head) + len(body) > room:
                kept = (room - len(head)) // _STEPS * _STEPS
                if kept > 0:
                    parts.append([*head, *body[-kept:]])
                break
            parts.append([*head, *body])
            room -= len(head) + len(body)
        return [token for part in reversed(parts) for token in part]


def _cut(before: list[int], after: list[int], room: int) -> tuple[list[int], list[int]]:
    """The end of `before` and the beginning of `after` that fit; a quarter of the room at least is for `after`."""
    if len(before) + len(after) <= room:
        return before, after
    n_after = min(len(after), max(room // 4, room - len(before)))
    excess = max(0, len(before) - (room - n_after))
    step = max(1, room // _STEPS)
    excess = min(len(before), -(-excess // step) * step)
    return before[excess:], after[:n_after]


def _steps_up(count: int, room: int) -> int:
    """The count, rounded up within the room: what other files may take does not change with each letter typed."""
    step = max(1, room // _STEPS)
    return min(room, -(-count // step) * step)


def _checked_files(extra: Any) -> list[tuple[str, str]]:
    if isinstance(extra, (str, bytes, Mapping)) or not isinstance(extra, Sequence):
        raise InputError("extra must be a list of dicts with 'filename' and 'text'", param="extra")
    found = []
    for index, one in enumerate(extra):
        text = one.get("text") if isinstance(one, Mapping) else None
        name = one.get("filename", "tmp") if isinstance(one, Mapping) else None
        if not isinstance(text, str) or not isinstance(name, str):
            raise InputError(f"extra[{index}] must be a dict with 'filename' and 'text', both str", param="extra")
        found.append((name, text))
    return found
