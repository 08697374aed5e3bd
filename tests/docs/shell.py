"""Shell commands in the documents: taken apart, and each compared with what the project really has.

Nothing is run here. What cannot be checked (git, package installers of systems) is listed by name.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tests.docs.pages import ROOT

FOREIGN = frozenset({"cd", "echo", "git", "mypy", "rm", "ruff"})
"""Programs that are not ours and are not checked."""

SERVER = "http://localhost:8000"
"""Where the documents say that the server is."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_CONTROL = re.compile(r"[|&;]+")
_OPTION = re.compile(r"^\s*(?:option|set)\s*\(\s*(\w+)", re.MULTILINE)
_USE = re.compile(r"-D\s?(\w+)(?::\w+)?=")


def commands(text: str, *, prompts: bool = False) -> Iterator[list[str]]:
    """The commands of a block as words, assignments before the program included.

    Args:
        text: A block; comments and continued lines are understood.
        prompts: Only lines that begin with a prompt ("$ ") are commands, the others are output.
    """
    for line in text.replace("\\\n", " ").splitlines():
        if prompts:
            if not line.startswith("$ "):
                continue
            line = line[2:]
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.commenters = "#"
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not _CONTROL.fullmatch(word):
                words.append(word)
            elif words:
                yield words
                words = []


def problem(words: list[str]) -> str | None:
    """What is wrong with a command, or None."""
    while words and _ASSIGNMENT.fullmatch(words[0]):
        wrong = cmake_problem(words[0]) or _variable_problem(words[0].partition("=")[0])
        if wrong:
            return wrong
        words = words[1:]
    if not words:
        return None
    words = words[: min((i for i, w in enumerate(words) if w in ("<", ">", ">>")), default=len(words))]
    program = Path(words[0]).name
    if program == "llama-bind":
        return _cli_problem(words[1:])
    if program == "make":
        return _make_problem(words[1:])
    if program in ("python", "python3") and words[1:2] == ["-m"]:
        return pip_problem(words[3:]) if words[2] == "pip" else _module_problem(words[2], words[3:])
    if program in ("python", "python3"):
        return None if (ROOT / words[1]).is_file() else f"there is no file {words[1]}"
    if program == "pip":
        return pip_problem(words[1:])
    if program == "curl":
        return _curl_problem(words[1:])
    return None if program in FOREIGN else f"{program} is neither ours nor in the list of foreign programs"


def cmake_problem(text: str) -> str | None:
    """The first option of CMake named in `text` that the build does not have."""
    for name in _USE.findall(text):
        if not name.startswith("CMAKE_") and name not in _cmake_options():
            return f"the build has no option {name}"
    return None


def pip_problem(words: list[str]) -> str | None:
    """Whether the packages of a ``pip install`` are ours, with extras that exist."""
    if words[0] not in ("install", "wheel"):
        return f"pip {words[0]} is not checked"
    for word in words[1:]:
        match = re.fullmatch(r"(?:llama-bind|\.|\./compat|[\w./-]*\.whl)(?:\[(.*)\])?", word)
        if word.startswith("-") or (match and match[1] is None):
            continue
        if match is None:
            return f"{word} is not ours"
        unknown = set(match[1].split(",")) - _extras()
        if unknown:
            return f"there are no extras {sorted(unknown)}"
    return None


def _variable_problem(name: str) -> str | None:
    """Environment variables of ours must be read somewhere."""
    if not name.startswith("LLAMA_BIND_"):
        return None
    return None if name in variables() else f"nothing reads the environment variable {name}"


@lru_cache
def variables() -> frozenset[str]:
    """The environment variables of ours that something reads."""
    from llama_bind.cli.command_serve import CLASSES
    from llama_bind.cli.options import CALL, ENVIRONMENT, LOAD, flags_of

    found = {
        ENVIRONMENT + flag.name.upper()
        for cls in (*LOAD, *CALL, *CLASSES)
        for flag in flags_of(cls, every=cls in CLASSES)
    }
    for folder in ("llama_bind", "buildsystem"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and re.fullmatch(r"LLAMA_BIND_[A-Z_]+", str(node.value)):
                    found.add(str(node.value))
    return frozenset(found)


def _cli_problem(words: list[str]) -> str | None:
    from llama_bind.cli import COMMANDS, command_parser

    if words in ([], ["--help"], ["--version"]):
        return None
    if words[0] not in COMMANDS:
        return f"llama-bind has no command {words[0]}"
    try:
        command_parser(words[0]).parse_args(words[1:])
    except SystemExit as error:
        return None if error.code == 0 else f"llama-bind {words[0]} refuses {words[1:]}"
    return None


def _curl_problem(words: list[str]) -> str | None:
    """Whether a curl asks our server for something that it has."""
    urls = [word for word in words if "://" in word]
    if len(urls) != 1 or not urls[0].startswith(SERVER + "/"):
        return f"curl is for {SERVER} only"
    return None if urls[0].removeprefix(SERVER) in _endpoints() else f"the server has no {urls[0]}"


@lru_cache
def _endpoints() -> frozenset[str]:
    from llama_bind.server.app import FAMILIES

    return frozenset(getattr(route, "path", "") for family in FAMILIES for route in family.routes().routes)


def _make_problem(words: list[str]) -> str | None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    unknown = [w for w in words if not _ASSIGNMENT.fullmatch(w) and w not in targets]
    return f"the Makefile has no {unknown}" if unknown else None


def _module_problem(module: str, arguments: list[str]) -> str | None:
    """Whether ``python -m module`` exists and its source knows the options. It is not run: some write files."""
    if module == "llama_bind":
        return _cli_problem(arguments)
    if module == "llama_bind.server":
        return _cli_problem(["serve", *arguments])
    if module == "llama_cpp.server":
        return _compat_server_problem(arguments)
    if module in ("venv", "pytest", "build"):
        return None
    base = ROOT / module.replace(".", "/")
    found = [path for path in (base.with_suffix(".py"), base / "__main__.py") if path.is_file()]
    if not found:
        return f"there is no module {module} to run"
    source = found[0].read_text(encoding="utf-8")
    if "__main__" not in source and found[0].name != "__main__.py":
        return f"{module} does nothing when it is run"
    unknown = [a for a in arguments if a.startswith("-") and f'"{a.partition("=")[0]}"' not in source]
    return f"python -m {module} does not know {unknown}" if unknown else None


def _compat_server_problem(arguments: list[str]) -> str | None:
    from llama_bind.compat.server.__main__ import settings_of

    try:
        settings_of(arguments)
    except SystemExit:
        return f"llama_cpp.server refuses {arguments}"
    return None


@lru_cache
def _cmake_options() -> frozenset[str]:
    found: set[str] = set()
    for path in ("CMakeLists.txt", "vendor/llama.cpp/CMakeLists.txt", "vendor/llama.cpp/ggml/CMakeLists.txt"):
        found.update(_OPTION.findall((ROOT / path).read_text(encoding="utf-8")))
    backends = (ROOT / "vendor/llama.cpp/ggml/src/CMakeLists.txt").read_text(encoding="utf-8")
    found.update(
        f"GGML_{name.upper()}" for name in re.findall(r"^\s*ggml_add_backend\((\w+)\)", backends, re.MULTILINE)
    )
    return frozenset(found)


@lru_cache
def _extras() -> frozenset[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    return frozenset(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
