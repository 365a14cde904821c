"""Make convolution.npz: what PyTorch computes for convolution, pooling and batch normalisation.

Needs `torch` (made with 2.13.0 for the CPU) and NumPy, and nothing of this project:

    python tests/references/make_convolution.py

For each case the file holds the inputs `x`, the parameters, the output `y`, and the gradients of sum(y · g),
by names such as `convolution/strided/x`; `cases` says in JSON what each case is, in the words of this
project's layers. All was computed in float64 and is stored in float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {"filters": 3, "kernel": [3, 2]},
    "strided": {"filters": 4, "kernel": 3, "stride": [2, 1], "padding": [1, 2], "groups": 2},
    "same": {"filters": 3, "kernel": [4, 3], "stride": 2, "padding": "same"},
    "dilated": {"filters": 2, "kernel": 3, "padding": "half", "dilation": [1, 2]},
    "depthwise": {"filters": 4, "kernel": 2, "groups": 4, "bias": False},
}
POOLINGS: dict[str, dict[str, Any]] = {
    "apart": {"size": 2},
    "apart_with_rest": {"size": [3, 2]},
    "overlapping": {"size": 3, "stride": 2, "padding": 1},
    "gaps": {"size": [1, 2], "stride": [2, 3]},
}
NORMALIZED = {"images": (4, 3, 5, 2), "vectors": (6, 4), "sequences": (3, 5, 4)}

draws = np.random.default_rng(20)
arrays: dict[str, Any] = {}
cases: dict[str, dict[str, Any]] = {"convolution": CONVOLUTIONS, "max": POOLINGS, "average": POOLINGS}


def draw(*shape: int) -> torch.Tensor:
    """Draw from N(0, 1), rounded to what float32 can hold."""
    return torch.tensor(draws.normal(size=shape).astype(np.float32).astype(np.float64), requires_grad=True)


def keep(case: str, y: torch.Tensor, **inputs: torch.Tensor) -> None:
    """Store a case with its gradients."""
    g = draw(*y.shape).detach()
    (y * g).sum().backward()
    for name, value in {**inputs, "y": y, "g": g}.items():
        arrays[f"{case}/{name}"] = value.detach().numpy().astype(np.float32)
    for name, value in inputs.items():
        arrays[f"{case}/gradient_of_{name}"] = value.grad.numpy().astype(np.float32)


def pair(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value, value]


def convolution(case: str, options: dict[str, Any]) -> None:
    x = draw(2, 4, 7, 6)
    kernel, stride = pair(options["kernel"]), pair(options.get("stride", 1))
    dilation, padding = pair(options.get("dilation", 1)), options.get("padding", 0)
    groups = options.get("groups", 1)
    parameters = {"W": draw(options["filters"], 4 // groups, *kernel)}
    if options.get("bias", True):
        parameters["b"] = draw(options["filters"])
    padded = x
    if padding == "same":
        # PyTorch has `same` for a stride of 1 alone: TensorFlow's rule, written out.
        totals = [
            max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip((7, 6), stride, kernel, strict=True)
        ]
        (top, bottom), (left, right) = [(total // 2, total - total // 2) for total in totals]
        padded, padding = functional.pad(x, (left, right, top, bottom)), 0
    if padding == "half":
        padding = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    y = functional.conv2d(padded, parameters["W"], parameters.get("b"), stride, padding, dilation, groups)
    keep(f"convolution/{case}", y, x=x, **parameters)


def pooling(case: str, options: dict[str, Any]) -> None:
    size, stride, padding = options["size"], options.get("stride"), options.get("padding", 0)
    # Whole numbers, so that windows have several largest elements; not where they overlap, since Theano
    # then gives each of them the gradient.
    whole = size == pair(size)[0] and stride is None
    for kind in ("max", "average"):
        x = draw(2, 3, 7, 6)
        if whole:
            x = torch.tensor(draws.integers(0, 3, (2, 3, 7, 6)).astype(np.float64), requires_grad=True)
        y = (
            functional.max_pool2d(x, size, stride, padding)
            if kind == "max"
            else functional.avg_pool2d(x, size, stride, padding, count_include_pad=False)
        )
        keep(f"{kind}/{case}", y, x=x)


def normalization(case: str, shape: tuple[int, ...]) -> None:
    is_sequence = len(shape) == 3
    features = shape[-1] if is_sequence else shape[1]
    x, gamma, beta = draw(*shape), draw(features), draw(features)
    mean, variance = draw(features).detach(), draw(features).detach() ** 2 + 0.5
    arrays[f"normalization/{case}/mean"] = mean.numpy().astype(np.float32)
    arrays[f"normalization/{case}/variance"] = variance.numpy().astype(np.float32)
    seen = x.transpose(1, 2) if is_sequence else x

    def back(y: torch.Tensor) -> torch.Tensor:
        return y.transpose(1, 2) if is_sequence else y

    evaluated = functional.batch_norm(seen, mean, variance, gamma, beta, training=False, eps=1e-3)
    y = functional.batch_norm(seen, mean, variance, gamma, beta, training=True, momentum=0.2, eps=1e-3)
    keep(f"normalization/{case}", back(y), x=x, gamma=gamma, beta=beta)
    arrays[f"normalization/{case}/evaluated"] = back(evaluated).detach().numpy().astype(np.float32)
    arrays[f"normalization/{case}/new_mean"] = mean.numpy().astype(np.float32)
    arrays[f"normalization/{case}/new_variance"] = variance.numpy().astype(np.float32)


for name, options in CONVOLUTIONS.items():
    convolution(name, options)
for name, options in POOLINGS.items():
    pooling(name, options)
for name, shape in NORMALIZED.items():
    normalization(name, shape)
np.savez_compressed(
    Path(__file__).with_suffix("").parent / "convolution.npz", cases=json.dumps(cases), **arrays
)
