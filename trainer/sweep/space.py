"""What a sweep searches, override by override, and which changes leave it the same sweep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import OverrideParseException

# What concerns the machine that computes, and what is written where, but not what is computed.
_OF_THE_MACHINE = (
    "allowed_targets",
    "device",
    "hydra",
    "logger",
    "resume",
    "training.checkpoints",
    "training.evaluation_batch_size",
    "training.feeding",
)
# Of those, what does change the numbers, or the jobs and their folders.
_OF_THE_SEARCH = ("device.precision", "hydra.sweep.subdir", "hydra.sweeper")
# Of those, how many jobs there are in all or at a time.
_LIMITS = ("hydra.sweeper.max_batch_size", "hydra.sweeper.n_jobs", "hydra.sweeper.n_trials")
EPOCHS = "training.epochs"


@dataclass(frozen=True)
class Word:
    """An override of the command.

    Attributes
    ----------
    text : str
        As it was given.
    key : str
        What it overrides, without Hydra's signs.
    values : tuple of str or None
        What a sweep takes in turn; None where it has one value, or values to draw from.
    is_swept : bool
        Whether it has more than one value.
    """

    text: str
    key: str
    values: tuple[str, ...] | None
    is_swept: bool

    @property
    def value(self) -> str:
        """What was given for the key."""
        return self.text.partition("=")[2]

    def is_same(self, other: Word) -> bool:
        """Tell whether another word asks for the same, be it written otherwise."""
        return self.key == other.key and (
            self.values == other.values if self.values and other.values else self.value == other.value
        )


def read_words(overrides: Iterable[str]) -> dict[str, Word]:
    """Take overrides apart; return them by their keys, the last one of each.

    Raises
    ------
    hydra.errors.HydraException
        For an override that Hydra cannot read.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    words = (_word(override) for override in parsed)
    return {word.key: word for word in words}


def settled(arguments: Sequence[str]) -> list[str]:
    """Draw the order of what is to be shuffled, once: a sweep that goes on has to give the same numbers.

    >>> settled(["-m", "optimizer=sgd,adam"])
    ['-m', 'optimizer=sgd,adam']
    """
    return [_settled(argument) if "shuffle" in argument else argument for argument in arguments]


def is_of_the_machine(key: str) -> bool:
    """Tell whether a key's value leaves what is searched and computed as it is.

    >>> is_of_the_machine("hydra/launcher"), is_of_the_machine("device.precision")
    (True, False)
    """
    dotted = re.split(r"[@=]", key)[0].replace("/", ".")
    if _is_below(dotted, _LIMITS):
        return True
    return _is_below(dotted, _OF_THE_MACHINE) and not _is_below(dotted, _OF_THE_SEARCH)


def differences(then: Mapping[str, Word], now: Mapping[str, Word]) -> list[str]:
    """Say, for each key of the search that was given otherwise, what was given then and what now."""
    found = []
    for key in dict.fromkeys([*then, *now]):
        before, after = then.get(key), now.get(key)
        if is_of_the_machine(key) or (before and after and before.is_same(after)):
            continue
        was = before.value if before else "not given"
        found.append(f"{key} was {was}, and is now {after.value if after else 'not given'}")
    return found


def _is_below(key: str, parents: Iterable[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _word(override: Override) -> Word:
    text = override.input_line or ""
    is_listed = override.is_discrete_sweep() and override.value_type is not ValueType.GLOB_CHOICE_SWEEP
    return Word(
        text=text,
        key=override.get_key_element().lstrip("+~"),
        values=tuple(override.sweep_string_iterator()) if is_listed else None,
        is_swept=override.is_sweep_override(),
    )


def _settled(argument: str) -> str:
    try:
        override = OverridesParser.create().parse_override(argument)
    except OverrideParseException:
        return argument
    value = override.value()
    if not getattr(value, "shuffle", False) or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return argument
    return f"{override.get_key_element()}={','.join(override.sweep_string_iterator())}"
