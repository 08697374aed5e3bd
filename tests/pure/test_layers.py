"""Imports go only where docs/architecture.md says; read with ast, nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "llama_bind"

BASE = {"errors", "options", "params", "values", "types", "version"}
CALLS = {"chat_results", "embeddings", "engine", "prompts", "rerank", "results"}
WAITING = {"many", "progress", "reading"}
READERS = {"calls", "chats", "demands", "infill", "restrictions"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "types": set(),
    "values": {"errors"},
    "options": {"errors"},
    "task_params": {"options"},
    "load_params": {"options"},
    "params": {"load_params", "options", "task_params"},
    "_kwargs": {"params"},
    "reports": BASE,
    "results": {*BASE, "reports"},
    "chat_results": {*BASE, "chat", "results"},
    "filelock": set(),
    "lib": {"errors"},
    "text": BASE,
    "chat": BASE,
    "structured": BASE,
    "function_schema": {*BASE, "structured"},
    "agent": {*BASE, "chat", "function_schema"},
    "core": {*BASE, "lib", "structured"},
    "engine": {*BASE, "filelock", "text"},
    "engine.runner": {*BASE, "core"},
    "engine.draft": {*BASE, "core"},
    "engine.mtp": {*BASE, "core"},
    "calls": {*BASE, "engine", "text"},
    "prompts": {*BASE, "core"},
    "embeddings": {*BASE, "core", "engine", "prompts"},
    "infill": {*BASE, "core", "prompts"},
    "rerank": {*BASE, "chat", "core", "embeddings", "engine", "prompts"},
    "chats": {*BASE, "chat", "core", "prompts"},
    "hub": {*BASE, "filelock"},
    "demands": {*BASE, "calls", "chat", "core", "structured"},
    "restrictions": {*BASE, "calls", "core", "engine", "prompts"},
    "cache": {*BASE, "engine"},
    "storing": {*BASE, "cache", "core", "engine", "lib", "starting"},
    "states": {*BASE, "core", "engine"},
    "starting": {*BASE, "cache", "core", "demands", "drafting", "embeddings", "engine", "states", "storing"},
    "session": {*BASE, *CALLS, *READERS, "cache", "core", "drafting", "reports", "starting"},
    "drafting": {*BASE, "core", "engine", "hub"},
    "many": {*BASE, "engine", "prompts", "results", "session"},
    "progress": {"errors"},
    "reading": set(),
    "facade": {"cache", "core", "engine", "session"},
    "llama": {*BASE, *CALLS, "_kwargs", "agent", "cache", "core", "facade", "hub", "many", "progress", "session"},
    "awaiting": {*BASE, "chat_results", "engine", "results", "session"},
    "aio": {*BASE, *CALLS, "_kwargs", "agent", "awaiting", "cache", "core", "facade", "llama", *WAITING, "session"},
    "cli": {*BASE, "core", "hub", "lib", "llama", "server"},
    "server": {*BASE, *CALLS, "aio", "chat", "core", "hub", "lib", "reading", "reports", "session"},
    "server.__main__": {"cli"},
    "integrations": {*BASE, "aio", "embeddings", "hub", "llama"},
    "": {*BASE, "aio", "cache", "compat", "engine", "function_schema", "llama", "structured"},
    "__main__": {"cli"},
}
"""Layer -> layers it may import besides itself. The facade's own helpers (calls, prompts, results) are beside it."""
MAY_IMPORT["compat"] = set(MAY_IMPORT)  # it stands for a whole package; nobody but the function that starts it knows it

THIRD_PARTY: dict[str, set[str]] = {
    "jinja2": {"chat.templates", "chat.environment"},
    "llguidance": {"structured"},
    "huggingface_hub": {"hub"},
    "rich": {"cli", "hub", "progress"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "prometheus_client": {"server"},
    "pydantic": {"integrations", "server", "structured.foreign"},
    "langchain_core": {"integrations.langchain"},
    "llama_index": {"integrations.llama_index"},
    "llm": {"integrations.llm_plugin"},
    "ctypes": {"lib", "core", "cli", "compat"},
}
"""Library -> the only places that may import it."""


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found.append((".".join(parts), path))
    return found


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(module: str) -> str:
    return module if module in MAY_IMPORT else module.split(".")[0]


@pytest.mark.parametrize(("module", "path"), modules(), ids=[m or "llama_bind" for m, _ in modules()])
def test_a_module_imports_only_what_its_layer_may(module: str, path: Path) -> None:
    layer = layer_of(module)
    assert layer in MAY_IMPORT, f"{module} belongs to no layer; add it to the table and to docs/architecture.md"
    own = layer.split(".")[0]
    for name in imports_of(path):
        if name.startswith("llama_bind."):
            target = layer_of(name.removeprefix("llama_bind."))
            assert target.split(".")[0] == own or target.split(".")[0] in MAY_IMPORT[layer], f"{module} imports {name}"
            assert own != "engine" or "core" in MAY_IMPORT[layer] or not name.startswith("llama_bind.core"), name
        top = name.split(".")[0]
        if top in THIRD_PARTY:
            allowed = THIRD_PARTY[top]
            assert module in allowed or module.split(".")[0] in allowed, f"{module} imports {top}"


def test_there_are_no_import_cycles_between_modules() -> None:
    known = {m for m, _ in modules()}
    graph = {}
    for module, path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        edges = set()
        for node in _run_at_import(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llama_bind"):
                base = node.module.removeprefix("llama_bind").removeprefix(".")
                for name in (f"{base}.{alias.name}".strip(".") for alias in node.names):
                    edges.add(name if name in known else base)
        graph[module] = (edges - {module, ""}) & known
    visiting: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in visiting, " -> ".join([*visiting[visiting.index(module) :], module])
        if module in done:
            return
        visiting.append(module)
        for target in graph[module]:
            visit(target)
        visiting.pop()
        done.add(module)

    for module in graph:
        visit(module)


def _run_at_import(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run at import: not those inside functions or under TYPE_CHECKING."""
    found: list[ast.stmt] = []
    stack: list[ast.stmt] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
            continue
        found.append(node)
        for field in ("body", "orelse", "finalbody"):
            stack += getattr(node, field, [])
    return found


def test_files_stay_readable() -> None:
    for module, path in modules():
        text = path.read_text(encoding="utf-8")
        if "do not edit" not in text[:400]:  # generated files are as long as what they mirror
            assert len(text.splitlines()) <= 500, f"{module} does more than one thing"


def test_each_module_says_what_it_is_for() -> None:
    for module, path in modules():
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc, f"{module} has no docstring"
