"""What stands between a route's calls and the engine: prompts that are too long are refused, tokens are counted.

Not for: limits that are known before the prompt is (``requests``), or what a key may use (``accounts``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llama_bind.server.accounts import Account
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.values import FinishEvent

if TYPE_CHECKING:
    from llama_bind.engine.request import Request

__all__ = ["Meter"]


@dataclasses.dataclass(frozen=True)
class Meter:
    """See `llama_bind.aio.Meter`.

    Attributes:
        account: Whose tokens are counted; None: nobody's.
        max_prompt_tokens: Most tokens of a prompt; None: as many as the engine takes.
    """

    account: Account | None
    max_prompt_tokens: int | None

    def check(self, requests: Sequence[Request]) -> None:
        """Whether prompts may be computed.

        Raises:
            ApiError: 400, one is too long.
        """
        longest, most = max((len(request.prompt) for request in requests), default=0), self.max_prompt_tokens
        if most is not None and longest > most:
            said = f"The prompt has {longest} tokens; this server takes at most {most}."
            code = "context_length_exceeded"
            raise ApiError(400, INVALID, code, said, n_prompt_tokens=longest, max_prompt_tokens=most)

    def submitted(self, requests: Sequence[Request]) -> None:
        """Prompts will be computed; one that several requests share counts once."""
        if self.account is not None:
            self.account.spend(sum({id(request.prompt): len(request.prompt) for request in requests}.values()))

    def finished(self, event: FinishEvent) -> None:
        """A request has ended, also one whose client left."""
        if self.account is not None:
            self.account.spend(event.usage.completion_tokens)
