"""What people type: curl against the server, whole answers and streams."""

from __future__ import annotations

import json
import subprocess
from typing import Any

SERIES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Who won the world series in 2020?"},
    {"role": "assistant", "content": "The Los Angeles Dodgers won the World Series in 2020."},
    {"role": "user", "content": "Where was it played?"},
]


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60", *arguments],
        capture_output=True, text=True, encoding="utf-8", timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def post(url: str, body: Any) -> str:
    return curl(url, "-H", "Content-Type: application/json", "-d", json.dumps(body))


def test_a_joke(api: str) -> None:
    body = {"messages": [{"role": "user", "content": "Give me a joke."}], "max_tokens": 24}
    answer = json.loads(post(f"{api}/chat/completions", body))
    assert answer["choices"][0]["message"]["content"]


def test_the_world_series(api: str) -> None:
    body = {"model": "gpt-3.5-turbo", "messages": SERIES, "max_tokens": 24, "temperature": 0}
    answer = json.loads(post(f"{api}/chat/completions", body))
    assert answer["model"] == "gpt-3.5-turbo"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    streamed = post(f"{api}/chat/completions", {**body, "stream": True}).split("\n\n")
    assert streamed[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in streamed[:-2]]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == answer["choices"][0]["message"]["content"]


def test_without_a_content_type_and_with_one_of_forms(api: str) -> None:
    """curl says that -d is a form unless it is told otherwise."""
    assert "choices" in json.loads(curl(f"{api}/completions", "-d", '{"prompt": "One, two,", "max_tokens": 2}'))


def test_what_the_server_says_of_itself(base: str) -> None:
    assert json.loads(curl(f"{base}/health")) == {"status": "ok"}
    assert json.loads(curl(f"{base}/v1/models"))["data"]
    assert "llamacpp:prompt_tokens_total" in curl(f"{base}/metrics")
