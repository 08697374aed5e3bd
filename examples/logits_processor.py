"""A Python function has its say before every token: python logits_processor.py [MODEL]

This one forbids the letter e. Functions get the token ids so far, shape (n_tokens,), and the logits of the next token,
shape (n_vocab,), which they change or replace.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from llama_bind import Llama
from llama_bind.hub import resolve_model


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model)) as llm:
        with_e = [token for token in range(llm.n_vocab()) if b"e" in llm.detokenize([token]).lower()]

        def without_e(_input_ids: Any, scores: Any) -> Any:
            scores[with_e] = -np.inf
            return scores

        def enough(input_ids: Any, _scores: Any) -> bool:
            return len(input_ids) >= 24

        result = llm("My dog", temperature=0, logits_processor=without_e, stopping_criteria=enough, max_tokens=40)
        print(result["choices"][0]["text"])


if __name__ == "__main__":
    main(*sys.argv[1:])
