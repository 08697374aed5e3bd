"""The child process of the fuzz tests: takes damaged model files one after another and uses them as a program would.

``python -m tests.fuzz_child FOLDER FIRST LAST``: ``FOLDER`` holds the good files; case ``i`` is one of them damaged
with the seed ``i``. One line per case goes to ``FOLDER/progress`` before it begins and after it has ended, so that the
parent knows what killed this process. Address space is limited: an absurd allocation must fail, not swap.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from llama_bind.core.adapter import Adapter
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.core.sampler import Sampler
from llama_bind.core.vocab import Vocab
from llama_bind.errors import LlamaBindError, ModelError, ModelLoadError
from llama_bind.params import ContextParams, ModelParams, SamplingParams
from tests.gguf_mutate import mutate

MEMORY = 4 << 30
TEXTS = (
    "Hello world, the 12 \U0001f642\n\n<|im_start|>user\nhéllo 你好 \x01</s> [MASK]<|im_end|>".encode(),
    b"",
    b"a" * 300,
    bytes(range(1, 256)),
    b"\xff\xfe\xe2\x96",
    b" \n\t x",
)


def case_file(folder: Path, seed: int) -> tuple[Path, bytes, str]:
    """The good file of a case, its damaged bytes, and what was done."""
    good = sorted(folder.glob("good-*.gguf"))
    source = good[seed % len(good)]
    return (source, *mutate(source.read_bytes(), seed))


def use_model(path: Path, embedding: bool) -> str:
    """Load, tokenize, decode, sample or embed; the word says how far it came."""
    try:
        model = Model.load(path, ModelParams())
    except ModelLoadError:
        return "refused by llama.cpp"
    except ModelError:
        return "refused by the check"
    options = ContextParams(n_ctx=256, n_batch=128, n_ubatch=128, n_threads=1, embedding=embedding)
    with model:
        tokens = _use_vocab(model.vocab)
        with Context.create(model, options) as context:
            _embed(model, context, tokens) if embedding else _generate(model, context, tokens)
    return "ran"


def use_adapter(base: Path, path: Path) -> str:
    """Load an adapter for a good model and decode with it."""
    with Model.load(base, ModelParams()) as model:
        try:
            adapter = Adapter.load(model, path)
        except ModelError:
            return "refused by the check"
        with Context.create(model, ContextParams(n_ctx=256, n_threads=1)) as context:
            context.set_adapters([(adapter, 1.0)])
            _generate(model, context, [5, 6, 7])
    return "ran"


def _use_vocab(vocab: Vocab) -> list[int]:
    found: list[int] = []
    for text in TEXTS:
        try:
            tokens = vocab.tokenize(text, True, True)
            vocab.detokenize(tokens, unparse_special=True)
            found = found or tokens
        except LlamaBindError:
            continue  # an error is an answer; the next text may do
    for token in range(len(vocab)):
        vocab.token_to_piece(token, special=bool(token % 2))
    return found


def _prompt(model: Model, tokens: list[int]) -> tuple[Batch, int]:
    batch = Batch(128)
    inside = [t for t in tokens if 0 <= t < len(model.vocab)][:64] or [0]
    batch.extend(inside, 0, 0, output_last=True)
    return batch, len(inside)


def _embed(model: Model, context: Context, tokens: list[int]) -> None:
    context.decode(_prompt(model, tokens)[0])
    np.asarray(context.embeddings_seq(0)).sum()


def _generate(model: Model, context: Context, tokens: list[int]) -> None:
    batch, pos = _prompt(model, tokens)
    if model.has_encoder and model.has_decoder:
        context.encode(batch)
    sampler = Sampler.create(model.vocab, SamplingParams(temperature=0.8), n_ctx=256, seed=1)
    for _ in range(4):
        context.decode(batch)
        token = sampler.sample(context, -1)
        batch.clear()
        batch.append(token, pos, 0, output=True)
        pos += 1


def use(folder: Path, kind: str, damaged: Path) -> str:
    """The use that fits the kind of file, which the name of the good one tells."""
    if "lora" in kind:
        return use_adapter(folder / "base.gguf", damaged)
    return use_model(damaged, "bert" in kind or "rank" in kind)


def main(folder: Path, first: int, last: int) -> None:
    """Run the cases; an error of this library is a good end, any other exception is not."""
    with (folder / "progress").open("a", encoding="utf-8") as progress:
        for seed in range(first, last):
            source, blob, note = case_file(folder, seed)
            damaged = folder / "damaged.gguf"
            damaged.write_bytes(blob)
            print(
                "begin", seed, source.name, note.encode("ascii", "backslashreplace").decode(), file=progress, flush=True
            )
            try:
                outcome = use(folder, source.name, damaged)
            except LlamaBindError as e:
                outcome = f"error {type(e).__name__}"
            except MemoryError:
                outcome = "error MemoryError"
            except Exception as e:
                outcome = f"unexpected {type(e).__name__}: {e}".encode("ascii", "backslashreplace").decode()
            print("end", seed, outcome.replace("\n", " "), file=progress, flush=True)


def limit_memory() -> None:
    """Where the system can."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    limit_memory()
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
