"""What else the model would have said, and how likely: python logprobs.py [MODEL]"""

from __future__ import annotations

import math
import sys

from llama_bind import Llama
from llama_bind.hub import resolve_model


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model)) as llm:
        result = llm("The capital of France is", max_tokens=3, temperature=0, logprobs=3)
    logprobs = result["choices"][0]["logprobs"]
    assert logprobs is not None
    for token, alternatives in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True):
        shown = ", ".join(f"{text!r} {math.exp(value):.0%}" for text, value in (alternatives or {}).items())
        print(f"{token!r:12} {shown}")


if __name__ == "__main__":
    main(*sys.argv[1:])
