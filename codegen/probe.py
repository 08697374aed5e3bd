"""What the real C compiler makes of the headers: sizes, offsets, signs, enumerators and constants.

Writes a C program from the model, compiles it with ``cc`` against the same headers and the system's own libc headers,
runs it and reads what it prints. A test compares every value with ctypes: this is the check on the parser, which works
with its own standard headers and a fixed target. ``python -m codegen.probe`` prints the values.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from codegen import headers
from codegen.model import Alias, Constant, Enum, Field, Mirror, Record
from codegen.parse import parse

Value = int | float | str


def run(mirror: Mirror) -> dict[str, Value]:
    """Key -> value; see :func:`questions` for the keys.

    Raises:
        RuntimeError: there is no C compiler, or it refuses the program.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("no C compiler: install gcc or clang, or set CC")
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "probe.c", Path(folder) / "probe"
        source.write_text(program_text(mirror), encoding="utf-8")
        command = [compiler, "-std=c11", "-w", str(source), "-o", str(program)]
        command += [f"-I{path}" for path in headers.INCLUDE_DIRS] + [f"-D{name}" for name in headers.DEFINES]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError(f"the probe does not compile:\n{done.stderr}")
        printed = subprocess.run([str(program)], capture_output=True, text=True, check=True, timeout=60).stdout
    values: dict[str, Value] = json.loads(printed)
    return values


def program_text(mirror: Mirror) -> str:
    """The C program: prints one JSON object."""
    lines = []
    for key, expression, kind in questions(mirror):
        ask = _PRINT[kind].format(expression)
        name = f'printf("%s\\n\\"{key}\\": ", separator)'
        lines.append(f'    {name}; separator = ","; {ask}')
    return (
        f"{headers.umbrella()}#include <stdio.h>\n#include <stddef.h>\n{_TEXT}"
        'int main(void) {\n    const char * separator = "";\n    printf("{");\n'
        + "\n".join(lines)
        + '\n    printf("}\\n");\n    return 0;\n}\n'
    )


_PRINT = {
    int: 'printf("%lld", (long long)({}));',
    float: 'printf("%.17g", (double)({}));',
    bytes: "print_text({});",
}
_TEXT = """\
static void print_text(const char * text) {
    putchar('"');
    for (; *text; text++) {
        printf("\\\\u%04x", (unsigned char) *text);
    }
    putchar('"');
}
"""
_Question = tuple[str, str, type]


def questions(mirror: Mirror) -> Iterator[_Question]:
    """(key, C expression, type of the value).

    Keys: ``sizeof NAME``, ``alignof NAME``, ``offsetof NAME.FIELD``, ``sizeof NAME.FIELD``, ``signed NAME.FIELD`` (1
    for signed integers, 0 for unsigned ones), ``sizeof ALIAS``, ``value CONSTANT``.
    """
    records = {item.name: item for item in mirror.items if isinstance(item, Record)}
    for item in mirror.items:
        if isinstance(item, Record) and item.fields is not None and not item.nested:
            spelled = item.spelled
            yield f"sizeof {item.name}", f"sizeof({spelled})", int
            yield f"alignof {item.name}", f"_Alignof({spelled})", int
            for path, c_path, member in _paths(item, records):
                yield from _field(item.name, spelled, path, c_path, member)
        elif isinstance(item, Alias):
            yield f"sizeof {item.name}", f"sizeof({item.name})", int
        elif isinstance(item, Enum):
            yield f"sizeof {item.name}", f"sizeof(enum {item.tag})", int
            for name, _, _ in item.items:
                yield f"value {name}", name, int
        elif isinstance(item, Constant):
            yield f"value {item.name}", item.name, type(item.value)


def _field(name: str, spelled: str, path: str, c_path: str, member: Field) -> Iterator[_Question]:
    value = f"(({spelled} *)0)->{c_path}"
    yield f"offsetof {name}.{path}", f"offsetof({spelled}, {c_path})", int
    yield f"sizeof {name}.{path}", f"sizeof({value})", int
    if member.type.result == "int":
        yield f"signed {name}.{path}", f"(__typeof__({value}))-1 < 0", int


def _paths(record: Record, records: dict[str, Record]) -> Iterator[tuple[str, str, Field]]:
    """(Python path, C path, field) of every member, also of structs inside this one."""
    assert record.fields is not None
    for member in record.fields:
        inner = records.get(member.type.expr)
        if inner is None or not inner.nested:
            yield member.name, member.c_name, member
            continue
        for path, c_path, deeper in _paths(inner, records):
            unnamed = member.name in record.anonymous
            yield (path, c_path, deeper) if unnamed else (f"{member.name}.{path}", f"{member.c_name}.{c_path}", deeper)


if __name__ == "__main__":
    print(json.dumps(run(parse()), indent=1))
