"""llama-server's command line in front of our server, so that programs which start llama-server can start this.

    python -m scripts.llama_server --port 8080 --model model.gguf --ctx-size 4096 --parallel 4 --jinja

A flag that is not known, or that would mean something which is not there, ends it with status 2. Made for llama.cpp's
own server tests (``server_suite``), so only for the flags that these use. Not for: people; ``llama-bind serve`` is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from llama_bind.chat.formats import FORMATS
from llama_bind.cli.parser import Parser
from llama_bind.server.run import run
from llama_bind.server.settings import Settings

__all__ = ["main", "settings_of"]

STAND_INS = "LLAMA_SERVER_STAND_INS"
"""A JSON file: which model file stands in for a repository (and file) that cannot be had; "" for any other."""

PLAIN = {
    "host": "host",
    "port": "port",
    "temp": "temperature",
    "threads": "n_threads",
    "n_gpu_layers": "n_gpu_layers",
    "pooling": "pooling_type",
    "cache_type_k": "type_k",
    "cache_type_v": "type_v",
    "flash_attn": "flash_attn",
    "reasoning_format": "reasoning_format",
    "spec_draft_n_max": "draft_max",
    "sleep_idle_seconds": "idle_timeout",
}
"""Flags that have one option of ours, by their names."""


def parser() -> Parser:
    """The flags, under llama-server's names."""
    made = Parser(prog="llama-server", argument_default=argparse.SUPPRESS)
    add = made.add_argument
    for name in ("model", "hf-repo", "hf-file", "alias", "host", "pooling", "chat-template", "chat-template-file"):
        add(f"--{name}")
    for name in ("port", "seed", "ctx-size", "batch-size", "ubatch-size", "parallel", "threads", "n-gpu-layers",
                 "n-predict", "cache-ram", "spec-draft-n-max", "sleep-idle-seconds"):  # fmt: skip
        add(f"--{name}", type=int)
    add("--temp", type=float)
    add("--api-key", action="append")
    add("--lora", action="append")
    add("-ctk", "--cache-type-k")
    add("-ctv", "--cache-type-v")
    add("-fa", "--flash-attn", choices=("on", "off", "auto"))
    add("--reasoning", choices=("on", "off", "auto"))
    add("--reasoning-format", choices=("none", "deepseek", "deepseek-legacy", "auto"))
    add("--model-draft")
    add("--spec-type", choices=("draft-simple",))
    add("--cors-origins")
    for name in ("embedding", "reranking", "metrics", "kv-unified", "swa-full", "context-shift", "no-ui"):
        add(f"--{name}", action="store_true")
    add("--slots", action=argparse.BooleanOptionalAction)
    # What these say is so here in any case: batches are continuous, templates are Jinja, nothing is fetched. How
    # many tokens are guessed at least follows from how many were right.
    for name in ("cont-batching", "jinja", "no-jinja", "offline", "verbose"):
        add(f"--{name}", action="store_true")
    add("--spec-draft-n-min", type=int)
    return made


def settings_of(arguments: list[str]) -> Settings:
    """The settings that a command line of llama-server's means."""
    flags = vars(parser().parse_args(arguments))
    given: dict[str, Any] = {ours: flags[theirs] for theirs, ours in PLAIN.items() if theirs in flags}
    given |= _context(flags) | _chat(flags) | _further(flags)
    given["engine_process"] = False  # hundreds are started: one process is there sooner than two
    settings = Settings.of(_model(flags), **given)
    seed = flags.get("seed", -1)
    # llama-server's seed is that of every request; ours is the one from which each request gets its own.
    return settings if seed < 0 else dataclasses.replace(settings, defaults={**settings.defaults, "seed": seed})


def _model(flags: dict[str, Any]) -> str | None:
    if "model" in flags:
        return str(flags["model"])
    repository, file = flags.get("hf_repo"), flags.get("hf_file")
    table = os.environ.get(STAND_INS)
    if table is None:
        return None if repository is None else f"{repository}/{file}" if file else repository
    known: dict[str, str] = json.loads(Path(table).read_text(encoding="utf-8"))
    return known.get(f"{repository}/{file}") or known.get(str(repository)) or known[""]


def _context(flags: dict[str, Any]) -> dict[str, Any]:
    """llama-server's context is that of all slots together, divided among them unless it is unified."""
    embeds = flags.get("embedding") or flags.get("reranking")
    slots, n_ctx, batch = flags.get("parallel", 4), flags.get("ctx_size", 0), flags.get("batch_size", 2048)
    given: dict[str, Any] = {"n_seq_max": slots, "n_batch": batch}
    given["n_ubatch"] = min(flags.get("ubatch_size", 512), batch)
    if embeds:
        given |= {"embedding": True, "n_ctx": n_ctx}
    else:
        unified = flags.get("kv_unified", "parallel" not in flags)
        given |= {"kv_unified": unified, "n_ctx": n_ctx if unified else n_ctx // slots}
    if flags.get("reranking"):
        given["pooling_type"] = "rank"
    if "swa_full" in flags:
        given["swa_full"] = True
    return given


def _chat(flags: dict[str, Any]) -> dict[str, Any]:
    """Templates by name, as text or as a file; thinking."""
    given: dict[str, Any] = {}
    name = flags.get("chat_template")
    if name is not None:
        name = {"llama2": "llama-2", "llama3": "llama-3"}.get(name, name)
        given = {"chat_format": name} if name in FORMATS else {"chat_template": name}
    if "chat_template_file" in flags:
        given = {"chat_template": Path(flags["chat_template_file"]).read_text(encoding="utf-8")}
    # llama-server tells templates to think unless it is told not to; ours are told nothing unless something is said.
    return given | {"enable_thinking": flags.get("reasoning") != "off"}


def _further(flags: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if "alias" in flags:
        given["model_alias"] = sorted(name.strip() for name in flags["alias"].split(","))
    if "api_key" in flags:
        given["api_key"] = [key for keys in flags["api_key"] for key in keys.split(",")]
    if flags.get("n_predict", -1) > 0:
        given["max_tokens"] = flags["n_predict"]
    if "cache_ram" in flags:
        given["cache_ram_bytes"] = max(flags["cache_ram"], 0) << 20
    if "lora" in flags:
        given["loras"] = [(path, 1.0) for path in flags["lora"]]
    if "model_draft" in flags:
        given["draft_model"] = flags["model_draft"]
    if flags.get("context_shift"):
        given["context_overflow"] = "shift"
    if "cors_origins" in flags:
        given["cors_origins"] = flags["cors_origins"].split(",")
    closed = [path for path, name in (("/slots", "slots"), ("/metrics", "metrics")) if not flags.get(name)]
    return given | {"closed_paths": closed, "chat_page": not flags.get("no_ui", False)}


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes."""
    return run(settings_of(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
