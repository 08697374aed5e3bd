"""LangChain's own client for OpenAI against the server: python langchain_server.py [BASE_URL]

Start the server first: python -m llama_bind.server
"""

from __future__ import annotations

import sys

from langchain_openai import ChatOpenAI
from pydantic import SecretStr


def main(base_url: str = "http://localhost:8000/v1") -> None:
    chat = ChatOpenAI(
        model="any", base_url=base_url, api_key=SecretStr("not needed"), temperature=0, max_completion_tokens=32
    )
    print(chat.invoke("Give me a joke.").content)
    for chunk in chat.stream("What is the capital of France?"):
        print(chunk.content, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
