"""The loop alone, around a step of a few numbers: order, records, what it survives, and how it goes on."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters
from trainer.kernels.finite import NonFinite
from trainer.loggers.base import Logger, Progress
from trainer.training import (
    Callback,
    Diverged,
    EarlyStopping,
    Interrupted,
    Loop,
    NonFinitePolicy,
    Outcome,
    StopSignals,
)

# Seven batches of two examples and one of one.
INPUTS = np.arange(1.0, 16.0)


class Batches:
    """The inputs, two at a time, turned by the epoch's number."""

    def __len__(self) -> int:
        return 8

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        turned = np.roll(INPUTS, number)
        for first in range(2 * start, len(turned), 2):
            yield turned[first : first + 2], turned[first : first + 2]


class Step:
    """A weight that follows the mean of its inputs; at some calls the loss is not finite."""

    def __init__(self, hyperparameters: Hyperparameters, broken: Sequence[int] = ()) -> None:
        self.hyperparameters = hyperparameters
        self.broken = set(broken)
        self.calls = 0
        self.weight = 0.0
        self.gathered: list[float] = []
        self.sizes: list[int] = []

    def gather(self, inputs: Any, targets: Any) -> None:
        self.gathered += list(inputs)

    def __call__(self, inputs: Any, targets: Any) -> tuple[float, float]:
        examples, self.gathered = [*self.gathered, *inputs], []
        self.calls += 1
        if self.calls in self.broken:
            error = NonFinite(loss=math.nan, counts=[3, 0])
            error.names = ("dense_1.W", "dense_1.b")
            raise error
        self.sizes.append(len(examples))
        gradient = self.weight - float(np.mean(examples))
        self.weight -= self.hyperparameters.values()["learning_rate"] * gradient
        return gradient**2, abs(gradient)


class Recorder(Logger):
    """Keeps the records, but for the seconds, which no two runs share."""

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []

    def record(self, record: Mapping[str, float | int]) -> None:
        assert record["seconds"] >= 0
        self.records.append({name: value for name, value in record.items() if name != "seconds"})


class Run:
    """A loop with its step, its records, and the state after each step, as a checkpoint would hold it."""

    def __init__(
        self,
        *,
        epochs: int = 3,
        accumulation: int = 1,
        broken: Sequence[int] = (),
        watchers: Sequence[Callable[[Loop], None]] = (),
        **options: Any,
    ) -> None:
        self.states: list[str] = []
        self.hyperparameters = Hyperparameters()
        self.hyperparameters.add("learning_rate", 0.1)
        self.hyperparameters.schedule("learning_rate", lambda step: 0.1 / (1 + step), "step")
        self.step = Step(self.hyperparameters, broken)
        self.recorder = Recorder()
        self.loop = Loop(
            self.step,
            Batches(),
            lambda: {"validation/loss": self.step.weight},
            self.hyperparameters,
            Progress(epochs, -(-8 // accumulation), 15),
            **{
                "monitor": "validation/loss",
                "accumulation": accumulation,
                "loggers": [self.recorder],
                "watchers": [lambda loop: self.states.append(self.state()), *watchers],
                **options,
            },
        )

    def state(self) -> str:
        """Give the present state."""
        values = self.hyperparameters.state()
        return json.dumps({"loop": self.loop.state(), "weight": self.step.weight, "hyperparameters": values})

    def restore(self, saved: str, **options: Any) -> None:
        """Take up what `state` gave."""
        state = json.loads(saved)
        self.step.weight = state["weight"]
        self.hyperparameters.load_state(state["hyperparameters"])
        self.loop.load_state(state["loop"], **options)

    def resume(self, saved: str, **options: Any) -> Outcome:
        """Go on from what `state` gave."""
        self.restore(saved, **options)
        return self.loop.run()


def by_hand(epochs: int, accumulation: int = 1) -> tuple[list[float], list[float]]:
    """Give the mean loss and the mean norm of each epoch, from the definition of `Step`."""
    weight, step, losses, norms = 0.0, 0, [], []
    for epoch in range(1, epochs + 1):
        inputs = np.roll(INPUTS, epoch)
        gradients, sizes = [], []
        for batch in (inputs[at : at + 2 * accumulation] for at in range(0, 15, 2 * accumulation)):
            gradients.append(weight - batch.mean())
            sizes.append(len(batch))
            weight -= float(np.float32(0.1 / (1 + step))) * gradients[-1]
            step += 1
        losses.append(float(np.average(np.square(gradients), weights=sizes)))
        norms.append(float(np.mean(np.abs(gradients))))
    return losses, norms


@pytest.mark.parametrize("accumulation", [1, 3, 8, 20])
def test_records_hold_the_means_by_example_of_the_loss_and_by_step_of_the_norm(accumulation: int) -> None:
    run = Run(accumulation=accumulation)
    outcome = run.loop.run()
    losses, norms = by_hand(3, accumulation)
    assert [record["train/loss"] for record in run.recorder.records] == pytest.approx(losses, rel=1e-6)
    assert [record["train/gradient_norm"] for record in run.recorder.records] == pytest.approx(
        norms, rel=1e-6
    )
    steps = -(-8 // accumulation)
    assert [record["step"] for record in run.recorder.records] == [steps, 2 * steps, 3 * steps]
    assert (outcome.status, outcome.epochs, outcome.steps, outcome.examples) == (
        "completed",
        3,
        3 * steps,
        45,
    )


def test_a_group_of_batches_is_one_step_and_the_last_one_takes_what_is_left() -> None:
    run = Run(epochs=1, accumulation=3)
    run.loop.run()
    assert run.step.sizes == [6, 6, 3]


def test_steps_per_epoch_count_updates() -> None:
    run = Run(epochs=2, accumulation=3)
    run.loop.progress.steps_per_epoch = 2
    run.loop.run()
    assert run.step.sizes == [6, 6, 6, 6]


class TestWatchers:
    def test_come_after_each_update_and_see_an_epoch_closed(self) -> None:
        seen = []

        def watch(loop: Loop) -> None:
            seen.append((loop.outcome.steps, loop.outcome.epochs, len(run.recorder.records)))

        run = Run(epochs=2, watchers=[watch])
        run.loop.run()
        assert seen == [(step, step // 8, step // 8) for step in range(1, 17)]

    def test_may_stop_the_run_after_this_step(self) -> None:
        run = Run(watchers=[lambda loop: loop.request_stop("enough") if loop.outcome.steps == 11 else None])
        outcome = run.loop.run()
        assert (outcome.status, outcome.steps, outcome.epochs) == ("stopped_early", 11, 1)

    @pytest.mark.parametrize("accumulation", [1, 3])
    def test_may_take_a_state_at_any_step_from_which_the_run_goes_on_to_the_same_bits(
        self, accumulation: int
    ) -> None:
        def make() -> Run:
            return Run(
                accumulation=accumulation,
                non_finite=NonFinitePolicy("skip"),
                callbacks={"patience": EarlyStopping(patience=2)},
                # The first epoch stays the best one.
                monitor="train/loss",
                mode="max",
            )

        whole = make()
        expected = whole.loop.run()
        assert len(whole.states) == expected.steps
        for saved in whole.states:
            resumed = make()
            outcome = resumed.resume(saved)
            assert resumed.step.weight == whole.step.weight
            done = json.loads(saved)["loop"]["epochs"]
            assert resumed.recorder.records == whole.recorder.records[done:]
            assert [record["epoch"] for record in outcome.history] == [1, 2, 3]
            for name in ("status", "epochs", "steps", "examples"):
                assert getattr(outcome, name) == getattr(expected, name), name
            assert outcome.best["epoch"] == expected.best["epoch"] == 1
            assert resumed.loop.state()["callbacks"] == whole.loop.state()["callbacks"]
            assert resumed.loop.callbacks["patience"].state()["waited"] == 2


class TestGoingOn:
    def test_takes_more_epochs_than_were_planned(self) -> None:
        first = Run(epochs=2)
        first.loop.run()
        longer, whole = Run(epochs=4), Run(epochs=4)
        whole.loop.run()
        assert longer.resume(first.state()).status == "completed"
        assert longer.step.weight == whole.step.weight

    def test_has_nothing_to_do_after_the_last_epoch(self) -> None:
        first, second = Run(epochs=2), Run(epochs=2)
        first.loop.run()
        outcome = second.resume(first.state())
        assert (outcome.status, outcome.steps, second.step.calls) == ("completed", 16, 0)

    def test_keeps_a_callbacks_wish_to_stop_unless_the_run_had_ended(self) -> None:
        class Impatient(Callback):
            def on_epoch_end(self, loop: Any, record: Any) -> None:
                if record["epoch"] == 1:
                    loop.stop("it is enough")

        stopped = Run(callbacks={"impatient": Impatient()})
        assert stopped.loop.run().status == "stopped_early"
        assert Run().resume(stopped.state()).epochs == 1
        assert Run().resume(stopped.state(), ended=True).epochs == 3

    def test_begins_an_epoch_only_at_its_beginning(self) -> None:
        first = Run()
        first.loop.run()
        for step, begun in ((3, 2), (8, 2), (9, 1)):
            beginnings: list[int] = []
            Run(on_epoch_start=lambda begun=beginnings: begun.append(1)).resume(first.states[step - 1])
            assert len(beginnings) == begun

    def test_counts_the_seconds_of_the_earlier_life(self) -> None:
        first, second = Run(epochs=1), Run(epochs=2)
        first.loop.run()
        state = json.loads(first.state())
        state["loop"]["seconds"] = 1000.0
        outcome = second.resume(json.dumps(state))
        assert 1000 <= outcome.seconds < 1100
        assert 1000 <= outcome.history[-1]["seconds"] < 1100

    def test_refuses_a_state_in_the_middle_of_an_epoch_of_another_length(self) -> None:
        first = Run()
        first.loop.run()
        other = Run(accumulation=2)
        with pytest.raises(UsageError, match=r"epoch of 8 steps, but an epoch has 4.*training\.batch_size"):
            other.resume(first.states[2])
        assert other.loop.outcome == Outcome()
        assert Run(accumulation=2).resume(first.states[7]).epochs == 3


class TestNonFinite:
    def test_ends_the_run_and_saves_the_state_before_the_step(self) -> None:
        saved: list[str] = []
        policy = NonFinitePolicy("raise")
        run = Run(broken=[11], non_finite=policy)
        policy.on_diverged = lambda: saved.append(run.state())
        with pytest.raises(Diverged) as caught:
            run.loop.run()
        message = str(caught.value)
        assert "the loss became nan (not finite: dense_1.W (3 elements)) at step 11 with" in message
        assert "learning_rate=0.00909091" in message
        assert "training.non_finite" in message
        assert run.loop.outcome.status == "diverged"
        assert "train/skipped_steps" not in run.recorder.records[0]
        resumed, whole = Run(), Run()
        whole.loop.run()
        resumed.resume(saved[0])
        assert resumed.step.weight == whole.step.weight

    def test_may_be_skipped_and_counted(self) -> None:
        run = Run(broken=[2, 3, 10], non_finite=NonFinitePolicy("skip", limit=2))
        outcome = run.loop.run()
        assert outcome.status == "completed"
        assert [record["train/skipped_steps"] for record in run.recorder.records] == [2, 1, 0]
        assert outcome.steps == 24
        # The sums are those of the other steps: 13 of the 15 examples in the epoch of one skipped step.
        assert all(math.isfinite(record["train/loss"]) for record in run.recorder.records)
        weight, losses = 0.0, []
        for step, first in enumerate(range(0, 15, 2)):
            batch = np.roll(INPUTS, 1)[first : first + 2]
            if step not in (1, 2):
                losses += [(weight - batch.mean()) ** 2] * len(batch)
                weight -= float(np.float32(0.1 / (1 + step))) * (weight - batch.mean())
        assert run.recorder.records[0]["train/loss"] == pytest.approx(np.mean(losses), rel=1e-6)

    def test_ends_a_run_that_skipped_too_many_in_a_row(self) -> None:
        with pytest.raises(Diverged, match=r"at step 9 .* after 2 steps in a row that were skipped"):
            Run(broken=[3, 4, 7, 8, 9], non_finite=NonFinitePolicy("skip", limit=2)).loop.run()

    def test_skips_in_a_row_are_counted_over_a_resumption(self) -> None:
        first, second, third = (
            Run(broken=broken, non_finite=NonFinitePolicy("skip", limit=2)) for broken in ([3, 4], [1], [2])
        )
        first.loop.run()
        with pytest.raises(Diverged, match="at step 5 "):
            second.resume(first.states[3])
        assert third.resume(first.states[3]).steps == 24

    def test_may_lead_back_to_a_checkpoint(self) -> None:
        policy = NonFinitePolicy("rollback")
        run = Run(broken=[14, 15], non_finite=policy)

        def roll_back() -> bool:
            run.restore(run.states[9])
            return True

        policy.rollback = roll_back
        outcome = run.loop.run()
        whole = Run()
        whole.loop.run()
        assert (outcome.status, outcome.steps, run.step.calls) == ("completed", 24, 24 + 3 + 2)
        assert run.step.weight == whole.step.weight
        assert run.recorder.records == whole.recorder.records

    @pytest.mark.parametrize(
        ("limit", "restored", "message"),
        [(3, True, "after 3 returns"), (3, False, "before there was a checkpoint")],
    )
    def test_ends_a_run_that_cannot_go_back_or_does_so_too_often(
        self, limit: int, restored: bool, message: str
    ) -> None:
        policy = NonFinitePolicy("rollback", limit)
        run = Run(broken=range(5, 100), non_finite=policy)
        beginning = run.state()

        def roll_back() -> bool:
            if restored:
                run.restore(beginning)
            return restored

        policy.rollback = roll_back
        with pytest.raises(Diverged, match=message):
            run.loop.run()

    def test_knows_three_policies(self) -> None:
        with pytest.raises(UsageError, match=r"training\.non_finite=skp.*did you mean skip"):
            NonFinitePolicy("skp")


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
    def test_end_the_run_after_the_step_in_a_state_from_which_it_goes_on(
        self, number: signal.Signals
    ) -> None:
        whole = Run()
        whole.loop.run()
        # In the middle of an epoch, and after its last step, before it is closed.
        for step in (3, 8, 24):
            with StopSignals() as signals:
                run = Run(signals=signals)
                interrupt(run.step, step, lambda: os.kill(os.getpid(), number))
                outcome = run.loop.run()
            assert (outcome.status, outcome.steps, signals.received) == ("interrupted", step, number)
            resumed = Run()
            assert resumed.resume(run.state()).status == "completed"
            assert resumed.step.weight == whole.step.weight
            assert [*run.recorder.records, *resumed.recorder.records] == whole.recorder.records

    def test_a_second_sigint_leaves_at_once(self) -> None:
        def twice() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        with StopSignals() as signals:
            run = Run(signals=signals)
            interrupt(run.step, 3, twice)
            with pytest.raises(KeyboardInterrupt):
                run.loop.run()

    def test_a_wish_that_another_thread_brings_ends_what_has_nothing_to_save(self) -> None:
        with StopSignals() as signals:
            bringing = threading.Timer(0.1, signals.receive, args=[signal.SIGTERM])
            bringing.start()
            with pytest.raises(Interrupted), signals.at_once():
                time.sleep(30)
            bringing.join()
        assert signals.received == signal.SIGTERM


def interrupt(step: Step, number: int, action: Callable[[], None]) -> None:
    """Let something happen within a step."""
    evaluate = step.hyperparameters.values

    def values() -> dict[str, float]:
        if step.calls == number and step.sizes and len(step.sizes) == number:
            step.hyperparameters.values = evaluate  # type: ignore[method-assign]
            action()
        return evaluate()

    step.hyperparameters.values = values  # type: ignore[method-assign]


def test_schedules_are_told_each_epochs_record(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    run = Run()
    monkeypatch.setattr(
        run.hyperparameters, "observe", lambda *arguments: told.append(arguments), raising=False
    )
    run.loop.run()
    assert [(record["epoch"], monitor, mode) for record, monitor, mode in told] == [
        (epoch, "validation/loss", "min") for epoch in (1, 2, 3)
    ]


def test_early_stopping_goes_on_counting() -> None:
    first = EarlyStopping(patience=5)
    first.best, first.waited = 0.25, 3
    second = EarlyStopping(patience=5)
    second.load_state(json.loads(json.dumps(first.state())))
    assert (second.best, second.waited) == (0.25, 3)
