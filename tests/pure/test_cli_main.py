"""The frame of the command line: dispatch, errors, exit statuses; and the commands that need no native library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llama_bind import cli, hub
from llama_bind.cli import models
from llama_bind.cli.console import print_table, visible
from llama_bind.cli.hardware import gpu_advice, unloaded_modules
from llama_bind.cli.reference import markdown
from llama_bind.errors import ContextOverflowError, ModelNotFoundError
from llama_bind.version import __version__
from tests.tiny_gguf import write_tiny_llama

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "tiny.gguf")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLAMA_BIND_CACHE", str(folder))
    return folder


def ended(*arguments: str) -> int:
    """The exit status, however the command line ended."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


# -- the frame ---------------------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended() == 0
    assert ended("--help") == 0
    text = capsys.readouterr().out
    for name, line in cli.COMMANDS.items():
        assert text.count(f"{name} ") >= 2
        assert line in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_and_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(name, "--help") == 0
    assert f"llama-bind {name}" in capsys.readouterr().out
    assert callable(cli.command_module(name).execute)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"llama-bind {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inf",), "there is no command 'inf'; did you mean 'info'?"),
        (("zzzzz",), "`llama-bind --help` lists the commands"),
        (("--zzz",), "there is no option --zzz"),
        (("list", "--knwon"), "there is no option --knwon; did you mean --known?"),
        (("list", "extra"), "unexpected argument 'extra'"),
        (("pull",), "NAME"),
        (("--debug",), "there is no option --debug"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert words in err
    assert err.count("\n") == 1


def test_an_error_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("info", "no/such/file.gguf") == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("llama-bind: error: there is no file")
    assert err.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ModelNotFoundError):
        cli.main(["info", "no/such/file.gguf", "--debug"])


def stand_in(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def execute(_: object) -> int:
        raise error

    module = SimpleNamespace(__doc__="x", add_arguments=lambda _parser: None, execute=execute)
    monkeypatch.setattr(cli, "command_module", lambda _name: module)


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(monkeypatch, KeyboardInterrupt())
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "\n"


def test_errors_of_the_library_and_the_system(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, ContextOverflowError(9, 8))
    assert cli.main(["list"]) == 1
    stand_in(monkeypatch, PermissionError(13, "Permission denied", "x"))
    assert cli.main(["list"]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


def test_a_reader_that_leaves_is_no_error(model: Path) -> None:
    command = [sys.executable, "-m", "llama_bind", "info", str(model), "--json", "--full"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 1


def test_only_the_command_that_runs_is_imported() -> None:
    code = (
        "import sys; from llama_bind.cli import main; status = main(['list', '--known'])\n"
        "bad = [m for m in sys.modules if m in ('numpy', 'jinja2', 'rich', 'huggingface_hub', 'llama_bind.llama')\n"
        "       or m.startswith('llama_bind.cli.command_') and m != 'llama_bind.cli.command_list']\n"
        "assert not bad, bad\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=True)
    assert "smollm2-135m-instruct" in done.stdout


def test_the_reference_is_up_to_date() -> None:
    assert DOCS.read_text(encoding="utf-8") == markdown(), "run: python -m codegen"


# -- which model -------------------------------------------------------------------------------------------------


def test_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path) -> None:
    asked: list[tuple[str, object]] = []

    def from_pretrained(repository: str, file: str | None = None) -> Path:
        asked.append((repository, file))
        return tmp_path

    monkeypatch.setattr(hub, "from_pretrained", from_pretrained)
    monkeypatch.setattr(hub, "resolve_model", lambda name: Path("resolved", name))
    assert models.find_model(None) == Path("resolved", "smollm2-135m-instruct")
    assert models.find_model("default") == Path("resolved", "default")
    assert models.find_model(str(model)) == model
    assert models.find_model("./missing/x") == Path("resolved", "./missing/x")
    assert models.find_model("missing/x.gguf") == Path("resolved", "missing/x.gguf")
    assert models.find_model("/abs/x") == Path("resolved", "/abs/x")
    assert not asked
    for text in ("owner/name", "owner/name:Q4_K_M"):
        assert models.find_model(text) == tmp_path
    assert asked == [("owner/name", None), ("owner/name:Q4_K_M", None)]
    listed = hub.CachedModel("owner/name/sub/f.gguf", tmp_path / "f.gguf", 1, "hub")
    monkeypatch.setattr(hub, "cached_models", lambda: [listed])
    assert models.find_model("owner/name/sub/f.gguf") == tmp_path / "f.gguf"
    assert models.find_model("owner/name/sub/g.gguf") == Path("resolved/owner/name/sub/g.gguf")


# -- list, pull, info --------------------------------------------------------------------------------------------


def test_list(capsys: pytest.CaptureFixture[str], empty_cache: Path) -> None:
    assert ended("list") == 0
    assert "llama-bind pull smollm2-135m-instruct" in capsys.readouterr().out
    empty_cache.mkdir()
    (empty_cache / "mine.gguf").write_bytes(b"GGUF" * 250)
    assert ended("list") == 0
    assert "1.0 kB" in capsys.readouterr().out
    assert ended("list", "--json") == 0
    (entry,) = [m for m in json.loads(capsys.readouterr().out) if m["source"] == "cache"]
    assert entry["path"] == str(empty_cache / "mine.gguf")
    assert entry["size"] == 1000
    assert ended("list", "--known", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["license"] == "Apache-2.0"


def test_pull(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    def from_pretrained(*args: object, **options: object) -> Path:
        asked.update(options, args=args)
        return tmp_path / "x.gguf"

    monkeypatch.setattr(hub, "from_pretrained", from_pretrained)
    assert ended("pull", "a/b", "*q8*", "--revision", "v1", "--also", "m", "--also", "n", "--offline") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.gguf'}\n"
    assert asked["args"] == ("a/b", "*q8*")
    assert asked["revision"] == "v1"
    assert asked["additional_files"] == ["m", "n"]
    assert asked["local_files_only"] is True
    assert ended("pull", "smolm2-135m-instruct") == 1
    assert "did you mean 'smollm2-135m-instruct'" in capsys.readouterr().err
    assert ended("pull", "a/b", "--verify") == 1
    monkeypatch.setattr(hub, "resolve_model", lambda _name: tmp_path / "wrong.gguf")
    (tmp_path / "wrong.gguf").write_bytes(b"other")
    assert ended("pull", "default", "--verify") == 1
    assert "sha256" in capsys.readouterr().err


def test_info(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("info", str(model)) == 0
    text = capsys.readouterr().out
    for words in ("architecture", "general.architecture", "token_embd.weight", "tokenizer.ggml.tokens", " more]"):
        assert words in text
    assert ended("info", str(model), "--no-tensors") == 0
    assert "token_embd.weight" not in capsys.readouterr().out


def test_info_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("info", str(model), "--json", "--full") == 0
    facts = json.loads(capsys.readouterr().out)
    tokens = facts["metadata"]["tokenizer.ggml.tokens"]
    assert facts["architecture"] == facts["metadata"]["general.architecture"]["value"] == "llama"
    assert tokens["type"] == "arr"
    assert tokens["item_type"] == "str"
    assert len(tokens["value"]) == tokens["length"]
    assert {t["name"] for t in facts["tensors"]} >= {"token_embd.weight", "output_norm.weight"}
    assert ended("info", str(model), "--json", "--no-tensors") == 0
    short = json.loads(capsys.readouterr().out)
    assert "tensors" not in short
    assert len(short["metadata"]["tokenizer.ggml.tokens"]["value"]) == 6


def test_info_of_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.gguf"
    file.write_text("hello")
    assert ended("info", str(file)) == 1
    assert ended("info", str(tmp_path)) == 1
    err = capsys.readouterr().err
    assert "it is a text file" in err
    assert "is a directory" in err


def test_texts_of_a_file_cannot_write_to_the_terminal() -> None:
    assert visible("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
    assert visible("x" * 20, 10) == "xxxxxxx..."


def test_plain_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "NUMBER"), [("x", 1), ("long", 100)], right=(1,))
    assert capsys.readouterr().out == "A     NUMBER\nx          1\nlong     100\n"
    print_table(("A", "B"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_tables_without_rich_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    print_table(("A",), [("x",)])
    assert capsys.readouterr().out == "A\nx\n"


# -- doctor's eye for hardware -----------------------------------------------------------------------------------


def machine(root: Path, *, files: tuple[str, ...] = (), vendor: str | None = None) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if vendor is not None:
        device = root / "sys/class/drm/renderD128/device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "vendor", "backends", "types", "options"),
    [
        ((), None, ["CPU"], ["cpu"], []),
        (("dev/nvidiactl",), None, ["CPU"], ["cpu"], ["-DGGML_CUDA=on"]),
        (("proc/driver/nvidia/version",), None, ["CPU", "RPC"], ["cpu"], ["-DGGML_CUDA=on"]),
        (("dev/nvidiactl",), None, ["CPU", "CUDA"], ["cpu", "gpu"], []),
        (("dev/nvidiactl",), None, ["CPU", "Vulkan"], ["cpu", "gpu"], []),
        (("dev/nvidiactl",), None, ["CPU", "Vulkan"], ["cpu"], ["-DGGML_CUDA=on"]),
        (("dev/kfd",), None, ["CPU"], ["cpu"], ["-DGGML_HIP=on"]),
        ((), "0x1002", ["CPU"], ["cpu"], ["-DGGML_HIP=on"]),
        ((), "0x1002", ["CPU", "ROCm"], ["cpu", "gpu"], []),
        ((), "0x8086", ["CPU"], ["cpu"], ["-DGGML_VULKAN=on"]),
        ((), "0x1af4", ["CPU"], ["cpu"], []),
    ],
)
def test_gpu_advice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    vendor: str | None,
    backends: list[str],
    types: list[str],
    options: list[str],
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    advice = gpu_advice(backends, types, machine(tmp_path, files=files, vendor=vendor))
    assert [a.option for a in advice] == options
    assert all(f'CMAKE_ARGS="{a.option}" pip install' in str(a) for a in advice)


def test_apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert [a.option for a in gpu_advice(["CPU"], ["cpu"], tmp_path)] == ["-DGGML_METAL=on"]
    assert not gpu_advice(["MTL", "CPU"], ["gpu"], tmp_path)


def test_modules_that_did_not_load() -> None:
    files = ["libggml-cuda.so", "libggml-cpu-haswell.so", "libggml-base.so", "libggml.so", "ggml-vulkan.dll"]
    assert unloaded_modules(files, ["CPU"]) == ["libggml-cuda.so", "ggml-vulkan.dll"]
    assert unloaded_modules(files, ["CPU", "CUDA", "Vulkan"]) == []


def test_doctor_without_libraries(tmp_path: Path) -> None:
    environment = {**os.environ, "LLAMA_BIND_LIB_DIR": str(tmp_path / "none")}
    command = [sys.executable, "-m", "llama_bind", "doctor", "--json"]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    facts = json.loads(done.stdout)
    assert "is not in" in facts["error"]
    assert facts["llama_bind"] == __version__
    assert len(facts["llama_cpp"]["commit"]) == 40
    assert facts["cpu"]["threads_used"] >= 1
    assert facts["packages"]["numpy"]
