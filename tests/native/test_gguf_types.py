from __future__ import annotations

from llama_bind.core.gguf_reader import TENSOR_TYPES
from llama_bind.lib import ggml_h


def test_the_type_table_is_ggmls() -> None:
    theirs = {}
    for number in range(ggml_h.GGML_TYPE_COUNT):
        size = ggml_h.ggml_type_size(number)
        if size:
            theirs[number] = ((ggml_h.ggml_type_name(number) or b"").decode(), ggml_h.ggml_blck_size(number), size)
    assert {n: (t.name, t.block_size, t.type_size) for n, t in TENSOR_TYPES.items()} == theirs
