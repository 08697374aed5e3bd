"""llama.cpp's expectations of how a prompt ends (``test_template_generation_prompt`` of ``test-chat.cpp``).

Not for: what is read from answers (``chat_cases.py``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.vectors.chat_cases import CHAT_CASES, TEMPLATES

__all__ = ["PromptEnd", "prompt_ends"]

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
USER = {"role": "user", "content": "Hey there!"}
LAST = {
    "basic": None,
    "continuation_content": {"role": "assistant", "reasoning_content": "I'm thinking", "content": "Hello, "},
    "continuation_reasoning": {"role": "assistant", "reasoning_content": "I'm", "content": ""},
}


@dataclass(frozen=True)
class PromptEnd:
    """A conversation with the end of its prompt."""

    template: str
    kind: str
    expected: str

    @property
    def source(self) -> str:
        """The template."""
        return (TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation."""
        last = LAST[self.kind]
        return [SYSTEM, USER, *([last] if last else [])]


def prompt_ends() -> list[PromptEnd]:
    """All plain calls of ``check``, a loop over templates unrolled."""
    source = CHAT_CASES.read_text(encoding="utf-8")
    begin = source.index("static void test_template_generation_prompt() {")
    part = source[begin : source.index("\n}\n", begin)]
    found: list[PromptEnd] = []
    templates: list[str] = []
    pattern = (
        r'read_templates\(|for \(const|"models/templates/([^"]+)\.jinja"'
        r'|check\(tmpls, (\w+)\(\),\s*("(?:[^"\\]|\\.)*")\)'
    )
    for match in re.finditer(pattern, part):
        if match[1]:
            templates.append(match[1])
        elif not match[2]:
            # Inside a loop the templates are named once, before they are read.
            templates = templates if source.startswith("(tmpl)", begin + match.end() - 1) else []
        else:
            found += [PromptEnd(template, match[2], json.loads(match[3])) for template in templates]
    return found
