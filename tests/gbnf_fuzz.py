"""Random changes of grammars, and a child process that compares our verdict on them with llama.cpp's.

``python -m tests.gbnf_fuzz SEED COUNT FILE`` prints one line of JSON; FILE holds the grammar that is being tried,
so that a parent can say what killed it.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

from llama_bind.errors import GrammarError
from llama_bind.structured import gbnf

PIECES = (
    "*", "+", "?", "{", "}", "{2}", "{1,}", "{0,3}", "{,3}", "{3,1}", "{0}", "{2000}", "{2001}", "{1,99999}",
    "99999999999999999999", "(", ")", "|", '"', "[", "]", "^", "-", "\\", "\\x41", "\\u00e9", "\\U0001F600", "\\q", ".",
    "<[1]>", "<[99999999999]>", "!<[2]>", "<", ">", "!", "<|endoftext|>", "<no>", "::=", "\n", "\r", "\r\n", " ", "\t",
    "# c\n", "a", "root", "\nroot ::= ", "\na ::= root | ", '""', "[]", "[^]", "é", "🙂", "ws", "_", "0", "()", "(|)",
)  # fmt: skip

BEYOND = (
    "minimum above", "groups inside", "grows past", "too many ways to begin", "begin with each other in a chain",
    "can go on in more than", "can never match", "hidden behind empty rules", "named but not defined", "is empty",
    "the most is 1048576",
)  # fmt: skip
"""Parts of the messages where we refuse what llama.cpp takes: it would hang, overflow, abort or run without bound."""


def mutate(source: random.Random, text: str) -> str:
    """A few random changes: cut, insert, repeat, replace."""
    chars = list(text)
    for _ in range(source.choice((1, 1, 1, 2, 3, 4))):
        choice, at = source.random(), source.randrange(len(chars) + 1)
        if choice < 0.3:
            del chars[at : at + source.randint(1, 3)]
        elif choice < 0.75:
            chars[at:at] = source.choice(PIECES)
        elif choice < 0.9:
            start = source.randrange(len(chars) + 1)
            chars[at:at] = chars[start : start + source.randint(1, 25)]
        else:
            chars[at : at + 1] = source.choice('\x01é*+?{}()[]|"-\\ \n09az')
    return "".join(chars)


def verdict(text: str) -> tuple[bool, str]:
    """Whether we take the grammar, and why not."""
    try:
        gbnf.parse(text)
    except GrammarError as error:
        return False, str(error)
    return True, ""


def main(seed: int, count: int, current: Path) -> None:
    """Compare `count` grammars."""
    from llama_bind.core.model import Model
    from llama_bind.core.sampler_native import native
    from llama_bind.lib._guard import check_guard
    from llama_bind.params import ModelParams
    from tests.vectors import LLAMA_CPP, grammars

    source = random.Random(seed)
    texts = [*grammars.files().values(), *(c.text for c in grammars.parsed()), *(c.text for c in grammars.matched())]
    model = Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True))
    functions = native()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # llama.cpp prints what it refuses
    seen: Counter[str] = Counter()
    different: list[tuple[str, str, bool]] = []
    for _ in range(count):
        text = mutate(source, source.choice(texts))
        ours, why = verdict(text)
        if not ours and any(part in why for part in BEYOND):
            seen["beyond"] += 1
            continue
        current.write_text(text, encoding="utf-8")
        sampler = functions.init["grammar"](model.vocab.ptr, text.encode(), b"root")
        check_guard()
        if sampler:
            functions.free(sampler)
        tokens = [t.text for t in gbnf.parse(text).tokens if t.id is None] if ours else []
        if any(len(model.vocab.tokenize(t, add_special=False, parse_special=True)) != 1 for t in tokens):
            ours = False
        seen["taken" if sampler else "refused"] += 1
        if ours != bool(sampler):
            different.append((text, why, bool(sampler)))
    print(json.dumps({"seen": seen, "different": different}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
