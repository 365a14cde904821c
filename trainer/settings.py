"""What a run is, checked and free of Hydra: the program's own settings, and the components that it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from trainer.components import Component


@dataclass
class Training:
    """How long and how a run trains."""

    epochs: int = 30
    batch_size: int = 64
    evaluation_batch_size: int = 1000
    steps_per_epoch: Optional[int] = None  # noqa: UP045 (OmegaConf reads this form alone)
    seed: int = 0
    monitor: str = "validation/loss"
    mode: str = "min"
    feeding: str = "auto"


@dataclass
class Device:
    """Where and with what Theano computes: the arguments of `trainer.runtime.prepare`."""

    name: str = "cpu"
    precision: str = "float32"
    threads: Optional[int] = None  # noqa: UP045
    blas_ldflags: Optional[str] = None  # noqa: UP045
    compiler: Optional[str] = None  # noqa: UP045
    compile_cache: Optional[str] = None  # noqa: UP045


@dataclass(frozen=True)
class ScheduleSettings:
    """A schedule and the unit of its time: `step`, `epoch`, or `run` (how much of the run is done)."""

    component: Component
    unit: str


@dataclass(frozen=True)
class Settings:
    """A checked configuration, free of Hydra: what `trainer.run.train` takes."""

    data: Component
    model: Component
    objective: Component
    rule: Component
    training: Training
    clipping: Component | None = None
    wrapper: Component | None = None
    constraint: Component | None = None
    schedules: Mapping[str, ScheduleSettings] = field(default_factory=dict)
    callbacks: Mapping[str, Component] = field(default_factory=dict)
    loggers: Mapping[str, Component] = field(default_factory=dict)
    augmentation: Sequence[Component] = ()
    normalization: str = "none"
    target_normalization: str = "none"
    weights: str | None = None
    weights_match: str = "*"

    @property
    def title(self) -> str:
        """What the run is, for people: `mlp on digits, adam`."""
        model, data, rule = (part.function.__name__ for part in (self.model, self.data, self.rule))
        return f"{model} on {data}, {rule}"
