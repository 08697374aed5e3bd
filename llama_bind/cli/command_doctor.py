"""Show the installation: versions, libraries, CPU, devices, and what is missing and how to get it.

Ends with status 1 when the native libraries cannot be used. Not for: measuring speed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from llama_bind import hub
from llama_bind.cli.console import heading, print_json, print_pairs, print_table
from llama_bind.cli.hardware import Advice, gpu_advice, unloaded_modules
from llama_bind.errors import LibraryError
from llama_bind.hub.progress import human_size
from llama_bind.lib._pin import COMMIT, VERSION
from llama_bind.version import __version__

__all__ = ["add_arguments", "execute", "report"]

_OPTIONAL = {"rich": ("cli", "tables in colour and progress bars"), "huggingface_hub": ("hub", "fetching models")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="Write JSON.")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    facts = report()
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    return 1 if facts["error"] else 0


def report() -> dict[str, Any]:
    """All facts, as JSON has them. ``error`` says why the native libraries cannot be used, or is None."""
    from llama_bind.core import cpu

    facts: dict[str, Any] = {
        "llama_bind": __version__,
        "llama_cpp": {"version": VERSION, "commit": COMMIT},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "libraries": _libraries(),
        "cpu": {
            "logical": os.cpu_count(),
            "threads_used": cpu.usable_cores(),
            "quota": cpu.cgroup_cpu_limit(),
            "memory_available": cpu.available_memory(),
        },
        "devices": [],
        "backends": [],
        "packages": _packages(),
        "cache": _cache(),
        "error": None,
    }
    try:
        _ask_native(facts)
    except LibraryError as error:
        facts["error"] = str(error)
    kinds = {d["type"] for d in facts["devices"]}
    facts["unloaded"] = [] if facts["error"] else unloaded_modules(facts["libraries"]["files"], facts["backends"])
    # A backend that is here and did not load needs its driver, not another build.
    silent = facts["error"] or facts["unloaded"]
    facts["advice"] = [] if silent else [a.as_dict() for a in gpu_advice(facts["backends"], kinds)]
    return facts


def _ask_native(facts: dict[str, Any]) -> None:
    from llama_bind.core.devices import devices, system_info
    from llama_bind.lib._loader import backend_module_path

    info = system_info()
    module = backend_module_path("CPU")
    facts["backends"] = info["backends"]
    facts["cpu"]["variant"] = None if module is None else _variant(Path(module).name)
    facts["cpu"]["features"] = info["features"].strip(" |")
    facts["devices"] = [
        {
            "name": d.name,
            "type": d.type,
            "backend": d.backend,
            "description": d.description,
            "memory_free": d.memory_free,
            "memory_total": d.memory_total,
        }
        for d in devices()
    ]
    facts["llama_cpp"]["reported"] = info["version"]


def _variant(filename: str) -> str:
    """``haswell`` from ``libggml-cpu-haswell.so``; ``built for this machine`` where there is only one."""
    match = re.search(r"ggml-cpu-(\w+)\.", filename)
    return match[1] if match else "built for one CPU"


def _libraries() -> dict[str, Any]:
    from llama_bind.lib._loader import native_dir

    folder = native_dir()
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink()) if folder.is_dir() else []
    return {"folder": str(folder), "files": {p.name: p.stat().st_size for p in files}}


def _packages() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in ("numpy", "jinja2", "llguidance", *_OPTIONAL):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _cache() -> dict[str, Any]:
    folder = hub.cache_folder()
    files = [p for p in folder.glob("*.gguf") if p.is_file()]
    return {"folder": str(folder), "models": len(files), "size": sum(p.stat().st_size for p in files)}


def _print(facts: dict[str, Any]) -> None:
    cpp, cpu, libraries, cache = facts["llama_cpp"], facts["cpu"], facts["libraries"], facts["cache"]
    print_pairs(
        [
            ("llama_bind", facts["llama_bind"]),
            ("llama.cpp", f"{cpp['version']}, commit {cpp['commit']}"),
            ("Python", f"{facts['python']} ({sys.executable})"),
            ("system", facts["system"]),
            ("models", f"{cache['models']} in {cache['folder']} ({human_size(cache['size'])})"),
        ]
    )
    heading(f"Libraries in {libraries['folder']}")
    print_table(("FILE", "SIZE"), ((n, human_size(s)) for n, s in libraries["files"].items()), right=(1,))
    heading("CPU")
    memory = cpu["memory_available"]
    print_pairs(
        [
            ("variant", cpu.get("variant") or "(not loaded)"),
            ("features", cpu.get("features") or "(not loaded)"),
            ("threads used", f"{cpu['threads_used']} (of {cpu['logical']} logical CPUs{_quota(cpu['quota'])})"),
            ("memory", "unknown" if memory is None else f"{human_size(memory)} available"),
        ]
    )
    heading("Devices")
    rows = [(d["name"], d["type"], d["backend"], _memory(d), d["description"]) for d in facts["devices"]]
    print_table(("NAME", "TYPE", "BACKEND", "FREE / TOTAL", "DESCRIPTION"), rows)
    heading("Missing")
    missing = _missing(facts)
    print("\n".join(f"  {line}" for line in missing) if missing else "  nothing")


def _quota(quota: float | None) -> str:
    return "" if quota is None else f", quota {quota:g}"


def _memory(device: dict[str, Any]) -> str:
    return f"{human_size(device['memory_free'])} / {human_size(device['memory_total'])}"


def _missing(facts: dict[str, Any]) -> list[str]:
    lines = [facts["error"]] if facts["error"] else []
    for name, version in facts["packages"].items():
        if version is None:
            extra, use = _OPTIONAL.get(name, ("", "needed"))
            target = f'"llama-bind[{extra}]"' if extra else name
            lines.append(f"{name} ({use}): pip install {target}")
    for name in facts["unloaded"]:
        path = Path(facts["libraries"]["folder"], name)
        lines.append(
            f"{name} is here but did not load: the driver or a library that it needs is missing (Linux: `ldd {path}`)"
        )
    return lines + [str(Advice(**advice)) for advice in facts["advice"]]
