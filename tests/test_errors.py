"""A mistake is told in one sentence with its cure; the command ends with status 2 before any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished

Train = Callable[..., Finished]

MISTAKES = [
    # what was typed, what the message says
    ("optimizer=adm", "optimizer=adm is not known: did you mean adam?"),
    ("optimiser=adam", "optimiser is not a key: did you mean optimizer?"),
    ("optimizer.lr=0.1", "optimizer.lr is not a key: did you mean learning_rate?"),
    ("training.epoch=3", "training.epoch is not a key: did you mean epochs?"),
    ("training.epochs=abc", "training.epochs=abc has the wrong type: give a whole number"),
    ("training.epochs=1.5", "training.epochs=1.5 has the wrong type: give a whole number"),
    ("training.epochs=0", "training.epochs=0 is out of range: give a number of at least 1"),
    ("training.mode=least", "training.mode=least is not known: allowed are max, min"),
    ("training.monitor=validation/acc", "did you mean validation/accuracy?"),
    ("training.epochs=1,2", "training.epochs=1,2 has several values: add --multirun"),
    (
        "optimizer.learning_rate=-0.1",
        "optimizer.learning_rate=-0.1 is out of range: give a number of at least 0",
    ),
    ("optimizer.learning_rate=nan", "optimizer.learning_rate=nan is out of range"),
    ("optimizer.learning_rate=fast", "optimizer.learning_rate=fast is not a number"),
    ("optimizer.learning_rate=null", "optimizer.learning_rate=null is not a number"),
    ("optimizer.beta1=1", "optimizer.beta1=1 is out of range: give a number of at least 0 and below 1"),
    ("+optimizer.rho=0.9", "optimizer.rho is not an argument of trainer.updates.adam"),
    ("optimizer._target_=absent_rules.my_rule", "there is no module absent_rules"),
    ("optimizer._target_=trainer.updates.adm", "trainer.updates has no adm; did you mean adam?"),
    ("optimizer._target_=adam", "optimizer._target_=adam names no module"),
    ("model.dropout=1", "model.dropout=1 is out of range: give a number of at least 0 and below 1"),
    ("model.hidden=[64,0]", "model.hidden[1]=0 is out of range"),
    ("model.hidden=[1.5]", "model.hidden=[1.5] has the wrong type: give a list (each a whole number)"),
    ("model.activation=rely", "did you mean relu?"),
    ("schedule@schedule.momentum=linear", "schedule.momentum: there is no hyperparameter momentum"),
    ("schedule.learning_rate.unit=epochs", "did you mean epoch?"),
    ("schedule.learning_rate=0.1", "schedule.learning_rate=0.1 is no schedule"),
    ("data=mnist", "data.folder=data/mnist lacks train-images-idx3-ubyte"),
    ("device.precision=float8", "float32"),
    ("nonsense", "nonsense is not KEY=VALUE"),
    ("logger=[csv,tensorbord]", "logger=tensorbord is not known: did you mean tensorboard? Allowed are csv"),
    ("callbacks=[early_stoping]", "callbacks=early_stoping is not known: did you mean early_stopping?"),
    ("experiment=[mnist_mlp,nothing]", "experiment=nothing is not known: allowed are char_lstm, "),
    ("+experiment=mnist_mpl", "experiment=mnist_mpl is not known: did you mean mnist_mlp?"),
]


@pytest.mark.parametrize(("typed", "told"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_told_in_one_sentence_with_status_2(train: Train, typed: str, told: str) -> None:
    finished = train(typed)
    assert finished.status == 2
    message = finished.err.strip()
    assert message.startswith("Error: ")
    assert told in message
    assert len(message.splitlines()) == 1
    assert not (finished.folder / "metrics.jsonl").exists()


def test_a_rho_above_one_is_refused(train: Train) -> None:
    finished = train("optimizer=rmsprop", "optimizer.rho=1.1")
    assert finished.status == 2
    assert "optimizer.rho=1.1 is out of range: give a number of at least 0 and below 1" in finished.err


def test_the_final_value_of_a_schedule_has_the_range_of_what_it_schedules(train: Train) -> None:
    finished = train("schedule=cosine", "schedule.learning_rate.final=-0.1")
    assert finished.status == 2
    assert "schedule.learning_rate.final=-0.1 is out of range: give a number of at least 0" in finished.err


def test_a_missing_argument_is_named_with_the_override_that_adds_it(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wanting_rules.py").write_text("def rule(loss_or_grads, params, decay):\n    return {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    finished = train("optimizer._target_=wanting_rules.rule")
    assert finished.status == 2
    assert "optimizer.decay is missing: wanting_rules.rule needs it; add +optimizer.decay=..." in finished.err


def test_the_message_is_in_the_log_of_the_run_too(train: Train) -> None:
    finished = train("optimizer.learning_rate=-1")
    assert "optimizer.learning_rate=-1 is out of range" in (finished.folder / "train.log").read_text()


def test_the_trace_is_shown_on_request(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    finished = train("optimizer.learning_rate=-1")
    assert finished.status == 2
    assert "Traceback" in finished.err


def test_a_fault_of_a_users_function_is_a_failure_and_not_a_mistake_in_the_config(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_rules.py").write_text("def rule(loss_or_grads, params):\n    return params[99]\n")
    monkeypatch.syspath_prepend(tmp_path)
    finished = train("optimizer._target_=faulty_rules.rule")
    assert finished.status == 1
    assert finished.err.startswith("Error: IndexError: list index out of range (HYDRA_FULL_ERROR=1")
    assert "Traceback" in (finished.folder / "train.log").read_text()


def test_ctrl_c_while_the_program_is_imported_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import __main__, cli

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 130
