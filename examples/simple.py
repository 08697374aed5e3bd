"""Continue a text: python simple.py [MODEL]"""

from __future__ import annotations

import sys

from llama_bind import Llama
from llama_bind.hub import resolve_model


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model)) as llm:
        result = llm("The capital of France is", max_tokens=12, temperature=0)
        print(result["choices"][0]["text"])
        print(result["usage"])


if __name__ == "__main__":
    main(*sys.argv[1:])
