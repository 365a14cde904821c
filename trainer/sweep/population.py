"""A population: its members over the generations, the selection between two of them, and its file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.loggers.atomic import write_atomically
from trainer.loggers.strict_json import to_json
from trainer.sweep.population_space import Space

FILE = "population.json"


@dataclass(frozen=True)
class Member:
    """A member in one generation.

    Attributes
    ----------
    hyperparameters : mapping
        What it trains with in this generation, by the key of the configuration.
    parent : int, optional
        The member whose weights and state it takes over at the generation's beginning; None where it goes on
        with its own.
    score : float, optional
        The monitored metric at the generation's end; None before that, and where the member failed or
        diverged.
    """

    hyperparameters: Mapping[str, float]
    parent: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class Generation:
    """All members for a slice of the run, which ends with `epoch`; `done` once they have their scores."""

    epoch: int
    members: Sequence[Member]
    done: bool = False


@dataclass(frozen=True)
class Rules:
    """How a population goes from one generation to the next (Jaderberg et al. 2017).

    Attributes
    ----------
    members : int
        How many there are, at least 2.
    interval : int
        Epochs of a generation.
    quantile : float
        Which part of the members is replaced at a generation's end, above 0 to 0.5; and from which part,
        the best, the state is taken.
    factors : sequence of float
        What a perturbed number is multiplied by, one at random.
    resample_probability : float
        Of drawing a hyperparameter anew instead.
    mode : str
        Whether the best score is the `min` or the `max`.
    """

    members: int
    interval: int
    quantile: float = 0.25
    factors: Sequence[float] = (0.8, 1.2)
    resample_probability: float = 0.25
    mode: str = "min"

    def first(self, space: Space, epochs: int) -> Generation:
        """Draw the first generation."""
        drawn = [Member(space.draw(number)) for number in range(self.members)]
        return Generation(min(self.interval, epochs), drawn)

    def next(self, space: Space, generations: Sequence[Generation], epochs: int) -> Generation:
        """Select by truncation, and perturb.

        Each of the worst `quantile` of the members, and each without a score, takes over the state of one of
        the best `quantile`, drawn at random, and perturbed hyperparameters of that one; the others go on.

        Raises
        ------
        ValueError
            Where no member has a score.
        """
        number, last = len(generations), generations[-1]
        ranked = self.ranked(last)
        if not ranked:
            raise ValueError("no member has a score to select by")
        several = max(1, int(self.quantile * self.members))
        best = ranked[:several]
        goes_on = set(ranked[: max(len(best), self.members - several)])
        members = []
        for position, member in enumerate(last.members):
            if position in goes_on:
                members.append(Member(member.hyperparameters))
                continue
            parent = space.random("parent", number, position).choice(best)
            explored = space.explore(
                last.members[parent].hyperparameters,
                number,
                position,
                self.factors,
                self.resample_probability,
            )
            members.append(Member(explored, parent))
        return Generation(min(last.epoch + self.interval, epochs), members)

    def ranked(self, generation: Generation) -> list[int]:
        """Return the numbers of the members that have a score, the best first."""
        sign = -1 if self.mode == "max" else 1
        scores = {
            position: sign * member.score
            for position, member in enumerate(generation.members)
            if member.score is not None
        }
        return sorted(scores, key=lambda position: (scores[position], position))


def lineage(generations: Sequence[Generation], member: int) -> list[int]:
    """Return whose weights a member has in the end: a number for each generation, the last its own."""
    numbers = []
    for generation in reversed(generations):
        numbers.append(member)
        parent = generation.members[member].parent
        member = member if parent is None else parent
    return numbers[::-1]


def with_scores(generation: Generation, scores: Sequence[float | None]) -> Generation:
    """Return a generation that is done."""
    sound = [score if score is not None and math.isfinite(score) else None for score in scores]
    scored = [replace(member, score=score) for member, score in zip(generation.members, sound, strict=True)]
    return replace(generation, members=scored, done=True)


def write(folder: Path, settings: Mapping[str, Any], generations: Sequence[Generation]) -> None:
    """Write `population.json`: the whole population so far, in one piece."""
    document = {
        **settings,
        "generations": [
            {
                "epoch": generation.epoch,
                "done": generation.done,
                "members": {
                    str(number): {
                        "score": member.score,
                        "hyperparameters": dict(member.hyperparameters),
                        "parent": member.parent,
                    }
                    for number, member in enumerate(generation.members)
                },
            }
            for generation in generations
        ],
    }
    write_atomically(folder / FILE, (to_json(document, indent=2) + "\n").encode())


def read(folder: Path, settings: Mapping[str, Any]) -> list[Generation]:
    """Read the generations of a population that shall go on; none where the folder has no population.

    Raises
    ------
    UsageError
        Where the file is damaged, or of a population with other settings: the message says what differs.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_bytes())
        saved = {key: document.get(key) for key in settings}
        generations = [_generation(node) for node in document["generations"]]
        if not generations or any(len(each.members) != document["members"] for each in generations):
            raise ValueError("it lacks members")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error}): put back a copy, or begin a new sweep") from error
    for key, now in json.loads(json.dumps(settings)).items():
        if saved[key] != now:
            raise UsageError(
                f"{path} is of a population with {key} {saved[key]}, and now it is {now}: go on with the "
                "same, or begin a new sweep"
            )
    return generations


def _generation(node: Mapping[str, Any]) -> Generation:
    members = [node["members"][str(number)] for number in range(len(node["members"]))]
    return Generation(
        epoch=int(node["epoch"]),
        members=[
            Member(
                {str(key): _number(value) for key, value in member["hyperparameters"].items()},
                None if member["parent"] is None else int(member["parent"]),
                None if member["score"] is None else float(member["score"]),
            )
            for member in members
        ],
        done=bool(node["done"]),
    )


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return value
