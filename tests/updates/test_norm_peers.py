"""Rules with norms, states of other shapes, or parameters together, against what peers do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano

from tests.updates.following import STEPS, UNCOMPILED
from trainer import updates

TABLE = json.loads((Path(__file__).parent.parent / "references" / "norm_rules.json").read_text())
Case = tuple[Callable[[list[Any], list[Any]], Any], float]
PEERS: dict[str, Case] = {
    "lamb, optax": (lambda g, p: updates.lamb(g, p, 0.02), 1e-12),
    "lars, optax": (lambda g, p: updates.lars(g, p, 0.1, trust_coefficient=0.2, weight_decay=0), 1e-12),
    # Optax reckons the decay in float32.
    "adafactor, optax": (lambda g, p: updates.adafactor(g, p, 0.02, relative_step=False), 1e-6),
    "adafactor, torch": (lambda g, p: updates.adafactor(g, p, 0.02), 1e-12),
    "sm3, optax": (lambda g, p: updates.apply_momentum(updates.sm3(g, p, 0.01), p), 1e-7),
    "schedule_free_sgd, optax": (lambda g, p: updates.schedule_free_sgd(g, p, 0.5, weight_decay=0.01), 1e-12),
    "schedule_free_sgd, authors": (
        lambda g, p: updates.schedule_free_sgd(g, p, 0.5, weight_decay=0.01, warmup_steps=20),
        1e-12,
    ),
    "schedule_free_adamw, optax": (
        lambda g, p: updates.schedule_free_adamw(g, p, 0.05, weight_decay=0.01),
        1e-12,
    ),
    "schedule_free_adamw, authors": (
        lambda g, p: updates.schedule_free_adamw(g, p, 0.05, weight_decay=0.01, warmup_steps=20),
        1e-12,
    ),
    "prodigy, authors": (
        lambda g, p: updates.prodigy(g, p, d0=1e-3, weight_decay=0.01, epsilon=1e-20),
        1e-10,
    ),
    "muon, optax": (lambda g, p: updates.muon(g, p, nesterov=False), 1e-6),
    # PyTorch reckons the direction in bfloat16, with 8 bits: 200 steps of 0.02 agree to one of them.
    "muon, torch": (lambda g, p: updates.muon(g, p, weight_decay=0.01), 0.02),
}


def test_every_case_of_the_table_is_held_to() -> None:
    assert set(PEERS) == set(TABLE["cases"])


@pytest.mark.parametrize("case", PEERS)
def test_rules_agree_with_their_peers(case: str) -> None:
    rule, tolerance = PEERS[case]
    kept = TABLE["cases"][case]
    names = [name for name in kept["1"] if not name.endswith(".average")]

    def given(what: str, name: str) -> Any:
        return in_our_layout(TABLE["problem"][what][name])

    def in_our_layout(values: Any) -> Any:
        # PyTorch's matrices are outputs by inputs, the transpose of ours.
        return np.array(values).T if case == "muon, torch" else np.array(values)

    params = [theano.shared(given("start", name), name=name) for name in names]
    signals = [theano.shared(np.zeros_like(parameter.get_value())) for parameter in params]
    built = rule(signals, params)
    train = theano.function([], updates=built, mode=UNCOMPILED)
    variables = {variable.name: variable for variable in built}
    for step in range(1, STEPS + 1):
        for name, parameter, signal in zip(names, params, signals, strict=True):
            curvature = given("curvature", name)
            slope = np.tanh(parameter.get_value() - given("target", name))
            signal.set_value(curvature * slope + np.cos(curvature * step) / 2)
        train()
        for name, values in kept.get(str(step), {}).items():
            expected = in_our_layout(values)
            np.testing.assert_allclose(variables[name].get_value(), expected, atol=tolerance, err_msg=name)
