"""What a run is, checked and free of Hydra: the program's own settings, and the components that it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from trainer.components import Component


@dataclass
class Checkpoints:
    """When the state of a run is saved, and how many states are kept."""

    every_epochs: Optional[int] = 1  # noqa: UP045 (OmegaConf reads this form alone)
    every_steps: Optional[int] = None  # noqa: UP045
    every_minutes: Optional[float] = None  # noqa: UP045
    keep: int = 2


@dataclass
class Training:
    """How long and how a run trains."""

    epochs: int = 30
    batch_size: int = 64
    accumulation: int = 1
    evaluation_batch_size: int = 1000
    steps_per_epoch: Optional[int] = None  # noqa: UP045
    seed: int = 0
    monitor: str = "validation/loss"
    mode: str = "min"
    feeding: str = "auto"
    non_finite: str = "raise"
    non_finite_limit: int = 10
    rollback_scale: float = 0.5
    checkpoints: Checkpoints = field(default_factory=Checkpoints)


@dataclass
class FindLearningRate:
    """How `task=find_learning_rate` looks for a learning rate."""

    low: float = 1e-7
    high: float = 10.0
    steps: int = 200
    smoothing: float = 0.9
    stop_factor: float = 4.0


@dataclass
class Device:
    """Where and with what Theano computes: the arguments of `trainer.runtime.prepare`."""

    name: str = "cpu"
    precision: str = "float32"
    threads: Optional[int] = None  # noqa: UP045
    blas_ldflags: Optional[str] = None  # noqa: UP045
    compiler: Optional[str] = None  # noqa: UP045
    compile_cache: Optional[str] = None  # noqa: UP045
    preallocate: float = 0.0
    deterministic: bool = False
    allow_cpu_ops: bool = False


@dataclass(frozen=True)
class ScheduleSettings:
    """A schedule of a hyperparameter, and what all schedules have in common.

    Attributes
    ----------
    component : Component
        Called with the configured value, it gives the schedule.
    unit : str
        What its time is counted in: `step`, `epoch`, or `run` (how much of the run is done).
    warmup : float
        The length of a linear ramp before it, in units.
    warmup_start : float
        Where the ramp begins, as a fraction of the configured value.
    optional : bool
        Whether it is left aside where the optimizer has no such hyperparameter.
    """

    component: Component
    unit: str
    warmup: float = 0.0
    warmup_start: float = 0.0
    optional: bool = False


@dataclass(frozen=True)
class GroupSettings:
    """Parameters, chosen by patterns of their names, that are trained otherwise than the others.

    Attributes
    ----------
    name : str
        Names the group's own hyperparameters: `groups.NAME.learning_rate`.
    match : tuple of str
        Patterns as for file names; a parameter belongs to the group where one of them matches.
    values : mapping
        Hyperparameters of the rule with the group's values; `NAME_scale` is a factor of the value that would
        hold otherwise, its schedule included.
    rule : Component, optional
        Another rule.
    schedules : mapping
        Schedules of the group's own values, by hyperparameter.
    freeze : bool
        Whether the parameters stay as they are.
    """

    name: str
    match: tuple[str, ...]
    values: Mapping[str, float] = field(default_factory=dict)
    rule: Component | None = None
    schedules: Mapping[str, ScheduleSettings] = field(default_factory=dict)
    freeze: bool = False


@dataclass(frozen=True)
class Settings:
    """A checked configuration, free of Hydra: what `trainer.run.train` takes.

    Each of `gradient`, `clipping`, `wrapper` and `constraint` is applied in its order. `overrides` are what
    the person typed, for messages.
    """

    data: Component
    model: Component
    objective: Component
    rule: Component
    training: Training
    gradient: Sequence[Component] = ()
    clipping: Sequence[Component] = ()
    wrapper: Sequence[Component] = ()
    constraint: Sequence[Component] = ()
    averaging: Component | None = None
    groups: Sequence[GroupSettings] = ()
    weight_decay: float | None = None
    weight_decay_match: str = "*"
    schedules: Mapping[str, ScheduleSettings] = field(default_factory=dict)
    callbacks: Mapping[str, Component] = field(default_factory=dict)
    loggers: Mapping[str, Component] = field(default_factory=dict)
    augmentation: Sequence[Component] = ()
    normalization: str = "none"
    target_normalization: str = "none"
    weights: str | None = None
    weights_match: str = "*"
    overrides: Sequence[str] = ()
    task: str = "train"
    find_learning_rate: FindLearningRate = field(default_factory=FindLearningRate)

    @property
    def title(self) -> str:
        """What the run is, for people: `mlp on digits, adam`."""
        model, data, rule = (part.function.__name__ for part in (self.model, self.data, self.rule))
        return f"{model} on {data}, {rule}"
