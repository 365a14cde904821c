"""What the documents say of the program is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT
from trainer import config, schedules, updates
from trainer.commands.overrides import rewrite

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONF = ROOT / "conf"
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def table_rows(heading: str) -> dict[str, str]:
    """Return the rows of the README's table below a heading, by the name in their first cell."""
    section = README.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", section, re.MULTILINE)}


def commands() -> list[str]:
    """Return the overrides of the training commands that the README shows."""
    shown = re.findall(r"^\$ (?:scripts/train|trainer) (.*)$", README.replace("\\\n", ""), re.MULTILINE)
    others = ("optimizer=adm", "rho=1.1", "--help", "sweep.resume=")
    return [line for line in shown if not any(other in line for other in others)]


def test_the_table_of_rules_names_each_file_once() -> None:
    assert sorted(table_rows("The rules")) == sorted(
        path.stem for path in (CONF / "optimizer").glob("*.yaml")
    )


def test_the_table_of_schedules_names_each_file_once() -> None:
    assert sorted(table_rows("Schedules")) == sorted(path.stem for path in (CONF / "schedule").glob("*.yaml"))


@pytest.mark.parametrize("schedule", sorted(path.stem for path in (CONF / "schedule").glob("*.yaml")))
def test_each_schedule_of_the_table_cites_what_its_docstring_cites(schedule: str) -> None:
    cited = re.findall(r"\b(?:19|20)\d\d\b", table_rows("Schedules")[schedule].rsplit("|", 2)[1])
    assert all(year in str(getattr(schedules, schedule).__doc__) for year in cited)


@pytest.mark.parametrize("rule", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_each_rule_of_the_table_cites_what_its_docstring_cites(rule: str) -> None:
    cited = re.findall(r"\b(?:19|20)\d\d\b", table_rows("The rules")[rule].rsplit("|", 2)[1])
    assert all(year in str(getattr(updates, rule).__doc__) for year in cited)


@pytest.mark.parametrize("group", GROUPS)
def test_the_reference_names_each_choice_of_a_group(group: str) -> None:
    choices = re.findall(r"`(\w+)`", table_rows("Reference")[group].split("|")[3])
    assert choices == sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_composes(command: str) -> None:
    config.register()
    arguments = [word for word in shlex.split(command, comments=True) if not word.startswith("-")]
    # A sweep's values are taken one by one, as Hydra does: the first, or the lower end of an interval.
    lowest = [re.sub(r"=.*interval\(([^,]*),.*", r"=\1", word) for word in arguments]
    first = [re.sub(r"=([^\[\],]*),.*", r"=\1", word) for word in lowest]
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        compose("config", overrides=[rewrite(word) for word in first])


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_a_file_says_first_what_it_is(path: Path) -> None:
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")
    ]
    assert re.match(r"# \w+", lines[0])
