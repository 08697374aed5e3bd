"""Texts held to a form, from the default model: valid, in the tokenizer's own tokens, cheap, soon ready."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from llama_bind import Llama
from llama_bind.demands import constraints_of
from llama_bind.hub import resolve_model
from llama_bind.structured.spec import Spec

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2, "maxItems": 4},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string", "maxLength": 30}, "city": {"type": "string", "maxLength": 30}},
            "required": ["street", "city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "tags", "address"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
}
LARK = f"start: %json {json.dumps(SCHEMA)}"
QUESTION = [{"role": "user", "content": "Describe a person as JSON."}]


@pytest.fixture(scope="module")
def llm() -> Iterator[Llama]:
    with Llama(resolve_model("smollm2-135m-instruct"), n_ctx=512, n_threads=1, seed=1) as llm:
        yield llm


def test_a_schema_holds_and_a_quarter_is_forced(llm: Llama) -> None:
    before, tokens = llm.engine.stats.forced_tokens, 0
    for seed in range(4):
        made: Any = llm.create_chat_completion(QUESTION, lark=LARK, seed=seed, max_tokens=200)
        assert made["choices"][0]["finish_reason"] == "stop"
        value = json.loads(made["choices"][0]["message"]["content"])
        assert list(value) == SCHEMA["required"]
        assert list(value["address"]) == ["street", "city"]
        tokens += made["usage"]["completion_tokens"]
    assert llm.engine.stats.forced_tokens - before > tokens / 5


def test_forced_tokens_are_the_tokenizers_own(llm: Llama) -> None:
    made: Any = llm.create_completion("x", lark='start: "The quick brown fox {\\"jumps\\": " /[0-9]/', logprobs=0)
    tokens = made["choices"][0]["logprobs"]["tokens"][:-1]
    text = "".join(tokens)
    own = [llm.detokenize([t]).decode() for t in llm.tokenize(text.encode(), False)]
    assert tokens[: len(own) - 1] == own[:-1]


def test_choices_and_patterns(llm: Llama) -> None:
    for seed in range(3):
        made: Any = llm.create_chat_completion(QUESTION, choice=["yes", "no", "perhaps"], seed=seed)
        assert made["choices"][0]["message"]["content"] in ("yes", "no", "perhaps")
        made = llm.create_completion("The date is ", regex="[0-9]{4}-[0-9]{2}-[0-9]{2}", seed=seed)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", made["choices"][0]["text"])


def test_the_first_use_takes_no_time_that_anyone_notices(llm: Llama) -> None:
    vocab = llm._session.vocab
    compiler = constraints_of(vocab)
    start = time.thread_time()
    compiler.check(Spec('start: "a"'))
    assert time.thread_time() - start < 1.0  # the vocabulary, once per model
    start = time.thread_time()
    compiler.check(Spec(LARK))
    assert time.thread_time() - start < 0.03
    start = time.thread_time()
    for _ in range(100):
        compiler.make(Spec(LARK))
    assert (time.thread_time() - start) / 100 < 0.001
