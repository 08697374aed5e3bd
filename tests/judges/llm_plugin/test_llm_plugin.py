"""The plugin of `llm`: found by its entry point, from the command line and from Python."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli
from pydantic import BaseModel

from llama_bind.integrations.llm_plugin import LlamaBindModel, Options
from llama_bind.params import SamplingParams
from tests.judges.conftest import MODEL

ID = f"llama-bind/{MODEL}"
QUESTION = "What is the capital of France?"
GREEDY: Any = {"temperature": 0, "max_tokens": 16, "n_threads": 1, "n_ctx": 2048}


def program(folder: Path, *arguments: str) -> str:
    """What `llm` prints, with a folder of its own for what it keeps."""
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(folder)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def command(folder: Path, *arguments: str) -> str:
    """The same without a new process, which takes seconds to import what `llm` needs."""
    done = CliRunner().invoke(cli, arguments, env={"LLM_USER_PATH": str(folder)}, catch_exceptions=False)
    assert done.exit_code == 0, done.output[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def model() -> Any:
    return llm.get_model(ID)


def options(**more: Any) -> Any:
    return {**GREEDY, **more}


def test_the_command_line(tmp_path: Path) -> None:
    given = [word for name, value in GREEDY.items() for word in ("-o", name, str(value))]
    assert program(tmp_path, "-m", "llama-bind", *given, QUESTION).strip()
    assert f"{ID} (aliases: llama-bind)" in command(tmp_path, "models")
    logged = json.loads(command(tmp_path, "logs", "--json"))
    assert logged[0]["model"] == ID
    assert command(tmp_path, "-m", "llama-bind", *given, "-c", "And of Italy?").strip(), "the conversation goes on"
    schema = json.dumps(
        {
            "type": "object",
            "properties": {"age": {"type": "integer"}},
            "required": ["age"],
            "additionalProperties": False,
        }
    )
    assert isinstance(
        json.loads(command(tmp_path, "-m", "llama-bind", *given, "--schema", schema, "Invent a dog."))["age"], int
    )
    assert len(json.loads(command(tmp_path, "embed", "-m", "llama-bind", "-c", "Hello"))) == 576


def test_the_text_is_that_of_the_model_itself(model: Any) -> None:
    assert isinstance(model, LlamaBindModel)
    response = model.prompt(QUESTION, options=options())
    text = response.text()
    own: Any = model._loaded({"n_threads": 1, "n_ctx": 2048}).create_chat_completion(
        [{"role": "user", "content": QUESTION}], temperature=0, max_tokens=16
    )
    assert text == own["choices"][0]["message"]["content"]
    assert response.usage().output == own["usage"]["completion_tokens"]
    assert model.prompt(QUESTION, options=options(), stream=False).text() == text


def test_conversations_and_system_prompts(model: Any) -> None:
    conversation = model.conversation()
    first = conversation.prompt("My name is Ann.", system="You are brief.", options=options())
    assert first.text()
    second = conversation.prompt("What is my name?", options=options())
    assert second.text()
    assert [message.role for message in second.prompt.messages] == ["system", "user", "assistant", "user"]
    assert second.usage().input > first.usage().input + 10, "the model saw the whole conversation"


def test_tools_and_schemas(model: Any) -> None:
    asked: list[str] = []

    def weather(city: Literal["Paris", "Rome"]) -> str:
        """The weather in a city."""
        asked.append(city)
        return f"sunny in {city}"

    response = model.prompt("Weather?", tools=[weather], options=options(tool_choice="required", max_tokens=100))
    calls = response.tool_calls()
    assert {call.name for call in calls} == {"weather"}
    results = response.execute_tool_calls()
    assert asked == [call.arguments["city"] for call in calls]
    after = response.reply(tool_results=results, options=options(tool_choice="none"))
    assert after.text()

    class Dog(BaseModel):
        name: Literal["Rex", "Bella"]
        age: Literal[1, 2, 3]

    found = json.loads(model.prompt("Invent a dog.", schema=Dog, options=options(max_tokens=60)).text())
    assert found["name"] in ("Rex", "Bella")
    short = llm.schema_dsl("friendly bool")
    found = json.loads(model.prompt("Invent a dog.", schema=short, options=options(max_tokens=60)).text())
    assert found.keys() == {"friendly"}, "only what is named"


def test_asynchronous(model: Any) -> None:
    aio: Any = llm.get_async_model(ID)

    async def work() -> list[str]:
        streamed = "".join([piece async for piece in aio.prompt(QUESTION, options=options())])
        return [streamed, await aio.prompt(QUESTION, options=options(), stream=False).text()]

    assert asyncio.run(work()) == [model.prompt(QUESTION, options=options()).text()] * 2


def test_options_have_the_words_and_limits_of_the_package(model: Any) -> None:
    from llama_bind.options import options_of

    assert Options.model_fields["top_k"].description == options_of(SamplingParams)["top_k"].doc
    assert Options(temperature="0.5").temperature == 0.5, "as the command line gives it"
    with pytest.raises(ValueError, match="temperatur"):
        model.prompt(QUESTION, options={"temperatur": 0})
    with pytest.raises(ValueError, match="temperature must be at least 0"):
        model.prompt(QUESTION, options=options(temperature=-1)).text()


def test_embeddings() -> None:
    embedding = llm.get_embedding_model(ID)
    vectors = list(embedding.embed_multi(["How do I bake bread?", "The moon is far."]))
    assert [len(vector) for vector in vectors] == [576, 576]
    assert embedding.embed("The moon is far.") == pytest.approx(vectors[1], abs=1e-3)
