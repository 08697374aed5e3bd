"""A conversation with a model that is not there: history, commands, interruptions; and the terminal around it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_bind.cli.command_run import chat
from llama_bind.cli.conversation import Conversation, Quit
from llama_bind.cli.streams import Figures, read_text
from llama_bind.errors import ContextOverflowError, InputError, StateError, UnknownOptionError
from tests.terminal import Terminal


class FakeModel:
    """Answers with the last message in capitals, one word a chunk; `endless` ones never stop."""

    def __init__(self) -> None:
        self.seen: list[list[dict[str, str]]] = []
        self.options: list[dict[str, Any]] = []
        self.closed = 0

    def create_chat_completion(self, messages: Any, *, stream: bool, **options: Any) -> Iterator[Any]:
        assert stream
        self.seen.append([dict(m) for m in messages])
        self.options.append(options)
        question = messages[-1]["content"]
        if question == "too long":
            raise ContextOverflowError(9, 8)
        return self._answer(question)

    def _answer(self, question: str) -> Iterator[Any]:
        try:
            yield chunk({"role": "assistant", "content": ""})
            while True:
                for word in question.split():
                    yield chunk({"content": word.upper() + " "})
                if question != "endless":
                    break
            yield {**chunk({}, "stop"), "timings": {"predicted_n": 3, "predicted_per_second": 12.5}}
        finally:
            self.closed += 1


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def say(conversation: Conversation, text: str) -> str:
    return "".join(conversation.ask(text))


def told(conversation: Conversation, line: str) -> str:
    result = conversation.command(line)
    return result if isinstance(result, str) else "".join(result)


def test_history_grows_and_is_sent(model: FakeModel) -> None:
    talk = Conversation(model, system="Be brief", options={"temperature": 0.1})
    assert say(talk, "hello you") == "HELLO YOU "
    say(talk, "again")
    assert [m["role"] for m in model.seen[1]] == ["system", "user", "assistant", "user"]
    assert model.seen[1][2]["content"] == "HELLO YOU "
    assert model.options[0] == {"temperature": 0.1}
    assert talk.figures.finish_reason == "stop"
    assert "12.5 tokens/s" in told(talk, "/stats")


def test_an_interrupted_answer_is_kept_and_cancelled(model: FakeModel) -> None:
    talk = Conversation(model)
    pieces = talk.ask("endless")
    assert next(pieces) == "ENDLESS "
    pieces.close()  # type: ignore[attr-defined]
    assert model.closed == 1
    assert talk.messages == [{"role": "user", "content": "endless"}, {"role": "assistant", "content": "ENDLESS "}]


def test_an_error_leaves_the_history(model: FakeModel) -> None:
    talk = Conversation(model)
    say(talk, "one")
    before = list(talk.messages)
    with pytest.raises(ContextOverflowError):
        say(talk, "too long")
    assert talk.messages == before


def test_commands(model: FakeModel) -> None:
    talk = Conversation(model)
    for name in ("/help", "/reset", "/system", "/set", "/retry", "/save", "/load", "/stats", "/quit"):
        assert name in told(talk, "/help")
    say(talk, "one")
    told(talk, "/reset")
    assert not talk.messages
    say(talk, "one")
    told(talk, "/system You are a poet")
    assert talk.system == "You are a poet"
    assert not talk.messages
    assert told(talk, "/system") == "You are a poet"
    with pytest.raises(Quit):
        talk.command("/exit")
    with pytest.raises(InputError, match="did you mean /reset"):
        talk.command("/rest")
    with pytest.raises(InputError, match="try /help"):
        talk.command("/")


def test_retry_asks_again(model: FakeModel) -> None:
    talk = Conversation(model)
    with pytest.raises(InputError, match="nothing was asked"):
        talk.command("/retry")
    say(talk, "one")
    assert told(talk, "/retry") == "ONE "
    assert [m["role"] for m in talk.messages] == ["user", "assistant"]


def test_set(model: FakeModel) -> None:
    talk = Conversation(model)
    assert "defaults" in told(talk, "/set")
    assert told(talk, "/set top-k 5") == "top_k = 5"
    told(talk, "/set temperature 0")
    told(talk, "/set samplers top_k,temperature")
    assert "temperature = 0.0" in told(talk, "/set")
    say(talk, "hi")
    assert model.options[0] == {"top_k": 5, "temperature": 0.0, "samplers": ("top_k", "temperature")}
    told(talk, "/set top_k")
    assert "top_k" not in talk.options
    with pytest.raises(UnknownOptionError, match="did you mean 'temperature'"):
        talk.command("/set temprature 1")
    with pytest.raises(UnknownOptionError):
        talk.command("/set suffix x")
    with pytest.raises(InputError, match="at least 0"):
        talk.command("/set temperature -1")
    with pytest.raises(InputError, match="must be a number"):
        talk.command("/set temperature warm")
    assert talk.options["temperature"] == 0.0


def test_save_and_load(model: FakeModel, tmp_path: Path) -> None:
    talk = Conversation(model, system="s", options={"top_k": 3, "stop": ("a",)})
    say(talk, "één")
    told(talk, f"/save {tmp_path / 'talk file.json'}")
    assert [p.name for p in tmp_path.iterdir()] == ["talk file.json"]
    other = Conversation(model)
    assert "2 messages" in told(other, f"/load {tmp_path / 'talk file.json'}")
    assert (other.messages, other.system) == (talk.messages, "s")
    assert other.options == {"top_k": 3, "stop": ["a"]}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"messages": [{"role": "user"}]}', '{"messages": 3}', "\x00"])
def test_load_of_something_else(model: FakeModel, tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    talk = Conversation(model)
    say(talk, "one")
    before = list(talk.messages)
    with pytest.raises(StateError, match="not a saved conversation"):
        talk.command(f"/load {file}")
    assert talk.messages == before


def test_files_that_cannot_be_used(model: FakeModel, tmp_path: Path) -> None:
    talk = Conversation(model)
    with pytest.raises(StateError, match="cannot read"):
        talk.command(f"/load {tmp_path / 'none.json'}")
    with pytest.raises(StateError, match="cannot write"):
        talk.command(f"/save {tmp_path / 'none' / 'x.json'}")
    with pytest.raises(InputError, match="name a file"):
        talk.command("/save")


def test_completions_and_usage_chunks_are_read_too() -> None:
    figures = Figures()
    chunks = [{"choices": [{"text": "a", "finish_reason": None}]}, {"choices": [], "timings": {"predicted_n": 1}}]
    assert list(read_text(chunks, figures)) == ["a"]
    assert figures.timings == {"predicted_n": 1}
    assert "answer: 1 tokens" in str(figures)


def script(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_lines_of_standard_input(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(monkeypatch, 'one\n\n"""two\nthree"""\n/set top_k 1\nlast')
    assert chat(Conversation(model), show_stats=True) == 0
    out, err = capsys.readouterr()
    assert out == "ONE \nTWO THREE \ntop_k = 1\nLAST \n"
    assert err.count("tokens/s") == 6
    assert model.seen[1][-1]["content"] == "two\nthree"


def test_a_line_that_fails(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(monkeypatch, "too long\n/nonsense\none\n")
    assert chat(Conversation(model)) == 1
    out, err = capsys.readouterr()
    assert out == "ONE \n"
    assert "Requested tokens (9)" in err
    assert "/reset forgets" in err
    assert "there is no command /nonsense" in err


def test_quit_ends_a_script(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "/quit\none\n")
    assert chat(Conversation(model)) == 0
    assert not model.seen


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals of this kind")
def test_in_a_terminal() -> None:
    code = (
        "import sys\n"
        "from tests.pure.test_cli_conversation import FakeModel\n"
        "from llama_bind.cli.command_run import chat\n"
        "from llama_bind.cli.conversation import Conversation\n"
        "sys.exit(chat(Conversation(FakeModel())))\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    with Terminal([sys.executable, "-c", code], {"PYTHONPATH": root}) as terminal:
        terminal.expect("/help lists the commands")
        terminal.expect("> ")
        terminal.keys("hello\r")
        terminal.expect("HELLO \n")
        terminal.expect("> ")
        terminal.keys("half a li")
        terminal.expect("half a li")
        terminal.keys("\x03")
        terminal.expect("> ")
        terminal.keys("endless\r")
        terminal.expect("ENDLESS ENDLESS ")
        terminal.keys("\x03")
        terminal.expect("[stopped]")
        terminal.expect("> ")
        terminal.keys("wrold\x7f\x7f\x7f\x7forld\r")
        terminal.expect("WORLD \n")
        terminal.expect("> ")
        terminal.keys("/stats\r")
        terminal.expect("12.5 tokens/s")
        terminal.expect("> ")
        terminal.keys("\x04")
        assert terminal.end() == 0


def test_saved_conversations_are_plain_json(model: FakeModel, tmp_path: Path) -> None:
    talk = Conversation(model)
    say(talk, "one")
    talk.command(f"/save {tmp_path / 'x.json'}")
    content = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert content["messages"][0] == {"role": "user", "content": "one"}
