"""OpenML's sets, by a stand-in for scikit-learn's loader: no test asks the network."""

from __future__ import annotations

import logging
import urllib.error
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

from trainer.data import openml
from trainer.errors import UsageError

NAN = float("nan")


def flowers(**replaced: Any) -> Bunch:
    """Give what `fetch_openml(..., as_frame=False, target_column=None)` gives for three columns, 12 rows."""
    columns = {
        "length": np.arange(12) / 2,
        "colour": np.array([0.0, 1.0, 2.0] * 4),
        "class": np.array([1.0, 0.0] * 6),
        **replaced,
    }
    return Bunch(
        data=np.column_stack(list(columns.values())),
        target=None,
        feature_names=list(columns),
        target_names=[],
        categories={"colour": ["red", "blue", "green"], "class": ["no", "yes"]},
        details={"default_target_attribute": "class"},
    )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand in for the loader: it gives `result`, and notes how it was called in `asked`."""
    state: dict[str, Any] = {"result": flowers()}

    def fetch_openml(name: str, **arguments: Any) -> Any:
        state["asked"] = {"name": name, **arguments}
        if isinstance(state["result"], Exception):
            raise state["result"]
        warnings.warn("Multiple active versions exist.\n- version 1", UserWarning, stacklevel=1)
        return state["result"]

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    return state


def test_nominal_columns_become_one_hot_and_the_sets_own_target_is_taken(stand_in: dict[str, Any]) -> None:
    data = openml("flowers", 3, folder="kept", validation_fraction=0.25, test_fraction=0.25)
    assert stand_in["asked"]["name"] == "flowers"
    assert stand_in["asked"]["version"] == 3
    assert stand_in["asked"]["data_home"] == "kept"
    assert data.feature_names == ("length", "colour=blue", "colour=green", "colour=red")
    assert data.class_names == ("no", "yes")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 3, 3]
    for inputs, target in zip(data.train.inputs, data.train.targets, strict=True):
        row = int(inputs[0] * 2)
        assert inputs[1:].tolist() == [row % 3 == 1, row % 3 == 2, row % 3 == 0]
        assert target == 1 - row % 2


def test_another_target_can_be_chosen(stand_in: dict[str, Any]) -> None:
    data = openml("flowers", target="length", exclude=["colour"], task="values")
    assert data.feature_names == ("class=no", "class=yes")
    assert (data.classes, data.outputs) == (None, 1)


@pytest.mark.usefixtures("stand_in")
def test_warnings_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        openml("flowers")
    assert caplog.messages == ["Multiple active versions exist"]


@pytest.mark.parametrize(
    ("result", "arguments", "named"),
    [
        (flowers(), {"target": "clas"}, "OpenML's flowers: has no column 'clas'.*did you mean class?"),
        (
            flowers(length=np.where(np.arange(12) == 4, NAN, 1)),
            {},
            "row 5, column 'length': nan is not a finite",
        ),
        (
            flowers(colour=np.where(np.arange(12) == 4, NAN, 1)),
            {},
            "row 5, column 'colour': the value is missing",
        ),
        (
            flowers(**{"class": np.array([NAN] + [1.0, 0.0] * 5 + [1.0])}),
            {},
            "row 1, column 'class': the value is",
        ),
        (
            Bunch(**{**flowers(), "details": {}}),
            {},
            "names no single column to predict; choose one by data.target",
        ),
        (Bunch(**{**flowers(), "data": None}), {}, "OpenML's flowers is sparse"),
        (
            ValueError("No active dataset flowers found.\nmore"),
            {},
            "data.name=flowers.*: No active dataset flowers",
        ),
        (
            urllib.error.URLError("no route"),
            {},
            r"OpenML cannot be reached \(no route\); run once where it can be",
        ),
        (TimeoutError("timed out"), {}, r"OpenML cannot be reached \(timed out\)"),
    ],
)
def test_what_does_not_serve_is_refused_in_one_line(
    stand_in: dict[str, Any], result: Any, arguments: dict[str, Any], named: str
) -> None:
    stand_in["result"] = result
    with pytest.raises(UsageError, match=named) as error:
        openml("flowers", **arguments)
    assert "\n" not in str(error.value)
