"""What the tests of ``llama_bind.core`` share: tiny model files, loaded models, child processes."""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.params import ContextParams, ModelParams
from tests.tiny_gguf import write_tiny_bert, write_tiny_llama, write_tiny_lora, write_tiny_mamba, write_tiny_shards

_folder = tempfile.TemporaryDirectory(prefix="llama-bind-core-")
atexit.register(_folder.cleanup)
FOLDER = Path(_folder.name)

_WRITERS = {
    "llama": write_tiny_llama,
    "bert": write_tiny_bert,
    "mamba": write_tiny_mamba,
    "lora": write_tiny_lora,
}


@functools.cache
def model_file(kind: str = "llama", **changes: Any) -> Path:
    """A tiny model file of this kind, written once."""
    name = "-".join([kind, *(f"{key}={value}" for key, value in sorted(changes.items()))])
    return _WRITERS[kind](FOLDER / f"{name}.gguf", **changes)


@functools.cache
def shard_files() -> tuple[Path, ...]:
    return tuple(write_tiny_shards(FOLDER / "sharded.gguf"))


@functools.cache
def shared_model(kind: str = "llama", **changes: Any) -> Model:
    """A loaded tiny model that tests share and do not close."""
    return Model.load(model_file(kind, **changes), ModelParams())


def make_context(model: Model | None = None, **options: Any) -> Context:
    return Context.create(model or shared_model(), ContextParams(**{"n_ctx": 256, "n_threads": 1, **options}))


def filled(context: Context, tokens: list[int] | None = None, seq_id: int = 0) -> Batch:
    """A batch of some tokens at the start of a sequence, decoded."""
    ids = tokens or [5, 6, 7, 8]
    batch = Batch(max(16, len(ids)))
    batch.extend(ids, 0, seq_id, output_last=True)
    context.decode(batch)
    return batch


def run_child(code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the tests."""
    prelude = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\nfrom tests.core_helpers import *\n"
    )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
