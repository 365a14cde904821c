"""Make recurrent.npz: what PyTorch computes for recurrent networks.

Needs `torch` (made with 2.13.0 for the CPU) and NumPy, and nothing of this project:

    python tests/references/make_recurrent.py

For each case, `lstm/weight_ih_l0` for one, the file holds the inputs `x` (time, examples, features), the
parameters under PyTorch's names, the outputs `y` of all steps, the last ones `last`, (examples, units of
both directions), and the gradients of sum(y · g) as `gradient_of_…`. In the cases whose name ends in
`_lengths` the sequences end after `lengths` steps (packed sequences), x is 0 behind the end, and the
gradients are those of sum(last · g). All was computed in float64 and is stored in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TIME, EXAMPLES, FEATURES, UNITS = 6, 3, 4, 3
LENGTHS = [6, 1, 4]
KINDS: dict[str, tuple[type[torch.nn.RNNBase], dict[str, Any]]] = {
    "lstm": (torch.nn.LSTM, {}),
    "gru": (torch.nn.GRU, {}),
    "simplernn": (torch.nn.RNN, {}),
    "simplernn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm_bidirectional": (torch.nn.LSTM, {"bidirectional": True}),
    "gru_bidirectional": (torch.nn.GRU, {"bidirectional": True}),
    "simplernn_bidirectional": (torch.nn.RNN, {"bidirectional": True}),
}

draws = np.random.default_rng(30)
arrays: dict[str, NDArray[Any]] = {}


def draw(*shape: int) -> torch.Tensor:
    """Draw from N(0, 1), rounded to what float32 can hold."""
    return torch.tensor(draws.normal(size=shape).astype(np.float32).astype(np.float64))


def run(case: str, packed: bool) -> None:
    """Store a case, of whole sequences or of packed ones."""
    make, options = KINDS[case]
    module = make(FEATURES, UNITS, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.6 * draw(*parameter.shape))
            parameter.copy_(parameter.float().double())
    x = draw(TIME, EXAMPLES, FEATURES)
    if packed:
        for example, length in enumerate(LENGTHS):
            x[length:, example] = 0
    x.requires_grad_()
    sequences = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False) if packed else x
    y, state = module(sequences)
    hidden = state[0] if isinstance(state, tuple) else state
    last = torch.cat(list(hidden), dim=-1)
    judged = last if packed else y
    g = draw(*judged.shape)
    (judged * g).sum().backward()
    name = f"{case}_lengths" if packed else case
    values = {"x": x, **dict(module.named_parameters())}
    for key, value in {**values, "g": g, "last": last, **({} if packed else {"y": y})}.items():
        arrays[f"{name}/{key}"] = value.detach().numpy().astype(np.float32)
    for key, value in values.items():
        arrays[f"{name}/gradient_of_{key}"] = value.grad.numpy().astype(np.float32)
    if packed:
        arrays[f"{name}/lengths"] = np.array(LENGTHS, np.int32)


for kind in KINDS:
    run(kind, packed=False)
    if kind.endswith("bidirectional"):
        run(kind, packed=True)
np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **arrays)
