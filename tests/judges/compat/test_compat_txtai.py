"""txtai's texts, vectors and retrieval with the default model, over `import llama_cpp` and without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import llama_bind

llama_bind.install_as_llama_cpp()

from txtai import LLM, RAG, Embeddings  # noqa: E402

from llama_bind.hub import resolve_model  # noqa: E402
from tests.judges.conftest import MODEL  # noqa: E402

PATH = str(resolve_model(MODEL))
QUESTION = "What is the capital of France?"
PROMPT = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
TEXTS = ["Bread is baked in an oven.", "The moon is far away from the earth.", "Paris is the capital of France."]
SHORT: dict[str, Any] = {"maxlength": 12, "temperature": 0.0}


@pytest.fixture(scope="module")
def llm() -> Iterator[Any]:
    made = LLM(PATH, n_ctx=1024, n_threads=1)
    yield made
    made.generator.llm.close()


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Any]:
    made = Embeddings(path=PATH, backend="numpy", content=False, maxlength=512, vectors={"n_threads": 1})
    made.index(TEXTS)
    yield made
    made.close()


def test_texts(llm: Any) -> None:
    message = {"role": "user", "content": QUESTION}
    own = llm.generator.llm.create_chat_completion([message], max_tokens=12, temperature=0.0)
    said = own["choices"][0]["message"]["content"].strip()
    assert llm(QUESTION, **SHORT) == llm([message], **SHORT) == said
    assert "".join(llm(QUESTION, stream=True, **SHORT)).strip() == said
    assert "Paris" in llm(PROMPT, **SHORT), "a prompt of the caller's own goes to the model as it is"
    assert "Paris" not in llm(PROMPT, stop=["Paris"], **SHORT)
    assert len(llm([QUESTION, "What is the capital of Italy?"], **SHORT)) == 2


def test_vectors(embeddings: Any) -> None:
    assert embeddings.config["dimensions"] == 576
    (best, score), *_ = embeddings.search(TEXTS[1], 1)
    assert best == 1
    assert score == pytest.approx(1, abs=1e-2)


def test_retrieval(llm: Any, embeddings: Any) -> None:
    answer = RAG(embeddings, llm, context=1, output="reference", template="{context} {question}")(
        [("city", TEXTS[2], QUESTION, None)], TEXTS, **SHORT
    )
    ((name, text, reference),) = answer
    assert name == "city"
    assert text
    assert reference == 2
