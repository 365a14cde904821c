"""Mistakes in what is around a rule are told in one sentence with their cure, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from theano.compile.function_module import FunctionMaker

from tests.conftest import Finished

Train = Callable[..., Finished]

RATE = "schedule.learning_rate"
GROUPS = "optimizer.groups=[{match: '*.b'"

MISTAKES = [
    # what was typed, what the message says
    # chains
    ("wrapper=lookahed", "wrapper=lookahed is not known: did you mean lookahead?"),
    ("wrapper=[momentum,lookahed]", "wrapper=lookahed is not known: did you mean lookahead?"),
    ("clipping=[norm,norm]", "clipping=[norm,norm] has norm twice: give each a name of its own, as in"),
    ("clipping@clipping.first=vale", "clipping=vale is not known: did you mean value?"),
    ("wrapper=[momentum] wrapper.momentum.momentum=1", "wrapper.momentum.momentum=1 is out of range"),
    ("clipping=[norm] clipping.nrm.max_norm=1", "clipping.nrm is not a key: did you mean norm?"),
    ("+clipping.a={_target_: nrm}", "clipping.a._target_=nrm is not known: did you mean norm?"),
    ("gradient@gradient.a=sharpness_aware gradient@gradient.b=sharpness_aware", "leave out one of them"),
    ("-m clipping=[value,norm],none", "clipping is a list of choices among others of a sweep"),
    # clipping, wrappers, constraints, averages
    ("clipping=norm clipping.max_norm=0", "clipping.max_norm=0 is out of range: give a number above 0"),
    ("clipping=adaptive clipping.max_ratio=-1", "clipping.max_ratio=-1 is out of range"),
    (
        "clipping=adaptive clipping.match=dense",
        "clipping: match=dense fits no parameter; there are dense_1.W",
    ),
    ("clipping.max_norm=1", "clipping.max_norm is not a key"),
    ("wrapper=lookahead wrapper.k=0", "wrapper.k=0 is out of range: give a number of at least 1"),
    ("wrapper=lookahead wrapper.alpha=2", "wrapper.alpha=2 is out of range"),
    ("wrapper=lookahead optimizer=schedule_free_sgd", "lookahead does not go with schedule_free_sgd"),
    ("constraint=max_norm optimizer=schedule_free_adamw", "choose constraint=none, or another rule"),
    ("constraint=max_norm constraint.match=[lstm_*]", "constraint: match=lstm_* fits no parameter"),
    ("constraint=unit_norm constraint.axes=[5]", "dense_1.W has 2 dimensions and no axis 5"),
    ("constraint=non_negative constraint.match=3", "constraint.match=3 has the wrong type: give a text"),
    ("averaging=exponental", "averaging=exponental is not known: did you mean exponential?"),
    ("averaging=exponential averaging.decay=1", "averaging.decay=1 is out of range"),
    ("averaging=polyak averaging.start=1", "averaging.start=1 is out of range"),
    ("averaging=stochastic averaging.every=0", "averaging.every=0 is out of range: give a number above 0"),
    ("training.monitor=validation/averaged/loss", "is not measured: "),
    ("gradient=noise gradient.eta=-1", "gradient.eta=-1 is out of range"),
    (
        "gradient=sharpness_aware gradient.rho=1",
        "gradient.rho is not a key: allowed are adaptive, eta, radius",
    ),
    # schedules
    ("schedule=cosin", "schedule=cosin is not known: did you mean cosine?"),
    ("schedule=null", "schedule=null is no choice: allowed are constant, cosine"),
    (f"schedule=cosine {RATE}.warmup=1", "warmup must be below 1 with the unit run, of which it is a part"),
    (f"schedule=cosine {RATE}.warmup=-1", f"{RATE}.warmup=-1 is out of range"),
    (f"schedule=cosine {RATE}.wamup=1", f"{RATE}.wamup is not a key: did you mean warmup?"),
    (f"schedule=formula {RATE}.formula=stp", "formula: there is no stp; did you mean step?"),
    (f"schedule=formula {RATE}.formula=open(1)", "there is no function open; allowed are abs, cos"),
    (f"schedule=formula {RATE}.formula=1/epoch", "has no value after 0 updates: the formula '1/epoch'"),
    (f"schedule=formula {RATE}.formula=0.1-step", "gives -0.9 after 1 updates, which is out of range"),
    ("schedule=table", f"{RATE}.file has no value: give one"),
    (f"schedule=table {RATE}.file=no.csv", "file=no.csv: there is no such file"),
    (f"schedule=table {RATE}.file=bad.csv", "file=bad.csv, line 3: 0.5,x is not two numbers"),
    (
        f"schedule=table {RATE}.file=negative.csv",
        "gives -0.000666667 after 151 updates, which is out of range",
    ),
    (f"schedule=plateau {RATE}.factor=1", "factor must be below 1; it is 1"),
    (f"schedule=plateau {RATE}.mode=least", "give one of min, max or null"),
    (f"schedule=plateau {RATE}.metric=validation/acc {RATE}.mode=max", "did you mean validation/accuracy?"),
    (f"schedule=one_cycle {RATE}.rise=1", f"{RATE}.rise=1 is out of range"),
    (f"schedule=multistep {RATE}.milestones=[3,1]", "milestones must grow"),
    (f"schedule=piecewise {RATE}.times=[1]", "times and values must be as many; there are 1 and 2"),
    (f"schedule=cosine_restarts {RATE}.growth=0.5", f"{RATE}.growth=0.5 is out of range"),
    (f"schedule=joined {RATE}.parts=[]", "parts is empty: give at least one"),
    (f"schedule=joined {RATE}.parts=[{{schedule: liner}}]", "parts[0].schedule._target_=liner is not known"),
    (f"schedule=joined {RATE}.parts=[{{schedule: one_cycle}}]", "is a file of several hyperparameters"),
    (
        f"schedule=joined {RATE}.parts=[{{schedule: {{_target_: linear, final: -1}}}}]",
        f"{RATE}.parts[0].schedule.final=-1 is out of range: give a number of at least 0",
    ),
    ("schedule@schedule.weight_decay=linear", "give it one by optimizer.weight_decay=..."),
    (
        "schedule@schedule.beta1=exponential schedule.beta1.factor=9",
        "beta1 must be a number of at least 0 and",
    ),
    ("schedule@schedule.clipping.max_norm=linear", "schedule.clipping.max_norm.final=0.0 is out of range"),
    # parameter groups and weight decay
    (
        "optimizer.groups=[{match: '*.bias', freeze: true}]",
        "fits no parameter; there are dense_1.W, dense_1.b",
    ),
    ("optimizer.groups=[{mach: '*.b', freeze: true}]", "optimizer.groups[0] has no match: give the pattern"),
    ("optimizer.groups={match: '*.b', freeze: true}", "optimizer.groups is a list, and a mapping was given"),
    ("optimizer.groups=[{match: '*', freeze: true}]", "freeze all parameters: leave at least one to train"),
    (GROUPS + "}]", "optimizer.groups[0] changes nothing: give it hyperparameters"),
    (
        GROUPS + ", learning_rte: 1}]",
        "learning_rte is not a hyperparameter of adam: did you mean learning_rate?",
    ),
    (GROUPS + ", learning_rate: -1}]", "optimizer.groups[0].learning_rate=-1 is out of range"),
    (GROUPS + ", learning_rate_scale: -1}]", "optimizer.groups[0].learning_rate_scale=-1 is out of range"),
    (GROUPS + ", learning_rate: fast}]", "optimizer.groups[0].learning_rate=fast is not a number"),
    (
        GROUPS + ", freeze: true, beta1: 0}]",
        "freeze=true leaves nothing for beta1 to do: leave out one of them",
    ),
    (GROUPS + ", _target_: sgdd}]", "optimizer.groups[0]._target_=sgdd is not known: did you mean sgd?"),
    (GROUPS + ", _target_: sgd, beta1: 0}]", "beta1 is not an argument of trainer.updates.sgd"),
    (GROUPS + ", name: a b, beta1: 0}]", "optimizer.groups[0].name=a b is no name"),
    (GROUPS + ", schedule: {learning_rate: cosin}}]", "_target_=cosin is not known: did you mean cosine?"),
    (GROUPS + ", schedule: {momentum: cosine}}]", "there is no hyperparameter momentum"),
    (
        GROUPS + ", schedule: {learning_rate: {_target_: cosine, final: -1}}}]",
        "optimizer.groups[0].schedule.learning_rate.final=-1 is out of range",
    ),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1 is out of range: give a number of at least 0"),
    ("optimizer.weight_decay_match=conv_*", "optimizer.weight_decay_match=conv_* fits no parameter"),
    # training
    ("training.accumulation=0", "training.accumulation=0 is out of range: give a number of at least 1"),
    (
        "training.non_finite=ignore",
        "training.non_finite=ignore is not known: allowed are raise, rollback, skip",
    ),
    ("training.rollback_scale=2", "training.rollback_scale=2.0 is out of range"),
    ("training.checkpoints.keep=0", "training.checkpoints.keep=0 is out of range"),
    ("training.checkpoints.every=1", "training.checkpoints.every is not a key: did you mean every_"),
    ("+training.patience=3", "training.patience is not a key: allowed are accumulation, batch_size"),
    ("task=find", "task=find is not known: allowed are find_learning_rate, train"),
    (
        "task=find_learning_rate find_learning_rate.low=20",
        "find_learning_rate.low=20 must lie above 0 and below",
    ),
    (
        "task=find_learning_rate optimizer=adadelta find_learning_rate.steps=2",
        "find_learning_rate.steps=2 are",
    ),
    # what the shell or Hydra's grammar makes of it
    ("optimizer.groups=[{match:", "put the whole between single quotes, so that the shell leaves it in one"),
    ("data.folder=my(data", "quote a value that has spaces, commas or brackets: 'data.folder=\"my(data\"'"),
]


@pytest.fixture
def nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*arguments: Any, **named: Any) -> None:
        raise AssertionError("something was compiled")

    monkeypatch.setattr(FunctionMaker, "__init__", compiled)


@pytest.mark.usefixtures("nothing_is_compiled")
@pytest.mark.parametrize(("typed", "told"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_told_in_one_sentence_with_status_2(
    train: Train, tmp_path: Path, typed: str, told: str
) -> None:
    (tmp_path / "bad.csv").write_text("time,value\n0,0.1\n0.5,x\n")
    (tmp_path / "negative.csv").write_text("0,0.1\n0.5,-0.1\n")
    finished = train(*words(typed), "logger.console=null")
    assert finished.status == 2
    message = finished.err.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    assert told in message
    assert not (finished.folder / "metrics.jsonl").exists()


def words(typed: str) -> list[str]:
    """Cut what was typed where another KEY=VALUE begins: a value in brackets has spaces of its own."""
    cut: list[str] = []
    for word in typed.split(" "):
        if cut and "=" not in word and cut[-1] != "-m":
            cut[-1] += f" {word}"
        else:
            cut.append(word)
    return cut
