"""A radix tree over token ids: who holds the longest beginning of a prompt. Pure.

A holder (a slot of the context, or a saved state) holds one path of tokens from the root. Edges carry runs of tokens;
each salt has a tree of its own, so tenants that salt differently never meet. Not for: deciding what to share
(prefix_cache), or who has computed how much of its path (the caller knows).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["RadixTree", "Tokens", "common_prefix"]

Tokens = npt.NDArray[np.int32]
H = TypeVar("H", bound=Hashable)

FIRST_LOOK = 16


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many tokens `a` and `b` share from the start."""
    n = min(len(a), len(b))
    if n > FIRST_LOOK and (a[:FIRST_LOOK] != b[:FIRST_LOOK]).any():  # most pairs differ early
        n = FIRST_LOOK
    if n == 0:
        return 0
    different = a[:n] != b[:n]
    first = int(different.argmax())
    return first if different[first] else n


class _Node(Generic[H]):
    __slots__ = ("children", "edge", "ends", "parent", "through")

    def __init__(self, edge: Tokens, parent: _Node[H] | None) -> None:
        self.edge = edge
        self.parent = parent
        self.children: dict[int, _Node[H]] = {}
        self.through: dict[H, None] = {}  # whose path comes this far or farther; a dict, for an order that is certain
        self.ends: dict[H, None] = {}


class RadixTree(Generic[H]):
    """Paths of tokens by holder. Costs grow with the length of a path, not with the number of holders."""

    def __init__(self) -> None:
        self._roots: dict[bytes, _Node[H]] = {}
        self._places: dict[H, tuple[bytes, _Node[H], int]] = {}

    def __contains__(self, holder: H) -> bool:
        return holder in self._places

    def __len__(self) -> int:
        return len(self._places)

    def length(self, holder: H) -> int:
        """Tokens of a holder's path; 0 for one that has none."""
        place = self._places.get(holder)
        return 0 if place is None else place[2]

    def insert(self, holder: H, tokens: Tokens, salt: bytes = b"") -> None:
        """Give `holder` the path `tokens`, in place of the one it had. An empty path is none."""
        self.remove(holder)
        if len(tokens) == 0:
            return
        tokens = np.array(tokens, np.int32)  # a copy: the caller's may grow or be shared
        node = self._roots.setdefault(salt, _Node(tokens[:0], None))
        left = tokens
        while len(left):
            child = node.children.get(int(left[0]))
            if child is None:
                child = node.children[int(left[0])] = _Node(left, node)
            else:
                shared = common_prefix(child.edge, left)
                if shared < len(child.edge):
                    child = self._split(child, shared)
            child.through[holder] = None
            left = left[len(child.edge) :]
            node = child
        node.ends[holder] = None
        self._places[holder] = (salt, node, len(tokens))

    def remove(self, holder: H) -> None:
        """Forget a holder's path. One that has none is no error."""
        place = self._places.pop(holder, None)
        if place is None:
            return
        salt, node, _ = place
        del node.ends[holder]
        current: _Node[H] | None = node
        while current is not None and current.parent is not None:
            parent = current.parent
            del current.through[holder]
            if not current.through:
                del parent.children[int(current.edge[0])]
            current = parent
        if not self._roots[salt].children:
            del self._roots[salt]

    def matches(self, tokens: Tokens, salt: bytes = b"") -> Iterator[tuple[H, int, bool]]:
        """Who shares a beginning with `tokens`: (holder, shared tokens, whether that is its whole path), longest first.

        A holder comes once for each node of the tree that it shares, the deepest first.
        """
        for node, depth in reversed(self._walk(tokens, salt)):
            whole = depth == self._depth(node)
            for holder in node.through:
                yield holder, depth, whole and holder in node.ends

    def _walk(self, tokens: Tokens, salt: bytes) -> list[tuple[_Node[H], int]]:
        found: list[tuple[_Node[H], int]] = []
        node = self._roots.get(salt)
        depth = 0
        while node is not None and depth < len(tokens):
            node = node.children.get(int(tokens[depth]))
            if node is None:
                break
            shared = common_prefix(node.edge, tokens[depth : depth + len(node.edge)])
            depth += shared
            found.append((node, depth))
            if shared < len(node.edge):
                break
        return found

    def _depth(self, node: _Node[H]) -> int:
        depth, current = 0, node
        while current.parent is not None:
            depth += len(current.edge)
            current = current.parent
        return depth

    def _split(self, node: _Node[H], at: int) -> _Node[H]:
        """Cut an edge in two; gives the upper node."""
        assert node.parent is not None
        upper: _Node[H] = _Node(node.edge[:at], node.parent)
        upper.through = dict(node.through)
        node.parent.children[int(upper.edge[0])] = upper
        upper.children[int(node.edge[at])] = node
        node.edge = node.edge[at:]
        node.parent = upper
        return upper
