"""What a population may vary, and how it draws and perturbs."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from scipy import stats

from trainer.errors import UsageError
from trainer.sweep.population_space import Space, dimension

FACTORS = (0.8, 1.2)


def space(*overrides: str, seed: int = 0) -> Space:
    """Return the search space that overrides describe."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return Space({override.key_or_group: dimension(override) for override in parsed}, seed)


def drawn(described: Space, key: str, count: int = 2000) -> list[float]:
    return [described.draw(member)[key] for member in range(count)]


def test_a_logarithmic_interval_is_drawn_evenly_in_the_logarithm() -> None:
    values = drawn(space("optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"), "optimizer.learning_rate")
    assert stats.kstest(values, stats.loguniform(1e-4, 1e-1).cdf).pvalue > 0.01


def test_an_interval_is_drawn_evenly() -> None:
    values = drawn(space("optimizer.momentum=interval(0.5,0.99)"), "optimizer.momentum")
    assert stats.kstest(values, stats.uniform(0.5, 0.49).cdf).pvalue > 0.01


@pytest.mark.parametrize("sweep", ["choice(0.1,0.5,0.2)", "0.1,0.5,0.2", "shuffle(choice(0.1,0.5,0.2))"])
def test_choices_are_drawn_as_often_as_each_other(sweep: str) -> None:
    values = drawn(space(f"clipping.max_norm={sweep}"), "clipping.max_norm")
    counts = [values.count(value) for value in (0.1, 0.2, 0.5)]
    assert sum(counts) == len(values)
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("sweep", ["range(1,4)", "range(0.1,0.5,0.1)", "range(5,1,-2)"])
def test_a_range_has_the_values_that_hydra_gives_it(sweep: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([f"clipping.max_norm={sweep}"])
    expected = sorted(float(str(value)) for value in parsed.sweep_iterator())
    values = set(drawn(space(f"clipping.max_norm={sweep}"), "clipping.max_norm"))
    assert sorted(values) == pytest.approx(expected, rel=1e-12)


def test_the_hyperparameters_of_a_member_vary_apart_from_each_other() -> None:
    described = space("optimizer.momentum=interval(0.1,0.9)", "wrapper.momentum=interval(0.1,0.9)")
    pairs = [described.draw(member) for member in range(500)]
    correlation, _ = stats.pearsonr(*([pair[key] for pair in pairs] for key in described.dimensions))
    assert abs(correlation) < 0.1


def test_the_seed_decides_all_that_is_drawn() -> None:
    text = "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"
    same, other = [[space(text, seed=seed).draw(member) for member in range(4)] for seed in (1, 2)]
    assert [space(text, seed=1).draw(member) for member in range(4)] == same
    assert all(one != two for one, two in zip(same, other, strict=True))


def test_a_number_is_perturbed_by_one_of_the_factors() -> None:
    described = space("optimizer.learning_rate=tag(log,interval(1e-4,1e-1))")
    explored = [
        described.explore({"optimizer.learning_rate": 0.01}, 1, member, FACTORS, 0)["optimizer.learning_rate"]
        for member in range(200)
    ]
    assert set(explored) == {0.008, 0.012}
    assert 60 < explored.count(0.008) < 140


def test_a_perturbed_number_stays_within_its_interval() -> None:
    described = space("optimizer.momentum=interval(0.85,0.95)")
    explored = {
        described.explore({"optimizer.momentum": 0.9}, 1, member, FACTORS, 0)["optimizer.momentum"]
        for member in range(50)
    }
    assert explored == {0.85, 0.95}


def test_a_choice_goes_to_a_neighbour_or_stays_at_the_end() -> None:
    described = space("clipping.max_norm=choice(4,1,2)")
    reached = {
        start: {
            described.explore({"clipping.max_norm": start}, 1, member, FACTORS, 0)["clipping.max_norm"]
            for member in range(50)
        }
        for start in (1.0, 2.0, 4.0)
    }
    assert reached == {1.0: {1.0, 2.0}, 2.0: {1.0, 4.0}, 4.0: {2.0, 4.0}}


def test_hyperparameters_are_drawn_anew_with_the_probability() -> None:
    described = space("optimizer.learning_rate=tag(log,interval(1e-4,1e-1))")
    explored = [
        described.explore({"optimizer.learning_rate": 0.01}, 1, member, FACTORS, 0.25)[
            "optimizer.learning_rate"
        ]
        for member in range(2000)
    ]
    anew = sum(value not in (0.008, 0.012) for value in explored)
    assert stats.binomtest(anew, 2000, 0.25).pvalue > 0.01


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.hidden=choice([4],[8])", "model.hidden cannot vary in a population"),
        ("training.batch_size=choice(32,64)", "training.batch_size cannot vary in a population"),
        ("optimizer=sgd,adam", "optimizer cannot vary in a population"),
        ("data.validation_fraction=interval(0.1,0.2)", "data.validation_fraction cannot vary"),
        ("training.seed=choice(1,2)", "each member has its own"),
        ("optimizer._target_=choice(a.b,c.d)", "no numbers"),
        ("optimizer.nesterov=choice(true,false)", "no numbers"),
        ("optimizer.iterations=int(interval(1,5))", "whole numbers"),
        ("optimizer.momentum=interval(0.5,1.5)", "optimizer.momentum=1.5 is out of range"),
        ("wrapper.momentum=choice(0.5,1)", "wrapper.momentum=1 is out of range"),
        (
            "schedule.learning_rate.final=interval(-1.0,1.0)",
            "schedule.learning_rate.final=-1 is out of range",
        ),
        ("optimizer.learning_rate=tag(log,interval(0,1))", "begin above 0"),
        ("optimizer.learning_rate=interval(1,0.1)", "is empty"),
        ("optimizer.learning_rate=glob(*)", "no numbers"),
    ],
)
def test_what_a_population_cannot_vary_is_refused(override: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        space(override)
    assert told in str(refused.value)


def test_what_is_drawn_is_short_to_read() -> None:
    values = drawn(space("optimizer.learning_rate=tag(log,interval(1e-6,1))"), "optimizer.learning_rate", 200)
    assert all(len(repr(value)) <= len("1.23456e-06") for value in values)
