"""Many asyncio tasks on one model: python async_tasks.py [MODEL]"""

from __future__ import annotations

import asyncio
import sys

from llama_bind import AsyncLlama
from llama_bind.hub import resolve_model

PROMPTS = ["One, two, three,", "Monday, Tuesday,", "A, B, C,"]


async def work(model: str) -> None:
    async with await AsyncLlama.load(resolve_model(model), n_ctx=1024, n_seq_max=2) as llm:
        results = await asyncio.gather(*(llm(prompt, max_tokens=8, temperature=0) for prompt in PROMPTS))
        for prompt, result in zip(PROMPTS, results, strict=True):
            print(f"{prompt}{result['choices'][0]['text']!r}")
        async for chunk in await llm("The capital of France is", max_tokens=4, temperature=0, stream=True):
            print(chunk["choices"][0]["text"], end="", flush=True)
        print()


def main(model: str = "smollm2-135m-instruct") -> None:
    asyncio.run(work(model))


if __name__ == "__main__":
    main(*sys.argv[1:])
