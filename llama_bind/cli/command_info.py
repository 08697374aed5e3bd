"""Show the metadata and tensors of a GGUF file without loading it.

Not for: whether llama.cpp can run it, which loading tells.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from llama_bind.cli.console import heading, print_json, print_pairs, print_table, visible
from llama_bind.cli.models import MODEL_HELP, find_model
from llama_bind.hub.progress import human_size

if TYPE_CHECKING:
    from llama_bind.core.gguf_reader import GGUFFile
    from llama_bind.core.needs import MemoryNeeds

__all__ = ["add_arguments", "execute"]

_SHOWN_ITEMS = 6
_SHOWN_TEXT = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--json", action="store_true", help="Write JSON.")
    parser.add_argument("--full", action="store_true", help="Show long texts and arrays whole.")
    parser.add_argument("--tensors", action=argparse.BooleanOptionalAction, default=True, help="Show the tensors.")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from llama_bind.core.gguf_reader import ValueType, read_gguf

    file = read_gguf(find_model(arguments.model))
    if arguments.json:
        print_json(_as_json(file, arguments.full, arguments.tensors))
        return 0
    print_pairs(_summary(file))
    heading("Metadata")
    rows = ((key, ValueType.NAMES[kind], _shown(value, arguments.full)) for key, (kind, value) in file.metadata.items())
    print_table(("KEY", "TYPE", "VALUE"), rows)
    if arguments.tensors:
        heading("Tensors")
        tensors = file.tensors.values()
        print_table(
            ("NAME", "TYPE", "SHAPE", "SIZE"),
            ((t.name, t.type_name, " x ".join(map(str, t.shape)), human_size(t.n_bytes)) for t in tensors),
            right=(3,),
        )
    return 0


def _summary(file: GGUFFile) -> list[tuple[str, str]]:
    types = collections.Counter(t.type_name for t in file.tensors.values())
    return [
        ("file", file.path),
        ("size", human_size(file.size)),
        ("GGUF version", str(file.version)),
        ("architecture", file.architecture or "(not given)"),
        ("name", visible(str(file.get("general.name", "(not given)")), _SHOWN_TEXT)),
        ("parameters", f"{file.n_params:,}"),
        ("tensors", f"{len(file.tensors)} ({', '.join(f'{n} {name}' for name, n in types.most_common())})"),
        ("bits per weight", f"{8 * file.n_bytes / file.n_params:.2f}" if file.n_params else "-"),
        ("memory", "-" if (needs := _memory(file)) is None else str(needs)),
    ]


def _memory(file: GGUFFile) -> MemoryNeeds | None:
    """What it takes here with all defaults, on the CPU; None for what is no model."""
    from llama_bind.core.cpu import available_memory
    from llama_bind.core.needs import memory_needs

    if file.get(f"{file.architecture}.block_count") is None:
        return None
    return memory_needs(file.path, free=available_memory())


def _shown(value: Any, full: bool) -> str:
    from llama_bind.core.gguf_reader import GGUFArray

    if not isinstance(value, GGUFArray):
        return visible(str(value), None if full else _SHOWN_TEXT)
    items = value.list()
    shown = items if full else items[:_SHOWN_ITEMS]
    more = f", ... {len(items) - len(shown)} more" if len(shown) < len(items) else ""
    return "[" + ", ".join(visible(repr(item), None if full else 40) for item in shown) + more + "]"


def _as_json(file: GGUFFile, full: bool, tensors: bool) -> dict[str, Any]:
    from llama_bind.core.gguf_reader import GGUFArray, ValueType

    metadata: dict[str, Any] = {}
    for key, (kind, value) in file.metadata.items():
        entry: dict[str, Any] = {"type": ValueType.NAMES[kind]}
        if isinstance(value, GGUFArray):
            entry |= {"item_type": ValueType.NAMES[value.item_type], "length": len(value)}
            value = value.list() if full else value.list()[:_SHOWN_ITEMS]
        metadata[key] = {**entry, "value": value}
    result: dict[str, Any] = {
        "path": file.path,
        "size": file.size,
        "version": file.version,
        "architecture": file.architecture,
        "n_params": file.n_params,
        "memory": None if (needs := _memory(file)) is None else {**dataclasses.asdict(needs), "total": needs.total},
        "metadata": metadata,
    }
    if tensors:
        result["tensors"] = [
            {"name": t.name, "type": t.type_name, "shape": list(t.shape), "offset": t.offset, "n_bytes": t.n_bytes}
            for t in file.tensors.values()
        ]
    return result
