"""Where a server's options come from, which wins, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_bind.cli import command_parser
from llama_bind.cli.command_serve import settings_of
from llama_bind.errors import InputError, UnknownOptionError
from llama_bind.options import options_of
from llama_bind.params import ContextParams, LlamaParams, ModelParams
from llama_bind.server.config_file import read_config
from llama_bind.server.keys import Keys, read_keys
from llama_bind.server.params import ServerParams
from llama_bind.server.settings import DEFAULTS, Settings


def parsed(*arguments: str) -> Settings:
    return settings_of(command_parser("serve").parse_args(list(arguments)))


def test_flags_environment_and_file_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text('model = "a.gguf"\nport = 1111\nn_ctx = 100\nhost = "0.0.0.0"\ntemperature = 0.5\n')
    monkeypatch.setenv("LLAMA_BIND_PORT", "2222")
    monkeypatch.setenv("LLAMA_BIND_N_CTX", "200")
    monkeypatch.setenv("LLAMA_BIND_CONFIG", str(file))
    made = parsed("--n_ctx", "300")
    assert (made.model, made.server.host, made.server.port) == ("a.gguf", "0.0.0.0", 2222)
    assert made.load == {**DEFAULTS, "n_ctx": 300}
    assert made.defaults == {"temperature": 0.5}
    monkeypatch.setenv("LLAMA_BIND_MODEL", "b.gguf")
    assert parsed().model == "b.gguf"
    assert parsed("c.gguf").model == parsed("--model", "c.gguf").model == "c.gguf"


def test_without_anything_it_is_the_default_model_here() -> None:
    made = parsed()
    assert made == Settings.of()
    assert (made.model, made.server.host, made.server.port) == (None, "127.0.0.1", 8000)
    assert made.load["engine_process"] is True
    assert made.load["max_queue"] == 512


def test_hyphens_and_underscores() -> None:
    assert parsed("--n-gpu-layers", "1", "--api-key", "a,b") == parsed("--n_gpu_layers=1", "--api_key", "a,b")
    assert parsed("--api-key", "a,b").server.api_key == ("a", "b")
    assert parsed("--no-engine-process").load["engine_process"] is False


def test_every_option_of_llama_is_a_flag() -> None:
    flags = command_parser("serve")._option_string_actions
    for cls in (ServerParams, ModelParams, ContextParams, LlamaParams):
        for name, entry in options_of(cls).items():
            if entry.cli and name not in ("vocab_only", "logits_all", "no_perf"):
                assert "--" + name.replace("_", "-") in flags


def test_a_slip_names_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        parsed("--n-gpu-layer", "1")
    assert "did you mean --n-gpu-layers?" in capsys.readouterr().err
    file = tmp_path / "c.json"
    file.write_text('{"n-gpu-layer": 1}')
    with pytest.raises(UnknownOptionError, match="n_gpu_layers"):
        parsed("--config", str(file))


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"port": 70000}, "port"),
        ({"n_ctx": -1}, "n_ctx"),
        ({"temperature": -1.0}, "temperature"),
        ({"ssl_keyfile": "k.pem"}, "ssl_certfile"),
        ({"max_n": 0}, "max_n"),
        ({"host": 5}, "host"),
    ],
)
def test_values_are_checked(given: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings.of(**given)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["chat_handler", "abort_callback", "tokenizer", "vocab_only", "stream", "n", "echo"])
def test_what_no_server_can_have_is_refused(name: str) -> None:
    with pytest.raises(UnknownOptionError):
        Settings.of(**{name: "x"})


CONFIG = {"n_ctx": 512, "stop": ["a", "b"], "kv_overrides": {"x": 1}, "loras": [["a.gguf", 0.5]]}


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".json", json.dumps(CONFIG)),
        (".yaml", "n-ctx: 512\nstop: [a, b]\nkv_overrides: {x: 1}\nloras: [[a.gguf, 0.5]]\n"),
        (".toml", 'n_ctx = 512\nstop = ["a", "b"]\nloras = [["a.gguf", 0.5]]\n[kv_overrides]\nx = 1\n'),
    ],
)
def test_formats(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"config{suffix}"
    file.write_text(text, encoding="utf-8")
    assert read_config(file) == CONFIG
    made = Settings.of(**read_config(file))
    assert made.load["loras"] == (("a.gguf", 0.5),)
    assert made.defaults == {"stop": ("a", "b")}
    file.write_text("{[", encoding="utf-8")
    with pytest.raises(InputError, match=f"is not {suffix[1:].upper()}"):
        read_config(file)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "missing.json")
    (tmp_path / "c.ini").write_text("x")
    with pytest.raises(InputError, match="must end in"):
        read_config(tmp_path / "c.ini")
    (tmp_path / "c.json").write_text("[1]")
    with pytest.raises(InputError, match="table of options"):
        read_config(tmp_path / "c.json")
    (tmp_path / "c.yaml").write_text("")
    assert read_config(tmp_path / "c.yaml") == {}


def test_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\n  one  \ntwo\n", encoding="utf-8")
    keys = read_keys(Settings.of(api_key=["three"], api_key_file=str(file)).server)
    names = {keys.name_of(key) for key in (b"one", b"two", b"three")}
    assert len(names) == 3
    assert None not in names
    assert all("one" not in str(name) for name in names)
    assert [keys.name_of(key) for key in (b"", b"on", b"one ", b"# ours")] == [None] * 4
    assert not Keys()
    assert keys.name_of(b"one") == Keys(["one"]).name_of(b"one"), "a name stays the same"


def test_keys_that_guard_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    for given in ({"api_key": [" "]}, {"api_key_file": str(tmp_path / "empty")}, {"api_key_file": "/missing/keys"}):
        with pytest.raises(InputError):
            read_keys(Settings.of(**given).server)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "pydantic", "prometheus_client"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from llama_bind.cli import main\n"
        "assert main(['serve', 'x.gguf', '--port', '0']) == 1\n"
        "main(['serve', '--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f'the server needs {missing}: pip install "llama-bind[server]"' in done.stderr
    assert "--n-gpu-layers" in done.stdout, "its help needs nothing of it"
