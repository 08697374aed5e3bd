from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest

from llama_bind.core.sampler import Sampler
from llama_bind.core.stepper import Stepper
from llama_bind.errors import DecodeAbortedError
from llama_bind.lib import guard_h
from llama_bind.params import SamplingParams
from tests.core_helpers import filled, make_context, shared_model


def argmax(x: npt.NDArray[np.float32]) -> int:
    return guard_h.lb_argmax(x.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), len(x))


def sampler(**options: object) -> Sampler:
    params = SamplingParams(**options)  # type: ignore[arg-type]
    return Sampler.create(shared_model().vocab, params, n_ctx=256, seed=3)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 1.5}, {"repeat_penalty": 1.3}])
def test_steps_give_the_tokens_that_decode_and_sample_give(options: dict[str, float]) -> None:
    slow, fast = make_context(), make_context()
    slow_sampler, fast_sampler = sampler(**options), sampler(**options)
    batch = filled(slow)
    filled(fast)
    want = [slow_sampler.sample(slow)]
    for i in range(20):
        batch.clear()
        batch.append(want[-1], 4 + i, 0, True)
        slow.decode(batch)
        want.append(slow_sampler.sample(slow))
    got = [fast_sampler.sample(fast)]
    with Stepper(fast, fast_sampler, 0) as step:
        for i in range(20):
            got.append(step(got[-1], 4 + i))
    assert got == want


def test_an_abort_stops_a_step_and_frees_the_context() -> None:
    context, chain = make_context(), sampler(temperature=0.0)
    filled(context)
    context.request_abort()
    with pytest.raises(DecodeAbortedError), Stepper(context, chain, 0) as step:
        step(5, 4)
    context.clear_abort()
    with Stepper(context, chain, 0) as step:
        assert step(5, 4) >= 0


def test_grammars_and_callbacks_take_the_long_way() -> None:
    assert Stepper.can_step(make_context(), sampler())
    assert not Stepper.can_step(make_context(), sampler(grammar='root ::= "a"'))
    assert not Stepper.can_step(make_context(abort_callback=lambda: False), sampler())


def test_argmax_is_the_first_of_the_largest() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 2, 31, 32, 33, 100, 1000, 49152):
        for _ in range(20):
            x = rng.integers(-5, 5, n).astype(np.float32)
            assert argmax(x) == int(np.argmax(x))
    special = np.array([1, np.nan, 3, np.inf, np.inf, -np.inf] * 20, np.float32)
    assert argmax(special) == 3
    assert argmax(np.full(50, np.nan, np.float32)) == 0
    assert argmax(np.full(50, -np.inf, np.float32)) == 0


def test_a_greedy_sampler_knows_itself() -> None:
    assert sampler(temperature=0.0).is_greedy
    assert not sampler(temperature=0.0, repeat_penalty=1.1).is_greedy
    assert sampler(temperature=0.0, logit_bias={5: 1.0}).is_greedy
    assert not sampler().is_greedy
