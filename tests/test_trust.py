"""What comes from a run's folder is read, and not obeyed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished
from trainer.commands import evaluate

Train = Callable[..., Finished]
SMALL = ("model.hidden=[4]", "training.epochs=1", "logger.curves=null", "logger.pictures=null")


@pytest.fixture
def trained(train: Train) -> Finished:
    return train(*SMALL)


def with_target(folder: Path, target: str) -> None:
    path = folder / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("trainer.updates.adam", target))


@pytest.mark.parametrize(
    "target", ["os.system", "builtins.exec", "trainer.commands.saved.compose", "subprocess.Popen"]
)
def test_a_function_from_elsewhere_is_refused_with_the_cure(
    trained: Finished, capfd: pytest.CaptureFixture[str], target: str
) -> None:
    with_target(trained.folder, target)
    assert evaluate.main([str(trained.folder)]) == 2
    told = capfd.readouterr().err
    package = target.partition(".")[0]
    assert f"optimizer._target_={target} comes from the folder of a run" in told
    assert f"allowed_targets=[{package}]" in told


def test_a_refused_module_is_not_even_imported(
    trained: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\ndef rule(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with_target(trained.folder, "hostile.rule")
    assert evaluate.main([str(trained.folder)]) == 2
    assert not (tmp_path / "was_here").exists()


def test_the_folder_cannot_allow_itself(trained: Finished) -> None:
    with_target(trained.folder, "os.system")
    path = trained.folder / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("allowed_targets: []", "allowed_targets: [os]"))
    assert evaluate.main([str(trained.folder)]) == 2


def test_a_package_that_the_person_names_is_allowed(
    trained: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_rules.py").write_text("from trainer.updates import adam as rule\n")
    monkeypatch.syspath_prepend(tmp_path)
    with_target(trained.folder, "own_rules.rule")
    assert evaluate.main([str(trained.folder)]) == 2
    assert evaluate.main([str(trained.folder), "allowed_targets=[own_rules]"]) == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: &x [1]\nb: *x\n", "YAML aliases"),
        ("a: [1\n", "is damaged"),
        ("- 1\n- 2\n", "is damaged"),
        ("\xff\xfe\x00", "is damaged"),
        ("[" * 10000, "is damaged"),
        ("epochs: 3\n", "is damaged"),
    ],
)
def test_a_malformed_configuration_is_a_mistake_and_no_crash(
    trained: Finished, capfd: pytest.CaptureFixture[str], content: str, told: str
) -> None:
    (trained.folder / ".hydra" / "config.yaml").write_bytes(content.encode("latin-1"))
    assert evaluate.main([str(trained.folder)]) == 2
    assert told in capfd.readouterr().err
