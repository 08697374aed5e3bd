"""What llama.cpp's tests say of texts under grammars of llguidance (``test-grammar-llguidance.cpp``)."""

from __future__ import annotations

from tests.vectors import LLAMA_CPP
from tests.vectors.cpp_calls import calls
from tests.vectors.grammars import Matched

SOURCE = LLAMA_CPP / "tests" / "test-grammar-llguidance.cpp"


def matched() -> list[Matched]:
    """Grammars in Lark; schemas as the test itself makes Lark of them."""
    found = []
    for name, (title, text, passing, failing) in calls(SOURCE, "test_grammar", "test_schema"):
        lark = text if name == "test_grammar" else f"%llguidance {{}}\nstart: %json {text}"
        found.append(Matched(title, lark, [[t] for t in passing], [[t] for t in failing]))
    return found
