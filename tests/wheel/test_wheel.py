"""The wheel for this machine: what is in it, and that it works where nothing else of this project is."""

from __future__ import annotations

import collections
import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsystem.pin import ROOT
from tests.tiny_gguf import write_tiny_llama

pytestmark = [pytest.mark.build, pytest.mark.slow]

LIBRARY = re.compile(r"(?:lib)?(?P<name>[\w.-]+?)\.(?:so|dylib|dll)(?:\.\d+)*$")
NATIVE = "llama_bind/lib/native/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip wheel .` does it. The build folder is the editable install's, so that little is compiled."""
    out = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, ROOT]
    environment = {name: value for name, value in os.environ.items() if name != "CMAKE_ARGS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture
def contents(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as archive:
        yield archive


def test_one_wheel_serves_every_python(wheel: Path) -> None:
    assert re.fullmatch(r"llama_bind-0\.1\.0-py3-none-(?!any)\w+\.whl", wheel.name)
    assert wheel.stat().st_size < 11 * 2**20  # most of it the libraries


def test_each_library_lies_in_it_once_and_in_its_folder(contents: zipfile.ZipFile) -> None:
    names = [name for name in contents.namelist() if LIBRARY.search(name)]
    assert [name for name in names if not name.startswith(NATIVE)] == []
    count = collections.Counter(match["name"] for name in names if (match := LIBRARY.match(name.removeprefix(NATIVE))))
    assert set(count.values()) == {1}
    assert {"llama", "mtmd", "ggml", "ggml-base", "ggml-rpc", "llama_bind_guard"} <= count.keys()
    assert sum(name.startswith("ggml-cpu") for name in count) > 1, "one CPU variant only"
    hashes = collections.Counter(info.CRC for info in contents.infolist() if info.filename in names)
    assert max(hashes.values()) == 1, "the same library under two names"


def test_nothing_lies_outside_the_package(contents: zipfile.ZipFile) -> None:
    names = [name for name in contents.namelist() if not name.startswith("llama_bind-0.1.0.dist-info/")]
    assert [name for name in names if not name.startswith("llama_bind/")] == []
    page = "llama_bind/server/page/"
    assert {name.removeprefix(page) for name in names if name.startswith(page)} == {
        path.name for path in (ROOT / page).iterdir()
    }
    assert {Path(name).suffix for name in names if not name.startswith((NATIVE, page))} <= {".py", ".typed"}
    assert "llama_bind/py.typed" in names
    assert [name for name in names if name.startswith(NATIVE) and not LIBRARY.search(name)] == []


def test_it_carries_the_licences_and_what_it_needs(contents: zipfile.ZipFile) -> None:
    info = "llama_bind-0.1.0.dist-info/"
    assert {info + "licenses/LICENSE", info + "licenses/vendor/llama.cpp/LICENSE"} <= set(contents.namelist())
    metadata = email.message_from_bytes(contents.read(info + "METADATA"))
    needed = {
        re.split(r"[ ;<>=]", requirement)[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }
    assert needed == {"numpy", "typing-extensions", "jinja2", "llguidance"}
    assert "llama-bind = llama_bind.cli:main" in contents.read(info + "entry_points.txt").decode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_libraries_are_stripped_and_look_in_their_own_folder(contents: zipfile.ZipFile, tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    assert readelf is not None, "binutils come with every compiler"
    for name in contents.namelist():
        if not LIBRARY.search(name) or "libgomp" in name:
            continue
        file = contents.extract(name, tmp_path)
        shown = subprocess.run([readelf, "-dSW", file], capture_output=True, text=True, check=True, timeout=60).stdout
        assert ".symtab" not in shown, f"{name} is not stripped"
        assert re.findall(r"R(?:UN)?PATH.*\[(.*)\]", shown) == ["$ORIGIN"], name


def test_it_works_where_only_the_wheel_is(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=300)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--prefer-binary",
    ]
    subprocess.run([*pip, wheel], check=True, timeout=900)
    model = write_tiny_llama(tmp_path / "tiny.gguf")
    script = shutil.copy(Path(__file__).with_name("minitest.py"), tmp_path)
    done = subprocess.run(
        [python, "-I", script, model, home],
        cwd=tmp_path,
        env={"PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stdout + done.stderr
