"""Programs written for llama-cpp-python on the default model: text, chat, tools, steps, the server."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_bind.compat.llama import Llama, LlamaGrammar
from llama_bind.hub import resolve_model
from tests.server_process import serving

ROOT = Path(__file__).resolve().parents[2]
MODEL = resolve_model("smollm2-135m-instruct")
CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def llm() -> Iterator[Llama]:
    with Llama(str(MODEL), n_ctx=2048, n_threads=1) as made:
        yield made


PROGRAM = """
import llama_bind

llama_bind.install_as_llama_cpp()

import json, os
from llama_cpp import Llama, LlamaGrammar, LogitsProcessorList

llm = Llama(model_path=os.environ["MODEL_FILE"], n_ctx=512, n_threads=1, n_parts=-1, f16_kv=True, verbose=False)
output = llm(
    "Question: What are the names of the planets in the solar system? Answer: ",
    max_tokens=48,
    stop=["Q:", "\\n"],
    echo=True,
    temperature=0.0,
)
print(json.dumps(output["choices"][0]["text"]))
pieces = [
    chunk["choices"][0]["text"]
    for chunk in llm("Question: What are the names of the planets in the solar system? Answer: ",
                     max_tokens=48, stop=["Q:", "\\n"], stream=True, temperature=0.0)
]
print(json.dumps("".join(pieces)))
"""


def test_a_program_that_was_written_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**os.environ, "MODEL_FILE": str(MODEL)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    whole, pieces = map(json.loads, done.stdout.splitlines())
    assert whole.startswith("Question: What are")
    assert whole == "Question: What are the names of the planets in the solar system? Answer: " + pieces
    assert len(pieces) > 10


def test_an_answer_and_its_steps_agree(llm: Llama) -> None:
    tokens = llm.tokenize(CHAT.encode(), add_bos=False, special=True)
    completion = llm(tokens, max_tokens=12, temperature=0.0)
    text = completion["choices"][0]["text"]
    assert "Paris" in text
    drawn = itertools.islice(llm.generate(tokens, temp=0.0), 12)
    steps = list(itertools.takewhile(lambda token: token != llm.token_eos(), drawn))
    assert llm.detokenize(steps).decode() == text
    chat = llm.create_chat_completion([{"role": "user", "content": "What is the capital of France?"}], max_tokens=12)
    assert chat["usage"]["prompt_tokens"] > 10


def test_forms_and_tools(llm: Llama) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]}
    messages = [{"role": "user", "content": "Which city is the capital of France? Answer in JSON."}]
    form = {"type": "json_object", "schema": schema}
    answer = llm.create_chat_completion(messages, response_format=form, max_tokens=60)
    assert set(json.loads(answer["choices"][0]["message"]["content"])) >= {"city"}
    function = {"name": "look_up", "description": "Looks up a city.", "parameters": schema}
    tools: list[dict[str, Any]] = [{"type": "function", "function": function}]
    choice = {"type": "function", "function": {"name": "look_up"}}
    called = llm.create_chat_completion(messages, tools=tools, tool_choice=choice, max_tokens=80)
    call = called["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "look_up"
    assert "city" in json.loads(call["arguments"])
    made = LlamaGrammar.from_json_schema(json.dumps(schema))
    text = llm("The capital of France as JSON: ", grammar=made, max_tokens=60)["choices"][0]["text"]
    assert "city" in json.loads(text)


def test_the_server_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "compat"), str(ROOT)]))
    flags = (
        "--model",
        str(MODEL),
        "--n_ctx",
        "512",
        "--n_threads",
        "1",
        "--model_alias",
        "gpt-x",
        "--verbose",
        "False",
    )
    with serving(*flags, module="llama_cpp.server") as server:
        server.lines.get(timeout=120)
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        request = urllib.request.Request(
            f"{server.base}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        with urllib.request.urlopen(f"{server.base}/v1/models", timeout=60) as response:
            names = [one["id"] for one in json.load(response)["data"]]
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert names == ["gpt-x"]
