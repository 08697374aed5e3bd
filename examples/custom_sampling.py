"""The samplers, their order, and a seed: python custom_sampling.py [MODEL]"""

from __future__ import annotations

import sys
from typing import Any

from llama_bind import Llama
from llama_bind.hub import resolve_model

STYLES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "careful": {"samplers": ["top_k", "top_p", "temperature"], "top_k": 10, "top_p": 0.5, "temperature": 0.5},
    "wild": {"samplers": ["temperature", "min_p"], "temperature": 1.8, "min_p": 0.02},
    "no repetition": {"dry_multiplier": 0.8, "repeat_penalty": 1.2},
    "mirostat": {"mirostat_mode": 2, "mirostat_tau": 4.0},
}


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model)) as llm:
        for name, options in STYLES.items():
            result = llm("Once upon a time", max_tokens=10, **options)
            again = llm("Once upon a time", max_tokens=10, seed=result["seed"], **options)
            same = again["choices"][0]["text"] == result["choices"][0]["text"]
            print(f"{name}: {result['choices'][0]['text']!r} (the same with its seed: {same})")


if __name__ == "__main__":
    main(*sys.argv[1:])
