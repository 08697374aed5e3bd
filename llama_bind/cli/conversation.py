"""A conversation in the terminal: its messages, its options, and the ``/`` commands that change them.

Knows nothing of terminals: it is given lines and gives back pieces of text. Not for: reading keys (``command_run``).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from llama_bind.cli.options import CALL, NOT_IN_CHAT, flags_of
from llama_bind.cli.streams import Figures, read_text
from llama_bind.errors import InputError, StateError
from llama_bind.options import nearest, refuse_unknown, validate

__all__ = ["Conversation", "Quit"]


class Quit(Exception):  # noqa: N818 - not an error
    """The user asked to leave."""


class ChatModel(Protocol):
    """What a conversation needs of a `Llama`."""

    @property
    def create_chat_completion(self) -> Callable[..., Any]:
        """As in `Llama`."""


class Conversation:
    """Messages with a model. `ask` takes what the user says, `command` a line that begins with ``/``."""

    def __init__(self, model: ChatModel, system: str | None = None, options: dict[str, Any] | None = None) -> None:
        self.model = model
        self.system = system
        self.options: dict[str, Any] = dict(options or {})
        self.messages: list[dict[str, str]] = []
        self.figures = Figures()

    # -- talking ---------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> Iterator[str]:
        """Say something; the pieces of the answer. What was answered until an interruption stays in the history;
        an error leaves the history as it was.
        """
        self.messages.append({"role": "user", "content": text})
        self.figures = Figures()
        answer: list[str] = []
        try:
            chunks = self.model.create_chat_completion(self._prompt(), stream=True, **self.options)
            for piece in read_text(chunks, self.figures):
                answer.append(piece)
                yield piece
        except (GeneratorExit, KeyboardInterrupt):
            self._keep(answer)
            raise
        except BaseException:
            self.messages.pop()
            raise
        self._keep(answer)

    def _keep(self, answer: list[str]) -> None:
        self.messages.append({"role": "assistant", "content": "".join(answer)})

    def _prompt(self) -> list[dict[str, str]]:
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.messages]

    # -- commands --------------------------------------------------------------------------------------------------

    def command(self, line: str) -> str | Iterator[str]:
        """Carry out a ``/`` command; what to tell the user, or the pieces of an answer.

        Raises:
            Quit: the user asked to leave.
            InputError, UnknownOptionError, StateError: it cannot be done.
        """
        name, _, rest = line[1:].strip().partition(" ")
        action = _COMMANDS.get(name)
        if action is None:
            close = nearest(name, _COMMANDS)
            raise InputError(f"there is no command /{name}; " + (f"did you mean /{close}?" if close else "try /help"))
        return action(self, rest.strip())

    def help(self, _rest: str) -> str:
        """List the commands."""
        width = max(len(_usage(n)) for n in _COMMANDS)
        lines = [f"  {_usage(n):<{width}}  {(a.__doc__ or '').splitlines()[0]}" for n, a in _COMMANDS.items()]
        return "\n".join([*lines, '  """ begins and ends a text of several lines.', "  Ctrl-C stops an answer."])

    def reset(self, _rest: str) -> str:
        """Forget the conversation."""
        self.messages.clear()
        return "Forgotten."

    def set_system(self, rest: str) -> str:
        """Set the system prompt and begin anew; without TEXT: show it."""
        if not rest:
            return self.system or "There is no system prompt."
        self.system = rest
        self.messages.clear()
        return "Set; the conversation begins anew."

    def set_option(self, rest: str) -> str:
        """Set an option (`/set temperature 0.5`), or put it back (`/set temperature`); alone: show what is set."""
        name, _, text = rest.partition(" ")
        name = name.replace("-", "_")
        if not name:
            return "\n".join(f"  {k} = {v!r}" for k, v in self.options.items()) or "All options have their defaults."
        flags = {flag.name: (cls, flag) for cls in CALL for flag in flags_of(cls, NOT_IN_CHAT)}
        refuse_unknown([name], flags, "/set")
        if not text.strip():
            self.options.pop(name, None)
            return f"{name} has its default again."
        cls, flag = flags[name]
        value = flag.parse(text.strip())
        validate(cls(**{name: value}))
        self.options[name] = value
        return f"{name} = {value!r}"

    def save(self, rest: str) -> str:
        """Write the conversation to a JSON file."""
        path = _path(rest)
        content = {"system": self.system, "messages": self.messages, "options": self.options}
        text = json.dumps(content, ensure_ascii=False, indent=2, default=str)
        try:
            _write(path, text + "\n")
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}") from error
        return f"{len(self.messages)} messages saved in {path}."

    def load(self, rest: str) -> str:
        """Go on with a saved conversation."""
        path = _path(rest)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StateError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise StateError(f"{path} is not a saved conversation: {error}") from error
        messages = content.get("messages") if isinstance(content, dict) else None
        if not isinstance(messages, list) or not all(map(_is_message, messages)):
            raise StateError(f"{path} is not a saved conversation: it has no list of messages")
        system, options = content.get("system"), content.get("options")
        self.system = system if isinstance(system, str) else None
        self.messages = messages
        known = {flag.name for cls in CALL for flag in flags_of(cls, NOT_IN_CHAT)}
        self.options = {k: v for k, v in options.items() if k in known} if isinstance(options, dict) else {}
        return f"{len(messages)} messages loaded from {path}."

    def retry(self, _rest: str) -> Iterator[str]:
        """Answer the last question again."""
        while self.messages and self.messages[-1]["role"] != "user":
            self.messages.pop()
        if not self.messages:
            raise InputError("nothing was asked yet")
        return self.ask(self.messages.pop()["content"])

    def stats(self, _rest: str) -> str:
        """Show tokens and speed of the last answer."""
        return str(self.figures) if self.figures.timings else "There was no answer yet."

    def quit(self, _rest: str) -> str:
        """Leave (as Ctrl-D does)."""
        raise Quit


_COMMANDS: dict[str, Callable[[Conversation, str], str | Iterator[str]]] = {
    "help": Conversation.help,
    "reset": Conversation.reset,
    "system": Conversation.set_system,
    "set": Conversation.set_option,
    "retry": Conversation.retry,
    "save": Conversation.save,
    "load": Conversation.load,
    "stats": Conversation.stats,
    "quit": Conversation.quit,
    "exit": Conversation.quit,
}
_ARGUMENTS = {"system": "[TEXT]", "set": "[OPTION [VALUE]]", "save": "FILE", "load": "FILE"}


def _usage(name: str) -> str:
    return f"/{name} {_ARGUMENTS.get(name, '')}".rstrip()


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _path(text: str) -> Path:
    if not text:
        raise InputError("name a file")
    return Path(text).expanduser()


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a conversation that was saved before is not lost when the disk is full."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
