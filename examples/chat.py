"""A conversation of two turns: python chat.py [MODEL]"""

from __future__ import annotations

import sys
from typing import Any

from llama_bind import Llama
from llama_bind.hub import resolve_model

QUESTIONS = ["What is the capital of France?", "And of Italy?"]


def main(model: str = "smollm2-135m-instruct") -> None:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You answer in one short sentence."}]
    with Llama(resolve_model(model)) as llm:
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            answer = llm.create_chat_completion(messages, max_tokens=16, temperature=0)
            message = answer["choices"][0]["message"]
            messages.append(dict(message))
            cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            print(f"user: {question}\nassistant: {message['content']}\n({cached} tokens were computed before)")


if __name__ == "__main__":
    main(*sys.argv[1:])
