from __future__ import annotations

import pytest

from llama_bind.engine.budget import FIRST, LEAST, StepBudget


def test_nothing_is_held_back_while_nobody_decodes_or_without_a_target() -> None:
    assert StepBudget(0.1, 512).prompt_tokens(0) == 512
    assert StepBudget(None, 512).prompt_tokens(9) == 512


def settled(budget: StepBudget, *, base: float, token: float, n: int = 40) -> int:
    """Prompt tokens after a while on a machine where a step takes `base` and `token` for each prompt token."""
    for _ in range(n):
        budget.observe(4, 0, base)
        count = budget.prompt_tokens(4)
        budget.observe(4, count, base + token * count)
    return budget.prompt_tokens(4)


@pytest.mark.parametrize(("base", "token"), [(0.02, 0.001), (0.05, 0.0002), (0.001, 0.003)])
def test_steps_come_to_take_what_was_asked_for(base: float, token: float) -> None:
    count = settled(StepBudget(0.1, 2048), base=base, token=token)
    assert base + token * count == pytest.approx(0.1, rel=0.05)


def test_it_starts_carefully_and_never_stops_altogether() -> None:
    budget = StepBudget(0.01, 512)
    assert budget.prompt_tokens(2) == FIRST
    assert settled(budget, base=0.5, token=0.1) == LEAST
    assert StepBudget(0.01, 4).prompt_tokens(2) == 4, "a batch may be smaller than the least"


def test_a_machine_that_gets_slower_gets_less() -> None:
    budget = StepBudget(0.1, 2048)
    fast = settled(budget, base=0.01, token=0.0005)
    assert settled(budget, base=0.01, token=0.005) < fast / 5


def test_a_slow_step_now_and_then_does_not_count_for_much() -> None:
    budget = StepBudget(0.1, 2048)
    before = settled(budget, base=0.02, token=0.001)
    budget.observe(4, 0, 0.2)
    assert budget.prompt_tokens(4) > before / 2


def test_texts_to_embed_have_a_budget_of_their_own() -> None:
    budget = StepBudget(0.1, 512)
    budget.observe(2, 0, 0.02)
    assert budget.embed_tokens(2) == FIRST
    for _ in range(20):
        budget.observe_embed(100, 0.2)
    assert budget.embed_tokens(2) == pytest.approx(40, abs=1)
    assert budget.embed_tokens(0) == 512
