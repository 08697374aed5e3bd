from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from llama_bind import params
from llama_bind.calls import RANDOM_SEED, Seeds, as_list, read_call, split
from llama_bind.errors import InputError, UnknownOptionError
from llama_bind.options import build, nearest, option, options_of, validate
from llama_bind.params import ContextParams, LlamaParams, ModelParams, SamplingParams
from llama_bind.version import __version__
from tests.docs.pages import ROOT

ALL = [getattr(params, n) for n in params.__all__ if n.endswith("Params")]


@dataclasses.dataclass(frozen=True)
class Sample:
    count: int = option(3, "A count.", low=0, high=10)
    share: float | None = option(None, "A share.", above=0, high=1)
    mode: str = option("a", "A mode.", choices=("a", "b"))
    flag: bool = option(False, "A flag.")
    even: int = option(2, "Even.", check=lambda v: "must be even" if v % 2 else None)


@pytest.mark.parametrize("cls", ALL)
def test_every_option_has_words_and_a_default_that_is_allowed(cls: type[Any]) -> None:
    validate(cls())
    assert options_of(cls).keys() == {f.name for f in dataclasses.fields(cls)}
    for name, entry in options_of(cls).items():
        assert entry.doc.endswith("."), name


def test_no_name_means_two_things() -> None:
    loading = [n for cls in (ModelParams, ContextParams, LlamaParams) for n in options_of(cls)]
    assert len(loading) == len(set(loading))
    calling = [n for cls in (SamplingParams, params.RequestParams, params.ChatParams) for n in options_of(cls)]
    assert len(calling) == len(set(calling))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": -1}, "at least 0"),
        ({"count": 11}, "at most 10"),
        ({"count": 1.5}, "whole number"),
        ({"count": True}, "whole number"),
        ({"count": None}, "must not be None"),
        ({"share": 0}, "above 0"),
        ({"share": math.nan}, "finite"),
        ({"share": "x"}, "number"),
        ({"mode": "c"}, "one of 'a', 'b'"),
        ({"flag": 1}, "True or False"),
        ({"even": 3}, "must be even"),
    ],
)
def test_bad_values_say_what_is_wanted(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        build(Sample, given, "sample()")
    assert caught.value.param == next(iter(given))


def test_good_values_pass_and_none_is_the_default_where_it_may_be() -> None:
    assert build(Sample, {"count": 0, "share": None, "mode": "b"}, "sample()").mode == "b"


def test_unknown_names_bring_the_nearest() -> None:
    with pytest.raises(UnknownOptionError, match=r"sample\(\) got an unexpected keyword argument 'cuont'.*'count'"):
        build(Sample, {"cuont": 1}, "sample()")
    assert nearest("zzz", ["count"]) is None


def test_mutable_defaults_are_refused() -> None:
    with pytest.raises(TypeError, match="immutable"):
        option([], "A list.")


def test_split_divides_and_drops_none() -> None:
    model, context = split({"n_ctx": 5, "use_mmap": None}, (ModelParams, ContextParams), "f()")
    assert (model, context) == ({}, {"n_ctx": 5})


def test_a_call_takes_defaults_from_the_model() -> None:
    call = read_call({"top_k": 7, "temperature": None}, SamplingParams(temperature=0.3), "f()")
    assert (call.sampling.top_k, call.sampling.temperature) == (7, 0.3)


def test_requests_of_a_call() -> None:
    call = read_call({"n": 3, "max_tokens": -1, "stop": "x", "logprobs": True}, SamplingParams(), "f()")
    requests = call.requests([1, 2], RANDOM_SEED - 1, stop=["y"], echo_logprobs=True)
    assert [r.seed for r in requests] == [RANDOM_SEED - 1, 0, 1]
    assert all(r.max_tokens is None and r.stop == ("y", "x") and r.logprobs == 0 for r in requests)
    assert [r.prompt_logprobs for r in requests] == [0, None, None]
    assert all(r.buffered for r in requests)


@pytest.mark.parametrize(
    ("given", "want"), [({}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 4}, 4)]
)
def test_chat_logprobs(given: dict[str, Any], want: int | None) -> None:
    assert read_call(given, SamplingParams(), "f()", chat=True).logprobs == want


@pytest.mark.parametrize("given", [{"logprobs": 3}, {"top_logprobs": 2}, {"logprobs": False, "top_logprobs": 2}])
def test_chat_logprobs_of_the_wrong_kind(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read_call(given, SamplingParams(), "f()", chat=True)


def test_seeds() -> None:
    assert Seeds(1).next(5) == 5
    assert Seeds(1).next(0) == 0
    assert Seeds(1).next(2**32 + 5) == 5
    assert [Seeds(1).next(None)] == [Seeds(1).next(None)]
    first, second = (Seeds(seed) for seed in (None, -1))
    drawn = {s.next(given) for s in (first, second) for given in (None, -1, RANDOM_SEED)}
    assert len(drawn) == 6
    assert all(0 <= seed < RANDOM_SEED for seed in drawn)


def test_lists_of_functions() -> None:
    def one(_a: Any, _b: Any) -> bool:
        return True

    assert as_list(None, "x") == ()
    assert as_list(one, "x") == (one,)
    assert as_list([one, one], "x") == (one, one)
    with pytest.raises(InputError):
        as_list([1], "x")


def test_the_version_is_that_of_the_project() -> None:
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
