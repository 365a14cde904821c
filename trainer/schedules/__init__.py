"""Schedules: functions from time to the value of a hyperparameter.

A schedule is made with the hyperparameter's own configured value, `initial`, and called with the time t, at
least 0, in the unit that its configuration names: steps, epochs (in fractions too), or runs, where 1 is the
end of the whole run. The update number k, counted from 0, takes the value at time k: the first one that at 0.

A function of one's own is as good as any here: ``function(initial, **arguments)`` returns a callable from
time to value. A callable whose attribute ``times`` is ``"all"`` is called with the step, the epoch and the
progress of the run, whatever its unit. All are pure but those that follow a metric: a callable with the
methods ``observe(record, monitor, mode)``, called with the record of each epoch, ``state()`` and
``load_state(state)`` keeps a state, of numbers, texts, lists and dictionaries, which is saved with the run's.

Examples
--------
>>> learning_rate = with_warmup(cosine(0.1, duration=0.75), 0.1, warmup=0.25, unit="run")
>>> [round(learning_rate(time), 4) for time in (0, 0.125, 0.25, 0.53125, 1)]
[0.0, 0.05, 0.1, 0.05, 0.0]
"""

from ._common import UNITS, Schedule
from ._composition import joined, with_warmup
from ._cycles import cosine_restarts, cyclic, one_cycle
from ._decays import (
    constant,
    cosine,
    exponential,
    inverse_square_root,
    inverse_time,
    linear,
    natural_exponential,
    polynomial,
)
from ._formula import formula
from ._plateau import plateau
from ._points import multistep, piecewise, step, table

__all__ = [
    "UNITS",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "formula",
    "inverse_square_root",
    "inverse_time",
    "joined",
    "linear",
    "multistep",
    "natural_exponential",
    "one_cycle",
    "piecewise",
    "plateau",
    "polynomial",
    "step",
    "table",
    "with_warmup",
]
