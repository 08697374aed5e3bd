"""The official test suite of JSON Schema against our grammars: what is let through must be valid.

    python -m scripts.schema_suite [--folder FOLDER] [--verbose]

The suite comes in the source distribution of the package jsonschema, which is fetched by its name into FOLDER (kept for
the next time). Nothing of it is copied into the project. Not for: tests; the tests make their own schemas.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from llama_bind.errors import SchemaError
from llama_bind.structured.schema import compile_schema
from llama_bind.structured.schema_empty import byte_tokenizer

DIALECTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


def fetch(folder: Path) -> Path:
    """The archive, fetched if it is not there."""
    if not list(folder.glob("jsonschema-*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "jsonschema"]
        subprocess.run(command, cwd=folder, check=True)
    return next(folder.glob("jsonschema-*.tar.gz"))


def cases(archive: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Dialect, file and case of all."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = Path(member.name).parts
            if parts[1:3] == ("json", "tests") and len(parts) == 5 and parts[3] in DIALECTS:
                file = tar.extractfile(member)
                assert file is not None
                found += [(parts[3], parts[4], case) for case in json.load(file)]
    return found


def accepts(rules: str, start: str, text: str) -> bool:
    """Whether a grammar has a text."""
    from llguidance import LLMatcher

    matcher = LLMatcher(byte_tokenizer(), LLMatcher.grammar_from_lark(f"{rules}start: {start}\n"), log_level=0)
    if matcher.is_error():
        raise RuntimeError(matcher.get_error()[:500])
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


def main() -> int:
    """Print the figures; 1 if an invalid instance is let through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/schema_suite"))
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    figures: collections.Counter[str] = collections.Counter()
    refused: collections.Counter[str] = collections.Counter()
    for dialect, file, case in cases(fetch(arguments.folder)):
        figures["schemas"] += 1
        schema = case["schema"]
        if isinstance(schema, dict):
            schema = {"$schema": DIALECTS[dialect], **schema}
        try:
            compiled = compile_schema(schema, members="any")
        except SchemaError as error:
            if error.keyword:
                refused[error.keyword] += 1
            elif any(test["valid"] for test in case["tests"]):
                print(f"SAID TO BE CONTRADICTORY: {dialect}/{file}: {case['description']}")
                figures["wrong"] += 1
            continue
        for test in case["tests"]:
            got = accepts(compiled.rules, compiled.start, json.dumps(test["data"], ensure_ascii=False))
            figures["valid" if test["valid"] else "invalid"] += 1
            if got and not test["valid"]:
                print(f"LET THROUGH: {dialect}/{file}: {case['description']}: {test['description']}")
                figures["wrong"] += 1
            if test["valid"] and not got:
                figures["narrower"] += 1
                if arguments.verbose:
                    print(f"not written: {dialect}/{file}: {case['description']}: {test['description']}")
    print(f"{figures['schemas']} schemas, {sum(refused.values())} of them refused: {dict(refused.most_common())}")
    print(
        f"{figures['invalid']} invalid instances; {figures['valid']} valid, {figures['narrower']} of them never written"
    )
    print(f"wrong: {figures['wrong']}")
    return 1 if figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
