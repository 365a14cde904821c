"""The wheel has everything that a run needs: installed elsewhere, it trains from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a person would who has no checkout, and return what it printed."""
    # THEANO_FLAGS were set by the tests themselves; PYTHONPATH could lead back to the checkout.
    ours = ("PYTHONPATH", "PYTHONHOME", "THEANO_FLAGS", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment's folder of programs; it has the wheel and, without any network, our packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--isolated", "--python", python)
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    # A .pth file's folders are not searched for .pth files: the checkout's editable installation stays out.
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(purelib) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_the_wheel_holds_every_yaml_file_of_conf_and_nothing_of_the_checkout_besides(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    conf = {f"trainer/conf/{file.relative_to(ROOT / 'conf')}" for file in (ROOT / "conf").rglob("*.yaml")}
    assert conf
    assert {name for name in names if name.endswith(".yaml")} == conf
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "trainer",
        "hydra_plugins",
        "theano_trainer",
    }


def test_the_installed_command_trains_from_another_folder(programs: Path, tmp_path: Path) -> None:
    where = run(programs / "python", "-c", "import trainer; print(trainer.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(programs.parent)

    run(programs / "trainer", "training.epochs=1", cwd=tmp_path)

    (summary,) = (tmp_path / "outputs").glob("*/*/summary.json")
    content = json.loads(summary.read_text())
    assert content["status"] == "completed"
    assert content["epochs"] == 1


def test_the_installed_package_runs_as_a_module(programs: Path, tmp_path: Path) -> None:
    printed = run(programs / "python", "-m", "trainer", "optimizer=sgd", "--cfg", "job", cwd=tmp_path)
    assert "trainer.updates.sgd" in printed
