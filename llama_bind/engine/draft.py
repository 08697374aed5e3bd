"""A second, smaller model that guesses for all sequences of an engine, a few tokens ahead of each.

Its context has the same sequences as the engine's and keeps up with their tokens by itself: what a sequence shares with
what was computed for it before stays, the rest is computed anew, so that nothing else has to tell it about cuts, copies
or sequences that went back to the queue. Guesses are greedy, as in llama.cpp's common/speculative.cpp; the main model's
samplers decide what holds. Not for: how many tokens to guess (guessing, speculative), or checking them (drawing).
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.core.vocab import Vocab
from llama_bind.engine.guessing import Wanted
from llama_bind.errors import ContextError, InputError, NoCellsError
from llama_bind.params import ContextParams

__all__ = ["DraftModel", "check_same_vocabulary", "likeliest"]

Tokens = npt.NDArray[np.int32]

FEED = 512
"""Most tokens of texts computed in one step to catch up, so that a long prompt does not hold up other sequences."""
WORTH_COPYING = 32
"""Tokens that another sequence must have in common before its memory is copied."""
_MAX_SIZE_DIFFERENCE = 128  # SPEC_VOCAB_MAX_SIZE_DIFFERENCE: paddings of one vocabulary differ
_FIRST_COMPARED = 5  # SPEC_VOCAB_CHECK_START_TOKEN_ID: the first few are special tokens under various names

_logger = logging.getLogger("llama_bind")


class DraftModel:
    """A drafter (see `guessing.Drafter`). When it fails it is given up, with one warning in the log: it only ever makes
    things faster, so nothing else ends with it.

    Args:
        context: The small model's, with as many sequences as the engine has.
        n_vocab: Tokens of the main model.
        min_p: Stop guessing where the likeliest token's probability is below this.
    """

    def __init__(self, context: Context, n_vocab: int, min_p: float = 0.0) -> None:
        self.context = context
        self.failure: Exception | None = None
        self._n_usable = min(n_vocab, context.n_vocab)
        self._eog = context.model.vocab.eog_tokens
        self._min_p = min_p
        self._limit = min(context.n_ctx_seq, context.model.n_pos_max or context.n_ctx_seq)
        self._feed = min(FEED, context.n_batch)
        self._batch = Batch(max(self._feed, context.n_seq_max), 1)
        self._held: dict[int, Tokens] = {}

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], target: Context, *, n_gpu_layers: int | None = None, min_p: float = 0.0
    ) -> DraftModel:
        """Load the model of `path` to guess for `target`.

        Raises:
            ModelError: the file.
            ContextError: no context of the same shape can be made for it.
            InputError: a model that cannot guess for this one; says why.
        """
        params = dataclasses.replace(
            target.model.params,
            n_gpu_layers=n_gpu_layers,
            tensor_split=None,
            tensor_buft_overrides=None,
            kv_overrides=None,
            load_mtp=None,
            progress_callback=None,
        )
        model = Model.load(path, params)
        try:
            _check_kind(model)
            check_same_vocabulary(target.model.vocab, model.vocab)
            context = _context_like(target, model)
            if not context.memory.exists:
                raise _refused(model, "it reads whole texts and does not continue them")
            return cls(context, target.n_vocab, min_p)
        except BaseException:
            model.close()
            raise

    def close(self) -> None:
        """Free the model and its context."""
        self.context.model.close()

    def propose(self, wanted: Sequence[Wanted]) -> dict[int, tuple[int, ...]]:
        """Guesses by slot. A sequence whose text is not computed yet, or that does not fit, has none for now."""
        if self.failure is not None:
            return {}
        try:
            return self._guess(wanted)
        except Exception as error:
            self.failure = error
            _logger.warning("the draft model failed and is not used any more: %s", error)
            return {}

    def _guess(self, wanted: Sequence[Wanted]) -> dict[int, tuple[int, ...]]:
        guesses: dict[int, list[int]] = {}
        most = {w.slot: min(w.most, self._limit - len(w.tokens)) for w in wanted}
        usable = [w for w in wanted if most[w.slot] > 0 and int(w.tokens.max()) < self._n_usable]
        ready = self._catch_up(usable)
        while ready:
            self._batch.clear()
            places = []
            for slot, index in ready:
                token = likeliest(self.context.logits(index), self._min_p, self._eog)
                if token is None or token >= self._n_usable:
                    continue
                guesses.setdefault(slot, []).append(token)
                if len(guesses[slot]) < most[slot]:
                    position = len(self._held[slot])
                    places.append((slot, self._batch.append(token, position, slot, True)))
            ready = places
            if places and not self._decode([slot for slot, _ in places]):
                break
            for slot, index in places:
                self._remember(slot, self._batch.tokens[index : index + 1])
        return {slot: tuple(found) for slot, found in guesses.items()}

    def _catch_up(self, wanted: Sequence[Wanted]) -> list[tuple[int, int]]:
        """Compute what is missing of the texts; gives the slots that are ready, and where their output is."""
        batch, ready, fed = self._batch, [], []
        batch.clear()
        for w in wanted:
            room = self._feed - batch.n_tokens
            if room <= 0:
                break
            start = self._keep(w)
            part = w.tokens[start : start + room]
            last = start + len(part) == len(w.tokens)
            index = batch.extend(part, start, w.slot, last)[-1]
            fed.append((w.slot, part))
            if last:
                ready.append((w.slot, index))
        if not fed or not self._decode([slot for slot, _ in fed]):
            return []
        for slot, part in fed:
            self._remember(slot, part)
        return ready

    def _decode(self, slots: list[int]) -> bool:
        """Compute the batch; False when there is no room for it: what `slots` held is forgotten then."""
        try:
            self.context.decode(self._batch)
            return True
        except NoCellsError:
            for slot in set(self._held) - set(slots):  # of sequences that are not guessed for now
                self._forget(slot)
        try:
            self.context.decode(self._batch)
            return True
        except NoCellsError:
            for slot in slots:
                self._forget(slot)
            return False

    def _keep(self, w: Wanted) -> int:
        """Cut the memory of a slot down to what it shares with the text, less one token; gives how many that is."""
        keep = _common(self._held.get(w.slot), w.tokens)
        if keep + WORTH_COPYING < len(w.tokens):
            other, longer = self._longest(w, keep + WORTH_COPYING)
            if longer:
                return self._copy(other, w.slot, longer)
        held = self._held.get(w.slot)
        if held is not None and len(held) > keep:
            if not self.context.memory.seq_rm(w.slot, keep, -1):
                self._forget(w.slot)
                return 0
            self._held[w.slot] = held[:keep]
        return keep

    def _longest(self, w: Wanted, least: int) -> tuple[int, int]:
        """The slot that shares most of the text, and how much; 0 tokens when none shares `least`."""
        shares = [(_common(held, w.tokens), slot) for slot, held in self._held.items() if slot != w.slot]
        longest, slot = max(shares, default=(0, -1))
        return (slot, longest) if longest >= least else (-1, 0)

    def _copy(self, source: int, slot: int, count: int) -> int:
        memory = self.context.memory
        self._forget(slot)
        if self.context.kv_unified:
            memory.seq_cp(source, slot, 0, count)
        else:
            memory.seq_cp(source, slot)
            memory.seq_rm(slot, count, -1)
        self._held[slot] = self._held[source][:count].copy()
        return count

    def _remember(self, slot: int, tokens: Tokens) -> None:
        held = self._held.get(slot)
        self._held[slot] = np.array(tokens) if held is None else np.concatenate((held, tokens))

    def _forget(self, slot: int) -> None:
        self.context.memory.seq_rm(slot, -1, -1)
        self._held.pop(slot, None)


def likeliest(logits: npt.NDArray[np.float32], min_p: float, ends: Collection[int]) -> int | None:
    """The likeliest token; None where its probability is below `min_p`, or where it ends the text."""
    token = int(logits.argmax())
    if token in ends:
        return None
    if min_p > 0:
        peak = float(logits[token])
        others = logits[logits > peak - 20]  # the rest adds up to nothing
        if 1 / float(np.exp(others - peak).sum()) < min_p:
            return None
    return token


def _common(held: Tokens | None, tokens: Tokens) -> int:
    """Tokens at the start that both have, less than all of `tokens`: the last one is computed for its output."""
    if held is None:
        return 0
    most = min(len(held), len(tokens) - 1)
    differ = held[:most] != tokens[:most]
    first = int(differ.argmax()) if most else 0
    return first if most and differ[first] else most


def _context_like(target: Context, model: Model) -> Context:
    """A context with the target's sequences and sizes; RoPE and cache types are the draft model's own."""
    like = target.params
    params = ContextParams(
        n_ctx=target.n_ctx,
        n_batch=max(target.n_seq_max, min(FEED, target.n_batch)),
        n_ubatch=min(FEED, target.n_ubatch),
        n_seq_max=target.n_seq_max,
        kv_unified=target.kv_unified,
        n_threads=like.n_threads,
        n_threads_batch=like.n_threads_batch,
        flash_attn=None if like.flash_attn is False else like.flash_attn,
        offload_kqv=like.offload_kqv,
        op_offload=like.op_offload,
        no_perf=like.no_perf,
    )
    try:
        return Context.create(model, params)
    except ContextError as error:
        raise ContextError(f"no context for the draft model: {error}") from error


def _check_kind(model: Model) -> None:
    """Raise `InputError` for a model that does not continue texts, or cannot take guesses back."""
    if model.has_encoder or not model.has_decoder:
        raise _refused(model, "it reads whole texts and does not only continue them")
    if model.is_recurrent or model.is_hybrid:
        raise _refused(model, "its memory cannot be cut back after wrong guesses")
    if model.is_diffusion:
        raise _refused(model, "it does not write token by token")


def _refused(model: Model, reason: str) -> InputError:
    return InputError(f"{model.path} cannot guess for another model: {reason}", param="draft_model")


def check_same_vocabulary(target: Vocab, draft: Vocab) -> None:
    """Raise `InputError` saying why, unless token ids mean the same to both.

    The rules of llama.cpp (``common_speculative_are_compatible``): the same type, the same BOS and EOS and their use,
    sizes that differ by at most 128, and the same tokens from the sixth on.
    """
    reason = _difference(target, draft)
    if reason is not None:
        raise InputError(f"the draft model has another vocabulary: {reason}", param="draft_model")


def _difference(target: Vocab, draft: Vocab) -> str | None:
    if target.type != draft.type:
        return f"its type is {draft.type}, the model's is {target.type}"
    for name in ("bos", "eos"):
        added, of_draft = getattr(target, f"add_{name}"), getattr(draft, f"add_{name}")
        if added != of_draft:
            return f"it adds {name.upper()} to a text {'and' if of_draft else 'not, but'} the model does" + (
                "" if added else " not"
            )
        if added and getattr(target, name) != getattr(draft, name):
            return f"its {name.upper()} is token {getattr(draft, name)}, the model's is {getattr(target, name)}"
    if abs(target.n_tokens - draft.n_tokens) > _MAX_SIZE_DIFFERENCE:
        return f"it has {draft.n_tokens} tokens, the model {target.n_tokens}"
    if target.type == "none":
        return None
    both = zip(target.texts(), draft.texts(), strict=False)
    for token, (ours, theirs) in enumerate(both):
        if token >= _FIRST_COMPARED and ours != theirs:
            return f"token {token} is {_shown(theirs)}, the model's is {_shown(ours)}"
    return None


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "replace")[:40])
