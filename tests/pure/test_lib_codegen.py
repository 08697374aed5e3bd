"""The generator: a new mirror equals the committed one, and small headers come out as the C compiler sees them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from codegen import emit, headers, parse, probe, report
from codegen.comments import Comments, clean
from codegen.model import Function, Mirror, UnsupportedError
from tests.layout import differences

ROOT = Path(__file__).resolve().parents[2]

HEADER = """\
#pragma once
#include <stdint.h>
#include <stddef.h>
#include <stdbool.h>

#define XX_PLAIN 7
#define XX_NEGATIVE (-3)
#define XX_HEX 0x67676c61u
#define XX_CAST ((uint8_t) 513)
#define XX_EXPRESSION (XX_PLAIN << 4 | 1)
#define XX_TEXT "a\\"b"
#define XX_HALF 0.5
#define XX_CODE do {} while (0)
#define XX_CALL(x) (x)
static const size_t XX_SIZE = sizeof(int64_t) * 3;

struct xx_later;   // defined below, pointed to above
struct xx_opaque;
typedef struct xx_opaque * xx_handle_t;

// How it went.
// TODO: rename
enum xx_kind {
    XX_KIND_A = -1, // the first
    XX_KIND_B = 1 << 3,
    XX_KIND_C,
};

struct xx_outer {
    struct xx_later * later;
    uint8_t low : 3;
    uint8_t high : 5;
    enum xx_kind kind;
    struct { float alpha; uint16_t beta; } inner;
    union {
        int64_t as_int;
        double  as_float;
        char    as_text[24];
    };
    bool (*visit)(struct xx_outer * self, const char * name);
    int32_t rows[3][4];
};

typedef struct { int16_t bits; } xx_half;

struct xx_later { xx_half half; struct xx_later * next; };

typedef int (*xx_callback)(enum xx_kind kind, void * data);

// Same name as a function.
struct xx_twice { int a; };
struct xx_twice xx_twice(struct xx_outer * outer, xx_callback callback, xx_handle_t handle);

__attribute__((deprecated("use xx_twice"))) void xx_old(int from, const char ** names);
void xx_print(const char * format, ...);
"""


def make_module(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Mirror, ModuleType]:
    """Generate and import the mirror of a header with the text ``text``."""
    (folder / "xx.h").write_text(text, encoding="utf-8")
    monkeypatch.setattr(headers, "HEADERS", (headers.Header("xx.h", "xx_h", "llama", folder),))
    monkeypatch.setattr(headers, "INCLUDE_DIRS", (folder,))
    monkeypatch.setattr(parse, "ARGS", [*parse.ARGS, f"-I{folder}"])
    mirror = parse.parse()
    module = ModuleType("xx_h")
    exec(compile(emit.modules(mirror)["xx_h"], "xx_h.py", "exec"), module.__dict__)
    return mirror, module


@pytest.fixture
def xx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return make_module(tmp_path, HEADER, monkeypatch)


def test_the_committed_mirror_is_what_the_headers_give() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codegen", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_reports_an_edited_file(capsys: pytest.CaptureFixture[str]) -> None:
    from codegen.__main__ import _apply

    path = headers.OUTPUT / "ggml_rpc_h.py"
    text = path.read_text(encoding="utf-8")
    assert _apply({path: text}, True) == 0
    assert _apply({path: text + "changed = 1\n"}, True) == 1
    assert "+changed = 1" in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == text


def test_constants_are_evaluated_as_c_does(xx: tuple[Mirror, Any]) -> None:
    mirror, module = xx
    assert (module.XX_PLAIN, module.XX_NEGATIVE, module.XX_HEX) == (7, -3, 0x67676C61)
    assert (module.XX_CAST, module.XX_EXPRESSION, module.XX_SIZE) == (1, 113, 24)
    assert (module.XX_TEXT, module.XX_HALF) == (b'a"b', 0.5)
    reasons = {entry.name: entry.reason for entry in mirror.unbound}
    assert "C syntax" in reasons["XX_CODE"]
    assert "parameters" in reasons["XX_CALL"]
    assert not hasattr(module, "XX_CODE")


def test_enums_are_ints_and_classes(xx: tuple[Mirror, Any]) -> None:
    _, module = xx
    assert module.XX_KIND_B == 8
    assert type(module.XX_KIND_B) is int
    assert module.xx_kind(9) is module.xx_kind.XX_KIND_C
    assert module.xx_kind.__doc__ == "How it went."


def test_every_layout_is_the_compilers(xx: tuple[Mirror, Any]) -> None:
    mirror, module = xx
    # offsetof cannot be asked of bit fields; their place follows from the size of the struct and what comes after.
    outer = next(item for item in mirror.items if item.name == "xx_outer")
    outer.fields = [member for member in outer.fields if member.width is None]  # type: ignore[attr-defined]
    values = probe.run(mirror)
    assert "offsetof xx_outer.inner.beta" in values
    assert "offsetof xx_outer.as_text" in values
    assert differences(values, vars(module)) == []


def test_bit_fields_and_unnamed_members(xx: tuple[Mirror, Any]) -> None:
    _, module = xx
    value = module.xx_outer(low=5, high=17)
    assert (value.low, value.high) == (5, 17)
    assert bytes(value)[8] == 5 | 17 << 3
    value.as_text = b"hello"
    assert value.as_int == int.from_bytes(b"hello\0\0\0", sys.byteorder)
    assert "xx_outer(later=" in repr(value)


def test_a_struct_may_be_pointed_to_before_it_is_defined(xx: tuple[Mirror, Any]) -> None:
    _, module = xx
    last = module.xx_later()
    first = module.xx_later(next=ctypes.pointer(last))
    outer = module.xx_outer(later=ctypes.pointer(first))
    outer.later.contents.next.contents.half.bits = 12
    assert last.half.bits == 12


def test_callbacks_carry_values_both_ways(xx: tuple[Mirror, Any]) -> None:
    _, module = xx
    seen: list[tuple[int, Any]] = []

    def record(kind: int, data: int | None) -> int:
        seen.append((kind, data))
        return kind + 1

    callback = module.xx_callback(record)
    assert callback(module.XX_KIND_B, 99) == 9
    assert seen == [(8, 99)]
    assert not module.xx_callback.from_param(None)
    outer = module.xx_outer()
    assert not outer.visit
    outer.visit = module.xx_outer_visit(lambda _self, name: name == b"me")
    assert outer.visit(ctypes.byref(outer), b"me") is True


def test_functions_keep_their_name_and_tags_give_way(xx: tuple[Mirror, Any]) -> None:
    mirror, module = xx
    assert module.struct_xx_twice(a=3).a == 3
    restype, argtypes = module.xx_twice._binding[2:]
    assert restype is module.struct_xx_twice
    assert argtypes == [ctypes.POINTER(module.xx_outer), module.xx_callback, ctypes.c_void_p]
    functions = {item.name: item for item in mirror.items if isinstance(item, Function)}
    assert functions["xx_old"].deprecated == "use xx_twice"
    assert [name for name, _ in functions["xx_old"].params] == ["from_", "names"]
    assert functions["xx_print"].variadic
    assert "`xx_print`: variadic" in report.text(mirror)
    assert "`struct xx_twice` is `struct_xx_twice`" in report.text(mirror)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("long double xx_bad(void);", "LONGDOUBLE"),
        ("int xx_bad(__int128 value);", "INT128"),
        ("extern int xx_state;", "xx_state"),
        ("typedef int (*xx_bad)();", "no parameter list"),
        ("#include <math.h>\n", "do not parse"),
        ("int xx_bad(struct);", "do not parse"),
    ],
)
def test_what_cannot_be_translated_is_an_error(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        make_module(tmp_path, text + "\n", monkeypatch)


def test_comments_above_behind_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "c.h"
    path.write_text(
        "// not mine\n"
        "\n"
        "// first line\n"
        "// second line\n"
        "int a; // behind\n"
        "       // goes on\n"
        "// of b\n"
        "int b;\n"
        "/* block\n"
        " * text */\n"
        "int c;\n",
        encoding="utf-8",
    )
    comments = Comments(path)
    assert comments.of(5, 5) == "first line\nsecond line\nbehind\ngoes on"
    assert comments.of(8, 8) == "of b"
    assert comments.of(11, 11) == "block\ntext"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["/// @details Says it."], "Says it."),
        (["// TODO: rename", "// kept"], "kept"),
        (["// a value // TODO: drop"], "a value"),
        (["//   - one", "//     more"], "- one\n  more"),
        (["//", "//"], ""),
    ],
)
def test_comment_markers_go_and_structure_stays(lines: list[str], wanted: str) -> None:
    assert clean(lines) == wanted


def test_docstrings_survive_quotes_and_backslashes() -> None:
    text = 'ends with "quote"\nand a \\ and """three"""'
    assert eval(emit._string(text)) == "ends with \"quote\"\nand a \\ and '''three'''\n"
    assert eval(emit._string('"both"')).strip() == '"both"'
