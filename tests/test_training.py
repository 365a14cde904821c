"""The command trains: what it leaves behind, what it repeats, how it stops."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from safetensors.numpy import load_file

from tests.conftest import MNIST, ROOT, Finished, needs_mnist, spawn
from trainer.commands import predict
from trainer.kernels.copying import copier

Train = Callable[..., Finished]

QUICK = ("model.hidden=[16]", "training.epochs=3", "logger.curves=null")
RULES = sorted(path.stem for path in (ROOT / "conf" / "optimizer").glob("*.yaml"))


def test_the_default_run_recognizes_digits(train: Train) -> None:
    finished = train()
    assert finished.status == 0
    assert finished.summary["status"] == "completed"
    assert finished.summary["test"]["accuracy"] >= 0.97


def test_a_run_leaves_the_files_of_the_contract(train: Train) -> None:
    finished = train("training.epochs=2", "training.seed=7")
    left = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    assert left >= {
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "metrics.jsonl",
        "summary.json",
        "curves.png",
        "train.log",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
    }
    summary = finished.summary
    assert (summary["epochs"], summary["steps"], summary["seed"]) == (2, 2 * finished.records[0]["step"], 7)
    assert summary["parameters"] == sum(
        array.size for array in load_file(finished.folder / "checkpoints/last.safetensors").values()
    )
    assert summary["best"] in finished.records
    assert summary["device"] == "cpu"
    assert min(summary[key] for key in ("compile_seconds", "train_seconds", "examples_per_second")) > 0
    assert summary["peak_memory_bytes"] > 10_000_000
    assert summary["versions"]["theano"] == theano.__version__
    assert [sorted(record) for record in finished.records] == 2 * [
        sorted(
            ["epoch", "step", "seconds", "train/loss", "train/gradient_norm"]
            + ["validation/loss", "validation/accuracy"]
            + [f"hyperparameter/{name}" for name in ("learning_rate", "beta1", "beta2", "epsilon")]
        )
    ]


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_trains_digits_with_its_own_defaults(train: Train, rule: str) -> None:
    # Half of the default run's epochs: it is enough, and NumPy takes some seconds for them.
    finished = train(f"optimizer={rule}", "training.epochs=15", "logger.curves=null", "logger.pictures=null")
    assert finished.summary["test"]["accuracy"] > 0.95


def test_the_parts_of_an_optimizer_compose_and_their_numbers_are_hyperparameters(train: Train) -> None:
    finished = train(
        *QUICK,
        "optimizer=rmsprop",
        "wrapper=nesterov_momentum",
        "clipping=total_norm",
        "clipping.max_norm=5",
        "constraint=max_norm",
        "schedule=cosine",
        "schedule@schedule.wrapper.momentum=linear",
        "schedule.wrapper.momentum.final=0.5",
        "schedule@schedule.rho=step",
    )
    assert finished.status == 0
    first, *_, last = finished.records
    assert first["hyperparameter/clipping.max_norm"] == last["hyperparameter/clipping.max_norm"] == 5
    assert first["hyperparameter/learning_rate"] > last["hyperparameter/learning_rate"]
    assert 0.9 > first["hyperparameter/wrapper.momentum"] > last["hyperparameter/wrapper.momentum"] > 0.5
    assert last["train/loss"] < first["train/loss"]


def test_a_scheduled_learning_rate_follows_its_formula(train: Train) -> None:
    finished = train(*QUICK, "optimizer=sgd", "optimizer.learning_rate=0.2", "schedule=cosine")
    steps = finished.summary["steps"]
    for record in finished.records:
        time_of_last_update = (record["step"] - 1) / steps
        expected = 0.2 * (1 + np.cos(np.pi * time_of_last_update)) / 2
        assert record["hyperparameter/learning_rate"] == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_bits_in_two_processes(tmp_path: Path) -> None:
    arguments = (*QUICK, "model.dropout=0.3", "optimizer=adam", "schedule=cosine")
    left = []
    for hash_seed in ("1", "2"):
        process = spawn(
            *arguments, f"hydra.run.dir={hash_seed}", cwd=tmp_path, env_add={"PYTHONHASHSEED": hash_seed}
        )
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        records = [
            json.loads(line) for line in (tmp_path / hash_seed / "metrics.jsonl").read_text().splitlines()
        ]
        for record in records:
            del record["seconds"]
        left.append((records, (tmp_path / hash_seed / "checkpoints/last.safetensors").read_bytes()))
    assert left[0] == left[1]


def test_another_seed_gives_other_numbers(train: Train) -> None:
    losses = {
        train(*QUICK, f"training.seed={seed}", folder=str(seed)).records[0]["train/loss"] for seed in (0, 1)
    }
    assert len(losses) == 2


def test_each_run_compiles_two_functions_whatever_its_schedules_change(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier()  # of checkpoints: one in a process, whatever is trained in it
    compiled = []
    make = theano.compile.function_module.FunctionMaker.create

    def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        compiled.append(self)
        return make(self, *arguments, **options)

    monkeypatch.setattr(theano.compile.function_module.FunctionMaker, "create", counting)
    finished = train(
        *QUICK, "optimizer=momentum", "schedule=exponential", "schedule@schedule.momentum=linear"
    )
    assert len({record["hyperparameter/learning_rate"] for record in finished.records}) == 3
    assert len(compiled) == 2


def test_a_rule_from_a_users_file_trains(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_rules.py").write_text(
        "from theano import tensor\n"
        "from trainer.updates import update_rule\n\n"
        "@update_rule\n"
        "def signum(parameter, gradient, velocity, *, learning_rate, decay=0.9):\n"
        "    velocity = decay * velocity + (1 - decay) * gradient\n"
        "    return parameter - learning_rate * tensor.sgn(velocity), velocity\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    finished = train(
        "optimizer._target_=my_rules.signum",
        "+optimizer.decay=0.8",
        "schedule@schedule.decay=linear",
        "schedule.decay.final=0.95",
        "logger.curves=null",
    )
    assert finished.summary["test"]["accuracy"] > 0.9
    assert set(finished.records[0]) & {"hyperparameter/decay", "hyperparameter/beta1"} == {
        "hyperparameter/decay"
    }
    assert (
        0.8
        < finished.records[0]["hyperparameter/decay"]
        < finished.records[-1]["hyperparameter/decay"]
        <= 0.95
    )


def test_a_plain_rule_with_star_arguments_trains(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_rules.py").write_text(
        "from theano import grad\n\n"
        "def descend(loss_or_grads, params, learning_rate=0.1, *unused):\n"
        "    grads = loss_or_grads if isinstance(loss_or_grads, list) else grad(loss_or_grads, params)\n"
        "    return {p: p - learning_rate * g for p, g in zip(params, grads)}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    finished = train(*QUICK, "optimizer._target_=plain_rules.descend", "optimizer.learning_rate=0.1")
    assert finished.status == 0, finished.err
    assert finished.records[-1]["train/loss"] < finished.records[0]["train/loss"]


def test_early_stopping_ends_a_run_that_no_longer_improves(train: Train) -> None:
    finished = train(
        "model.hidden=[16]",
        "logger.curves=null",
        "training.epochs=50",
        "optimizer=sgd",
        "optimizer.learning_rate=0",
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=4",
    )
    assert finished.status == 0
    assert (finished.summary["status"], finished.summary["epochs"]) == ("stopped_early", 5)
    assert finished.summary["best"]["epoch"] == 1


def test_the_best_epoch_is_kept_beside_the_last(train: Train) -> None:
    # The learning rate explodes after the first epoch, so that the first is the best.
    finished = train(
        *QUICK,
        "optimizer=sgd",
        "schedule=step",
        "schedule.learning_rate.factor=1e3",
        "schedule.learning_rate.unit=epoch",
        "schedule.learning_rate.every=2",
    )
    best, last = (load_file(finished.folder / f"checkpoints/{name}.safetensors") for name in ("best", "last"))
    losses = [record["validation/loss"] for record in finished.records]
    assert finished.summary["best"]["validation/loss"] == min(losses) < losses[-1]
    assert any((best[name] != last[name]).any() for name in best)


def test_without_a_validation_part_the_best_epoch_is_that_of_the_smallest_training_loss(train: Train) -> None:
    finished = train(
        *QUICK, "data.validation_fraction=0", "training.monitor=validation/accuracy", "training.mode=max"
    )
    assert finished.status == 0
    losses = [record["train/loss"] for record in finished.records]
    assert finished.summary["best"]["train/loss"] == min(losses) < max(losses)
    assert "there is no validation part" in finished.out
    assert not any(name.startswith("validation/") for name in finished.records[0])


def test_a_run_that_diverges_says_where_and_ends_with_status_1(train: Train) -> None:
    finished = train(
        "model.hidden=[16]", "optimizer=sgd", "optimizer.learning_rate=1e30", "logger.curves=null"
    )
    assert finished.status == 1
    assert finished.summary["status"] == "diverged"
    assert "at step" in finished.err
    assert "learning_rate=1e+30" in finished.err


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_four_batches_of_32_train_as_one_of_128(train: Train, rule: str) -> None:
    arguments = (*QUICK, f"optimizer={rule}", "optimizer.learning_rate=0.003")
    large = train(*arguments, "training.batch_size=128", folder="large")
    small = train(*arguments, "training.batch_size=32", "training.accumulation=4", folder="small")
    assert [record["step"] for record in small.records] == [10, 20, 30]
    expected, found = (
        load_file(finished.folder / "checkpoints/last.safetensors") for finished in (large, small)
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=2e-6, err_msg=name)
    for one, other in zip(large.records, small.records, strict=True):
        for key in ("train/loss", "train/gradient_norm", "validation/loss"):
            assert other[key] == pytest.approx(one[key], rel=1e-5)


def test_a_run_that_skips_steps_counts_them_and_gives_up_at_its_limit(train: Train) -> None:
    # The first step throws the weights so far away that no other one is finite.
    finished = train(
        *QUICK,
        "optimizer=sgd",
        "optimizer.learning_rate=1e30",
        "training.non_finite=skip",
        "training.non_finite_limit=25",
    )
    assert finished.status == 1
    assert (finished.summary["status"], finished.summary["steps"]) == ("diverged", 26)
    assert [record["train/skipped_steps"] for record in finished.records] == [19]
    assert "after 25 steps in a row" in finished.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_with_its_weights_saved(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = spawn(
        "training.epochs=1000000",
        "model.hidden=[16]",
        "hydra.run.dir=run",
        "logger.curves=null",
        cwd=tmp_path,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert load_file(tmp_path / "run" / "checkpoints" / "last.safetensors")


def test_nothing_but_the_run_is_printed_and_the_log_has_it(tmp_path: Path) -> None:
    process = spawn(*QUICK, "hydra.run.dir=run", cwd=tmp_path)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0
    assert errors == ""
    assert "Warning" not in out
    assert "1,257 to train" in out
    log = (tmp_path / "run" / "train.log").read_text()
    assert all(
        words in log for words in ("1,257 to train", "compiled in", "handed over as arrays", "completed")
    )


def test_a_reader_that_goes_early_is_no_error(tmp_path: Path) -> None:
    process = spawn("--help", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_a_multirun_trains_each_job_and_ranks_them(train: Train, tmp_path: Path) -> None:
    finished = train(
        "-m", *QUICK, "optimizer=sgd,adam", "optimizer.learning_rate=1e-4,0.05", "hydra.sweep.dir=sweep"
    )
    assert finished.status == 0
    folders = [next((tmp_path / "sweep").glob(f"{job}_*")) for job in range(4)]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    order = sorted(range(4), key=lambda job: summaries[job]["best"]["validation/loss"])
    table = finished.out[finished.out.index("4 jobs by") :]
    ranked = [
        int(line.split()[0])
        for line in table.splitlines()
        if line.strip()[:1].isdigit() and "jobs" not in line
    ]
    assert ranked == order


def test_a_failing_job_does_not_stop_the_others_and_shows_in_the_status(train: Train, tmp_path: Path) -> None:
    finished = train("-m", *QUICK, "optimizer.learning_rate=-1,0.01", "hydra.sweep.dir=sweep")
    assert finished.status == 2
    assert "optimizer.learning_rate=-1 is out of range" in finished.err
    assert (tmp_path / "sweep" / "1_optimizer.learning_rate=0.01" / "summary.json").exists()


def test_help_names_every_group(train: Train) -> None:
    out = train("--help").out
    for group in (
        "callbacks",
        "clipping",
        "constraint",
        "data",
        "device",
        "logger",
        "model",
        "objective",
        "optimizer",
        "schedule",
        "training",
        "wrapper",
        "experiment",
        "debug",
    ):
        assert f"\n{group}: " in out
    assert f"optimizer: {', '.join(RULES)}\n" in out


def test_carried_states_need_batches_that_continue_each_other(train: Train, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("to be or not to be, that is the question. " * 60)
    arguments = ("model=char_lstm", "model.units=8", "data=text", "data.file=words.txt", "data.length=8")
    finished = train(*arguments, "data.continuous=false")
    assert finished.status == 2
    assert "choose model.carry=false" in finished.err


def test_a_language_model_learns_what_repeats_and_goes_on_with_it(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.txt").write_text("to be or not to be, that is the question. " * 120)
    finished = train(
        "model=char_lstm",
        "model.units=32",
        "data=text",
        "data.file=words.txt",
        "data.length=16",
        "training.batch_size=8",
        "training.evaluation_batch_size=2",
        "optimizer.learning_rate=0.02",
        "training.epochs=12",
        "clipping=total_norm",
        "clipping.max_norm=5",
        "logger.curves=null",
    )
    assert finished.status == 0, finished.err
    assert "ERROR" not in finished.out + finished.err
    assert finished.records[-1]["validation/perplexity"] < 1.2
    monkeypatch.setattr("sys.stdin", io.StringIO("to be or not"))
    assert predict.main([str(finished.folder), "-", "--length", "30", "--temperature", "0"]) == 0
    assert capfd.readouterr().out.startswith("to be or not to be, that is the question.")


@needs_mnist
def test_mnist_is_learned_from_its_files(train: Train) -> None:
    finished = train(
        "data=mnist",
        f"data.folder={MNIST}",
        "training.epochs=1",
        "training.batch_size=500",
        "logger.curves=null",
    )
    assert finished.summary["test"]["accuracy"] > 0.9


def test_python_alone_trains_without_hydra(tmp_path: Path) -> None:
    from trainer import runtime
    from trainer.components import Component
    from trainer.data import digits
    from trainer.models import softmax
    from trainer.objectives import cross_entropy
    from trainer.run import train
    from trainer.settings import Settings, Training
    from trainer.updates import adam

    settings = Settings(
        data=Component(digits),
        model=Component(softmax),
        objective=Component(cross_entropy),
        rule=Component(adam, {"learning_rate": 0.01}),
        training=Training(epochs=5),
    )
    summary = train(settings, tmp_path, runtime.prepare())
    assert summary["test"]["accuracy"] > 0.85
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "completed"
