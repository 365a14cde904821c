"""How a population goes from one generation to the next, and how its file keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.errors import UsageError
from trainer.sweep import population
from trainer.sweep.population import Generation, Member, Rules, lineage, with_scores
from trainer.sweep.population_space import Interval, Space

SPACE = Space({"optimizer.learning_rate": Interval(1e-4, 1.0, logarithmic=True)})
SETTINGS = {"members": 8, "interval": 1}


def trained(*scores: float | None, epoch: int = 1) -> Generation:
    """Return a generation of as many members, each with a learning rate of its own."""
    members = [Member({"optimizer.learning_rate": 0.01 * (number + 1)}) for number in range(len(scores))]
    return with_scores(Generation(epoch, members), scores)


def test_the_first_generation_is_drawn_and_trains_for_one_interval() -> None:
    first = Rules(members=5, interval=3).first(SPACE, epochs=10)
    assert first.epoch == 3
    assert [member.hyperparameters for member in first.members] == [SPACE.draw(number) for number in range(5)]
    assert not first.done


def test_the_last_generation_ends_with_the_run() -> None:
    rules = Rules(members=2, interval=3)
    assert rules.first(SPACE, epochs=2).epoch == 2
    assert rules.next(SPACE, [trained(1, 2, epoch=9)], epochs=10).epoch == 10


@pytest.mark.parametrize(
    ("mode", "scores", "replaced", "sources"),
    [
        ("min", (1, 2, 3, 4, 5, 6, 7, 8), {6, 7}, {0, 1}),
        ("max", (1, 2, 3, 4, 5, 6, 7, 8), {0, 1}, {6, 7}),
        ("min", (5, None, 3, 4, 1, 6, float("nan"), 8), {1, 6}, {4, 2}),
        ("min", (5, None, 3, None, 1, None, None, None), {1, 3, 5, 6, 7}, {4, 2}),
        ("min", (None, None, None, 7, None, None, None, None), {0, 1, 2, 4, 5, 6, 7}, {3}),
    ],
)
def test_the_worst_quarter_and_those_without_a_score_go_on_from_the_best_quarter(
    mode: str, scores: tuple[float | None, ...], replaced: set[int], sources: set[int]
) -> None:
    parents = set()
    for seed in range(40):
        space = Space(SPACE.dimensions, seed)
        following = Rules(members=8, interval=1, mode=mode).next(space, [trained(*scores)], epochs=9)
        taken = {
            number: each.parent for number, each in enumerate(following.members) if each.parent is not None
        }
        assert set(taken) == replaced
        parents |= set(taken.values())
    assert parents == sources


def test_who_goes_on_keeps_its_hyperparameters_and_who_takes_over_perturbs_its_parents() -> None:
    before = trained(1, 2, 3, 4)
    after = Rules(members=4, interval=1, resample_probability=0).next(SPACE, [before], epochs=9)
    assert after.members[:3] == [Member(member.hyperparameters) for member in before.members[:3]]
    assert after.members[3].parent == 0
    assert after.members[3].hyperparameters["optimizer.learning_rate"] in (0.008, 0.012)


def test_without_any_score_there_is_nothing_to_select_by() -> None:
    with pytest.raises(ValueError, match="no member has a score"):
        Rules(members=2, interval=1).next(SPACE, [trained(None, None)], epochs=9)


def test_a_lineage_names_whose_weights_a_member_had() -> None:
    def generation(*parents: int | None) -> Generation:
        return Generation(1, [Member({}, parent) for parent in parents])

    generations = [generation(None, None, None), generation(None, 2, None), generation(1, None, None)]
    assert lineage(generations, 0) == [2, 1, 0]
    assert lineage(generations, 1) == [2, 1, 1]
    assert lineage(generations, 2) == [2, 2, 2]


def test_a_population_is_read_as_it_was_written(tmp_path: Path) -> None:
    rules = Rules(members=8, interval=1)
    generations = [trained(1, 2, None, 4, 5, 6, 7, 8)]
    generations.append(rules.next(SPACE, generations, epochs=9))
    population.write(tmp_path, SETTINGS, generations)
    assert population.read(tmp_path, SETTINGS) == generations
    document = json.loads((tmp_path / "population.json").read_text())
    assert document["members"] == 8
    assert document["generations"][0]["members"]["2"] == {
        "score": None,
        "hyperparameters": {"optimizer.learning_rate": 0.03},
        "parent": None,
    }


def test_a_folder_without_a_population_has_no_generations(tmp_path: Path) -> None:
    assert population.read(tmp_path, SETTINGS) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"members": 8, "interval": 1}',
        '{"members": 8, "interval": 1, "generations": []}',
        "null",
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "population.json").write_text(content)
    with pytest.raises(UsageError, match=r"population\.json is damaged"):
        population.read(tmp_path, SETTINGS)


def test_a_population_of_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    population.write(tmp_path, SETTINGS, [trained(*range(8))])
    with pytest.raises(UsageError, match="with interval 1, and now it is 2"):
        population.read(tmp_path, {"members": 8, "interval": 2})
