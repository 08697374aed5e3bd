"""LlamaIndex with a model in this process, prompts written by hand: python llama_index_local.py [MODEL]

Without the two functions the model's own chat template is used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llama_index.core.llms import ChatMessage

from llama_bind.integrations.llama_index import LlamaBind


def messages_to_prompt(messages: Sequence[ChatMessage]) -> str:
    text = "".join(f"<|im_start|>{m.role.value}\n{m.content}<|im_end|>\n" for m in messages)
    return f"{text}<|im_start|>assistant\n"


def completion_to_prompt(completion: str) -> str:
    return f"<|im_start|>user\n{completion}<|im_end|>\n<|im_start|>assistant\n"


def main(model: str = "smollm2-135m-instruct") -> None:
    llm = LlamaBind(
        model=model,
        n_ctx=2048,
        temperature=0,
        max_tokens=32,
        messages_to_prompt=messages_to_prompt,
        completion_to_prompt=completion_to_prompt,
    )
    print(llm.complete("What is the capital of France?").text)
    for part in llm.stream_chat([ChatMessage(role="user", content="Give me a joke.")]):
        print(part.delta, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
