"""Tiny models that rank: a BERT with a classification head, and a decoder that judges by its last token.

The decoder is a Qwen3 as llama.cpp's converter writes Qwen3-Reranker: rank pooling, a head with a row for each label,
a template named "rerank".
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from tests.core_helpers import FOLDER, model_file
from tests.tiny_gguf import tiny_llama

__all__ = ["TEMPLATE", "bert_reranker", "decoder_reranker"]

TEMPLATE = (
    "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\n"
    "<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
)


def bert_reranker() -> Path:
    return model_file("bert", pooling_type=4)


@functools.cache
def decoder_reranker(template: str | None = TEMPLATE) -> Path:
    metadata = {
        "qwen3.pooling_type": 4,
        "qwen3.classifier.output_labels": ["yes", "no"],
        "qwen3.attention.key_length": 16,
        "qwen3.attention.value_length": 16,
        "tokenizer.chat_template.rerank": template,
    }
    model = tiny_llama(arch="qwen3", metadata=metadata)
    random = np.random.default_rng(7)
    for i in range(2):
        for name in ("attn_q_norm", "attn_k_norm"):
            model.tensors[f"blk.{i}.{name}.weight"] = np.ones(16, np.float32)
    model.tensors["cls.output.weight"] = random.standard_normal((2, 32)).astype(np.float32)
    return model.save(FOLDER / f"qwen3-reranker-{template is not None}.gguf")
