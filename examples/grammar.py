"""Output in a form that a program can read: python grammar.py [MODEL]"""

from __future__ import annotations

import json
import sys

from llama_bind import Llama, LlamaGrammar
from llama_bind.hub import resolve_model

PERSON = r"""
root ::= "{\"name\": \"" name "\", \"age\": " age "}"
name ::= [A-Z] [a-z]{2,10}
age  ::= [1-9] [0-9]?
"""


def main(model: str = "smollm2-135m-instruct") -> None:
    grammar = LlamaGrammar(PERSON)  # a mistake in it would be an error here, with line and column
    messages = [{"role": "user", "content": "Invent a person, as JSON."}]
    with Llama(resolve_model(model)) as llm:
        answer = llm.create_chat_completion(messages, grammar=grammar, max_tokens=40, temperature=0)
    text = answer["choices"][0]["message"]["content"] or ""
    person = json.loads(text)
    print(f"{person['name']} is {person['age']} years old")


if __name__ == "__main__":
    main(*sys.argv[1:])
