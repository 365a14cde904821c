"""Pictures of how a network does on the test part, as matplotlib figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import theano
from numpy.typing import NDArray

from trainer.data import Data
from trainer.figures import BLUE, DPI, GREY, figure_class, title
from trainer.objectives.base import Predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 2000
MOST_OUTPUTS = 6
HOW_MANY_RECONSTRUCTED = 10


def predictions_picture(data: Data, predict: Predict) -> Figure:
    """Return a picture of predicted over true values of the test part's first examples, a panel an output.

    Parameters
    ----------
    data : Data
        Its test part is drawn, up to 2,000 examples and six outputs.
    predict : callable
        From inputs to outputs.
    """
    inputs, targets = next(iter(data.test.batches(MOST_POINTS, dtype=theano.config.floatX).epoch(0)))
    true = np.asarray(targets, "float64").reshape(len(inputs), -1)
    predicted = np.asarray(predict(inputs), "float64").reshape(len(inputs), -1)
    panels = min(true.shape[1], MOST_OUTPUTS)
    columns = min(panels, 3)
    rows = math.ceil(panels / columns)
    figure = figure_class()(figsize=(1 + 4.4 * columns, 0.7 + 4.4 * rows), dpi=DPI, layout="constrained")
    for number in range(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        _draw_predictions(axes, true[:, number], predicted[:, number])
        if panels > 1:
            axes.set_title(f"output {number + 1}", loc="left", fontsize=10)
    drawn = f"{len(true):,} of {len(data.test):,}" if len(true) < len(data.test) else f"{len(true):,}"
    title(figure, f"{data.name}: {drawn} test examples")
    return figure


def _draw_predictions(axes: Axes, true: NDArray[Any], predicted: NDArray[Any]) -> None:
    finite = np.concatenate([true, predicted[np.isfinite(predicted)]])
    low, high = float(finite.min()), float(finite.max())
    margin = 0.04 * (high - low) or 0.5
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="predicted = true")
    faint = float(np.clip(30 / math.sqrt(len(true)) / 2, 0.2, 0.7))
    axes.plot(
        true, predicted, "o", color=BLUE, markersize=4, markeredgewidth=0, alpha=faint, gid="predictions"
    )
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#999999")


def reconstructions_picture(originals: NDArray[Any], reconstructed: NDArray[Any]) -> Figure:
    """Return a picture of originals above their reconstructions: as images, or as lines where they are none.

    Parameters
    ----------
    originals, reconstructed : arrays, (examples, *input_shape)
        Images are (channels, rows, columns), of one or three channels, or (rows, columns).
    """
    are_images = originals.ndim == 3 or (originals.ndim == 4 and originals.shape[1] in (1, 3))
    draw = _draw_image if are_images else _draw_line
    many = len(originals)
    low, high = float(originals.min()), float(originals.max())
    figure = figure_class()(figsize=(max(1.05 * many, 3.0) + 0.3, 2.7), dpi=DPI, layout="constrained")
    for row, (label, examples) in enumerate((("original", originals), ("reconstruction", reconstructed))):
        for column, example in enumerate(examples):
            axes = figure.add_subplot(2, many, row * many + column + 1)
            draw(axes, example, low, high)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color("#CCCCCC")
            if column == 0:
                axes.set_title(label, loc="left", fontsize=9, color=GREY)
    return figure


def _draw_image(axes: Axes, example: NDArray[Any], low: float, high: float) -> None:
    colours = np.moveaxis(example.reshape(-1, *example.shape[-2:]), 0, -1)
    if colours.shape[-1] == 1:
        axes.imshow(colours[..., 0], cmap="gray", vmin=low, vmax=high)
    else:
        axes.imshow(np.clip((colours - low) / ((high - low) or 1), 0, 1))


def _draw_line(axes: Axes, example: NDArray[Any], low: float, high: float) -> None:
    axes.plot(np.ravel(example), color=BLUE, linewidth=1)
    margin = 0.1 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
