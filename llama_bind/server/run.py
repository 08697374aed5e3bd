"""Runs a server until it is told to end: listens, says when it is ready, drains on SIGTERM and Ctrl-C.

Not for: what is served (``app``), or options (``settings``).
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from llama_bind.errors import InputError
from llama_bind.hub.progress import Update, human_size, progress_bar
from llama_bind.server.app import create_app
from llama_bind.server.models import Models
from llama_bind.server.params import ServerParams
from llama_bind.server.protocol import protocol_class
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings

__all__ = ["raise_file_limit", "run"]

SLOW_TO_LOAD = 500_000_000
"""Bytes from which on a bar is drawn while a model loads; smaller ones are there before it could be read."""
MOST_FILES = 65536
logger = logging.getLogger("llama_bind.server")


class _Server(uvicorn.Server):
    """uvicorn's, but a signal that was obeyed is not raised again after the orderly end: the exit status is 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT while the block runs."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def run(settings: Settings) -> int:
    """Serve until a signal comes.

    Returns:
        0 after an orderly end, 1 when the model could not be loaded (the error is raised then).

    Raises:
        InputError: the address cannot be listened on, or keys cannot be read.
        LlamaBindError: what kept the model from being loaded.
    """
    params = settings.server
    listening = _listen(params)
    failed: list[BaseException] = []
    with contextlib.ExitStack() as bar:
        updates: list[Update] = []  # one, when the model's file is known

        def progress(share: float, size: int) -> None:
            if not updates:
                updates.append(bar.enter_context(progress_bar("loading", size, enabled=size >= SLOW_TO_LOAD)))
            updates[0](int(share * size))

        def loaded(service: Service) -> None:
            bar.close()
            if service.error is not None:
                failed.append(service.error)
                server.should_exit = True
            elif not service.closing:
                print(_ready_line(app.state.models, listening, params), flush=True)

        raise_file_limit()
        app = create_app(settings, on_loaded=loaded, on_progress=progress)
        server = _Server(_config(app, params))
        _log_to_stderr()
        server.run(sockets=[listening])
    if failed:
        raise failed[0]
    return 0


def _listen(params: ServerParams) -> socket.socket:
    """A socket bound to the address: taken before the model is loaded, so that an address in use is said at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            params.host, params.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"cannot listen on {params.host}: {error}", param="host") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(address)
        made.set_inheritable(False)
    except OSError as error:
        made.close()
        message = f"cannot listen on {params.host} port {params.port}: {error.strerror}; choose another with --port"
        raise InputError(message, param="port") from error
    return made


def raise_file_limit() -> None:
    """Let this process have as many files open as the system allows it: each connection is one, and the usual limit of
    1024 is fewer than `max_connections`.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _config(app: Any, params: ServerParams) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol_class(params.write_timeout, params.header_timeout, params.body_timeout, params.max_connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=params.access_log,
        proxy_headers=False,  # who asks is known by keys; addresses in headers are anybody's word
        server_header=False,
        backlog=1024,
        timeout_keep_alive=params.keep_alive_timeout,
        timeout_graceful_shutdown=params.shutdown_timeout,
        ssl_keyfile=params.ssl_keyfile,
        ssl_certfile=params.ssl_certfile,
        ssl_keyfile_password=params.ssl_keyfile_password,
    )


def _log_to_stderr() -> None:
    """Warnings and errors, and what uvicorn says of requests; unless the program has set up logging itself."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)


def _ready_line(models: Models, listening: socket.socket, params: ServerParams) -> str:
    from llama_bind.core.cpu import available_memory

    host, port = listening.getsockname()[:2]
    scheme = "https" if params.ssl_certfile else "http"
    base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    chat = f"chat: {base}/, " if params.chat_page else ""
    ready = f"llama_bind is ready at {base}/v1 ({chat}docs: {base}/docs):"
    free = available_memory()
    if models.several:
        names = ", ".join(one.names[0] + (" (loaded)" if one.llm else "") for one in models.services)
        room = "" if models.budget is None else f", {human_size(models.budget)} of memory for them"
        return f"{ready} {len(models.services)} models: {names}{room}"
    service = models.default
    if service.llm is None:
        return f"{ready} {service.names[0]}, which is loaded when it is needed"
    model = service.llm.model
    memory = f"{human_size(model.size)} of weights" + ("" if free is None else f", {human_size(free)} free")
    slots = f"{service.slots} slots, {service.llm.n_ctx()} tokens each at most"
    return f"{ready} {service.names[0]}, {slots}, {memory}"
