"""`from_pretrained` against a server on this machine that answers as a Hugging Face endpoint does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from llama_bind import hub
from llama_bind.errors import ChecksumError, DownloadError, ModelFormatError, UnsupportedError
from llama_bind.hub.repository import choose_files

huggingface_hub = pytest.importorskip("huggingface_hub", exc_type=ImportError)

COMMIT = "1" * 40
TEMPLATE = "/{repo_id}/resolve/{revision}/{filename}"
TOKEN = "hf_of_a_test"


@dataclasses.dataclass
class Hub:
    """The stand-in: its repositories, and what was asked of it."""

    port: int = 0
    files: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    lies: dict[str, str] = dataclasses.field(default_factory=dict)  # file -> sha256 to claim
    private: set[str] = dataclasses.field(default_factory=set)
    broken: bool = False
    asked: list[str] = dataclasses.field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def downloads(self) -> list[str]:
        return [a for a in self.asked if a.startswith("GET") and "/resolve/" in a]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = urlsplit(self.path).path.strip("/")
        self.hub.asked.append(f"{self.command} /{path}")
        if self.hub.broken:
            return self.send(503, b"down", {}, with_body)
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            return self.api(parts[2:], with_body)
        if len(parts) >= 5 and parts[2] == "resolve":
            return self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), with_body)
        return self.send(404, b"?", {}, with_body)

    def refused(self, repository: str, revision: str, with_body: bool) -> bool:
        allowed = repository not in self.hub.private or self.headers.get("authorization") == f"Bearer {TOKEN}"
        if repository not in self.hub.files or not allowed:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
            return True
        if revision not in ("main", COMMIT):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
            return True
        return False

    def api(self, parts: list[str], with_body: bool) -> None:
        repository = "/".join(parts[:2])
        if len(parts) < 4 or parts[2] != "tree":
            return self.send(404, b"{}", {}, with_body)
        if self.refused(repository, parts[3], with_body):
            return None
        entries = [
            {
                "type": "file",
                "path": name,
                "size": len(data),
                "oid": hashlib.sha1(data).hexdigest(),
                "lfs": {"oid": self.sha256(name, data), "size": len(data), "pointerSize": 134},
            }
            for name, data in self.hub.files[repository].items()
        ]
        return self.send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"}, with_body)

    def sha256(self, name: str, data: bytes) -> str:
        return self.hub.lies.get(name) or hashlib.sha256(data).hexdigest()

    def resolve(self, repository: str, revision: str, name: str, with_body: bool) -> None:
        if self.refused(repository, revision, with_body):
            return None
        data = self.hub.files[repository].get(name)
        if data is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return self.send(404, b"", headers, with_body)
        etag = f'"{self.sha256(name, data)}"'
        return self.send(200, data, {"ETag": etag, "X-Repo-Commit": COMMIT}, with_body)

    def send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def gguf(label: str) -> bytes:
    return b"GGUF" + label.encode() * 100


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()
    state.files["org/tiny"] = {
        "README.md": b"# tiny",
        "tiny-Q4_K_M.gguf": gguf("q4km"),
        "tiny-Q4_K_S.gguf": gguf("q4ks"),
        "tiny-Q8_0.gguf": gguf("q8"),
        "mmproj-tiny-Q8_0.gguf": gguf("mm"),
        "big/big-00001-of-00002.gguf": gguf("b1"),
        "big/big-00002-of-00002.gguf": gguf("b2"),
    }
    handler = type("BoundHandler", (Handler,), {"hub": state})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    # huggingface_hub reads the environment once, when it is imported: set what it read.
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", state.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.endpoint + TEMPLATE)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        yield state
    finally:
        http.shutdown()
        thread.join(10)
        http.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hf"


def test_a_quantization_is_fetched_and_then_found(server: Hub, cache: Path) -> None:
    path = hub.from_pretrained("org/tiny:Q4_K_M", cache_dir=cache)
    assert path.name == "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == gguf("q4km")
    assert server.downloads() == ["GET /org/tiny/resolve/" + server.downloads()[0].split("/")[4] + "/tiny-Q4_K_M.gguf"]
    assert hub.from_pretrained("org/tiny", "tiny-Q4_K_M.gguf", cache_dir=cache) == path
    assert len(server.downloads()) == 1


@pytest.mark.usefixtures("server")
def test_a_pattern_with_one_match(cache: Path) -> None:
    assert hub.from_pretrained("org/tiny", "tiny*8_0.gguf", cache_dir=cache).read_bytes() == gguf("q8")


@pytest.mark.usefixtures("server")
def test_a_split_set_comes_whole(cache: Path) -> None:
    path = hub.from_pretrained("org/tiny", "big-*.gguf", cache_dir=cache, additional_files=["mmproj*"])
    assert path.name == "big-00001-of-00002.gguf"
    assert (path.parent / "big-00002-of-00002.gguf").read_bytes() == gguf("b2")
    assert (path.parent.parent / "mmproj-tiny-Q8_0.gguf").read_bytes() == gguf("mm")
    assert hub.from_pretrained("org/tiny", "big/big-00002-of-00002.gguf", cache_dir=cache) == path


@pytest.mark.usefixtures("server")
def test_a_local_folder(tmp_path: Path) -> None:
    path = hub.from_pretrained("org/tiny:q8_0", local_dir=tmp_path / "here")
    assert path == tmp_path / "here" / "tiny-Q8_0.gguf"
    assert path.read_bytes() == gguf("q8")
    assert hub.from_pretrained("org/tiny:q8_0", local_dir=tmp_path / "here", local_files_only=True) == path


def test_a_private_repository_needs_the_token(server: Hub, cache: Path) -> None:
    server.private.add("org/tiny")
    with pytest.raises(DownloadError, match="no repository org/tiny, or it is private"):
        hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)
    assert hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache, token=TOKEN).read_bytes() == gguf("q8")


@pytest.mark.usefixtures("server")
def test_what_does_not_exist(cache: Path) -> None:
    with pytest.raises(DownloadError, match="no repository org/none") as caught:
        hub.from_pretrained("org/none", cache_dir=cache)
    assert caught.value.source == "org/none"
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        hub.from_pretrained("org/tiny", "*Q8_0.gguf", revision="v9", cache_dir=cache)
    with pytest.raises(DownloadError, match=r"no file matches 'x\.gguf'.*tiny-Q8_0\.gguf"):
        hub.from_pretrained("org/tiny", "x.gguf", cache_dir=cache)
    with pytest.raises(DownloadError, match=r"no file matches '\*\.safetensors'"):
        hub.from_pretrained("org/tiny", "tiny-Q8_0.gguf", additional_files=["*.safetensors"], cache_dir=cache)


def test_several_matches_are_listed(server: Hub, cache: Path) -> None:
    with pytest.raises(DownloadError, match="several files match") as caught:
        hub.from_pretrained("org/tiny", cache_dir=cache)
    text = str(caught.value)
    assert "tiny-Q4_K_M.gguf, tiny-Q4_K_S.gguf, tiny-Q8_0.gguf" in text
    assert "mmproj" not in text
    assert not server.downloads()


@pytest.mark.parametrize("bad", ["a/b/c", "org/tiny:", "", "http://x/y", "org tiny"])
def test_not_a_repository(bad: str) -> None:
    with pytest.raises(DownloadError, match="is not a repository"):
        hub.from_pretrained(bad)


def test_both_filename_and_quantization() -> None:
    with pytest.raises(DownloadError, match="not both"):
        hub.from_pretrained("org/tiny:Q8_0", "x.gguf")


def test_bytes_that_are_not_those_listed(server: Hub, cache: Path) -> None:
    server.lies["tiny-Q8_0.gguf"] = "0" * 64
    with pytest.raises(ChecksumError, match=r"tiny-Q8_0\.gguf came with sha256") as caught:
        hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)
    assert caught.value.expected == "0" * 64
    assert not [p for p in cache.rglob("*") if p.is_file() and p.read_bytes() == gguf("q8")]
    server.lies.clear()
    assert hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache).read_bytes() == gguf("q8")


def test_a_file_that_is_no_gguf(server: Hub, cache: Path) -> None:
    server.files["org/tiny"]["tiny-Q8_0.gguf"] = b"<html>please log in</html>"
    with pytest.raises(ModelFormatError, match="not a GGUF"):
        hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint where nothing listens; without the pauses between tries."""
    import socket

    from huggingface_hub import constants

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + TEMPLATE)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.usefixtures("closed_port")
def test_no_network_and_nothing_cached(cache: Path) -> None:
    with pytest.raises(DownloadError, match="org/tiny could not be fetched"):
        hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)


@pytest.mark.usefixtures("server")
def test_no_network_but_cached(cache: Path, request: pytest.FixtureRequest) -> None:
    path = hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)
    request.getfixturevalue("closed_port")
    assert hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache) == path
    with pytest.raises(DownloadError, match="no file matches"):
        hub.from_pretrained("org/tiny:Q4_K_M", cache_dir=cache)


def test_a_hub_that_is_down_but_cached(server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)
    server.broken = True
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    assert hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache) == path


def test_local_files_only(server: Hub, cache: Path) -> None:
    with pytest.raises(DownloadError, match="network may not be used"):
        hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache, local_files_only=True)
    assert not server.asked
    path = hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)
    server.asked.clear()
    assert hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache, local_files_only=True) == path
    assert hub.from_pretrained("org/tiny", "*Q8_0*", revision=COMMIT, cache_dir=cache, local_files_only=True) == path
    assert not server.asked


@pytest.mark.usefixtures("server")
def test_cached_models_lists_the_hub_cache(cache: Path) -> None:
    path = hub.from_pretrained("org/tiny:Q8_0", cache_dir=cache)
    found = {m.name: m for m in hub.cached_models() if m.source == "hub"}
    assert found["org/tiny/tiny-Q8_0.gguf"].path == path
    assert found["org/tiny/tiny-Q8_0.gguf"].size == len(gguf("q8"))


def test_a_known_name_goes_to_resolve_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("llama_bind.hub.repository.resolve_model", lambda name: tmp_path / name)
    assert hub.from_pretrained("smollm2-135m-instruct") == tmp_path / "smollm2-135m-instruct"


def test_the_environment_names_the_endpoint(server: Hub, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home")}
    code = "from llama_bind.hub import from_pretrained; print(from_pretrained('org/tiny:Q8_0'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, timeout=120, capture_output=True, text=True
    )
    path = Path(done.stdout.strip())
    assert path.is_relative_to(tmp_path / "home")
    assert path.read_bytes() == gguf("q8")


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(UnsupportedError, match=r"llama-bind\[hub\]"):
        hub.from_pretrained("org/tiny")


NAMES = ["a-Q4_K_M.gguf", "a-Q4_K_S.gguf", "a.IQ4_XS.gguf", "a-f16.gguf", "mmproj-a-f16.gguf", "x/a-Q6_K.gguf"]


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ("q4_k_m", ["a-Q4_K_M.gguf"]),
        ("IQ4_XS", ["a.IQ4_XS.gguf"]),
        ("f16", ["a-f16.gguf"]),
        ("Q6_K", ["x/a-Q6_K.gguf"]),
    ],
)
def test_quantizations(quantization: str, expected: list[str]) -> None:
    assert choose_files(NAMES, None, quantization, "r") == expected


@pytest.mark.parametrize("quantization", ["Q4", "Q4_K", "16", "q8_0"])
def test_half_a_quantization_matches_nothing(quantization: str) -> None:
    with pytest.raises(DownloadError, match="no file matches"):
        choose_files(NAMES, None, quantization, "r")


def test_choosing_from_shards() -> None:
    names = [f"m-0000{i}-of-00003.gguf" for i in (3, 1, 2)]
    assert choose_files(names, None, None, "r") == sorted(names)
    with pytest.raises(DownloadError, match=r"lacks m-00002-of-00003\.gguf"):
        choose_files([n for n in names if "00002-" not in n], None, None, "r")
    with pytest.raises(DownloadError, match="no GGUF file"):
        choose_files(["config.json"], None, None, "r")
