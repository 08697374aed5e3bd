"""Which models make room for another."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from llama_bind.server.pool import Held, to_unload

HELD = st.lists(
    st.builds(
        Held,
        name=st.just(""),
        size=st.integers(0, 100),
        busy=st.booleans(),
        used=st.integers(0, 20).map(float),
    ),
    max_size=6,
).map(lambda held: [Held(str(i), one.size, one.busy, one.used) for i, one in enumerate(held)])


def test_examples() -> None:
    held = [Held("a", 4, False, 3.0), Held("b", 4, False, 1.0), Held("c", 4, True, 0.0)]
    assert to_unload(held, 4, 16) == []
    assert to_unload(held, 4, None) == []
    assert to_unload(held, 4, 12) == ["b"], "the one that was not used for the longest time"
    assert to_unload(held, 8, 12) == ["b", "a"]
    assert to_unload(held, 9, 12) is None, "one that is in use stays"
    assert to_unload([], 9, 8) is None
    large = [Held("small", 1, False, 1.0), Held("large", 8, False, 2.0)]
    assert to_unload(large, 5, 10) == ["large"], "the small one would not have been enough, and is not needed then"


@given(HELD, st.integers(0, 200), st.integers(0, 300))
def test_what_is_chosen_is_idle_enough_and_needed(held: list[Held], size: int, budget: int) -> None:
    by_name = {one.name: one for one in held}
    chosen = to_unload(held, size, budget)
    idle = [one for one in held if not one.busy]
    fixed = sum(one.size for one in held if one.busy) + size
    if chosen is None:
        assert fixed > budget, "not even all together would do"
        return
    assert fixed <= budget or fixed + sum(one.size for one in idle) <= budget
    assert not any(by_name[name].busy for name in chosen)
    left = sum(one.size for one in held if one.name not in chosen) + size
    assert left <= budget
    for name in chosen:
        assert left + by_name[name].size > budget, "every one of them is needed"
    used = [by_name[name].used for name in chosen]
    assert used == sorted(used)


@given(HELD, st.integers(0, 200), st.integers(0, 300))
def test_one_used_more_lately_goes_only_where_those_before_are_not_enough(
    held: list[Held], size: int, budget: int
) -> None:
    chosen = to_unload(held, size, budget)
    if not chosen:
        return
    by_name = {one.name: one for one in held}
    last = max(by_name[name].used for name in chosen)
    older = [one for one in held if not one.busy and one.used < last]
    over = sum(one.size for one in held) + size - budget
    assert sum(one.size for one in older) < over, "without the last one there would not have been enough"
    assert all(
        sum(one.size for one in some) < over for n in range(len(older) + 1) for some in itertools.combinations(older, n)
    )
