"""The build backend in a clone whose submodule is empty, and what it hands to CMake. Compiles nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from buildsystem import tree
from buildsystem.pin import ROOT, VENDOR, read_pin
from tests.building.helpers import run_backend

pytestmark = pytest.mark.build


@pytest.fixture(scope="session")
def sdist(clone: Path, kept_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution made in a clone whose submodule is empty, without network."""
    out = tmp_path_factory.mktemp("sdist")
    cache = str(kept_archive.parent.parent)
    done = run_backend(clone, f"backend.build_sdist({str(out)!r})", XDG_CACHE_HOME=cache, PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stderr
    (archive,) = out.iterdir()
    assert archive.name == "llama_bind-0.1.0.tar.gz"
    return archive


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


def test_empty_clone_is_filled_by_the_backend(sdist: Path, clone: Path) -> None:
    assert sdist.is_file()
    assert tree.tree_hash(tree.scan(clone / VENDOR)) == read_pin().tree


def test_frontends_are_told_to_bring_pip_only_when_it_is_needed(clone: Path, sdist: Path, tmp_path: Path) -> None:
    code = "print(backend.get_requires_for_build_wheel())"
    assert sdist.is_file()  # made before: the clone is filled
    assert "'pip'" not in run_backend(clone, code).stdout
    empty = tmp_path / "empty"
    shutil.copytree(clone, empty, ignore=shutil.ignore_patterns("vendor"))
    assert "'pip'" in run_backend(empty, code).stdout


def test_backend_without_any_source_fails_with_the_advice(clone: Path, sdist: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(clone, empty, ignore=shutil.ignore_patterns("vendor"))
    env = {"XDG_CACHE_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    done = run_backend(empty, f"backend.build_wheel({str(tmp_path)!r})", **env)
    assert done.returncode == 1
    assert "python -m buildsystem.vendor --archive FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert sdist.is_file()


def test_source_distribution_holds_what_the_build_reads(sdist: Path) -> None:
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    # Every source and header that the compiler opened when the installed libraries were built.
    folder = ROOT / "build/native"
    ninja = shutil.which("ninja", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert ninja is not None
    listed = subprocess.run(
        [ninja, "-C", folder, "-t", "deps"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    opened = {Path(os.path.normpath(folder / line.strip())) for line in listed.splitlines() if line.startswith("    ")}
    read = {str(path.relative_to(ROOT)) for path in opened if path.is_relative_to(ROOT)}
    read = {path for path in read if not path.startswith("build/")}
    assert len(read) > 300
    assert read - names == set()
    assert {"vendor/llama.cpp/ggml/src/ggml-cuda/ggml-cuda.cu", "buildsystem/manifest.txt", "PKG-INFO"} <= names


def test_source_distribution_holds_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as tar:
        names = [name.partition("/")[2] for name in tar.getnames()]
    tops = {name.split("/")[0] for name in names}
    assert tops == {  # without compat, a distribution of its own: see test_compat_package
        ".gitmodules", "CMakeLists.txt", "LICENSE", "PKG-INFO", "README.md", "buildsystem", "llama_bind", "native",
        "pyproject.toml", "vendor",
    }  # fmt: skip
    assert [n for n in names if "__pycache__" in n or n.endswith((".so", ".dylib", ".dll", ".gguf"))] == []
    assert sdist.stat().st_size < 12e6


def test_source_distribution_builds_without_fetching(unpacked: Path, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path), "PIP_NO_INDEX": "1"}
    done = run_backend(unpacked, f"backend.prepare_metadata_for_build_wheel({str(tmp_path)!r})", **env)
    assert done.returncode == 0, done.stderr
    assert "vendor:" not in done.stderr
    file = unpacked / VENDOR / "src/llama.cpp"
    text = file.read_bytes()
    try:
        file.write_bytes(text + b"\n")
        done = run_backend(unpacked, f"backend.build_wheel({str(tmp_path)!r})", **env)
    finally:
        file.write_bytes(text)
    assert done.returncode == 1
    assert "src/llama.cpp has other contents" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "folder", "cause"),
    [
        ("-DLLAMA_CUBLAS=on -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON", "ggml-cuda", "CUDA Toolkit not found"),
        ("-DGGML_CUDA=on -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON", "ggml-cuda", "CUDA Toolkit not found"),
        pytest.param(
            "-DGGML_METAL=on", "ggml-metal", "FOUNDATION_LIBRARY",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="there Metal is found, and on by default"),
        ),
    ],
)  # fmt: skip
def test_gpu_options_reach_llama_cpp(unpacked: Path, tmp_path: Path, arguments: str, folder: str, cause: str) -> None:
    """Without the toolkit the configuration must end inside that backend's own CMakeLists.txt, saying so."""
    settings = {"build-dir": str(tmp_path / "build")}
    done = run_backend(unpacked, f"backend.build_wheel({str(tmp_path)!r}, {settings})", CMAKE_ARGS=arguments)
    text = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert done.returncode != 0
    assert f"CMake Error at vendor/llama.cpp/ggml/src/{folder}/CMakeLists.txt" in text
    assert cause in text
    assert ("is now called -DGGML_CUDA" in text) == ("LLAMA_CUBLAS" in arguments)
