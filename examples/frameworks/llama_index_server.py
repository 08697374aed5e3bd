"""LlamaIndex's client for servers like OpenAI's: python llama_index_server.py [BASE_URL]

Start the server first: python -m llama_bind.server
"""

from __future__ import annotations

import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


def main(base_url: str = "http://localhost:8000/v1") -> None:
    llm = OpenAILike(
        model="any", api_base=base_url, api_key="not needed", is_chat_model=True, temperature=0, max_tokens=32
    )
    print(llm.complete("What is the capital of France?").text)
    for part in llm.stream_chat([ChatMessage(role="user", content="Give me a joke.")]):
        print(part.delta, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
