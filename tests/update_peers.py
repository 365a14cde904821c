"""Updates by PyTorch, and by JAX with Optax, as their own users write them: for scripts/measure-updates.

Reads a JSON object a line, ``{"peer", "rule", "shapes", "count"}``, makes what is asked for when it is first
asked, makes `count` updates and answers with the seconds of each; ``null`` where the peer has no such rule.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

RATE = 1e-3


def torch_update(form: str, rule: str, shapes: Any) -> Callable[[], Any] | None:
    import torch

    torch.set_num_threads(int(os.environ.get("TRAINER_BENCHMARK_THREADS", "2")))
    optim = torch.optim
    made: dict[str, Any] = {
        "sgd": (optim.SGD, {}),
        "momentum": (optim.SGD, {"momentum": 0.9}),
        "nesterov_momentum": (optim.SGD, {"momentum": 0.9, "nesterov": True}),
        "adagrad": (optim.Adagrad, {}),
        "rmsprop": (optim.RMSprop, {"alpha": 0.9}),
        "adadelta": (optim.Adadelta, {}),
        "adam": (optim.Adam, {}),
        "adamax": (optim.Adamax, {}),
        "amsgrad": (optim.Adam, {"amsgrad": True}),
        "adamw": (optim.AdamW, {}),
    }
    if rule not in made:
        return None
    kind, options = made[rule]
    params = [torch.nn.Parameter(torch.randn(shape) * 0.1) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param) * 0.01
    try:
        optimizer = kind(params, lr=RATE, **options, **{form: True})
    except (TypeError, RuntimeError):
        return None
    step: Callable[[], Any] = optimizer.step
    return step


def jax_update(rule: str, shapes: Any) -> Callable[[], Any] | None:
    import jax
    import numpy as np
    import optax

    made: dict[str, Any] = {
        "sgd": lambda: optax.sgd(RATE),
        "momentum": lambda: optax.sgd(RATE, momentum=0.9),
        "nesterov_momentum": lambda: optax.sgd(RATE, momentum=0.9, nesterov=True),
        "adagrad": lambda: optax.adagrad(RATE),
        "rmsprop": lambda: optax.rmsprop(RATE),
        "adadelta": lambda: optax.adadelta(RATE),
        "adam": lambda: optax.adam(RATE),
        "adamax": lambda: optax.adamax(RATE),
        "amsgrad": lambda: optax.amsgrad(RATE),
        "adamw": lambda: optax.adamw(RATE),
        "lion": lambda: optax.lion(RATE),
    }
    if rule not in made:
        return None
    optimizer = made[rule]()
    random = np.random.default_rng(0)
    held: list[Any] = [jax.numpy.asarray(random.normal(size=s).astype("float32") * 0.1) for s in shapes]
    gradients = [jax.numpy.asarray(random.normal(size=s).astype("float32") * 0.01) for s in shapes]
    state = optimizer.init(held)

    def changed(params: Any, state: Any, gradients: Any) -> Any:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(changed, donate_argnums=(0, 1))

    def update() -> None:
        nonlocal held, state
        held, state = step(held, state, gradients)
        jax.block_until_ready((held, state))

    return update


@cache
def update_of(peer: str, rule: str, shapes: Any) -> Callable[[], Any] | None:
    try:
        return jax_update(rule, shapes) if peer == "jax" else torch_update(peer, rule, shapes)
    except ImportError:
        return None


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        update = update_of(asked["peer"], asked["rule"], tuple(map(tuple, asked["shapes"])))
        seconds = []
        for _ in range(asked["count"] if update else 0):
            start = time.perf_counter()
            update()  # type: ignore[misc]
            seconds.append(time.perf_counter() - start)
        if asked.get("last"):
            update_of.cache_clear()
        print(json.dumps(seconds or None), flush=True)


if __name__ == "__main__":
    main()
