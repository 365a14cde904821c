"""Networks as a list of layers in YAML."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import trainer.layers
from trainer.components import locate
from trainer.errors import UsageError, nearest
from trainer.layers import Layer
from trainer.layers.base import Shape
from trainer.signatures import accepted, annotation, check_arguments


def layers(
    input_shape: Shape, outputs: int, layers: Sequence[Any], vocabulary: int | None = None
) -> list[Layer]:
    """Make layers of a list that describes them.

    An element is the name of a layer's class in small letters (`flatten`); a mapping from the name to its
    arguments (`dense: {units: 10, activation: relu}`); or a mapping from the name to its first argument
    (`dense: 10`). A layer of one's own has the dotted path of its class for a name (`my_layers.MyLayer`).
    Where a layer takes layers, lists of the same form stand for them. `outputs` in the place of a number
    means as many as data and objective need, `vocabulary` as many as there are tokens.

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one input; given by the data.
    outputs : int
        Given by data and objective.
    layers : list
        From the input on.
    vocabulary : int, optional
        Given by data whose inputs are tokens.

    Raises
    ------
    UsageError
        For an unknown layer, and for an argument that it does not take, lacks or refuses; the message names
        the layer by its place.
    """
    return _Reader({"outputs": outputs, "vocabulary": vocabulary}).read(layers, "model.layers", "")


def known_layers() -> dict[str, type[Layer]]:
    """Return the program's own layers by the name that they have in YAML."""
    classes = [value for value in vars(trainer.layers).values() if inspect.isclass(value)]
    return {found.kind: found for found in classes if issubclass(found, Layer) and found is not Layer}


class _Reader:
    """Turns descriptions into layers, knowing the numbers that stand for themselves."""

    def __init__(self, numbers: Mapping[str, int | None]) -> None:
        self._numbers = numbers

    def read(self, elements: Any, key: str, place: str) -> list[Layer]:
        if not isinstance(elements, Sequence) or isinstance(elements, str):
            raise UsageError(f"{key}={elements} is no list: give layers, as in [flatten, {{dense: 10}}]")
        return [
            self._layer(element, f"{key}[{index}]", f"{place}{index + 1}")
            for index, element in enumerate(elements)
        ]

    def _layer(self, element: Any, key: str, place: str) -> Layer:
        where = f"layer {place} ({key})"
        if isinstance(element, Layer):
            return element
        if isinstance(element, Mapping) and len(element) == 1:
            ((name, described),) = element.items()
        elif isinstance(element, str):
            name, described = element, {}
        else:
            raise UsageError(f"{where}: {element} is no layer: give its name, or NAME: {{its arguments}}")
        make = self._named(str(name), where)
        arguments = self._arguments(make, described, f"layer {place}: {key}.{name}", f"{place}.")
        try:
            layer = make(**arguments)
        except (UsageError, ValueError) as error:
            raise UsageError(f"layer {place}: {key}.{name}: {error}") from error
        if not isinstance(layer, Layer):
            raise UsageError(f"{where}: {name} made {type(layer).__name__}, which is no layer")
        return layer

    def _named(self, name: str, where: str) -> Callable[..., Any]:
        if "." in name:
            return locate(name, where)  # type: ignore[no-any-return]
        known = known_layers()
        plain = name.replace("_", "").lower()
        if plain not in known:
            raise UsageError(f"{where}: {name} is not a layer: {nearest(plain, known)}")
        return known[plain]

    def _arguments(self, make: Callable[..., Any], described: Any, key: str, place: str) -> dict[str, Any]:
        names = list(accepted(make) or {})
        if isinstance(described, Mapping):
            arguments = {str(name): value for name, value in described.items()}
        elif described is None:
            arguments = {}
        elif names:
            arguments = {names[0]: described}
        else:
            raise UsageError(f"{key}={described}: it takes no argument")
        of_layers = [name for name in names if _takes_layers(annotation(make, name))]
        plain = {
            name: value if name in of_layers else self._numbers_for(value, f"{key}.{name}")
            for name, value in arguments.items()
        }
        check_arguments(make, plain, key)
        for name in set(of_layers) & set(plain):
            inside = place if name == names[0] else f"{place}{name}."
            plain[name] = self.read(plain[name], f"{key.partition(': ')[2]}.{name}", inside)
        return plain

    def _numbers_for(self, value: Any, key: str) -> Any:
        """Return the number that a name in the place of one stands for; else the value itself."""
        if isinstance(value, list):
            return [self._numbers_for(element, key) for element in value]
        if not isinstance(value, str) or value not in self._numbers:
            return value
        number = self._numbers[value]
        if number is None:
            raise UsageError(f"{key}={value}: the data has no tokens; give a number")
        return number


def _takes_layers(wanted: Any) -> bool:
    return wanted is Layer or any(_takes_layers(argument) for argument in get_args(wanted))
