"""Training on other devices than the CPU: OpenCL's and CUDA's."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import MNIST, Finished, needs_mnist
from tests.devices import Device, opencl


@pytest.fixture(params=["opencl", "cuda"])
def device(request: pytest.FixtureRequest) -> Device:
    """A device of each kind."""
    if request.param == "opencl":
        return opencl()
    stand_in: Device = request.getfixturevalue("stand_in")
    return stand_in.exact()


# One thread, so that the CPU's products do not wait for each other on a busy machine.
SMALL = (
    "model.hidden=[16]",
    "training.steps_per_epoch=10",
    "device.threads=1",
    "logger.pictures=null",
    "logger.curves=null",
)


def test_the_nine_rules_and_the_wrappers_follow_their_formulas_on_the_device(device: Device) -> None:
    found = device.computed("rules")
    assert found["operations on the CPU"] == []
    assert len(found["errors"]) == 11
    assert {name: error for name, error in found["errors"].items() if not error < 1e-10} == {}


def test_fused_updates_are_the_symbolic_ones_on_the_device_and_overwrite_the_old_values(
    device: Device,
) -> None:
    found = device.computed("fused")
    # A rule of one result is Theano's own operation as well, but for large parameters.
    assert found == {"adam": [2], "lars": [2], "rprop": [2], "clipping=total_norm": [2], "sgd": [1]}


def test_a_run_goes_from_the_device_to_the_cpu_and_back(
    device: Device, train: Callable[..., Finished], tmp_path: Path
) -> None:
    expected = train(*SMALL, "training.epochs=3", folder="cpu")
    run_folder = tmp_path / "moved"
    device.train(run_folder, *SMALL, f"device={device.name}", "training.epochs=1")
    device.train(run_folder, f"resume={run_folder}", "device=cpu", "training.epochs=2")
    found = device.train(run_folder, f"resume={run_folder}", f"device={device.name}", "training.epochs=3")
    for key in ("train/loss", "validation/loss"):
        assert [each[key] for each in found.records] == pytest.approx(
            [each[key] for each in expected.records], rel=1e-4
        )
    assert found.summary["device"] == device.name
    log = (run_folder / "train.log").read_text()
    assert "the training part stays on the device" in log
    # The places of the batch go there, the gradients' sums come from it; all else is single numbers.
    assert "each step copies 1 array and" in log
    assert ", and 1 array and 1 number from it" in log


def mnist(what: str, header: int) -> Any:
    """Read one of MNIST's files for tests: the numbers behind the header."""
    (path,) = MNIST.glob(f"t10k-{what}-*")
    rows = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
    return rows.reshape(10_000, -1).squeeze()


@needs_mnist
def test_fifty_steps_of_a_convolutional_network_lose_as_on_the_cpu(
    device: Device, train: Callable[..., Finished], tmp_path: Path
) -> None:
    file = tmp_path / "digits.npz"
    np.savez(file, inputs=mnist("images", 16)[:900], targets=mnist("labels", 8)[:900])
    fifty = (
        "model=cnn",
        "model.filters=[8,16]",
        "model.hidden=[64]",
        "data=npz",
        f"data.file={file}",
        "data.shape=[1,28,28]",
        "data.scale=0.003921569",
        "data.validation_fraction=0.05",
        "data.test_fraction=0.05",
        "training.batch_size=16",
        "training.epochs=5",
        "training.steps_per_epoch=10",
        "logger.pictures=null",
        "logger.curves=null",
        "device.threads=1",
    )
    expected = train(*fifty, folder="cpu")
    found = device.train(tmp_path / "device", *fifty, f"device={device.name}")
    assert found.summary["steps"] == 50
    assert [each["train/loss"] for each in found.records] == pytest.approx(
        [each["train/loss"] for each in expected.records], abs=1e-3
    )
    assert found.records[-1]["train/loss"] < found.records[0]["train/loss"] * 0.7


def test_recurrent_layers_and_their_gradients_are_pytorchs_on_the_device(device: Device) -> None:
    found = device.computed("recurrent")
    assert sorted(found) == ["gru", "lstm", "simplernn"]
    assert {kind: error for kind, error in found.items() if not error < 1e-5} == {}


def test_every_activation_of_a_cell_is_the_cpus_on_the_device(device: Device) -> None:
    found = device.computed("cells")
    assert len(found) == 7
    assert {name: error for name, error in found.items() if not error < 1e-10} == {}


def test_a_recurrent_network_trains_on_the_device_as_on_the_cpu(
    device: Device, train: Callable[..., Finished], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be, that is the question: " * 60)
    small = (
        "+experiment=char_lstm",
        f"data.file={text}",
        "data.length=8",
        "model.units=8",
        "training.batch_size=4",
        "training.evaluation_batch_size=4",
        "training.epochs=2",
        "training.steps_per_epoch=5",
        "logger.pictures=null",
        "logger.curves=null",
        "device.threads=1",
    )
    expected = train(*small, folder="cpu")
    found = device.train(tmp_path / "device", *small, f"device={device.name}")
    for key in ("train/loss", "validation/loss"):
        assert [each[key] for each in found.records] == pytest.approx(
            [each[key] for each in expected.records], rel=1e-4
        )
    # The batch goes there, the gradients' sums come from it; none of the layer's states does either.
    log = (tmp_path / "device" / "train.log").read_text()
    assert "each step copies 2 arrays and" in log
    assert ", and 1 array and 1 number from it" in log


def test_random_numbers_are_the_same_on_every_device(device: Device) -> None:
    found, wanted = device.computed("drawn"), Device("cpu").computed("drawn")
    assert found.pop("noise") == pytest.approx(wanted.pop("noise"), abs=1e-5)
    assert found == wanted
    assert all(set(each) == {0, np.float32(1 / 0.6)} for each in found.values())


def test_a_layers_bias_activation_and_dropout_are_scipys_on_the_device(device: Device) -> None:
    found = device.computed("passes")
    assert len(found) == 10
    assert {name: error for name, error in found.items() if not error < 1e-12} == {}


def test_an_operation_that_the_device_lacks_is_named_and_runs_only_where_it_may(device: Device) -> None:
    (refused,) = device.computed("lacking")
    assert f"device.name={device.name} lacks operations of this step: SortOp" in refused
    assert "device.allow_cpu_ops=true" in refused
    placed, cost = device.computed("lacking", "allow_cpu_ops")
    assert "on the CPU, because the device lacks them: SortOp" in placed
    found = re.search(r"\(SortOp\) takes ([\d.e+-]+) of a step's ([\d.e+-]+) ms", cost)
    assert found is not None
    assert 0 < float(found[1]) <= float(found[2])


def test_a_kernel_that_the_device_refuses_is_told_in_a_sentence(device: Device) -> None:
    of_theano, of_ours = device.computed("refused")
    for told in (of_theano, of_ours):
        assert told.startswith(f"device.name={device.name}: its compiler refused the kernel of Gpu")
        assert "device=cpu" in told
        assert "\n" not in told
    assert "GpuElemwise{Wrong}" in of_theano
    assert "GpuFusedUpdate" in of_ours
    assert "there_is_no_such_name" in of_ours


def test_a_run_whose_kernel_is_refused_ends_with_status_1(device: Device, tmp_path: Path) -> None:
    rule = "optimizer._target_=tests.refused_rule.wrong_step"
    done = device.run("trainer", f"device={device.name}", "model=softmax", rule, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: device.name={device.name}: its compiler refused")


def test_the_doctor_computes_on_each_device_that_there_is(device: Device) -> None:
    done = device.run("trainer.commands.doctor", "--size", "16")
    line = next(line for line in done.stdout.splitlines() if device.name in line and "Device" not in line)
    assert "GiB; Theano compiles for it, and computes rightly" in line
    assert "ok" in line


def test_a_device_that_there_is_not_is_refused_with_those_that_there_are(
    device: Device, tmp_path: Path
) -> None:
    wrong = f"{device.name[:-1]}9"
    done = device.run("trainer", f"device={wrong}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"device.name={wrong} could not be started" in done.stderr
    assert re.search(rf"Devices that there are: cpu, .*{device.name}", done.stderr)
