"""Schemas within a grammar: every ``%json {...}`` of a Lark text becomes rules of our own, which enforce more than
llguidance does and refuse less.

For grammars that are put together from parts, as those of tool calls. Not for: what callers write in Lark themselves.
"""

from __future__ import annotations

import functools
import json
import re

from llama_bind.errors import SchemaError
from llama_bind.structured.schema import Members, Whitespace, compile_schema

__all__ = ["inline_schemas"]

_PARTS = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/|//[^\n]*|%json\b')


@functools.lru_cache(64)
def inline_schemas(
    lark: str, *, whitespace: Whitespace = "fixed", members: Members = "named", param: str = "tools"
) -> str:
    """The grammar with rules in place of its schemas.

    What of a schema no grammar can enforce is left out: whoever cannot do with that compiles the schema first.

    Args:
        lark: A grammar in llguidance's dialect.
        whitespace: See `compile_schema`.
        members: See `compile_schema`.
        param: The option to name in errors.

    Raises:
        SchemaError: one of them is none, or nothing can meet it.
    """
    text: list[str] = []
    rules: list[str] = []
    at = 0
    for match in _PARTS.finditer(lark):
        if match.group() != "%json" or match.start() < at:
            continue
        start = match.end()
        while lark[start : start + 1].isspace():
            start += 1
        try:
            schema, end = json.JSONDecoder().raw_decode(lark, start)
        except (ValueError, RecursionError):
            raise SchemaError("it nests too deeply, or is not valid JSON", param=param) from None
        try:
            compiled = compile_schema(
                schema, whitespace=whitespace, strict=False, members=members, prefix=f"schema{len(rules)}"
            )
        except SchemaError as error:
            error.param = param
            raise
        text += [lark[at : match.start()], compiled.start]
        rules.append(compiled.rules)
        at = end
    return "".join([*text, lark[at:], "\n", *rules]) if rules else lark
