"""The distribution in compat/: its wheel and its source, and that it is not built over llama-cpp-python."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from buildsystem.pin import ROOT
from llama_bind.version import __version__

pytestmark = pytest.mark.build


def backend(code: str) -> subprocess.CompletedProcess[str]:
    """Call the backend as pip does, in the project's folder."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\nimport sysconfig, refusing\n{code}"],
        cwd=ROOT / "compat", capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def build(out: Path, sites: Path) -> subprocess.CompletedProcess[str]:
    """Build a wheel; `sites` stands for the folder that pip installs into."""
    return backend(
        f"sysconfig.get_path = lambda name: {str(sites)!r}\n"
        f"print(refusing.get_requires_for_build_wheel())\nprint(refusing.build_wheel({str(out)!r}))\n"
    )


def test_the_wheel_holds_the_package_alone(tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    sites.mkdir()
    done = build(tmp_path, sites)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"llama_bind_as_llama_cpp-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert names == ["llama_cpp/__init__.py"]
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        assert "Requires-Dist: llama-bind" in archive.read(metadata).decode()
        license = next(name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
        assert archive.read(license) == (ROOT / "LICENSE").read_bytes()


def test_it_is_not_built_where_the_original_is(tmp_path: Path) -> None:
    (tmp_path / "llama_cpp_python-0.3.36.dist-info").mkdir()
    done = build(tmp_path, tmp_path)
    assert done.returncode != 0
    assert "pip uninstall llama-cpp-python" in done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_its_source_distribution_is_whole(tmp_path: Path) -> None:
    done = backend(f"refusing.build_sdist({str(tmp_path)!r})")
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert names == {"LICENSE", "PKG-INFO", "README.md", "llama_cpp/__init__.py", "pyproject.toml", "refusing.py"}
