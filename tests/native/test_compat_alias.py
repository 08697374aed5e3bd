"""`import llama_cpp` means this package: the alias in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.core_helpers import model_file

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(model_file())


def run(code: str, *extra: Path, folder: Path | None = None, arguments: tuple[str, ...] = ()) -> str:
    """What a program prints that is run in a fresh interpreter, with folders before all others."""
    paths = os.pathsep.join([*map(str, extra), str(ROOT)])
    command = [sys.executable, "-W", "error", *(arguments or ("-c", textwrap.dedent(code)))]
    environment = {**os.environ, "PYTHONPATH": paths, "MODEL_FILE": MODEL}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, cwd=folder or ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with something that looks like llama-cpp-python, installed."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "llama_cpp").mkdir()
    (folder / "llama_cpp" / "__init__.py").write_text("print('the original')\n__version__ = '0.2.0'\n")
    (folder / "llama_cpp" / "llama.py").write_text("print('its llama')\n")
    metadata = folder / "llama_cpp_python-0.2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 0.2.0\n")
    return folder


def test_every_way_of_importing() -> None:
    printed = run(
        """
        import llama_bind
        llama_bind.install_as_llama_cpp()
        llama_bind.install_as_llama_cpp()  # the second changes nothing
        import importlib.metadata, importlib.util, sys
        import llama_cpp
        import llama_cpp.llama_cpp as low
        import llama_cpp.llama_chat_format
        from llama_cpp.llama import Llama
        from llama_cpp import *
        import llama_bind.compat as ours
        assert llama_cpp is ours and low is llama_cpp.llama_cpp is ours.llama_cpp
        assert sys.modules["llama_cpp.llama"].Llama is Llama is llama_cpp.Llama
        assert llama_cpp.__spec__.name == "llama_bind.compat"  # reloading and pickling know the real name
        assert importlib.util.find_spec("llama_cpp") is not None
        assert importlib.util.find_spec("llama_cpp.server").submodule_search_locations
        assert importlib.util.find_spec("llama_cpp.nothing") is None
        assert importlib.metadata.version("llama-cpp-python") == "0.3.36" == llama_cpp.__version__
        assert importlib.metadata.version("Llama_CPP.python") == "0.3.36"
        assert importlib.metadata.distribution("llama-cpp-python").read_text("top_level.txt") == "llama_cpp\\n"
        assert sum(d.metadata["Name"] == "llama-cpp-python" for d in importlib.metadata.distributions()) == 1
        assert importlib.metadata.version("llama-bind")
        for module in ("_internals", "_logger", "_utils", "llama_cache", "llama_grammar", "llama_speculative",
                       "llama_tokenizer", "llama_types", "mtmd_cpp", "_ctypes_extensions", "server.app",
                       "server.settings"):
            importlib.import_module(f"llama_cpp.{module}")
        assert llama_batch_init and ChatCompletionRequestMessage and LogitsProcessorList
        import os
        print(Llama(os.environ["MODEL_FILE"], n_ctx=64)("Hello", max_tokens=2)["usage"]["completion_tokens"])
        try:
            import llama_cpp.nothing
        except ModuleNotFoundError as error:
            print(error.name)
        """
    )
    assert printed.split() == ["2", "llama_cpp.nothing"]


def test_nothing_is_opened_by_the_alias() -> None:
    printed = run(
        """
        import sys
        import llama_bind
        llama_bind.install_as_llama_cpp()
        import llama_cpp
        from llama_cpp import llama_types
        print("numpy" in sys.modules, any("libllama" in line for line in open("/proc/self/maps")))
        """
        if sys.platform == "linux"
        else "print('False False')"
    )
    assert printed.split() == ["False", "False"]


def test_the_original_beside_it_is_not_looked_at(original: Path) -> None:
    printed = run(
        """
        import llama_bind
        llama_bind.install_as_llama_cpp()
        import importlib.metadata
        import llama_cpp, llama_cpp.llama
        print(llama_cpp.__version__, importlib.metadata.version("llama-cpp-python"))
        from llama_bind.compat import alias
        alias.remove()
        import llama_cpp
        print(llama_cpp.__version__, importlib.metadata.version("llama-cpp-python"))
        """,
        original,
    )
    assert printed.splitlines() == ["0.3.36 0.3.36", "the original", "0.2.0 0.2.0"]


def test_after_the_import_of_another_it_is_refused(original: Path) -> None:
    printed = run(
        """
        import llama_cpp
        import llama_bind
        from llama_bind.errors import AliasError
        try:
            llama_bind.install_as_llama_cpp()
        except ImportError as error:
            assert isinstance(error, AliasError)
            print("refused:", error)
        print(llama_cpp.__version__)
        """,
        original,
    )
    lines = printed.splitlines()
    assert lines[1].startswith("refused: llama_cpp was imported already, from")
    assert str(original) in lines[1]
    assert "before anything imports llama_cpp" in lines[1]
    assert lines[2] == "0.2.0"


CHILDREN = """
import multiprocessing
import os

import llama_bind

llama_bind.install_as_llama_cpp()  # at the top: children run it too
import llama_cpp


def work(llm):
    import llama_cpp

    assert isinstance(llm, llama_cpp.Llama)
    return llm("Hello", max_tokens=3, temperature=0, ignore_eos=True)["usage"]["completion_tokens"]


if __name__ == "__main__":
    llm = llama_cpp.Llama(os.environ["MODEL_FILE"], n_ctx=64, n_threads=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply_async(work, (llm,)).get(90))
"""


def test_the_alias_in_a_child_process(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(CHILDREN, encoding="utf-8")
    assert run("", arguments=(str(script),)).split() == ["3"]


def test_the_server_runs_as_a_module() -> None:
    code = """
        import sys
        import llama_bind
        llama_bind.install_as_llama_cpp()
        import runpy
        sys.argv = ["llama_cpp.server", "--n_ctx", "many"]
        try:
            runpy.run_module("llama_cpp.server", run_name="__main__", alter_sys=True)
        except SystemExit as error:
            print(error.code)
        """
    assert run(code).split() == ["1"]


# -- the package of that name


def test_the_package_hands_everything_on() -> None:
    printed = run(
        """
        import llama_cpp
        from llama_cpp.llama_chat_format import Llava15ChatHandler
        import llama_bind.compat, importlib.metadata
        assert llama_cpp is llama_bind.compat
        print(importlib.metadata.version("llama-cpp-python"))
        import llama_bind
        llama_bind.install_as_llama_cpp()  # two aliases at once
        import llama_cpp.llama
        print(llama_cpp.llama.__name__)
        """,
        ROOT / "compat",
    )
    assert printed.split() == ["0.3.36", "llama_bind.compat.llama"]


def test_the_package_starts_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llama_cpp.server", "--n_ctx", "many"],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "compat"), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("llama_cpp.server: error: n_ctx: invalid literal")


def test_the_package_refuses_to_live_beside_the_original(original: Path) -> None:
    printed = run(
        """
        try:
            import llama_cpp
        except ImportError as error:
            print(error)
        """,
        ROOT / "compat",
        original,
    )
    assert printed.startswith("llama-cpp-python 0.2.0 and llama-bind-as-llama-cpp are both installed")


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", exc_type=ImportError)
    cached = tmp_path / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("1" * 40)
    snapshot = cached / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "tiny-Q8_0.gguf").write_bytes(Path(MODEL).read_bytes())
    code = f"""
        import os
        os.environ["HF_HUB_OFFLINE"] = "1"
        import llama_bind
        llama_bind.install_as_llama_cpp()
        from llama_cpp import Llama
        llm = Llama.from_pretrained("owner/name", "*Q8_0.gguf", cache_dir={str(tmp_path)!r}, n_ctx=64,
                                    local_dir_use_symlinks=False, verbose=False)
        print(llm("Hello", max_tokens=2)["usage"]["completion_tokens"], type(llm) is Llama)
        try:
            Llama.from_pretrained(repo_id="owner/other", filename="*.gguf", cache_dir={str(tmp_path)!r})
        except ValueError as error:
            print(type(error).__name__, error)
        """
    lines = run(code).splitlines()
    assert lines[0] == "2 True"
    assert lines[1].startswith("DownloadError owner/other")
