"""Each run has a folder of its own, and none is trained over another."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Finished

Train = Callable[..., Finished]
QUICK = ("training.epochs=1", "model.hidden=[4]", "logger.curves=null", "logger.pictures=null")


def test_a_named_folder_that_holds_a_run_is_refused_and_left_as_it_is(train: Train) -> None:
    first = train(*QUICK)
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    again = train(*QUICK, "training.seed=1")
    assert again.status == 2
    assert again.err == (
        "Error: hydra.run.dir=run holds a run already: go on with it by resume=run, or choose another "
        "folder\n"
    )
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == before
