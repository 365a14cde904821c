"""Named shared scalars and the schedules that set them."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
import theano

from trainer import hyperparameters as hyperparameters_module
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters


def collection() -> Hyperparameters:
    hyperparameters = Hyperparameters()
    hyperparameters.add("learning_rate", 0.1)
    hyperparameters.add("wrapper.momentum", 0.9)
    hyperparameters.add("clipping.max_norm", 5)
    return hyperparameters


def test_values_keep_their_order_and_are_the_numbers_that_were_given() -> None:
    hyperparameters = collection()
    assert list(hyperparameters) == ["learning_rate", "wrapper.momentum", "clipping.max_norm"]
    assert len(hyperparameters) == 3
    assert "wrapper.momentum" in hyperparameters
    values = hyperparameters.values()
    assert list(values.items()) == [
        ("learning_rate", 0.1),
        ("wrapper.momentum", 0.9),
        ("clipping.max_norm", 5.0),
    ]
    assert {type(value) for value in values.values()} == {float}


def test_shared_scalars_carry_their_name_and_floatx() -> None:
    hyperparameters = Hyperparameters()
    shared = hyperparameters.add("beta1", 1)
    assert hyperparameters["beta1"] is shared
    assert (shared.name, shared.dtype, shared.ndim) == ("beta1", theano.config.floatX, 0)


def test_set_reaches_the_shared_scalar() -> None:
    hyperparameters = collection()
    hyperparameters.set("learning_rate", 0.025)
    assert hyperparameters["learning_rate"].get_value() == np.asarray(0.025, dtype=theano.config.floatX)
    assert hyperparameters.values()["learning_rate"] == 0.025


def test_each_unit_measures_time_its_own_way() -> None:
    hyperparameters = Hyperparameters()
    for unit in ("step", "epoch", "run"):
        hyperparameters.add(unit, -1)
        hyperparameters.schedule(unit, lambda time: time, unit)
    hyperparameters.advance(step=0, steps_per_epoch=8, total_steps=64)
    assert hyperparameters.values() == {"step": 0.0, "epoch": 0.0, "run": 0.0}
    hyperparameters.advance(step=12, steps_per_epoch=8, total_steps=64)
    assert hyperparameters.values() == {"step": 12.0, "epoch": 1.5, "run": 0.1875}


def test_only_what_has_a_schedule_advances() -> None:
    hyperparameters = collection()
    hyperparameters.schedule("learning_rate", lambda time: 7.0, "run")
    hyperparameters.set("wrapper.momentum", 0.5)
    hyperparameters.advance(step=1, steps_per_epoch=1, total_steps=2)
    assert hyperparameters.values() == {
        "learning_rate": 7.0,
        "wrapper.momentum": 0.5,
        "clipping.max_norm": 5.0,
    }


def test_a_later_schedule_takes_the_place_of_an_earlier_one() -> None:
    hyperparameters = collection()
    hyperparameters.schedule("learning_rate", lambda time: 1.0, "run")
    hyperparameters.schedule("learning_rate", lambda time: 2.0, "step")
    hyperparameters.advance(step=1, steps_per_epoch=1, total_steps=2)
    assert hyperparameters.values()["learning_rate"] == 2.0


def test_schedules_reach_a_value_that_was_set_from_outside() -> None:
    hyperparameters = collection()
    hyperparameters.schedule("learning_rate", lambda time: 1.0 - time, "run")
    hyperparameters["learning_rate"].set_value(np.asarray(9.0, dtype=theano.config.floatX))
    hyperparameters.advance(step=1, steps_per_epoch=1, total_steps=2)
    assert hyperparameters["learning_rate"].get_value() == 0.5


def test_state_survives_json_to_the_same_bits() -> None:
    hyperparameters, restored = Hyperparameters(), Hyperparameters()
    for index, value in enumerate([1 / 3, 1e-8, 0.999, 1e-30, 12345.678]):
        hyperparameters.add(f"number_{index}", value)
        restored.add(f"number_{index}", 0)
    restored.load_state(json.loads(json.dumps(hyperparameters.state())))
    for name in hyperparameters:
        assert restored[name].get_value().tobytes() == hyperparameters[name].get_value().tobytes()


def test_a_state_of_other_names_is_refused_and_changes_nothing() -> None:
    hyperparameters = collection()
    with pytest.raises(UsageError, match=r"lacks clipping\.max_norm and has rho,"):
        hyperparameters.load_state({"learning_rate": 1.0, "wrapper.momentum": 1.0, "rho": 1.0})
    assert hyperparameters.values() == collection().values()


def test_mistakes_name_the_nearest_match() -> None:
    hyperparameters = collection()
    with pytest.raises(UsageError, match=r"no hyperparameter learnin_rate: did you mean learning_rate\?"):
        hyperparameters.set("learnin_rate", 1.0)
    with pytest.raises(UsageError, match=r"schedule\.wraper\.momentum: .* did you mean wrapper\.momentum\?"):
        hyperparameters.schedule("wraper.momentum", lambda time: time, "run")
    with pytest.raises(UsageError, match=r"schedule\.learning_rate\.unit=epochs: .* did you mean epoch\?"):
        hyperparameters.schedule("learning_rate", lambda time: time, "epochs")
    with pytest.raises(ValueError, match="learning_rate already"):
        hyperparameters.add("learning_rate", 1.0)


def test_documented_examples_run() -> None:
    result = doctest.testmod(hyperparameters_module)
    assert result.attempted >= 5
    assert result.failed == 0
