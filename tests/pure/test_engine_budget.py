from __future__ import annotations

import pytest

from llama_bind.engine.budget import FIRST, LEAST_SHARE, STEADY, WORTH, StepBudget


def test_nothing_is_held_back_while_nobody_decodes_or_without_a_target() -> None:
    assert StepBudget(0.1, 512).prompt_tokens(0, [9999]) == 512
    assert StepBudget(None, 512).prompt_tokens(9, [9999]) == 512


def steps(
    budget: StepBudget, *, base: float, token: float, n: int = 400, wanted: int = 9999
) -> list[tuple[int, float]]:
    """Prompt tokens and seconds of steps where one takes `base` and `token` for each prompt token."""
    taken = []
    for _ in range(n):
        count = budget.prompt_tokens(4, [wanted])
        seconds = base + token * count
        budget.observe(4, count, seconds)
        taken.append((count, seconds))
    return taken


@pytest.mark.parametrize(("base", "token"), [(0.02, 0.001), (0.05, 0.0002), (0.001, 0.003), (0.03, 0.008), (0.09, 0.1)])
def test_steps_come_to_take_what_was_asked_for_on_the_average(base: float, token: float) -> None:
    budget = StepBudget(0.1, 2048)
    budget.observe(4, 0, base)
    steps(budget, base=base, token=token, n=2000)
    later = steps(budget, base=base, token=token, n=2000)
    mean = sum(seconds for _, seconds in later) / len(later)
    assert mean == pytest.approx(max(0.1, base * (1 + LEAST_SHARE)), rel=0.05)
    assert all(count == 0 or count >= STEADY for count, _ in later), "small computations are wasteful"


def test_nineteen_steps_in_twenty_are_undisturbed_where_the_target_leaves_little() -> None:
    budget = StepBudget(0.05, 512)
    budget.observe(4, 0, 0.032)
    taken = steps(budget, base=0.032, token=0.007, n=600)[100:]
    slow = [seconds for count, seconds in taken if count]
    assert 0 < len(slow) < 0.05 * len(taken)


def test_steps_are_all_alike_where_each_pays_for_some_tokens() -> None:
    budget = StepBudget(0.1, 512)
    budget.observe(4, 0, 0.02)
    taken = steps(budget, base=0.02, token=0.0025)[20:]
    assert {count for count, _ in taken} <= set(range(STEADY, WORTH))
    assert max(seconds for _, seconds in taken) <= 1.1 * 0.1


def test_it_starts_carefully_and_never_stops_altogether() -> None:
    budget = StepBudget(0.01, 512)
    assert budget.prompt_tokens(2, [500]) == FIRST
    budget.observe(4, 0, 0.5)
    taken = steps(budget, base=0.5, token=0.1)
    prompts = sum(seconds - 0.5 for _, seconds in taken[60:])
    assert prompts / (0.5 * len(taken[60:])) == pytest.approx(LEAST_SHARE, rel=0.2)
    assert StepBudget(0.01, 4).prompt_tokens(2, [500]) == 4, "a batch may be smaller than the least"


def test_a_batch_smaller_than_what_is_worth_a_step_is_no_reason_to_wait_for_ever() -> None:
    budget = StepBudget(0.1, 16)
    assert sum(count for count, _ in steps(budget, base=0.02, token=0.001)) > 16 * 100


def test_a_short_prompt_is_computed_at_once() -> None:
    budget = StepBudget(0.1, 512)
    steps(budget, base=0.05, token=0.004)
    steps(budget, base=0.05, token=0.004, n=10, wanted=0)
    assert budget.prompt_tokens(4, [20]) >= 20, "what was left of the steps before pays for it"


def test_a_pause_is_no_reason_for_a_burst() -> None:
    budget = StepBudget(0.1, 512)
    steps(budget, base=0.05, token=0.004)
    for _ in range(1000):
        budget.observe(4, 0, 0.05)
    assert budget.prompt_tokens(4, [9999]) <= 1.3 * WORTH


def test_a_machine_that_gets_slower_gets_less() -> None:
    budget = StepBudget(0.1, 2048)
    fast = sum(count for count, _ in steps(budget, base=0.01, token=0.0005)[100:])
    steps(budget, base=0.01, token=0.005)
    assert sum(count for count, _ in steps(budget, base=0.01, token=0.005)[100:]) < fast / 5


def test_a_slow_step_now_and_then_does_not_count_for_much() -> None:
    budget = StepBudget(0.1, 2048)
    before = steps(budget, base=0.02, token=0.001)[-1][0]
    budget.observe(4, 0, 0.2)
    assert budget.prompt_tokens(4, [9999]) > before / 2


def test_texts_to_embed_have_a_budget_of_their_own() -> None:
    budget = StepBudget(0.1, 512)
    budget.observe(2, 0, 0.02)
    assert budget.embed_tokens(2) == FIRST
    for _ in range(20):
        budget.observe_embed(100, 0.2)
    assert budget.embed_tokens(2) == pytest.approx(40, abs=1)
    assert budget.embed_tokens(0) == 512


def test_many_prompts_go_before_few_texts() -> None:
    budget = StepBudget(0.25, 2048)
    budget.observe(1, 0, 0.01)
    budget.observe(1, 32, 0.09)
    assert budget.prompt_tokens(1, [60] * 15) == 120, "as many whole prompts as the target pays for"
    budget.observe(1, 120, 0.31)
    assert budget.prompt_tokens(1, [900]) < 200, "one prompt has to wait as ever"
    budget.observe(1, 0, 0.01)
    budget.observe(1, 0, 0.01)
    assert budget.prompt_tokens(1, [60]) == 60, "what the many took is not owed"
    assert budget.prompt_tokens(15, [600] * 15) <= 200, "as many texts as prompts: the texts keep their pace"


def test_where_nobody_decodes_prompts_come_one_after_another() -> None:
    budget = StepBudget(0.25, 2048)
    assert budget.prompt_tokens(0, [60] * 15) == 240, "nothing is known yet"
    budget.observe(0, 240, 0.6)
    assert budget.prompt_tokens(0, [30] * 15) == 90
    assert budget.prompt_tokens(0, [30, 900]) == 30, "a short one does not wait for a long one"
    assert budget.prompt_tokens(0, [900, 30]) == 900, "there is nobody to cut the first one short for"
    assert budget.prompt_tokens(0, [9000, 30]) == 2048


@pytest.mark.parametrize(("base", "token"), [(0.08, 0.0025), (0.2, 0.006)])
def test_a_crowd_that_ends_at_once_and_comes_again_is_served_as_without_a_target(base: float, token: float) -> None:
    """16 clients in a closed loop, 60 + 64 tokens each, on a modelled machine: the time for 20 rounds of them."""

    def wall(target: float | None) -> float:
        budget, clock = StepBudget(target, 2048), 0.0
        left, todo = [0] * 16, [60] * 16  # tokens to generate; prompt tokens to compute
        since, rounds = [0.0] * 16, 0
        late: list[int] = []  # who asks again a moment after the first of those that ended with them
        while rounds < 320:
            decoding = [i for i in range(16) if not todo[i] and left[i] > 0]
            prompts = sorted((i for i in range(16) if todo[i]), key=lambda i: since[i])
            room = budget.prompt_tokens(len(decoding), [todo[i] for i in prompts])
            count = 0
            for i in prompts:
                part = min(todo[i], room - count)
                todo[i] -= part
                left[i] = 64
                count += part
            seconds = base * (0.3 + 0.7 * len(decoding) / 16) * bool(decoding) + token * count
            budget.observe(len(decoding), count, seconds)
            clock += seconds
            for i in late:
                todo[i], since[i] = 60, clock
            late = []
            for i in decoding:
                left[i] -= 1
                if left[i] == 0:
                    rounds += 1
                    late.append(i)
            if late:
                since[late[0]] = clock
                todo[late.pop(0)] = 60
        return clock

    assert wall(0.25) < 1.05 * wall(None)
