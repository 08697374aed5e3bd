"""One model, several threads at once: python threads.py [MODEL]"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from llama_bind import Llama
from llama_bind.hub import resolve_model

PROMPTS = ["One, two, three,", "Monday, Tuesday,", "A, B, C,", "Spring, summer,"]


def main(model: str = "smollm2-135m-instruct") -> None:
    # Two texts run at the same time, the others wait for their turn.
    with Llama(resolve_model(model), n_ctx=1024, n_seq_max=2) as llm, ThreadPoolExecutor(len(PROMPTS)) as pool:

        def complete(prompt: str) -> str:
            return llm(prompt, max_tokens=8, temperature=0)["choices"][0]["text"]

        for prompt, text in zip(PROMPTS, pool.map(complete, PROMPTS), strict=True):
            print(f"{prompt}{text!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
