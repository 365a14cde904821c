"""A running job is steered through its folder: what is obeyed, what is refused, and that nothing stops it."""

from __future__ import annotations

import doctest
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.commands import steer
from trainer.folder_lock import Holder, RunLock
from trainer.hyperparameters import Hyperparameters
from trainer.loggers import Progress
from trainer.steering import Malformed, State, Steering, files, replay, watcher


class Run:
    """A run that only counts its updates, and is steered."""

    steps_per_epoch = 10

    def __init__(self, folder: Path, resumed: bool = False, **values: float) -> None:
        self.folder = folder
        self.hyperparameters = Hyperparameters()
        for name, value in (values or {"learning_rate": 0.1, "momentum": 0.9, "epsilon": 1e-8}).items():
            self.hyperparameters.add(name, value)
        self.progress = Progress(epochs=100, steps_per_epoch=10, examples_per_epoch=10, phase="training")
        self.outcome = SimpleNamespace(steps=0, epochs=0)
        self.signals: Any = SimpleNamespace(received=None)
        self.stopped: str | None = None
        self.saved: list[int] = []
        self.trained_with: list[dict[str, float]] = []
        self.steering = Steering(folder, self.hyperparameters, self.progress, self.save, resumed=resumed)

    def save(self) -> Path | None:
        self.saved.append(self.outcome.steps)
        return self.folder / "checkpoints" / f"step-{self.outcome.steps:09}"

    def request_stop(self, reason: str) -> None:
        self.stopped = reason

    def update(self, times: int = 1) -> None:
        for _ in range(times):
            self.hyperparameters.advance(self.outcome.steps, 10, 1000)
            self.trained_with.append(self.hyperparameters.values())
            self.outcome.steps += 1
            self.outcome.epochs = self.outcome.steps // self.steps_per_epoch
            self.progress.step, self.progress.epoch = self.outcome.steps, self.outcome.epochs + 1
            self.steering(self)

    def trains(self, number: int) -> dict[str, float]:
        """Return what the update of that number was made with, once it is made on another thread."""
        end = time.monotonic() + 60
        while len(self.trained_with) < number and time.monotonic() < end:
            time.sleep(0.001)
        return self.trained_with[number - 1]

    @property
    def mail(self) -> Path:
        return self.folder / "steering"

    def post(self, **wanted: Any) -> str:
        """Put a request into the folder as a stranger would, without the command's checks."""
        return files.post(self.mail, {"set": {}, "release": [], "command": None, **wanted})

    def answer(self, token: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.mail / f"answer-{token}.json").read_text())
        return content

    def waiting(self) -> list[str]:
        return sorted(entry.name for entry in self.mail.glob("request-*"))


@pytest.fixture(autouse=True)
def _looks_after_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(watcher, "SHOW_SECONDS", 0.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def living(run: Run) -> Iterator[Run]:
    """A run that trains on a thread of its own, its folder locked, until the test ends."""
    over = threading.Event()

    def train() -> None:
        while not over.is_set() and run.stopped is None:
            run.update()
            time.sleep(0.001)

    with RunLock(run.folder):
        thread = threading.Thread(target=train)
        thread.start()
        try:
            yield run
        finally:
            over.set()
            run.signals.received = signal.SIGTERM
            thread.join()
            run.steering.close()


def test_a_value_holds_from_the_next_update_on_and_the_answer_says_so(run: Run) -> None:
    run.update(4)
    token = run.post(set={"learning_rate": 0.025})
    run.update(3)
    assert [values["learning_rate"] for values in run.trained_with] == [0.1] * 5 + [0.025] * 2
    change = {"step": 6, "name": "learning_rate", "old": 0.1, "new": 0.025}
    assert run.answer(token) == {
        "step": 5,
        "changes": [change],
        "command": None,
        "checkpoint": None,
        "refused": None,
    }
    assert run.waiting() == []
    assert [json.loads(line) for line in (run.mail / "history.jsonl").read_text().splitlines()] == [change]
    shown = json.loads((run.mail / "state.json").read_text())["hyperparameters"]
    assert shown["learning_rate"] == {"value": 0.025, "set_by": "person"}
    assert shown["momentum"] == {"value": 0.9, "set_by": "configuration"}


def test_a_schedule_leaves_a_persons_value_alone_until_it_is_released(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.hyperparameters.schedule("learning_rate", lambda time: 1.0 / (1 + time), unit="step")
    run.update(2)
    run.post(set={"learning_rate": 0.75})
    run.update(3)
    run.post(release=["learning_rate"])
    run.update(3)
    rates = [values["learning_rate"] for values in run.trained_with]
    assert rates == pytest.approx([1, 1 / 2, 1 / 3, 0.75, 0.75, 0.75, 1 / 7, 1 / 8], rel=1e-6)
    assert [(change.step, change.new) for change in run.steering.changes] == [(4, 0.75), (7, None)]


def test_requests_are_obeyed_in_the_order_in_which_they_were_made(run: Run) -> None:
    values = [1 / (2 + number) for number in range(12)]
    for value in values:
        run.post(set={"learning_rate": value})
    run.update()
    assert [change.new for change in run.steering.changes] == pytest.approx(values, rel=1e-6)
    assert [change.old for change in run.steering.changes] == pytest.approx([0.1, *values[:-1]], rel=1e-6)


REFUSED = {
    "learning_rat=0.1": "did you mean learning_rate?",
    "learning_rate=-1": "learning_rate=-1.0 is out of range: give a number of at least 0",
    "learning_rate=1e300": "learning_rate=1e+300 is none in float32: give a number of at least 0",
    "momentum=1": "momentum=1.0 is out of range: give a number of at least 0 and below 1",
    "epsilon=1e-60": "epsilon=1e-60 is none in float32: give a number above 0",
}


@pytest.mark.parametrize("wanted", REFUSED)
def test_the_run_refuses_what_the_configuration_would_refuse_and_then_changes_nothing(
    run: Run, wanted: str
) -> None:
    name, _, value = wanted.partition("=")
    token = run.post(set={"momentum": 0.5, name: float(value)} if name != "momentum" else {name: 1.0})
    run.update(2)
    assert REFUSED[wanted] in run.answer(token)["refused"]
    assert run.trained_with[0] == run.trained_with[1]
    assert (run.steering.changes, run.waiting()) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(([wanted], message) for wanted, message in REFUSED.items()),
        (["learning_rate=nan"], "learning_rate=nan is out of range: give a number of at least 0"),
        (["learning_rate=inf"], "learning_rate=inf is out of range"),
        (["learning_rate=fast"], "learning_rate=fast is not a number: give a number of at least 0"),
        (["learning_rate=1", "learning_rate=2"], "learning_rate is given twice"),
        (["learning_rate=1", "--release", "learning_rate"], "cannot be set and released at once"),
        (["--release", "momentun"], "did you mean momentum?"),
        (["sotp"], "sotp is neither NAME=VALUE nor a command: did you mean stop?"),
        (["pause", "stop"], "pause and stop are two commands"),
    ],
)
def test_the_command_refuses_a_mistake_before_the_run_sees_it(
    run: Run, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLock(run.folder):
        assert steer.main([str(run.folder), *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert run.waiting() == []


@pytest.mark.parametrize("content", ["NaN", "[-Infinity]", '{"a": 1, "a": 1}', "[" * 60_000, "nul", "\\xff"])
def test_what_is_no_strict_json_is_not_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(Malformed):
        files.read_json(tmp_path / "file")


def test_what_was_not_set_by_a_person_cannot_be_released(run: Run) -> None:
    token = run.post(release=["momentum"])
    run.update()
    assert run.answer(token)["refused"] == "momentum was not set by a person: there is nothing to release"


def test_the_command_changes_a_living_run_and_says_so_in_one_line(
    living: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer.main([str(living.folder), "learning_rate=3e-4", "momentum=0.5"]) == 0
    first = living.steering.changes[0].step
    assert capsys.readouterr().out == (
        f"learning_rate 0.1 → 0.0003 from step {first:,} on; momentum 0.9 → 0.5 from step {first:,} on\n"
    )
    assert living.trains(first - 1)["learning_rate"] == 0.1
    assert living.trains(first)["learning_rate"] == 0.0003
    assert not list(living.mail.glob("answer-*"))
    assert steer.main([str(living.folder), "--release", "momentum"]) == 0
    assert "momentum 0.5 → released" in capsys.readouterr().out
    assert living.hyperparameters.values() == pytest.approx(
        {"learning_rate": 0.0003, "momentum": 0.9, "epsilon": 1e-8}
    )


def test_without_anything_the_command_shows_the_present_state(
    living: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer.main([str(living.folder), "learning_rate=0.25"]) == 0
    step = living.steering.changes[0].step
    capsys.readouterr()
    assert steer.main([str(living.folder)]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert f"training, epoch {step // 10 + 1}" in head or int(head.split("step ")[1].split()[0]) > step
    assert [row.split() for row in rows] == [
        ["learning_rate", "0.25", "person"],
        ["momentum", "0.9", "configuration"],
        ["epsilon", "1e-08", "configuration"],
    ]


def test_a_checkpoint_is_written_when_it_is_asked_for(
    living: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer.main([str(living.folder), "checkpoint"]) == 0
    (step,) = living.saved
    assert capsys.readouterr().out == f"saved after step {step:,}, checkpoint checkpoints/step-{step:09}\n"


def test_stop_ends_the_run_after_this_step_with_its_state_saved(
    living: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer.main([str(living.folder), "stop"]) == 0
    assert living.stopped == "trainer-steer asked for it"
    assert living.saved == [living.outcome.steps]
    assert capsys.readouterr().out.startswith(f"stops after step {living.outcome.steps:,}, checkpoint ")


def test_a_paused_run_is_saved_waits_and_can_be_changed_until_it_goes_on(
    living: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer.main([str(living.folder), "pause"]) == 0
    step = living.outcome.steps
    assert living.saved == [step]
    assert (living.progress.phase, steer.read_state(living.folder).phase) == ("paused", "paused")
    assert steer.main([str(living.folder), "pause"]) == 2
    assert steer.main([str(living.folder), "momentum=0.25"]) == 0
    assert living.outcome.steps == step
    capsys.readouterr()
    assert steer.main([str(living.folder), "continue"]) == 0
    assert capsys.readouterr().out == f"goes on after step {step:,}\n"
    assert steer.main([str(living.folder), "continue"]) == 2
    assert living.trains(step + 1)["momentum"] == 0.25
    assert living.progress.phase == "training"


def test_a_signal_ends_a_pause(run: Run) -> None:
    run.post(command="pause")
    interrupt = threading.Timer(0.2, lambda: setattr(run.signals, "received", signal.SIGTERM))
    interrupt.start()
    run.update()
    interrupt.join()
    assert run.progress.phase == "training"


def test_a_run_whose_checkpoint_cannot_be_written_pauses_nevertheless_and_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Path:
        raise OSError(28, "No space left on device")

    run.steering = Steering(run.folder, run.hyperparameters, run.progress, full)
    token, later = run.post(command="pause"), run.post(command="continue")
    run.update()
    assert run.answer(token)["checkpoint"] is None
    assert run.answer(later)["refused"] is None


def test_a_request_that_is_not_read_in_time_stands(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLock(run.folder):
        assert steer.main([str(run.folder), "learning_rate=0.25", "--timeout", "0.05"]) == 0
    assert "the request stands and will be obeyed" in capsys.readouterr().out
    run.update(2)
    assert run.trained_with[-1]["learning_rate"] == 0.25


def test_a_run_that_does_not_run_is_not_steered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(folder: Path) -> str:
        assert steer.main([str(folder), "stop"]) == 2
        return capsys.readouterr().err

    assert "is no folder" in told(tmp_path / "nothing")
    assert "is not the folder of a run" in told(tmp_path)
    Run(tmp_path)
    assert f"{tmp_path} is not running; trainer resume={tmp_path} goes on with it" in told(tmp_path)
    (tmp_path / "summary.json").write_text('{"status": "stopped_early"}')
    assert f"{tmp_path} is not running: it stopped early;" in told(tmp_path)
    (tmp_path / "summary.json").write_text("[" * 100_000)
    assert "is not running;" in told(tmp_path)


def test_a_run_at_its_end_refuses_what_waits_and_takes_no_more(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    token = run.post(set={"learning_rate": 0.5})
    run.steering.close()
    run.steering.close()
    assert run.answer(token)["refused"] == "the run has ended"
    with RunLock(run.folder):
        assert steer.main([str(run.folder), "stop"]) == 2
    assert "is at its end and takes no more requests" in capsys.readouterr().err


def test_what_an_earlier_life_of_the_run_wrote_is_not_taken_for_the_present(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run.steering.close()
    monkeypatch.setattr(steer, "holder", lambda folder: Holder(os.getpid() + 1, "here"))
    assert steer.main([str(run.folder), "stop"]) == 2
    assert "cannot be steered yet: it has only begun again" in capsys.readouterr().err


def test_a_run_that_ends_before_it_answers_is_told_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    holders = iter([Holder(), None])
    monkeypatch.setattr(steer, "holder", lambda folder: next(holders))
    monkeypatch.setattr(steer, "LIFE_SECONDS", 0.0)
    assert steer.main([str(run.folder), "stop"]) == 1
    assert "ended before it answered" in capsys.readouterr().err


NAME = "request-000001-0123456789abcdef.json"
VALID = json.dumps({"set": {"learning_rate": 0.25, "momentum": 0.5}, "release": [], "command": None}).encode()


def valid_elsewhere(path: Path) -> Path:
    elsewhere = path.parent.parent / "elsewhere.json"
    elsewhere.write_bytes(VALID)
    return elsewhere


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no JSON": lambda path: path.write_bytes(b"\xff\xfe{"),
    "a list": lambda path: path.write_text("[]"),
    "too few keys": lambda path: path.write_text('{"set": {}}'),
    "an unknown key": lambda path: path.write_text(
        '{"set": {}, "release": [], "command": null, "run": "rm"}'
    ),
    "a key twice": lambda path: path.write_text('{"set": {}, "set": {}, "release": [], "command": null}'),
    "an unknown command": lambda path: path.write_text('{"set": {}, "release": [], "command": "format"}'),
    "a text for a number": lambda path: path.write_text(
        '{"set": {"learning_rate": "0.1"}, "release": [], "command": null}'
    ),
    "NaN": lambda path: path.write_text('{"set": {"learning_rate": NaN}, "release": [], "command": null}'),
    "infinite": lambda path: path.write_text('{"set": {"momentum": 1e999}, "release": [], "command": null}'),
    "true for a number": lambda path: path.write_text(
        '{"set": {"momentum": true}, "release": [], "command": null}'
    ),
    "a number without end": lambda path: path.write_text(
        f'{{"set": {{"momentum": {"9" * 5000}}}, "release": [], "command": null}}'
    ),
    "deep": lambda path: path.write_text("[" * 60_000),
    "deep objects": lambda path: path.write_text('{"set":' * 8_000),
    "huge": lambda path: path.write_bytes(VALID + b" " * 10_000_000),
    "an escape sequence": lambda path: path.write_text(
        '{"set": {"\\u001b[2J": 1}, "release": [], "command": null}'
    ),
    "a folder": lambda path: path.mkdir(),
    "a symlink": lambda path: path.symlink_to(valid_elsewhere(path)),
    "a symlink to itself": lambda path: path.symlink_to(path.name),
    "a pipe": lambda path: os.mkfifo(path),
    "a wrong name": lambda path: path.with_name("request-../x.json".replace("/", "")).write_text("{}"),
    "a name that is no text": lambda path: Path(
        os.fsdecode(os.fsencode(path.parent) + b"/request-\xff\n")
    ).touch(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_no_request_is_moved_aside_with_one_warning_and_the_run_goes_on(
    run: Run, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    HOSTILE[kind](run.mail / NAME)
    good = run.post(set={"learning_rate": 0.5})
    run.update(3)
    assert len(list((run.mail / "refused").iterdir())) == 1
    assert run.waiting() == []
    assert [record.levelname for record in caplog.records if "is ignored" in record.message] == ["WARNING"]
    assert run.answer(good)["refused"] is None
    assert run.trained_with[-1] == pytest.approx({"learning_rate": 0.5, "momentum": 0.9, "epsilon": 1e-8})


def test_a_file_that_cannot_be_moved_aside_is_told_of_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    (run.mail / "refused").write_text("in the way")
    (run.mail / NAME).write_text("{")
    for _ in range(3):
        run.update()
        run.post(set={"learning_rate": 0.5})
    assert [record.message for record in caplog.records if "is ignored" in record.message] == [
        f"steering/{NAME} is ignored: it is no JSON (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1))"
    ]


@pytest.mark.parametrize("name", ["state.json", "history.jsonl", "refused"])
@pytest.mark.parametrize("kind", ["a folder", "a symlink to itself", "a pipe", "deep"])
def test_nothing_in_the_folder_of_steering_stops_the_run(run: Run, name: str, kind: str) -> None:
    (run.mail / name).unlink(missing_ok=True)
    HOSTILE[kind](run.mail / name)
    (run.mail / NAME).write_text("{")
    token = run.post(set={"learning_rate": 0.5})
    run.update(25)
    assert run.answer(token)["refused"] is None
    Run(run.folder, resumed=True).steering.load_state({"changes": []}, steps=0)


def test_a_folder_that_is_deleted_is_made_again_and_the_run_can_be_steered_again(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.update()
    shutil.rmtree(run.mail)
    run.update(20)
    token = run.post(set={"learning_rate": 0.5})
    run.update()
    assert run.answer(token)["refused"] is None
    shutil.rmtree(run.folder)
    run.update(50)
    assert not run.folder.exists()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) <= 3


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a request in which some bytes were changed, left out or put in."""
    content = bytearray(VALID)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1))
        taken, put = draw(st.integers(0, 3)), draw(st.binary(max_size=4))
        content[place : place + taken] = put
    return bytes(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["set", "release", "command", "momentum", "x"]), below, max_size=4)
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=mutated() | JSON | st.binary(max_size=50))
def test_no_content_of_a_file_stops_the_run_or_gives_it_a_value_out_of_range(
    run: Run, content: bytes
) -> None:
    (run.mail / NAME).write_bytes(content)
    os.utime(run.mail, ns=(0, time.monotonic_ns()))  # examples follow each other within the clock's tick
    run.update()
    assert run.waiting() == []
    values = run.hyperparameters.values()
    assert values["learning_rate"] >= 0
    assert 0 <= values["momentum"] < 1
    State.parse(files.read_json(run.mail / "state.json"))


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=JSON | st.binary(max_size=50), name=st.sampled_from(["state.json", "summary.json"]))
def test_whatever_a_runs_files_hold_the_command_ends_with_a_sentence(
    run: Run, content: bytes, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.mail / name if name == "state.json" else run.folder / name).write_bytes(content)
    if name == "state.json":
        with RunLock(run.folder):
            status = steer.main([str(run.folder), "momentum=2"])
    else:
        status = steer.main([str(run.folder), "stop"])
    assert status in (1, 2)
    assert capsys.readouterr().err.startswith("Error: ")


def test_a_request_within_the_same_tick_of_the_folders_date_is_found_too(run: Run) -> None:
    run.steps_per_epoch = 10**9  # at an epoch's end the run writes, which gives the folder another date
    run.post(set={"learning_rate": 0.5})
    run.update(2)
    date = run.mail.stat().st_mtime_ns
    run.update()
    run.post(set={"learning_rate": 0.25})
    os.utime(run.mail, ns=(date, date))
    end = time.monotonic() + 20
    while run.waiting() and time.monotonic() < end:
        run.update()
    assert run.trained_with[-1]["learning_rate"] in (0.25, 0.5)
    assert run.hyperparameters.values()["learning_rate"] == 0.25


def test_a_resumed_run_makes_the_changes_after_its_checkpoint_again_at_their_steps(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.post(set={"learning_rate": 0.5})
    first.update(5)
    saved = json.loads(json.dumps([first.hyperparameters.state(), first.steering.state()]))
    first.update(5)
    first.post(set={"momentum": 0.25})
    first.update(3)
    first.post(release=["learning_rate"])
    first.update(3)

    second = Run(tmp_path, resumed=True)
    second.hyperparameters.load_state(saved[0])
    second.outcome.steps = second.progress.step = 5
    second.steering.load_state(saved[1], steps=5)
    second.update(11)
    assert second.trained_with == first.trained_with[5:]
    assert second.steering.changes == first.steering.changes
    assert len((tmp_path / "steering" / "history.jsonl").read_text().splitlines()) == 3


def test_a_run_that_goes_back_keeps_what_a_person_set_meanwhile(run: Run) -> None:
    saved = run.hyperparameters.state(), run.steering.state()
    run.update(3)
    run.post(set={"learning_rate": 0.5})
    run.update(3)
    run.outcome.steps = 0
    run.hyperparameters.load_state(saved[0])
    run.steering.load_state(saved[1], steps=0, at_once=True)
    run.hyperparameters.rescale("learning_rate", 0.5)
    run.update(8)
    assert {values["learning_rate"] for values in run.trained_with[6:]} == {0.25}


def test_a_change_at_the_step_of_the_checkpoint_is_made_before_the_first_update(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.update(4)
    saved = first.steering.state()
    first.post(set={"momentum": 0.25})
    first.outcome.steps = 3  # the watcher that saves came before the one that steers
    first.update()
    second = Run(tmp_path, resumed=True)
    second.outcome.steps = 4
    second.steering.load_state(saved, steps=4)
    second.update()
    assert second.trained_with[0]["momentum"] == 0.25


def test_a_resumed_run_makes_changes_that_waited_but_obeys_no_command_of_its_earlier_life(
    tmp_path: Path,
) -> None:
    first = Run(tmp_path)
    first.post(set={"learning_rate": 0.5})
    stop = first.post(command="stop")
    second = Run(tmp_path, resumed=True)
    assert second.answer(stop)["refused"] == "the run ended before it could obey stop"
    second.update(2)
    assert second.stopped is None
    assert second.trained_with[-1]["learning_rate"] == 0.5


def test_a_new_run_in_an_old_folder_forgets_what_was_asked_of_the_old_one(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.post(set={"learning_rate": 0.5})
    first.update()
    first.post(set={"learning_rate": 0.25})
    second = Run(tmp_path)
    second.update(3)
    assert second.trained_with[-1]["learning_rate"] == pytest.approx(0.1)
    assert not (tmp_path / "steering" / "history.jsonl").exists()


def test_short_steps_look_at_the_folder_once_a_millisecond(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(watcher, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run.update()
    run.post(set={"learning_rate": 0.5})
    now[0] += 0.0009
    run.update()
    assert len(run.waiting()) == 1
    now[0] += 0.0002
    run.update()
    assert run.waiting() == []


def test_a_change_is_one_line_of_the_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run.update(1233)
    run.post(set={"learning_rate": 0.0003})
    run.update()
    assert [record.message for record in caplog.records] == [
        "steering: learning_rate 0.1 → 0.0003 from step 1,235 on"
    ]


def test_a_later_course_cancels_an_earlier_one() -> None:
    assert doctest.testmod(replay) == (0, 2)
