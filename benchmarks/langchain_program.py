"""LangChain's classes asked 16 questions, by path, in an environment that has them. Not for: people.

Reads a job as JSON from standard input: side ("ours": `ChatLlamaBind`, all at once; "theirs": `LlamaCpp` of
langchain-community over llama-cpp-python, one after the other), model, n_threads, n_ctx, rounds (lists of prompts),
max_tokens, libraries (the folder of libllama, for theirs). Writes seconds for each round, and the characters of the
last one's answers.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MARK = "done: "


def main() -> None:
    """Do the job."""
    job: dict[str, Any] = json.loads(sys.stdin.read())
    walls, answers = (_ours if job["side"] == "ours" else _theirs)(job)
    print(MARK + json.dumps({"walls": walls, "texts": answers, "tokens": 0, "variant": ""}), flush=True)


def _ours(job: dict[str, Any]) -> tuple[list[float], list[str]]:
    from llama_bind.integrations.langchain import ChatLlamaBind

    chat = ChatLlamaBind(
        model=job["model"],
        n_ctx=job["n_ctx"],
        n_seq_max=len(job["rounds"][0]),
        n_threads=job["n_threads"],
        temperature=0,
        max_tokens=job["max_tokens"],
    )

    async def together(prompts: list[str]) -> list[str]:
        return [str(answer.content) for answer in await asyncio.gather(*(chat.ainvoke(text) for text in prompts))]

    async def rounds() -> tuple[list[float], list[str]]:
        walls, answers = [], []
        for prompts in job["rounds"]:
            start = time.perf_counter()
            answers = await together(prompts)
            walls.append(time.perf_counter() - start)
        return walls, answers

    return asyncio.run(rounds())


def _theirs(job: dict[str, Any]) -> tuple[list[float], list[str]]:
    from benchmarks.peer_program import load_backends

    importlib.import_module("llama_cpp")
    load_backends(Path(job["libraries"]))
    community: Any = importlib.import_module("langchain_community.llms")
    llm: Any = community.LlamaCpp(
        model_path=job["model"],
        n_ctx=job["n_ctx"],
        n_threads=job["n_threads"],
        temperature=0.0,
        max_tokens=job["max_tokens"],
        verbose=False,
    )
    walls, answers = [], []
    for prompts in job["rounds"]:
        start = time.perf_counter()
        answers = [llm.invoke(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n") for text in prompts]
        walls.append(time.perf_counter() - start)
    return walls, answers


if __name__ == "__main__":
    main()
