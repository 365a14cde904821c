"""What CUDA has: devices by number, libraries apart, memory that ends; all on the stand-in."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests import cuda_stand_in
from tests.devices import Device

SMALL = ("model=softmax", "logger.pictures=null", "logger.curves=null", "device.threads=1")


def refused(device: Device, cwd: Path, *overrides: str, **environment: str) -> str:
    """Run what has to end with status 2 and one sentence; return the sentence."""
    done = device.run("trainer", *SMALL, *overrides, cwd=cwd, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    sentence: str
    (sentence,) = done.stderr.splitlines()
    return sentence


def test_a_step_copies_what_the_log_says_and_no_more(stand_in: Device, tmp_path: Path) -> None:
    counted: list[dict[str, int]] = []
    # The first run may compile, and try what it compiled.
    for steps in (1, 5, 15):
        file = tmp_path / f"{steps}.json"
        run = (f"device={stand_in.name}", "training.epochs=1", f"training.steps_per_epoch={steps}")
        stand_in.train(tmp_path / f"{steps}", *SMALL, *run, STAND_IN_COUNTS=str(file))
        counted.append(json.loads(file.read_text()))
    log = (tmp_path / "15" / "train.log").read_text()
    assert "each step copies 1 array and 1 number to the device, and 1 array and 1 number from it" in log
    each = {key: (counted[2][key] - counted[1][key]) / 10 for key in counted[0]}
    assert (each["to_device"], each["to_host"]) == (2, 2)
    # The places of 64 examples, of 4 bytes; the squares of two gradients, of 8; a number each of 4 or 8.
    assert each["bytes_to_device"] <= 64 * 4 + 8
    assert each["bytes_to_host"] <= 2 * 8 + 8
    assert each["launches"] > 0


def test_the_devices_that_are_shown_are_numbered_anew(stand_in: Device, tmp_path: Path) -> None:
    short = ("training.epochs=1", "training.steps_per_epoch=2")
    found = stand_in.train(tmp_path / "run", *SMALL, *short, "device=cuda", CUDA_VISIBLE_DEVICES="1")
    assert (found.summary["device"], found.summary["device_name"]) == ("cuda0", "Stand-in 1")
    said = refused(stand_in, tmp_path, "device=cuda1", CUDA_VISIBLE_DEVICES="1")
    assert "device.name=cuda1 could not be started" in said
    assert "Devices that there are: cpu, cuda0" in said
    assert "cuda1," not in said


def test_the_workers_of_a_sweep_have_a_device_each(stand_in: Device, tmp_path: Path) -> None:
    sweep = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep")
    jobs = ("training.seed=1,2,3,4", "training.epochs=1", "training.steps_per_epoch=2", "device=cuda")
    done = stand_in.run("trainer", *SMALL, *sweep, *jobs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [json.loads(file.read_text())["device"] for file in (tmp_path / "sweep").glob("*/summary.json")]
    assert len(names) == 4
    assert set(names) == {"cuda0", "cuda1"}


@pytest.mark.parametrize(
    ("present", "complaint", "cure"),
    [
        ((), "libcuda.so", "(libcuda.so: the driver, such as nvidia-driver, libnvrtc.so: the compiler"),
        (
            ("driver",),
            "libnvrtc.so",
            "(libnvrtc.so: the compiler, by pip install 'theano-trainer[cuda]', lib",
        ),
        (
            ("driver", "compiler"),
            "Blas",
            "(libcublas.so: matrix products, by pip install 'theano-trainer[cuda]')",
        ),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_cure(
    present: tuple[str, ...], complaint: str, cure: str, stand_in: Device, tmp_path: Path
) -> None:
    whole = Path(stand_in.environment["LD_LIBRARY_PATH"].split(":")[0])
    for name in ("nvidia/__init__.py", *(cuda_stand_in.LIBRARIES[each] for each in present)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(whole / name)
    said = refused(stand_in, tmp_path, "device=cuda", **cuda_stand_in.environment(tmp_path))
    assert said.startswith("Error: device.name=cuda")
    assert complaint in said.partition("Devices that there are: cpu")[0]
    assert cure in said


@pytest.mark.parametrize("capability", ["120", "100", "75"])
def test_the_compiler_hears_of_every_card_by_its_whole_number(capability: str, stand_in: Device) -> None:
    done = stand_in.run("tests.on_device", stand_in.name, "drawn", STAND_IN_CAPABILITY=capability)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["dropped"]) == 150


def test_memory_that_does_not_suffice_is_told_with_its_cure(stand_in: Device, tmp_path: Path) -> None:
    full = refused(stand_in, tmp_path, "device=cuda", STAND_IN_MEMORY="100000")
    assert "could not be started (cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory)" in full
    assert "or free its memory" in full
    wanted = refused(stand_in, tmp_path, "device=cuda", "device.preallocate=1e6")
    assert wanted.startswith("Error: device.preallocate is more than device.name=cuda0 has free (Trying to")
    large = (f"device={stand_in.name}", "model=mlp", "model.hidden=[1500,1500]")
    ended = stand_in.run("trainer", *SMALL[1:], *large, cwd=tmp_path, STAND_IN_MEMORY=str(8 << 20))
    assert ended.returncode == 1
    assert "out of memory (cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory)" in ended.stderr
    assert "an array on cuda0 may have" in ended.stderr


def test_the_stand_in_shows_what_a_kernel_does_wrong(stand_in: Device) -> None:
    # A block's threads go from the last to the first, and the next time from the first to the last.
    wanted = {
        "none": [True, True],
        "no barrier before what the next wrote": [True, False],
        "no barrier before what the last wrote": [False, True],
        "reads what nobody wrote": [False, False],
    }
    done = stand_in.exact().run("tests.mistaken_kernels", *wanted, "writes past the end")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert dict(found) == wanted
    assert done.returncode == -signal.SIGSEGV, done.stderr
