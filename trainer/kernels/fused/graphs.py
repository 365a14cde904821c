"""Walks through expressions that stop where they are told to.

Theano's own go on behind a variable where another output of the same node is not among those that stop them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def nodes_between(starts: Collection[Any], ends: Sequence[Any]) -> list[Any]:
    """Give the nodes by which some variables are computed from others, each after those that it needs."""
    order: list[Any] = []
    done: set[Any] = set()
    waiting = [(end.owner, False) for end in reversed(ends) if end.owner is not None and end not in starts]
    while waiting:
        node, ready = waiting.pop()
        if node in done:
            continue
        if ready:
            done.add(node)
            order.append(node)
            continue
        waiting.append((node, True))
        needed = [each.owner for each in node.inputs if each.owner is not None and each not in starts]
        waiting += [(each, False) for each in reversed(needed) if each not in done]
    return order


def rebuilt(nodes: Sequence[Any], wanted: Sequence[Any], replaced: Mapping[Any, Any]) -> list[Any]:
    """Give variables as they are where others stand in the places of some.

    Parameters
    ----------
    nodes : sequence of nodes
        Those that may change, each after those that it needs. Only those that do are copied.
    wanted : sequence of variables
        What is asked for.
    replaced : mapping
        Variables to those that stand in their places.
    """
    known = dict(replaced)
    for node in nodes:
        if all(output in known for output in node.outputs):
            continue
        inputs = [known.get(each, each) for each in node.inputs]
        if all(new is old for new, old in zip(inputs, node.inputs, strict=True)):
            continue
        made = node.clone_with_new_inputs(inputs, strict=False)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            known.setdefault(old, new)
    return [known.get(each, each) for each in wanted]
