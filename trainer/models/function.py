"""Models from functions: of layers, or of symbolic expressions as one writes them for Theano alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import theano
from theano import tensor

from trainer.components import Component
from trainer.errors import UsageError
from trainer.layers import Builder, Layer, Shape


def layers_of(
    model: Component,
    input_shape: Shape,
    outputs: int,
    *,
    vocabulary: int | None = None,
    seed: int = 0,
    input_dtype: str | None = None,
) -> list[Layer]:
    """Call a model function with those of these arguments that it has, and return its network's layers.

    A function that has an argument `inputs` gets a symbolic batch and returns a symbolic output: it becomes
    one layer (`Expression`). Any other returns a list of layers.

    Parameters
    ----------
    model : Component
        The function, and the arguments that the configuration gives it.
    input_shape : tuple of int
        The shape of one input, without the batch axis.
    outputs : int
        How many numbers data and objective need for one example, or for one step of a sequence.
    vocabulary : int, optional
        How many tokens there are, where inputs are their numbers.
    seed : int, default 0
        The run's, from which a function may draw.
    input_dtype : str, optional
        Of the inputs; floatX where omitted.

    Raises
    ------
    UsageError
        Where the function returns neither, and for shared variables that have no name of their own.
    """
    parameters = inspect.signature(model.function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    given = {"input_shape": input_shape, "outputs": outputs, "vocabulary": vocabulary, "seed": seed}
    provided = {
        name: value
        for name, value in given.items()
        if (takes_any or name in parameters) and name not in model.arguments
    }
    if "inputs" in parameters:
        return [Expression(model, provided, "training" in parameters, input_dtype)]
    found = model(**provided)
    layers = [found] if isinstance(found, Layer) else found
    if not isinstance(layers, (list, tuple)) or not all(isinstance(layer, Layer) for layer in layers):
        raise UsageError(
            f"{model.key or 'model'}: {model.function.__name__} returned {type(found).__name__}: return a "
            "list of layers, or take an argument `inputs` and return a symbolic output made of it"
        )
    return list(layers)


class Expression(Layer):
    """A function from a symbolic batch to a symbolic output, as a layer.

    The floating shared variables of the expression are the parameters, under their own names. Where the
    function takes `training`, it is called for True and for False, and variables of one name are one; those
    that training does not use are buffers. A variable with a default update, such as the state of a random
    stream, is not trained but moves on by it: in training, and if it is no float in evaluation too.

    Parameters
    ----------
    model : Component
        The function.
    provided : mapping
        Its arguments besides `inputs` and `training`.
    takes_training : bool
        Whether it has an argument `training`.
    input_dtype : str, optional
        Of the inputs; floatX where omitted.
    """

    def __init__(
        self, model: Component, provided: Mapping[str, Any], takes_training: bool, input_dtype: str | None
    ) -> None:
        self.kind = getattr(model.function, "__name__", "function")
        self._model, self._provided, self._takes_training = model, provided, takes_training
        self._dtype = input_dtype or theano.config.floatX

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        """Call the function, and find its parameters."""
        self._input = tensor.TensorType(self._dtype, (False,) * (1 + len(input_shape)))("inputs")
        self._training = self._evaluation = self._call(training=True)
        variables = self._floating(self._training)
        moving = _moving(self._training)
        builder.parameters += [variable for variable in variables.values() if variable not in moving]
        builder.buffers += [variable for variable in variables.values() if variable in moving]
        if self._takes_training:
            evaluation = self._call(training=False)
            others = self._floating(evaluation)
            same = {other: variables[name] for name, other in others.items() if name in variables}
            self._evaluation = theano.clone(evaluation, replace=same)
            builder.buffers += [other for name, other in others.items() if name not in variables]
        builder.masks.append(_Streams(moving))
        return self._output_shape(input_shape)

    def apply(self, x: Any, training: bool) -> Any:
        """Return the expression with x in the place of the inputs."""
        output = self._training if training else self._evaluation
        moving = _moving(output)
        kept = [variable for variable in moving if not training and _is_floating(variable)]
        values = [variable if variable in kept else variable.default_update for variable in moving]
        output, *values = theano.clone([output, *values], replace={self._input: x}, strict=False)
        updates = dict(zip(moving, values, strict=True))
        if training:
            self.updates = updates
        else:
            self.evaluation_updates = updates
        return output

    def _call(self, training: bool) -> Any:
        more = {"training": training} if self._takes_training else {}
        output = self._model(inputs=self._input, **self._provided, **more)
        if not isinstance(output, theano.Variable) or self._input not in theano.gof.graph.inputs([output]):
            raise self._mistake("returned no symbolic output that is made of `inputs`")
        return output

    def _floating(self, output: Any) -> dict[str, Any]:
        """Return the floating shared variables of an expression by name."""
        found: dict[str, Any] = {}
        for variable in filter(_is_floating, _shared(output)):
            if not variable.name:
                shape = variable.get_value(borrow=True).shape
                raise self._mistake(
                    f"has a shared variable of the shape {shape} without a name: give it one, "
                    'as in theano.shared(values, "W")'
                )
            if variable.name in found:
                raise self._mistake(f"has two shared variables called {variable.name}: rename one")
            if variable.dtype != theano.config.floatX:
                raise self._mistake(
                    f"has {variable.name} in {variable.dtype}, but the run computes in "
                    f"{theano.config.floatX}: make it of values.astype(theano.config.floatX)"
                )
            found[variable.name] = variable
        return found

    def _output_shape(self, input_shape: Shape) -> Shape:
        example = np.zeros((2, *input_shape), self._dtype)

        def found(linker: str) -> Shape:
            # An expression need not know its shape; what the shape does not need, Theano leaves out.
            function = theano.function(
                [self._input],
                self._evaluation.shape,
                mode=theano.Mode(linker, "fast_run"),
                no_default_updates=True,
                on_unused_input="ignore",
            )
            return tuple(int(length) for length in function(example))

        try:
            shape = found("py")  # compiles nothing
        except (NotImplementedError, theano.gof.utils.MethodNotDefined):
            shape = found("cvm")
        if shape[:1] != (2,):
            raise self._mistake(
                f"gives the shape {shape} for 2 examples: its first axis must be the examples"
            )
        return shape[1:]

    def _mistake(self, what: str) -> UsageError:
        return UsageError(f"{self._model.key or 'model'}: {self.kind} {what}")


class _Streams:
    """The states of an expression's random streams."""

    def __init__(self, moving: list[Any]) -> None:
        self.states = [variable for variable in moving if not _is_floating(variable)]


def _shared(output: Any) -> list[Any]:
    inputs = theano.gof.graph.inputs([output])
    return [variable for variable in inputs if isinstance(variable, theano.compile.SharedVariable)]


def _moving(output: Any) -> list[Any]:
    """Return the shared variables of an expression that have a default update."""
    return [variable for variable in _shared(output) if getattr(variable, "default_update", None) is not None]


def _is_floating(variable: Any) -> bool:
    return getattr(variable, "dtype", "").startswith("float")
