"""scripts/train and scripts/test make their environment once, say what they do, and mend what is broken.

They run in a copy of the checkout whose `trainer` only tells how it was called. Python and g++ are real;
`uv` is a stand-in that notes what it is asked for and needs no network.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = f"python3.{sys.version_info.minor}"

TRAINER = "import json, os, sys\nprint(json.dumps([os.getcwd(), sys.argv[1:], sys.prefix]))\n"
CHECK = "import os, sys\nprint('{name}', *sys.argv[1:])\nsys.exit(os.environ.get('FAILING') == '{name}')\n"
UV = """#!/usr/bin/env bash
[[ $1 == python ]] || echo "$1" >>"$ROOT/uv.log"
case $1 in
venv) exec "$4" -Im venv --without-pip "$5" ;;
pip)
    while [[ -e $ROOT/closed ]]; do read -rt 0.02 <>"$ROOT/clock"; done
    for packages in .venv/lib/python3.*/site-packages; do echo "$ROOT" >"$packages/here.pth"; done
    ;;
esac
"""


class Checkout:
    """A copy of what set-up needs, with a blank in its path, and a PATH with chosen tools only."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tools, self.elsewhere = folder / "a checkout", folder / "tools", folder / "elsewhere"
        for made in (self.root / "trainer", self.tools, self.elsewhere):
            made.mkdir(parents=True)
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root)
        (self.root / "trainer" / "__init__.py").touch()
        (self.root / "trainer" / "__main__.py").write_text(TRAINER)
        for name in ("bash", "env", "rm", "readlink", "g++"):
            found = shutil.which(name)
            assert found, f"these tests need {name}"
            (self.tools / name).symlink_to(found)
        (self.tools / PYTHON).symlink_to(Path(sys.executable).resolve())
        self.tool("uv", UV)
        self.started: list[subprocess.Popen[str]] = []

    def tool(self, name: str, text: str) -> None:
        """Put a program on PATH."""
        (self.tools / name).unlink(missing_ok=True)
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def start(self, script: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a script from a folder outside the checkout."""
        if not (self.root / "clock").exists():
            os.mkfifo(self.root / "clock")
        process = subprocess.Popen(
            [self.root / "scripts" / script, *arguments],
            cwd=self.elsewhere,
            env={"PATH": str(self.tools), "ROOT": str(self.root), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, script: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Run a script to its end: its status, what it printed, what it said."""
        process = self.start(script, *arguments, **variables)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def asked_of_uv(self) -> list[str]:
        """What uv was asked for so far: `venv` or `pip`."""
        log = self.root / "uv.log"
        return log.read_text().split() if log.exists() else []

    def end(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def stop_installations(self) -> None:
        """Let every installation wait from now on, until `closed` is removed."""
        (self.root / "closed").touch()

    def await_installation(self, number: int = 1) -> None:
        """Wait until uv is installing for the so-many-th time."""
        deadline = time.monotonic() + 60
        while self.asked_of_uv().count("pip") < number:
            assert time.monotonic() < deadline, "no installation began"
            time.sleep(0.01)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path)
    yield made
    made.end()


def told(out: str) -> Any:
    """What the stand-in for `trainer` told: its folder, its arguments, its environment."""
    return json.loads(out)


def test_first_use_makes_the_environment_and_says_so_and_later_uses_do_nothing_of_the_kind(
    checkout: Checkout,
) -> None:
    status, out, err = checkout.run("train", "a=1", "b=two words")
    assert status == 0
    assert told(out) == [str(checkout.elsewhere), ["a=1", "b=two words"], str(checkout.root / ".venv")]
    assert "First use: making" in err
    assert "minute" in err
    assert checkout.asked_of_uv() == ["venv", "pip"]

    assert checkout.run("train", "a=1", "b=two words") == (0, out, "")
    assert checkout.asked_of_uv() == ["venv", "pip"]


def test_a_link_to_the_script_finds_the_checkout(checkout: Checkout) -> None:
    (checkout.tools / "train").symlink_to(checkout.root / "scripts" / "train")
    status, out, _ = checkout.run("../../tools/train", "a=1")
    assert status == 0
    assert told(out)[1:] == [["a=1"], str(checkout.root / ".venv")]


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_environment_that_is_there(
    checkout: Checkout, changed: str
) -> None:
    checkout.run("train")
    with (checkout.root / changed).open("a") as file:
        file.write("# another version\n")
    status, _, err = checkout.run("train")
    assert status == 0
    assert "up to date" in err
    assert checkout.asked_of_uv() == ["venv", "pip", "pip"]
    assert checkout.run("train")[2] == ""


def interrupt(checkout: Checkout, installation: int) -> None:
    """Start a script, and send it SIGTERM in the middle of the installation of that number."""
    checkout.stop_installations()
    interrupted = checkout.start("train")
    checkout.await_installation(installation)
    interrupted.send_signal(signal.SIGTERM)
    interrupted.communicate(timeout=120)
    assert interrupted.returncode == 143
    (checkout.root / "closed").unlink()


def test_an_interrupted_first_use_is_made_anew(checkout: Checkout) -> None:
    interrupt(checkout, installation=1)
    status, _, err = checkout.run("train")
    assert status == 0
    assert "anew" in err
    assert checkout.asked_of_uv() == ["venv", "pip", "venv", "pip"]


def test_an_interrupted_update_is_made_anew_also_where_the_requirements_are_the_old_ones_again(
    checkout: Checkout,
) -> None:
    checkout.run("train")
    constraints = checkout.root / "constraints.txt"
    before = constraints.read_text()
    constraints.write_text(before + "# another version\n")
    interrupt(checkout, installation=2)
    constraints.write_text(before)
    assert "anew" in checkout.run("train")[2]
    assert checkout.run("train")[2] == ""


def test_a_moved_checkout_gets_its_environment_anew(checkout: Checkout) -> None:
    checkout.run("train")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    status, out, err = checkout.run("train")
    assert status == 0
    assert "anew" in err
    assert told(out)[2] == str(checkout.root / ".venv")


def test_two_first_uses_at_once_make_one_environment(checkout: Checkout) -> None:
    checkout.stop_installations()
    first = checkout.start("train", "first")
    checkout.await_installation()
    second = checkout.start("train", "second")
    assert second.stderr
    assert "waiting" in second.stderr.readline()
    (checkout.root / "closed").unlink()
    for process, name in ((first, "first"), (second, "second")):
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert told(out)[1] == [name]
    assert checkout.asked_of_uv() == ["venv", "pip"]


def test_a_failed_installation_is_told_and_does_not_pass_for_complete(checkout: Checkout) -> None:
    uv = checkout.tools / "uv"
    uv.rename(checkout.root / "uv")
    status, out, err = checkout.run("train", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert status == 1
    assert out == ""
    assert "hatchling" in err, "pip's own reason is shown"
    assert "internet connection" in err.splitlines()[-1]

    (checkout.root / "uv").rename(uv)
    status, _, err = checkout.run("train")
    assert status == 0
    assert "anew" in err


@pytest.mark.parametrize("script", ["train", "test"])
def test_without_a_compiler_one_sentence_says_how_to_get_one(checkout: Checkout, script: str) -> None:
    (checkout.tools / "g++").unlink()
    status, out, err = checkout.run(script)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    for words in (f"scripts/{script}: ", "g++", "apt-get install g++", "xcode-select --install"):
        assert words in err
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("script", ["train", "test"])
def test_without_a_fitting_python_one_sentence_says_how_to_get_one(checkout: Checkout, script: str) -> None:
    (checkout.tools / PYTHON).unlink()
    checkout.tool("python3.11", "#!/usr/bin/env bash\necho 'not selected' >&2\nexit 127\n")
    checkout.tool("python3", "#!/usr/bin/env bash\necho 3.12 - /usr/bin/python3.12\n")
    status, out, err = checkout.run(script)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    for words in (
        f"scripts/{script}: ",
        "3.10 or 3.11",
        "apt-get install python3.11",
        "brew install",
        "TRAINER_PYTHON",
    ):
        assert words in err
    assert not (checkout.root / ".venv").exists()


def test_an_interpreter_that_fails_is_passed_over_for_one_that_works(checkout: Checkout) -> None:
    (checkout.tools / "python3").symlink_to(Path(sys.executable).resolve())
    checkout.tool(PYTHON, "#!/usr/bin/env bash\nexit 127\n")
    assert checkout.run("train")[0] == 0


@pytest.fixture
def with_checks(checkout: Checkout) -> Checkout:
    for name in ("ruff", "mypy", "pytest"):
        (checkout.root / f"{name}.py").write_text(CHECK.format(name=name))
    return checkout


def test_scripts_test_runs_every_check_and_ends_with_pytest(with_checks: Checkout) -> None:
    status, out, _ = with_checks.run("test")
    assert status == 0
    ran = [line for line in out.splitlines() if not line.startswith("==")]
    assert ran == ["ruff format --check", "ruff check", "mypy", "pytest"]


@pytest.mark.parametrize("failing", ["ruff", "mypy", "pytest"])
def test_a_failing_check_fails_scripts_test_and_hides_no_other(with_checks: Checkout, failing: str) -> None:
    status, out, _ = with_checks.run("test", FAILING=failing)
    assert status == 1
    assert out.splitlines()[-1] == "pytest"


def test_with_arguments_scripts_test_runs_pytest_alone_on_the_paths_of_the_checkout(
    with_checks: Checkout,
) -> None:
    status, out, _ = with_checks.run("test", "tests/test_updates.py", "-k", "adam")
    assert (status, out) == (0, "pytest tests/test_updates.py -k adam\n")
    assert with_checks.run("test", "-x", FAILING="pytest")[0] == 1
