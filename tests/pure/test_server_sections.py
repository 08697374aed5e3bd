"""Several models in one configuration: what each table may say, and what is told where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llama_bind.cli import command_parser
from llama_bind.cli.command_serve import settings_of
from llama_bind.errors import InputError, UnknownOptionError
from llama_bind.server.errors import ApiError
from llama_bind.server.models import Models
from llama_bind.server.settings import DEFAULTS, Settings

TOML = """
port = 1111
n_ctx = 4096
temperature = 0.5
memory_budget = 1000000000
idle_timeout = 60

[[models]]
name = "small"
aliases = ["gpt-4o-mini", "tiny"]
model = "/secret/a.gguf"
n_ctx = 512

[[models]]
model = "b.gguf"
max-tokens = 7
idle_timeout = 5
preload = true
"""


def parsed(*arguments: str) -> Settings:
    return settings_of(command_parser("serve").parse_args(list(arguments)))


def test_a_table_for_each_model(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(TOML)
    made = parsed("--config", str(file), "--n-threads", "3")
    assert (made.server.port, made.server.memory_budget) == (1111, 10**9)
    small, b = made.models
    assert small.names == ("small", "gpt-4o-mini", "tiny")
    assert small.model == "/secret/a.gguf"
    assert small.load == {**DEFAULTS, "n_ctx": 512, "n_threads": 3}
    assert small.defaults == {"temperature": 0.5}
    assert (small.preload, small.idle_timeout) == (False, None)
    assert b.names == ("b",)
    assert b.load["n_ctx"] == 4096
    assert b.defaults == {"temperature": 0.5, "max_tokens": 7}
    assert (b.preload, b.idle_timeout) == (True, 5)
    assert small.server is b.server is made.server
    models = Models(made)
    assert [s.idle_timeout for s in models.services] == [60, 5]
    assert models.budget == 10**9


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    tables = [{"name": "x", "model": "a.gguf"}, {"name": "y", "model": "b.gguf", "n-ctx": 64}]
    (tmp_path / "c.json").write_text(json.dumps({"models": tables}))
    (tmp_path / "c.yaml").write_text(
        "models:\n  - {name: x, model: a.gguf}\n  - name: y\n    model: b.gguf\n    n-ctx: 64\n"
    )
    one, two = (parsed("--config", str(tmp_path / name)) for name in ("c.json", "c.yaml"))
    assert one == two
    assert one.models[1].load["n_ctx"] == 64


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([], "list of tables"),
        ({"a": 1}, "list of tables"),
        (["a.gguf"], "list of tables"),
        ([{}], "model 1 of the configuration: give model"),
        ([{"model": 5}], "model must be a text"),
        (
            [{"model": "a"}, {"name": "x", "model": "y.gguf", "port": 1}],
            r"model 2 .*\(x\): port is for the whole server",
        ),
        ([{"model": "a", "n_ctx": -5}], r"model 1 .*n_ctx must be at least 0"),
        ([{"model": "a", "aliases": ["b"]}], "needs a name"),
        ([{"name": "x", "aliases": "b"}], "aliases must be a list"),
        ([{"name": "x", "preload": 1}], "preload must be true or false"),
        ([{"name": "x", "idle_timeout": 0}], "idle_timeout must be a number above 0"),
        ([{"name": "x"}, {"name": "y", "aliases": ["x"]}], "models 1 and 2 are both called 'x'"),
        ([{"model": "p/a.gguf"}, {"model": "q/a.gguf"}], "both called 'a'"),
    ],
)
def test_what_is_wrong_is_told(tables: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Settings.of(models=tables)


def test_a_slip_names_the_nearest_and_the_model() -> None:
    with pytest.raises(
        UnknownOptionError, match=r"model 2 of the configuration \(b\.gguf\).*did you mean 'n_gpu_layers'"
    ):
        Settings.of(models=[{"model": "a.gguf"}, {"model": "b.gguf", "n_gpu_layer": 1}])
    with pytest.raises(UnknownOptionError):
        Settings.of(models=[{"model": "a.gguf", "chat_handler": "x"}])


def test_one_model_beside_the_list_is_refused() -> None:
    with pytest.raises(InputError, match="lists its models"):
        Settings.of("c.gguf", models=[{"model": "a.gguf"}])
    with pytest.raises(InputError, match="model_alias"):
        Settings.of(models=[{"model": "a.gguf"}], model_alias=["x"])


def test_names_find_their_models() -> None:
    several = Models(Settings.of(models=[{"name": "x", "aliases": ["z"], "model": "a"}, {"name": "y", "model": "b"}]))
    assert several.find(None) is several.find("") is several.find("z") is several.default
    assert several.find("y").names == ("y",)
    with pytest.raises(ApiError) as caught:
        several.find("w")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    for one in (Models(Settings.of("a.gguf")), Models(Settings.of(models=[{"model": "a.gguf"}]))):
        assert one.find("anything") is one.default, "while one is served any name will do"
        assert one.named("a") is one.default
        with pytest.raises(ApiError):
            one.named("anything")
    assert several.budget is not None
    assert Models(Settings.of("a.gguf")).budget is None, "one model is held against what is free when it is loaded"


def test_the_example_of_the_documents_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    (example,) = [block.partition("\n")[2] for block in page.split("```") if "[[models]]" in block]
    (tmp_path / "c.toml").write_text(example, encoding="utf-8")
    made = parsed("--config", str(tmp_path / "c.toml"))
    assert [one.names[0] for one in made.models] == ["quick", "thorough"]
    assert made.models[1].defaults == {"temperature": 0.2}
