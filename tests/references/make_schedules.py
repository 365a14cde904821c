"""Make schedules.json: what the schedules of PyTorch and Optax give, in float64.

    python tests/references/make_schedules.py      # in an environment with PyTorch, JAX and Optax

The tests read the table and need none of them. A case holds the schedule here that is meant to do the same,
its arguments, and the peer's values for the updates 0, 1, 2, ... (for the plateau: after each epoch's loss).
PyTorch's one-cycle is at its end at the last of `total_steps` updates, so that it lasts one step less.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax  # type: ignore[import-not-found, unused-ignore]
import optax  # type: ignore[import-not-found, unused-ignore]
import torch
from torch.optim import lr_scheduler

jax.config.update("jax_enable_x64", True)
warnings.filterwarnings("ignore", module="torch")

INITIAL, STEPS = 0.8, 40
LOSSES = [
    1.0,
    0.9,
    0.91,
    0.9,
    0.89995,
    0.7,
    0.8,
    0.75,
    0.72,
    0.69,
    0.9,
    0.9,
    0.9,
    0.9,
    0.9,
    0.9,
    0.4,
    0.5,
    0.5,
    0.5,
]


def stepped(make: Callable[[Any], Any], key: str = "lr", initial: float = INITIAL) -> list[float]:
    """Return what a PyTorch scheduler sets before each update."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=initial, momentum=0.9)
    scheduler = make(optimizer)
    values = []
    for _ in range(STEPS):
        values.append(float(optimizer.param_groups[0][key]))
        optimizer.step()
        scheduler.step()
    return values


def case(schedule: str, values: list[float], initial: float = INITIAL, /, **arguments: Any) -> dict[str, Any]:
    return {"schedule": schedule, "initial": initial, "arguments": arguments, "values": values}


def cyclic(mode: str, gamma: float = 1.0) -> list[float]:
    return stepped(
        lambda o: lr_scheduler.CyclicLR(
            o,
            INITIAL,
            3 * INITIAL,
            step_size_up=4,
            step_size_down=6,
            mode=mode,
            gamma=gamma,
            cycle_momentum=False,
        )
    )


def one_cycle(key: str, anneal: str, three_phase: bool) -> dict[str, Any]:
    rise = 0.3
    values = stepped(
        lambda o: lr_scheduler.OneCycleLR(
            o, INITIAL, total_steps=STEPS + 1, pct_start=rise, anneal_strategy=anneal, three_phase=three_phase
        ),
        key,
    )
    ratios = {"start_ratio": 1.0, "peak_ratio": 0.85 / 0.95, "final_ratio": 1.0}
    return case(
        "one_cycle",
        values,
        0.95 if key == "momentum" else INITIAL,
        # PyTorch turns at rise * total_steps - 1.
        rise=(rise * (STEPS + 1) - 1) / STEPS,
        duration=STEPS,
        shape={"cos": "cosine", "linear": "linear"}[anneal],
        three_phase=three_phase,
        **(ratios if key == "momentum" else {}),
    )


def plateau(**arguments: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=INITIAL)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
    values = []
    for loss in LOSSES:
        scheduler.step(loss)
        values.append(float(optimizer.param_groups[0]["lr"]))
    return values


def of_pytorch() -> dict[str, Any]:
    s = lr_scheduler
    sequence = stepped(
        lambda o: s.SequentialLR(
            o, [s.ConstantLR(o, factor=0.5, total_iters=99), s.ExponentialLR(o, 0.9)], milestones=[7]
        )
    )
    warm = stepped(
        lambda o: s.SequentialLR(
            o, [s.LinearLR(o, 0.1, 1.0, total_iters=5), s.CosineAnnealingLR(o, 35, 0.05)], milestones=[5]
        )
    )
    pairs = {
        f"one-cycle {key}, {anneal}{', three phases' * three}": one_cycle(key, anneal, three)
        for key in ("lr", "momentum")
        for anneal in ("cos", "linear")
        for three in (False, True)
    }
    return {
        "step": case("step", stepped(lambda o: s.StepLR(o, 10, 0.5)), every=10, factor=0.5),
        "multistep": case(
            "multistep",
            stepped(lambda o: s.MultiStepLR(o, [5, 12, 30], 0.3)),
            milestones=[5, 12, 30],
            factor=0.3,
        ),
        "exponential": case("exponential", stepped(lambda o: s.ExponentialLR(o, 0.93)), factor=0.93),
        "polynomial": case(
            "polynomial", stepped(lambda o: s.PolynomialLR(o, 25, power=2.5)), duration=25, power=2.5
        ),
        "linear": case(
            "linear",
            stepped(lambda o: s.LinearLR(o, 1.0, 0.1, total_iters=20)),
            final=0.1 * INITIAL,
            duration=20,
        ),
        "cosine": case(
            "cosine", stepped(lambda o: s.CosineAnnealingLR(o, 40, 0.05)), final=0.05, duration=40
        ),
        "restarts": case(
            "cosine_restarts",
            stepped(lambda o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.05)),
            period=5,
            growth=2,
            final=0.05,
        ),
        "restarts of one length": case(
            "cosine_restarts", stepped(lambda o: s.CosineAnnealingWarmRestarts(o, 7)), period=7
        ),
        "triangular": case("cyclic", cyclic("triangular"), ratio=3.0, up=4, down=6),
        "triangular2": case("cyclic", cyclic("triangular2"), ratio=3.0, up=4, down=6, mode="triangular2"),
        "exp_range": case(
            "cyclic", cyclic("exp_range", 0.95), ratio=3.0, up=4, down=6, mode="exp_range", factor=0.95
        ),
        **pairs,
        "joined": case("joined", sequence),
        "warm-up": case("with_warmup", warm),
        "plateau": case("plateau", plateau(patience=1, factor=0.5), patience=2, factor=0.5),
        "plateau, cooldown": case(
            "plateau", plateau(patience=1, factor=0.7, cooldown=3), patience=2, factor=0.7, cooldown=3
        ),
        "plateau, minimum": case(
            "plateau", plateau(patience=1, factor=0.5, min_lr=0.15), patience=2, factor=0.5, minimum=0.15
        ),
        "plateau, threshold": case(
            "plateau", plateau(patience=2, factor=0.5, threshold=0.12), patience=3, factor=0.5, threshold=0.12
        ),
        "plateau, absolute": case(
            "plateau",
            plateau(mode="max", patience=2, factor=0.1, threshold=0.05, threshold_mode="abs"),
            mode="max",
            metric="validation/loss",
            patience=3,
            threshold=0.05,
            threshold_mode="absolute",
        ),
    }


def of_optax() -> dict[str, Any]:
    def of(schedule: Callable[[int], Any]) -> list[float]:
        return [float(schedule(step)) for step in range(STEPS)]

    return {
        "optax polynomial": case(
            "polynomial", of(optax.polynomial_schedule(INITIAL, 0.2, 3, 30)), final=0.2, duration=30, power=3
        ),
        "optax exponential": case(
            "exponential", of(optax.exponential_decay(INITIAL, 10, 0.5)), factor=0.5, every=10
        ),
        "optax staircase": case(
            "step", of(optax.exponential_decay(INITIAL, 10, 0.5, staircase=True)), every=10, factor=0.5
        ),
        "optax cosine": case(
            "cosine",
            of(optax.cosine_decay_schedule(INITIAL, 30, alpha=0.1)),
            final=0.1 * INITIAL,
            duration=30,
        ),
        "optax one-cycle": case(
            "one_cycle",
            of(optax.cosine_onecycle_schedule(40, INITIAL, 0.25, 20.0, 1e3)),
            rise=0.25,
            duration=40,
            start_ratio=1 / 20,
            final_ratio=1 / 20 / 1e3,
        ),
        "optax piecewise": case(
            "piecewise",
            of(optax.piecewise_constant_schedule(INITIAL, {6: 0.5, 20: 0.1})),
            times=[6, 20],
            values=[0.5, 0.05],
        ),
        "optax interpolation": case(
            "piecewise",
            of(optax.piecewise_interpolate_schedule("linear", INITIAL, {6: 0.5, 20: 0.1})),
            times=[6, 20],
            values=[0.5, 0.05],
            interpolation="linear",
        ),
    }


def main() -> None:
    cases = {**of_pytorch(), **of_optax()}
    lines = [f"  {json.dumps(name)}: {json.dumps(content)}" for name, content in cases.items()]
    text = '{\n  "losses": ' + json.dumps(LOSSES) + ",\n" + ",\n".join(lines) + "\n}\n"
    Path(__file__).with_name("schedules.json").write_text(text)


if __name__ == "__main__":
    main()
