"""Several models in one configuration: a table for each, whose options are its own, above those that all have.

Not for: a single model (``settings``), or reading files (``config_file``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_bind.errors import InputError
from llama_bind.options import options_of, refuse_unknown
from llama_bind.server.params import ServerParams
from llama_bind.server.settings import Settings, known_options

__all__ = ["several"]

OWN = ("name", "aliases", "model", "preload", "idle_timeout")
"""What only a model's table has."""


def several(model: str | Path | None, models: Any, common: Mapping[str, Any]) -> Settings:
    """The settings of a server of several models.

    Args:
        model: Must be None: the tables name the models.
        models: The tables.
        common: Options for all.

    Raises:
        UnknownOptionError: a name that is none of the options of a model; names the nearest.
        InputError: a value that is not allowed, or a name that two models have.
    """
    if model is not None:
        raise InputError("the configuration lists its models; leave out the other one", param="model")
    if not isinstance(models, (list, tuple)) or not models or not all(isinstance(one, Mapping) for one in models):
        raise InputError("models must be a list of tables, one for each model", param="models")
    if common.get("model_alias"):
        raise InputError("model_alias is for one model; give each of several its aliases", param="model_alias")
    base = Settings.of(**common)
    each = tuple(_one(number, table, common, base.server) for number, table in enumerate(models))
    seen: dict[str, int] = {}
    for number, one in enumerate(each):
        for name in one.names:
            if name in seen:
                said = f"models {seen[name] + 1} and {number + 1} are both called {name!r}; give them names"
                raise InputError(said, param="models")
            seen[name] = number
    return dataclasses.replace(base, models=each)


def _one(number: int, table: Mapping[Any, Any], common: Mapping[str, Any], server: ServerParams) -> Settings:
    given = {str(name).replace("-", "_"): value for name, value in table.items()}
    where = f"model {number + 1} of the configuration"
    name = given.get("name", given.get("model"))
    if isinstance(name, str):
        where += f" ({Path(name).name})"
    of_server = set(options_of(ServerParams)) - set(OWN)
    for option in given:
        if option in of_server:
            raise InputError(f"{where}: {option} is for the whole server; put it above the models", param=option)
    refuse_unknown(given, [*OWN, *(known for known in known_options() if known not in of_server)], where)
    own = {option: given.pop(option, None) for option in OWN}
    _check(own, where)
    loading = {k: v for k, v in common.items() if k not in options_of(ServerParams)}
    try:
        made = Settings.of(own["model"] or own["name"], **{**loading, **given})
    except InputError as error:
        raise InputError(f"{where}: {error}", param=error.param) from error
    return dataclasses.replace(
        made,
        server=server,
        name=own["name"],
        aliases=tuple(own["aliases"] or ()),
        preload=bool(own["preload"]),
        idle_timeout=own["idle_timeout"],
    )


def _check(own: Mapping[str, Any], where: str) -> None:
    for option in ("name", "model"):
        if own[option] is not None and (not isinstance(own[option], str) or not own[option].strip()):
            raise InputError(f"{where}: {option} must be a text", param=option)
    if own["name"] is None and own["model"] is None:
        raise InputError(f"{where}: give model, its file or name", param="model")
    aliases = own["aliases"]
    if aliases is not None and (
        not isinstance(aliases, (list, tuple)) or not all(isinstance(alias, str) and alias for alias in aliases)
    ):
        raise InputError(f"{where}: aliases must be a list of texts", param="aliases")
    if aliases and own["name"] is None:
        raise InputError(f"{where}: a model with aliases needs a name", param="name")
    if own["preload"] is not None and not isinstance(own["preload"], bool):
        raise InputError(f"{where}: preload must be true or false", param="preload")
    seconds = own["idle_timeout"]
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0):
        raise InputError(f"{where}: idle_timeout must be a number above 0", param="idle_timeout")
