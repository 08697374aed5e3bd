"""llama-server's command line in front of ours, and how the results of its tests are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.llama_server import STAND_INS, settings_of
from scripts.server_suite import judged, known_reasons

LINE = (
    "--port 8181 --host 127.0.0.1 --temp 0.5 --seed 42 --model m.gguf --ctx-size 512 --parallel 2 --batch-size 32 "
    "--n-predict 64 --alias b,a --api-key one --no-slots --jinja --reasoning off -fa on -ctk q8_0"
)


def test_a_command_line_is_understood() -> None:
    settings = settings_of(LINE.split())
    assert settings.model == "m.gguf"
    assert (settings.server.port, settings.server.api_key, settings.server.model_alias) == (8181, ("one",), ("a", "b"))
    assert settings.server.closed_paths == ("/slots", "/metrics")
    load, defaults = settings.load, settings.defaults
    # The context of all slots together, divided among them.
    assert (load["n_ctx"], load["n_seq_max"], load["kv_unified"]) == (256, 2, False)
    assert (load["n_batch"], load["n_ubatch"], load["flash_attn"], load["type_k"]) == (32, 32, "on", "q8_0")
    assert defaults["seed"] == 42
    assert (defaults["temperature"], defaults["max_tokens"], defaults["enable_thinking"]) == (0.5, 64, False)
    unified = settings_of([*LINE.split(), "--kv-unified", "--slots", "--metrics"])
    assert (unified.load["n_ctx"], unified.load["kv_unified"], unified.server.closed_paths) == (512, True, ())


def test_models_that_embed_and_rank() -> None:
    load = settings_of(["--model", "m.gguf", "--embedding", "--pooling", "last", "--ctx-size", "512"]).load
    assert (load["embedding"], load["pooling_type"], load["n_ctx"]) == (True, "last", 512)
    assert settings_of(["--model", "m.gguf", "--reranking"]).load["pooling_type"] == "rank"


@pytest.mark.parametrize("flag", ["--slot-save-path x", "--tools all", "--bogus", "--spec-type mtp"])
def test_what_is_not_there_is_refused(flag: str) -> None:
    with pytest.raises(SystemExit) as ended:
        settings_of(flag.split())
    assert ended.value.code == 2


def test_files_stand_in_for_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(["--hf-repo", "a/b", "--hf-file", "c.gguf"]).model == "a/b/c.gguf"
    table = tmp_path / "models.json"
    table.write_text(json.dumps({"": "any.gguf", "a/b": "one.gguf", "a/b/c.gguf": "two.gguf"}))
    monkeypatch.setenv(STAND_INS, str(table))
    for line, file in (("--hf-repo a/b --hf-file c.gguf", "two"), ("--hf-repo a/b", "one"), ("--hf-repo z", "any")):
        assert settings_of(line.split()).model == f"{file}.gguf"


def test_results_are_judged() -> None:
    known = [("test_x::test_a[1-*", "model", "why"), ("test_y::*", "deliberate", "why")]
    failed = {"outcome": "failed", "seconds": 1.0, "said": "x"}
    assert judged("test_x::test_a[1-2]", failed, known) == "model"
    assert judged("test_x::test_a[2-2]", failed, known) == "FAULT"
    assert judged("test_y::test_b", failed, known) == "deliberate"
    assert judged("test_y::test_b", {**failed, "outcome": "passed"}, known) == "passed"
    assert all(why.strip() and kind in ("model", "deliberate") for _, kind, why in known_reasons())
