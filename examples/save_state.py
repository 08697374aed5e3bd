"""A long prompt is computed once and kept in a file: python save_state.py [MODEL]"""

from __future__ import annotations

import pickle
import sys
import tempfile
from pathlib import Path

from llama_bind import Llama
from llama_bind.hub import resolve_model

RULES = "The rules of the game: " + " ".join(f"rule {n} says that {n} is a number." for n in range(1, 9))


def main(model: str = "smollm2-135m-instruct") -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "rules.state"
        with Llama(resolve_model(model)) as llm:
            llm(RULES, max_tokens=0)
            kept.write_bytes(pickle.dumps(llm.save_state()))
            print(f"{kept.stat().st_size} bytes")

        with Llama(resolve_model(model)) as llm:  # could be another process, tomorrow
            llm.load_state(pickle.loads(kept.read_bytes()))
            timings = llm(RULES + " Question: what does rule 3 say?", max_tokens=8)["timings"]
            print(f"{timings['cache_n']} tokens were there, {timings['prompt_n']} had to be computed")


if __name__ == "__main__":
    main(*sys.argv[1:])
