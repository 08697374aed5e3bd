"""Random calls with random arguments on models, contexts, memories and states: errors are fine, the process must live.

Run in a child: ``python -m tests.core_fuzz SEED COUNT`` prints how many calls worked and how many were refused.
"""

from __future__ import annotations

import faulthandler
import random
import sys
from collections.abc import Callable
from typing import Any

from llama_bind.core import state
from llama_bind.core.adapter import Adapter
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.errors import LlamaBindError, NativeAbortError
from llama_bind.params import CACHE_TYPES, ContextParams
from tests.core_helpers import model_file, shared_model

NUMBERS = (-(2**31), -1000, -2, -1, 0, 1, 2, 3, 4, 7, 15, 16, 31, 100, 255, 256, 286, 287, 1000, 2**31 - 1, 2**31)
SEQUENCES = (0, 0, 0, 1, 1, 2, 3, -1, 4, 255)


class Fuzz:
    """One context at a time, a new one now and then."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.models = [shared_model(n_embd=64), shared_model(n_embd=128), shared_model("mamba"), shared_model("bert")]
        self.adapters = [Adapter.load(self.models[0], model_file("lora", n_embd=64))]
        self.saved: list[tuple[bytes, int | None]] = []
        self.context = Context.create(self.models[0])
        self.steps: list[Callable[[Context], Any]] = [
            *[self.decode] * 6,
            self.renew,
            self.read,
            self.change_memory,
            self.save,
            self.restore,
            self.configure,
        ]

    def number(self) -> int:
        return self.rng.choice(NUMBERS)

    def seq(self) -> int:
        return self.rng.choice(SEQUENCES)

    def step(self) -> bool:
        """Whether the call worked."""
        try:
            self.rng.choice(self.steps)(self.context)
        except LlamaBindError as error:
            if isinstance(error, NativeAbortError):
                raise  # every assertion has a check of ours before it
            return False
        finally:
            if self.rng.random() < 0.5:
                self.context.clear_abort()
        return True

    def renew(self, _context: Context) -> None:
        pick = self.rng.choice
        params = ContextParams(
            n_ctx=pick((1, 256, 300, 512)),
            n_batch=pick((1, 2, 7, 64, 512)),
            n_ubatch=pick((1, 3, 64, 512)),
            n_seq_max=pick((1, 2, 3, 5, 16)),
            kv_unified=pick((None, True, False)),
            n_threads=pick((1, 2)),
            embedding=pick((False, False, True)),
            pooling_type=pick(("unspecified", "none", "mean", "cls", "last", "rank")),
            flash_attn=pick((None, True, False)),
            attention_type=pick(("unspecified", "unspecified", "causal", "non_causal")),
            type_k=pick(CACHE_TYPES),
            type_v=pick(CACHE_TYPES),
            n_rs_seq=pick((0, 0, 2)),
        )
        self.context = Context.create(pick(self.models), params)
        del self.saved[:-4]

    def decode(self, context: Context) -> None:
        rng = self.rng
        batch = Batch(rng.choice((1, 2, 16, 300)), rng.choice((1, 2, 4)))
        for _ in range(rng.choice((1, 1, 2, 3))):
            seq = self.seq()
            fits = 0 <= seq < context.n_seq_max and rng.random() < 0.7
            pos = context.memory.seq_pos_max(seq) + 1 if fits else self.number()
            tokens = [
                rng.randrange(280) if rng.random() < 0.99 else self.number() for _ in range(rng.choice((1, 2, 60)))
            ]
            batch.extend(tokens, pos, seq if rng.random() < 0.8 else [seq, self.seq()], rng.random() < 0.7)
        if rng.random() < 0.1:
            array = rng.choice((batch.tokens, batch.pos, batch.n_seq_id, batch.seq_ids))
            array[rng.randrange(batch.capacity)] = min(2**31 - 1, self.number())
        if rng.random() < 0.1:
            batch.logits[:] = rng.choice((0, 1, -1))
        rng.choice((*[context.decode] * 9, context.encode))(batch)

    def read(self, context: Context) -> None:
        self.rng.choice((context.logits, context.embeddings, context.embeddings_seq))(self.number()).sum()

    def change_memory(self, context: Context) -> None:
        memory, a, b, n = context.memory, self.seq(), self.seq(), self.number
        calls: list[Callable[[], Any]] = [
            lambda: memory.seq_rm(a, n(), n()),
            lambda: memory.seq_cp(a, b, n(), n()),
            lambda: memory.seq_keep(a),
            lambda: memory.seq_add(a, n(), n(), n()),
            lambda: memory.seq_div(a, n(), n(), b),
            lambda: memory.clear(n() > 0),
        ]
        self.rng.choice(calls)()

    def save(self, context: Context) -> None:
        flags = self.rng.choice((None, 0, 1, 2))
        saved = state.save_state(context) if flags is None else state.save_seq_state(context, self.seq(), flags)
        self.saved.append((saved, flags))

    def restore(self, context: Context) -> None:
        if self.saved:
            saved, flags = self.rng.choice(self.saved)
            if flags is None:
                state.load_state(context, saved)
            else:
                state.load_seq_state(context, saved, self.seq(), flags)

    def configure(self, context: Context) -> None:
        on = self.rng.random() < 0.6
        adapters = [(self.rng.choice(self.adapters), self.rng.choice((0.0, 1.0, -2.0)))] if on else []
        calls: list[Callable[[], Any]] = [
            lambda: context.set_causal_attn(on),
            lambda: context.set_embeddings(on),
            lambda: context.set_adapters(adapters),
            lambda: context.set_threads(self.rng.choice((1, 2, 3))),
            context.warmup,
            context.synchronize,
            context.perf,
            context.describe,
            context.request_abort,
        ]
        self.rng.choice(calls)()


def main(seed: int, count: int) -> None:
    faulthandler.enable()
    fuzz = Fuzz(seed)
    done = sum(fuzz.step() for _ in range(count))
    print(f"worked {done} refused {count - done}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
