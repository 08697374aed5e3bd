"""The way in: each request gets an id, its host, key and announced size are checked, its key's limits are held, and its
answer is counted.

Plain ASGI, before anything is parsed. Not for: what requests ask for (routes), or reading bodies (``body``).
"""

from __future__ import annotations

import collections
import dataclasses
import ipaddress
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from llama_bind.server.accounts import Account, Accounts, Limits
from llama_bind.server.anthropic.errors import in_its_shape, refusal
from llama_bind.server.chat_page import page_paths
from llama_bind.server.errors import AUTHENTICATION, INVALID, ApiError, api_error
from llama_bind.server.keys import Keys
from llama_bind.server.params import ServerParams

__all__ = ["BODY_BYTES", "LEASES", "Caller", "Gate", "Traffic", "caller_of", "too_large"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PUBLIC = frozenset({"/health", "/v1/health"})
"""Paths that need no key."""
DOCS = frozenset({"/docs", "/openapi.json"})
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_SCOPE_KEY = "llama_bind"
LEASES = "llama_bind.leases"
"""Where a scope holds what it uses of models: released when the request is over, its stream included."""
BODY_BYTES = "llama_bind.body_bytes"
"""Where a scope holds how many bytes of its body were read."""


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        id: Of the request.
        key: A name for the API key, None where none are set.
        limits: What the key may use.
        account: What it uses; None where nothing is counted.
    """

    id: str
    key: str | None
    limits: Limits
    account: Account | None


class Traffic:
    """Counts.

    Attributes:
        answers: By path and status.
        open: Requests that have no complete answer yet.
        body_bytes: Bytes of their bodies.
    """

    def __init__(self) -> None:
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()
        self.open = 0
        self.body_bytes = 0


def caller_of(scope: Scope) -> Caller:
    """Who asks; set by the gate."""
    caller: Caller = scope[_SCOPE_KEY]
    return caller


class Gate:
    """ASGI middleware, see the module."""

    def __init__(self, app: App, params: ServerParams, keys: Keys, traffic: Traffic) -> None:
        self._app = app
        self._params = params
        self._keys = keys
        self._traffic = traffic
        self._hosts = _hosts(params)
        self._closed = frozenset(params.closed_paths or ())
        self._public = PUBLIC | (DOCS if params.public_docs else frozenset())
        self._public |= page_paths() if params.chat_page else frozenset()
        everybody = Limits(params.key_concurrency, params.key_requests_per_minute, params.key_tokens_per_minute)
        self._accounts = Accounts(everybody, keys.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, traffic = f"req_{uuid.uuid4().hex}", self._traffic
        account: Account | None = None

        def counted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "")
                traffic.answers[path, message["status"]] += 1
                left = [] if account is None else account.headers()
                if in_its_shape(scope):
                    left = [*left, (b"request-id", request_id.encode())]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *left]
            return send(message)

        traffic.open += 1
        entered = False
        try:
            try:
                key = self._admit(scope)
                account = self._accounts.of(key) if _is_work(scope) else None
                scope[_SCOPE_KEY] = Caller(request_id, key, self._accounts.limits_of(key), account)
                if account is not None:
                    account.enter()
                    entered = True
            except ApiError as error:
                reply = refusal(scope, api_error(error), self._params.retry_after, request_id)
                await reply(scope, receive, counted)
                return
            await self._app(scope, receive, counted)
        finally:
            traffic.open -= 1
            traffic.body_bytes -= scope.get(BODY_BYTES, 0)
            for lease in scope.get(LEASES, ()):
                lease.release()
            if entered and account is not None:
                account.leave()

    def _admit(self, scope: Scope) -> str | None:
        headers = dict(reversed(scope["headers"]))  # of several with one name, the first
        self._check_host(headers.get(b"host", b""))
        key = self._check_key(scope, headers)
        if scope["path"].removeprefix(scope.get("root_path", "")) in self._closed:
            message = "This server was started without this path; its option closed_paths says so."
            raise ApiError(501, INVALID, "closed", message)
        self._check_length(headers.get(b"content-length"))
        return key

    def _check_host(self, host: bytes) -> None:
        if self._hosts is None:
            return
        name = _without_port(host.decode("latin-1")).lower()
        for known in self._hosts:
            if name == known or (known.startswith("*.") and name.endswith(known[1:])) or known == "*":
                return
        message = "This server does not answer to that host name; its option trusted_hosts says to which it does."
        raise ApiError(400, INVALID, "untrusted_host", message)

    def _check_key(self, scope: Scope, headers: dict[bytes, bytes]) -> str | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not self._keys or (path in self._public and scope["method"] in ("GET", "HEAD")):
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not given.strip():
            given = headers.get(b"x-api-key", b"")
        name = self._keys.name_of(given.strip())
        if name is None:
            said = "The API key is wrong." if given.strip() else "An API key is needed: Authorization: Bearer KEY."
            raise ApiError(401, AUTHENTICATION, "invalid_api_key", said, headers={"WWW-Authenticate": "Bearer"})
        return name

    def _check_length(self, announced: bytes | None) -> None:
        if announced is not None and announced.isdigit() and int(announced) > self._params.max_body_bytes:
            raise too_large(self._params.max_body_bytes)


def _is_work(scope: Scope) -> bool:
    """Whether it counts: looking at things does not, nor does ending something, which makes room."""
    return scope["method"] == "POST" and not scope["path"].endswith("/cancel")


def too_large(limit: int) -> ApiError:
    """The answer to a body that is too long. The connection ends with it: the rest of the body is not read."""
    message = f"The request's body is larger than the {limit} bytes that this server takes."
    return ApiError(413, INVALID, "request_too_large", message, headers={"Connection": "close"})


def _hosts(params: ServerParams) -> tuple[str, ...] | None:
    if params.trusted_hosts is not None:
        return tuple(_without_port(host).lower() for host in params.trusted_hosts)
    # A page on the web can make its own name lead to 127.0.0.1; what it may not do is to ask under that name.
    return (*LOCAL_HOSTS, params.host) if _is_local(params.host) else None


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]
