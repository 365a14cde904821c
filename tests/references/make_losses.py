"""Make losses.json: losses and their gradients as PyTorch computes them in float64.

    python tests/references/make_losses.py      # in an environment with PyTorch

The tests read the table and need no PyTorch. Each case holds the objective's arguments, a batch of outputs
and targets, the mean loss of the batch and its gradient with respect to the outputs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

CLASSES, EXAMPLES, STEPS = 5, 12, 3
WEIGHTS = [0.5, 1.0, 2.0, 3.0, 0.0]


def case(objective: str, outputs: Any, targets: Any, loss: Any, **arguments: Any) -> dict[str, Any]:
    outputs = outputs.clone().requires_grad_()
    value = loss(outputs, targets)
    value.backward()
    return {
        "objective": objective,
        "arguments": arguments,
        "outputs": outputs.tolist(),
        "targets": targets.tolist(),
        "loss": value.item(),
        "gradient": outputs.grad.tolist(),
    }


def cross_entropy(outputs: Any, targets: Any, **arguments: Any) -> dict[str, Any]:
    weights = arguments.get("class_weights")

    def loss(logits: Any, classes: Any) -> Any:
        return functional.cross_entropy(
            logits if classes.ndim == 1 else logits.transpose(1, 2),  # PyTorch wants classes on axis 1
            classes,
            weight=None if weights is None else torch.tensor(weights, dtype=logits.dtype),
            label_smoothing=arguments.get("label_smoothing", 0.0),
        )

    return case("cross_entropy", outputs, targets, loss, **arguments)


def binary_cross_entropy(outputs: Any, targets: Any, **arguments: Any) -> dict[str, Any]:
    smoothing, weight = arguments.get("label_smoothing", 0.0), arguments.get("positive_weight", 1.0)

    def loss(logits: Any, truth: Any) -> Any:
        soft = truth.reshape(logits.shape).to(logits.dtype) * (1 - smoothing) + smoothing / 2
        pos_weight = torch.tensor(weight, dtype=logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, soft, pos_weight=pos_weight)

    return case("binary_cross_entropy", outputs, targets, loss, **arguments)


def regression(name: str, outputs: Any, targets: Any, loss: Any, **arguments: Any) -> dict[str, Any]:
    return case(name, outputs, targets, lambda y, t: loss(y, t.reshape(y.shape)), **arguments)


def cases() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 3.0) -> Any:
        return torch.round(scale * torch.randn(*shape, generator=generator, dtype=torch.float64), decimals=3)

    def classes(*shape: int, below: int = CLASSES) -> Any:
        return torch.randint(below, shape, generator=generator)

    logits, right = normal(EXAMPLES, CLASSES), classes(EXAMPLES)
    steps, right_of_steps = normal(EXAMPLES, STEPS, CLASSES), classes(EXAMPLES, STEPS)
    huge = torch.tensor([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], dtype=torch.float64)
    single, yes = normal(EXAMPLES, 1), classes(EXAMPLES, below=2)
    several, labels = normal(EXAMPLES, 4), classes(EXAMPLES, 4, below=2)
    extreme = torch.tensor([[1e4], [-1e4], [1e4], [-1e4], [20.0], [-20.0], [0.0]], dtype=torch.float64)
    value, true = normal(EXAMPLES, 1), normal(EXAMPLES)
    row, true_row = normal(EXAMPLES, 3), normal(EXAMPLES, 3)
    return {
        "cross-entropy": cross_entropy(logits, right),
        "label smoothing": cross_entropy(logits, right, label_smoothing=0.1),
        "class weights": cross_entropy(logits, right, class_weights=WEIGHTS),
        "both": cross_entropy(logits, right, label_smoothing=0.2, class_weights=WEIGHTS),
        "sequences": cross_entropy(steps, right_of_steps),
        "both of sequences": cross_entropy(steps, right_of_steps, label_smoothing=0.2, class_weights=WEIGHTS),
        "huge logits": cross_entropy(huge, torch.tensor([1, 1, 2]), label_smoothing=0.1),
        "binary": binary_cross_entropy(single, yes),
        "binary, positives weighted": binary_cross_entropy(single, yes, positive_weight=3.0),
        "labels": binary_cross_entropy(several, labels),
        "labels, both": binary_cross_entropy(several, labels, label_smoothing=0.1, positive_weight=0.5),
        "binary, huge logits": binary_cross_entropy(extreme, torch.tensor([1, 0, 0, 1, 1, 0, 1])),
        "squared": regression("squared_error", value, true, functional.mse_loss),
        "squared, rows": regression("squared_error", row, true_row, functional.mse_loss),
        "absolute, rows": regression("absolute_error", row, true_row, functional.l1_loss),
        "huber": regression("huber", value, true, functional.huber_loss),
        "huber, rows": regression(
            "huber", row, true_row, lambda y, t: functional.huber_loss(y, t, delta=2.5), delta=2.5
        ),
    }


def main() -> None:
    lines = [f"  {json.dumps(name)}: {json.dumps(content)}" for name, content in cases().items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(__file__).with_name("losses.json").write_text(text)


if __name__ == "__main__":
    main()
