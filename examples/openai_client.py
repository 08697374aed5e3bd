"""OpenAI's client against a server on this machine: python openai_client.py [BASE_URL]

Start the server first: python -m llama_bind.server
"""

from __future__ import annotations

import sys

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

WORLD_SERIES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Who won the world series in 2020?"},
    {"role": "assistant", "content": "The Los Angeles Dodgers won the World Series in 2020."},
    {"role": "user", "content": "Where was it played?"},
]


def main(base_url: str = "http://localhost:8000/v1") -> None:
    client = OpenAI(base_url=base_url, api_key="not needed")
    joke = client.chat.completions.create(
        model="gpt-3.5-turbo", messages=[{"role": "user", "content": "Give me a joke."}], max_tokens=48
    )
    print(joke.choices[0].message.content)
    stream = client.chat.completions.create(
        model="gpt-3.5-turbo", messages=WORLD_SERIES, max_tokens=48, temperature=0, stream=True
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
