"""The chat page as files: how they are sent, to whom, and what must not be in them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from llama_bind.server.app import create_app
from llama_bind.server.chat_page import PREFIX, page_files, page_paths
from llama_bind.server.settings import Settings
from tests.servers import error_of, get

FOLDER = Path(__file__).resolve().parents[2] / "llama_bind" / "server" / "page"
SCRIPTS = sorted(FOLDER.glob("*.js"))
MOST_BYTES = 100_000
MOST_PACKED = 34_000


def app(**settings: object) -> FastAPI:
    return create_app(Settings.of("tiny", **settings))  # nothing is loaded before it is started


def test_the_page_is_sent_with_a_strict_policy() -> None:
    answer = get("/", app=app())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (FOLDER / "index.html").read_bytes()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {*policy.values()} <= {"'none'", "'self'", "'script'"}, "nothing inline, nothing from elsewhere"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", sorted(page_paths()))
def test_each_file_is_fetched_once(path: str) -> None:
    served = app()
    answer = get(path, app=served)
    kinds = {"": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds[Path(path).suffix])
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"]
    for known in (answer.headers["etag"], f'"x", W/{answer.headers["etag"]}', "*"):
        again = get(path, app=served, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert get(path, app=served, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_page_is_open_where_keys_are_set_and_nothing_else_is() -> None:
    guarded = app(api_key=["secret"])
    for path in page_paths():
        assert get(path, app=guarded).status_code == 200
    for path in (PREFIX, PREFIX + "x.js", PREFIX + "../gate.py", "/page", "/v1/models", "/index.html"):
        assert get(path, app=guarded).status_code == 401, path


def test_it_can_be_turned_off() -> None:
    without = app(chat_page=False)
    for path in page_paths():
        error_of(get(path, app=without), 404)
    assert get("/", app=app(chat_page=False, api_key=["secret"])).status_code == 401


@pytest.mark.parametrize(
    "name", ["nothing.js", "__init__.py", "..%2Fgate.py", "%2e%2e/gate.py", "index.html", "index.html/", ""]
)
def test_only_its_own_files_are_sent(name: str) -> None:
    error_of(get(PREFIX + name, app=app()), 404)


def test_it_is_not_in_the_openapi_description() -> None:
    paths = get("/openapi.json", app=app()).json()["paths"]
    assert not [path for path in paths if path in page_paths() or path.startswith(PREFIX)]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside[-1:] == [tag]:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        assert not (self.inside and data.strip()), "a script within the page"


def test_the_page_needs_only_its_own_files_and_has_nothing_inline() -> None:
    page = _Page()
    page.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    named = set()
    for tag, attributes in page.tags:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
        for name in ("src", "href"):
            if (value := attributes.get(name)) is not None and not value.startswith("#"):
                named.add(value)
    imported = {
        f"page/{name}" for script in SCRIPTS for name in re.findall(r'from "\./([\w.]+)"', script.read_text("utf-8"))
    }
    assert named | imported == {f"page/{name}" for name in page_files() if name != "index.html"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_scripts_make_no_markup_of_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|new Function|"
        r"createContextualFragment|setHTML|javascript:|https?://(?!www\.w3\.org/2000/svg)"
    )
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8")
        found = [
            m[0] for m in forbidden.finditer(text) if not (file.suffix == ".svg" and "w3.org" in text[m.start() :][:30])
        ]
        assert found == [], file.name
    assert len(SCRIPTS) > 5


def test_files_stay_small_and_readable() -> None:
    import zlib

    contents = [file.content for file in page_files().values()]
    assert sum(map(len, contents)) < MOST_BYTES
    assert sum(len(zlib.compress(content)) for content in contents) < MOST_PACKED, "what it takes in the wheel"
    for script in SCRIPTS:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 500
        assert max(map(len, lines)) <= 150, f"{script.name}: {max(lines, key=len)[:60]}"
        assert lines[0].startswith("// "), f"{script.name} says what it is for"
        assert re.search(r"Not for", "\n".join(lines[:6])), script.name


def test_head_requests() -> None:
    from tests.servers import ask

    answer: httpx.Response = ask("HEAD", "/", app=app())
    assert answer.status_code == 200
    assert answer.headers["etag"]
