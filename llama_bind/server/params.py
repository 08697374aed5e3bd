"""The options of the server itself, besides those of `Llama`: the one definition of flags, environment and config file.

Not for: reading them from anywhere (``settings``), or what single requests ask for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from os import PathLike

from llama_bind.options import option

__all__ = ["ServerParams"]


@dataclasses.dataclass(frozen=True)
class ServerParams:
    """How the server listens, whom it serves, and how much it takes on."""

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for all of this machine's.")
    port: int = option(8000, "Port to listen on; 0: any that is free.", low=0, high=65535)
    model_alias: Sequence[str] | None = option(
        None, "Names of the model for clients, the first of which it is listed under. Unset: the file's name."
    )
    api_key: Sequence[str] | None = option(
        None, "Keys of which requests must bring one (Authorization: Bearer, or X-Api-Key). Unset: none is asked for."
    )
    api_key_file: str | PathLike[str] | None = option(
        None,
        "A file with further keys, one a line; empty lines and lines that begin with # do not count. After a key may "
        "stand limits of its own: concurrency=2 requests_per_minute=60 tokens_per_minute=100000 priority=5.",
        check=lambda v: None if isinstance(v, (str, PathLike)) else "must be a path",
    )
    public_docs: bool | None = option(
        None, "Show /docs and /openapi.json without a key. Unset: only where no keys are set."
    )
    chat_page: bool = option(True, "Show a page to chat with the model at /. Where keys are set it asks for one.")
    trusted_hosts: Sequence[str] | None = option(
        None,
        "Host names that requests may be addressed to; *.example.com is any below it. Unset: this machine's own "
        "names while host is a loopback address, else any.",
    )
    cors_origins: Sequence[str] | None = option(
        None,
        "Origins whose pages may call the server from a browser; * for any, localhost for those of this machine. "
        "Unset: none.",
    )
    ssl_keyfile: str | None = option(None, "Private key for TLS, a PEM file.")
    ssl_certfile: str | None = option(None, "Certificate for TLS, a PEM file.")
    ssl_keyfile_password: str | None = option(None, "Password of ssl_keyfile.")
    root_path: str = option("", "Path under which a proxy in front of the server shows it.")
    max_body_bytes: int = option(16 * 2**20, "Most bytes of a request's body.", low=1024, high=2**40)
    max_body_values: int = option(
        1_000_000,
        "Most values in a request's body, by its commas, colons and brackets: a million takes up to a fifth of a "
        "second to parse, in which nothing else is sent.",
        low=1000,
        high=2**40,
    )
    max_open_body_bytes: int = option(
        512 * 2**20, "Most bytes of the bodies of all requests that have no complete answer yet.", low=1024, high=2**50
    )
    max_connections: int = option(4096, "Most connections at a time; more are told to try again.", low=1, high=10**6)
    max_n: int = option(16, "Most completions that one request may ask for, n and best_of.", low=1, high=128)
    max_prompts: int = option(128, "Most prompts in one request for completions.", low=1, high=100_000)
    max_inputs: int = option(2048, "Most texts in one request for embeddings or ranks.", low=1, high=1_000_000)
    max_logprobs: int = option(20, "Most alternatives for each token that a request may ask for.", low=0, high=1000)
    max_priority: int = option(0, "Highest priority that a request may ask for.", low=-1000, high=1000)
    max_prompt_tokens: int | None = option(
        None, "Most tokens of a prompt or of a text to embed. Unset: what the context holds.", low=1, high=2**31 - 1
    )
    max_schema_bytes: int = option(
        2**20, "Most bytes of a JSON Schema, of tools, or of a grammar in a request.", low=64, high=2**30
    )
    key_concurrency: int | None = option(
        None, "Most requests of one API key at a time; without keys, of all callers together.", low=1, high=10**6
    )
    key_requests_per_minute: int | None = option(None, "Most requests of one key in a minute.", low=1, high=10**9)
    key_tokens_per_minute: int | None = option(
        None, "Most tokens of one key in a minute, of prompts and answers together.", low=1, high=10**12
    )
    memory_budget: int | None = option(
        None,
        "With several models: most bytes of memory for those that are loaded; to stay within it, those are unloaded "
        "that were not used for the longest time and are not in use. Unset: what is free when the server starts.",
        low=0,
        high=2**60,
    )
    idle_timeout: float | None = option(
        None, "Seconds without a request after which a model is unloaded; the next one loads it again. Unset: never.",
        above=0, high=10**8,
    )  # fmt: skip
    load_wait: float = option(
        120.0, "Seconds that a request waits for its model to be loaded, or for memory to load it into; then it gets a "
        "503.", above=0, high=86400,
    )  # fmt: skip
    admin_api_key: Sequence[str] | None = option(
        None, "Keys that may load and unload models, and all that others may. Unset: every caller may load and unload."
    )
    isolate_keys: bool = option(
        False, "Share what was computed of a prompt only between requests of the same key; no time betrays another's."
    )
    max_responses: int = option(
        1000,
        "Most responses of /v1/responses that are kept, in memory; the oldest go first. 0: none.",
        low=0,
        high=10**7,
    )
    max_responses_bytes: int = option(
        256 * 2**20, "Most bytes of kept responses, with what they answer, as JSON.", low=0, high=2**50
    )
    responses_age: float = option(86400.0, "Seconds that a response is kept.", above=0, high=1e9)
    closed_paths: Sequence[str] | None = option(
        None, "Paths that are not served, /slots and /metrics for example: their answer is a 501. Unset: none."
    )
    retry_after: int = option(
        2, "Seconds after which clients should try again when the server is busy or loads.", low=1, high=3600
    )
    keep_alive_comments: float = option(
        15.0, "Seconds without a chunk after which a stream gets a comment, so that proxies keep it open.", above=0,
        high=3600,
    )  # fmt: skip
    keep_alive_timeout: int = option(75, "Seconds that an idle connection is kept open.", low=1, high=86400)
    header_timeout: float = option(
        20.0, "Seconds that a client has to send the head of a request; then its connection ends.", above=0, high=86400
    )
    body_timeout: float = option(
        120.0, "Seconds that a client has to send the body of a request; then it gets a 408.", above=0, high=86400
    )
    write_timeout: float = option(
        60.0, "Seconds that a client may take to read what waits for it; then its connection ends, and its request.",
        above=0, high=86400,
    )  # fmt: skip
    shutdown_timeout: int = option(
        30, "Seconds that running requests have to end after SIGTERM or Ctrl-C.", low=0, high=86400
    )
    access_log: bool = option(False, "Write a line for each request to standard error.")
