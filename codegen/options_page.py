"""Writes ``docs/options.md``: every option with its default, limits and words, from ``params.py``.

Not for: the command line, whose reference ``llama_bind.cli.reference`` writes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from llama_bind import params
from llama_bind.options import Option, options_of
from llama_bind.server.params import ServerParams

NO_LIMIT = 1e5
"""Limits from here on only keep numbers within what C can hold: not worth a reader's time."""
TARGET = Path(__file__).resolve().parent.parent / "docs" / "options.md"

HEAD = """# Options

Every option of `Llama` and its calls, written by `python -m codegen` from the dataclasses of
`llama_bind.params`: do not edit. `None` always stands for the default. A value out of range is an `InputError`,
an unknown name an `UnknownOptionError` that names the nearest. The [guide](guide.md) explains by topic.
"""

SECTIONS: tuple[tuple[str, str, tuple[type[Any], ...]], ...] = (
    (
        "Loading",
        "`Llama(model_path, ...)` takes these; they go to `llama_model_params`, `llama_context_params` or stay here.",
        (params.ModelParams, params.ContextParams, params.LlamaParams),
    ),
    (
        "Calls",
        "`llm(prompt, ...)`, `create_completion` and `create_chat_completion` take these.",
        (params.SamplingParams, params.RequestParams),
    ),
    ("Chat", "`create_chat_completion` takes these as well, and neither `echo` nor `suffix`.", (params.ChatParams,)),
    ("Infill", "`create_infill` takes these as well, and neither `echo` nor `suffix`.", (params.InfillParams,)),
    ("Embeddings and ranks", "`embed`, `create_embedding` and `rerank` take these as well.", (params.VectorParams,)),
    ("Beam search", "`beam_search` takes these.", (params.BeamParams,)),
    (
        "Server",
        "`llama-bind serve` and `llama_bind.server.Settings.of` take these, and those of loading; see the "
        "[server](server.md).",
        (ServerParams,),
    ),
    (
        "Tools",
        "`run_tools` and `stream_tools` take these, and what `create_chat_completion` takes but `n` and `best_of`.",
        (params.ToolRunParams,),
    ),
)


def generate() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, words, classes in SECTIONS:
        parts.append(f"## {title}\n\n{words}\n")
        parts += [f"### {cls.__name__}\n\n{_table(cls)}" for cls in classes]
    return "\n".join(parts)


def _table(cls: type[Any]) -> str:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    rows = ["| Option | Type | Default | |", "|---|---|---|---|"]
    for name, entry in options_of(cls).items():
        words = " ".join(filter(None, [entry.doc, _limits(entry)]))
        cells = [f"`{name}`", f"`{fields[name].type}`", f"`{fields[name].default!r}`", words]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*rows, ""])


def _limits(entry: Option) -> str:
    """The allowed values in words, unless the option's own words have them."""
    if entry.choices and not all(str(choice) in entry.doc for choice in entry.choices if isinstance(choice, str)):
        return f"({', '.join(str(choice) for choice in entry.choices)})"
    high = None if entry.high is None or entry.high >= NO_LIMIT else f"{entry.high:g}"
    if entry.above is not None:
        return f"(above {entry.above:g})"
    if entry.low is not None:
        return f"({entry.low:g} or more)" if high is None else f"({entry.low:g} to {high})"
    return "" if high is None else f"(up to {high})"
