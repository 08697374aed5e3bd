"""A tiny model with a multi-token-prediction layer, of an architecture (``hy_v3``) whose blocks may be dense.

Three kinds. "random": layers like any other; what they guess is hardly ever right. "exact": the main model's next token
follows from its last token alone, and the extra layer computes the same from the token that it is given, so that its
greedy guesses are right. "state": the extra layer looks at the hidden state only, so that it repeats the token that the
main model chose from that state. Not for: anything but tests of guesses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.tiny_gguf import TinyModel, TinySpec, tiny_llama

__all__ = ["tiny_mtp", "write_tiny_mtp"]

ARCH = "hy_v3"


def tiny_mtp(kind: str = "exact", n_extra: int = 1, **changes: Any) -> TinyModel:
    """The model in memory; `changes` are fields of `TinySpec`."""
    spec = TinySpec(**{"arch": ARCH, "n_layer": 2 + n_extra, **changes})
    model = tiny_llama(spec)
    head, n = spec.n_embd // spec.n_head, spec.n_embd
    model.metadata |= {
        f"{ARCH}.nextn_predict_layers": n_extra,
        f"{ARCH}.expert_feed_forward_length": spec.n_ff,
        f"{ARCH}.attention.key_length": head,
        f"{ARCH}.attention.value_length": head,
    }
    rng = np.random.default_rng(spec.seed)
    for i in range(spec.n_layer):
        for name in ("attn_q_norm", "attn_k_norm"):
            model.tensors[f"blk.{i}.{name}.weight"] = np.ones(head, np.float32)
        if kind != "random":  # the block adds nothing to what goes through it
            model.tensors[f"blk.{i}.attn_output.weight"][:] = 0
            model.tensors[f"blk.{i}.ffn_down.weight"][:] = 0
    for i in range(spec.n_layer - n_extra, spec.n_layer):
        joined = (rng.standard_normal((n, 2 * n)) * n**-0.5).astype(np.float32)
        if kind != "random":
            joined[:] = 0
            joined[:, :n] = np.eye(n) * (kind == "exact")
            joined[:, n:] = np.eye(n) * (kind == "state")
        model.tensors |= {
            f"blk.{i}.nextn.eh_proj.weight": joined,
            f"blk.{i}.nextn.enorm.weight": np.ones(n, np.float32),
            f"blk.{i}.nextn.hnorm.weight": np.ones(n, np.float32),
            f"blk.{i}.nextn.shared_head_norm.weight": np.ones(n, np.float32),
        }
    return model


def write_tiny_mtp(path: str | Path, kind: str = "exact", n_extra: int = 1, **changes: Any) -> Path:
    """Write the model as a file."""
    return tiny_mtp(kind, n_extra, **changes).save(path)
