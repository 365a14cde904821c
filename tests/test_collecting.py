"""Python's search for unreachable objects is put off until the step is compiled, and no longer."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Finished
from trainer import collecting


@pytest.fixture(autouse=True)
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    collecting.as_usual()
    gc.set_threshold(*before)


def test_it_is_put_off_once_and_then_as_before(usual: tuple[int, int, int]) -> None:
    collecting.as_usual()
    assert gc.get_threshold() == usual
    for _ in range(2):
        collecting.put_off()
        assert gc.get_threshold()[0] > 100 * usual[0]
    for _ in range(2):
        collecting.as_usual()
        assert gc.get_threshold() == usual


@pytest.mark.usefixtures("uncompiled")
def test_a_run_that_has_its_step_ends_it(train: Callable[..., Finished], usual: tuple[int, int, int]) -> None:
    collecting.put_off()
    finished = train(
        "model.hidden=[4]", "training.epochs=1", "training.steps_per_epoch=1", "logger.curves=null"
    )
    assert finished.status == 0, finished.err
    assert gc.get_threshold() == usual
