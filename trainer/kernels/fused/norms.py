"""The total norm of the gradients, which the check of a step has found already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import theano
from theano import tensor
from theano.tensor.elemwise import Elemwise

from trainer.kernels.finite import CheckFinite
from trainer.kernels.fused.expressions import is_scalar, is_total, plain


def known_sums(nodes: Sequence[Any]) -> dict[Any, Any]:
    """Give each sum of the squares of all gradients that were checked, with what stands in its place.

    Parameters
    ----------
    nodes : sequence of nodes
        Those of the updates, as far as the gradients.
    """
    found: dict[Any, Any] = {}
    for node in nodes:
        output = node.outputs[0]
        if not _is_sum(node) or not is_scalar(output):
            continue
        squared = [_squared(term) for term in _terms(output)]
        if any(gradient is None for gradient in squared):
            continue
        gradients = {gradient for gradient in squared if gradient is not Zero}
        checked = _check_of(gradients)
        if checked is not None and len(gradients) == checked.op.count == len(squared) - squared.count(Zero):
            found[output] = tensor.cast(tensor.sqr(checked.outputs[0]), output.dtype)
    return found


class Zero:
    """What adds nothing to a sum."""


def _is_sum(node: Any) -> bool:
    return node is not None and isinstance(node.op, Elemwise) and node.op.scalar_op == theano.scalar.add


def _terms(total: Any) -> list[Any]:
    terms, waiting = [], [total]
    while waiting:
        term = plain(waiting.pop())
        if _is_sum(term.owner):
            waiting += term.owner.inputs
        else:
            terms.append(term)
    return terms


def _squared(term: Any) -> Any:
    """Give the tensor the sum of whose squares a term is, or None."""
    if isinstance(term, theano.gof.Constant):
        return Zero if not np.any(term.data) else None
    given = term.owner.inputs[0] if is_total(term.owner) else None
    if given is None or given.owner is None or not isinstance(given.owner.op, Elemwise):
        return None
    return given.owner.inputs[0] if given.owner.op.scalar_op == theano.scalar.sqr else None


def _check_of(gradients: Collection[Any]) -> Any:
    """Give the check that all of these went through, or None."""
    owners = {gradient.owner for gradient in gradients}
    owner = owners.pop() if len(owners) == 1 else None
    return owner if owner is not None and isinstance(owner.op, CheckFinite) else None
