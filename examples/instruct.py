"""One prompt in the form that the model was trained on, without a chat: python instruct.py [MODEL]"""

from __future__ import annotations

import sys

from llama_bind import Llama
from llama_bind.hub import resolve_model

PROMPT = "[INST] What is the capital of France? [/INST]"


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(model_path=resolve_model(model), n_ctx=2048) as llm:
        output = llm(PROMPT, max_tokens=32, stop=["[INST]"], echo=True, temperature=0)
        print(output["choices"][0]["text"])


if __name__ == "__main__":
    main(*sys.argv[1:])
