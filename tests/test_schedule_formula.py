"""A schedule written as an expression: what it computes, and all that it refuses."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.schedules import formula, with_warmup


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.5", 0.5),
        ("initial", 8.0),
        ("initial * 0.5 ** floor(epoch / 10)", 2.0),
        ("initial / (1 + step)", 8 / 2501),
        ("-step + +2", -2498.0),
        ("2 ** 3 ** 2", 512.0),
        ("7 - 2 - 1", 4.0),
        ("max(1 - progress, 0.1, 0.2) ** 2", 0.5625),
        ("min(step, epoch)", 25.0),
        ("sqrt(4) + exp(0) + log(1) + abs(-3)", 6.0),
        ("sin(pi / 2) + cos(pi)", 0.0),
        (" ( initial *\n 0.5 ) ", 4.0),
        ("1e-3", 0.001),
    ],
)
def test_an_expression_has_the_value_of_arithmetic(text: str, wanted: float) -> None:
    value = formula(8.0, text)(2500, 25.0, 0.25)
    assert value == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert type(value) is float


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no arithmetic expression"),
        ("initial *", "is no arithmetic expression"),
        ("initial; step", "is no arithmetic expression"),
        ("x = 1", "is no arithmetic expression"),
        ("initial * proges", "there is no proges; did you mean progress?"),
        ("squrt(step)", "there is no function squrt; did you mean sqrt?"),
        ("__import__('os')", "there is no function __import__"),
        ("().__class__", "().__class__ is not allowed"),
        ("initial.real", "initial.real is not allowed"),
        ("step.__add__(1)", "there is no function step.__add__"),
        ("(lambda: 1)()", "there is no function"),
        ("[1][0]", "[1][0] is not allowed"),
        ("1 if step else 2", "1 if step else 2 is not allowed"),
        ("step < 5", "step < 5 is not allowed"),
        ("step // 5", "step // 5 is not allowed"),
        ("step % 5", "step % 5 is not allowed"),
        ("~5", "~5 is not allowed"),
        ("not step", "not step is not allowed"),
        ("(y := 1)", "y := 1 is not allowed"),
        ("f'{step}'", "is not allowed"),
        ("'a' * 5", "'a' is not a number"),
        ("True", "True is not a number"),
        ("None", "None is not a number"),
        ("3j", "3j is not a number"),
        ("1e999", "1e999 is too large"),
        ("1" + "0" * 400, "is too large"),
        ("sqrt(1, 2)", "sqrt takes one value"),
        ("sqrt()", "sqrt takes one value"),
        ("max(step)", "max takes two values or more"),
        ("max(step, 1, key=abs)", "max takes two values or more"),
        ("max(*step)", "max takes two values or more"),
        ("max(*step, 1)", "*step is not allowed"),
        ("sqrt", "there is no sqrt"),
        ("1" * 501, "has 501 characters: give at most 500"),
        ("-" * 450 + "1", "nested too deep"),
        ("~" * 450 + "1", "is not allowed"),
        ("(" * 240 + "1" + ")" * 240, "is no arithmetic expression"),
        ("1\x00", "is no arithmetic expression"),
    ],
)
def test_nothing_else_can_be_said(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        formula(1.0, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / step", "division by zero"),
        ("log(progress)", "math domain error"),
        ("sqrt(-1)", "math domain error"),
        ("(-1) ** 0.5", "math domain error"),
        ("exp(1000)", "math range error"),
        ("9 ** 9 ** 9 ** 9", "math range error"),
        ("1e308 * 10", "it is inf"),
        ("1e308 * 10 - 1e308 * 10", "it is nan"),
        ("floor(1e308 * 10)", "infinity"),
    ],
)
def test_a_value_that_is_not_finite_is_an_error_with_its_step(text: str, reason: str) -> None:
    schedule = formula(1.0, text)
    with pytest.raises(ValueError, match=r"at step 0 \(epoch 0, progress 0\): .*" + reason):
        schedule(0, 0.0, 0.0)


def test_it_sees_the_time_of_the_run_also_after_a_warm_up() -> None:
    schedule: Any = with_warmup(formula(4.0, "initial * (1 - progress)"), 4.0, 10, 0.5, "step")
    assert schedule.times == "all"
    assert schedule(0, 0.0, 0.0) == 2.0
    assert schedule(5, 0.5, 0.05) == pytest.approx(2 + (3.8 - 2) / 2)
    assert schedule(10, 1.0, 0.1) == pytest.approx(3.6)
    assert schedule(50, 5.0, 0.5) == pytest.approx(2.0)


WORDS = "step epoch progress initial pi sqrt( exp( max( 9** ** __class__ lambda if for in"
ALPHABET = st.sampled_from([*"0123456789.()+-*/, e[]{}':=\n\\é%@~", *WORDS.split()])


@pytest.mark.filterwarnings("ignore:invalid:SyntaxWarning", "ignore:invalid:DeprecationWarning")
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(ALPHABET, max_size=120).map("".join))
def test_any_text_is_computed_or_refused(text: str) -> None:
    try:
        value = formula(0.1, text)(3, 1.5, 0.25)
    except ValueError:
        return
    assert math.isfinite(value)


def test_no_power_takes_long() -> None:
    started = time.process_time()
    for text in ("9**9**9**9**9", "(9**99)**99**9", "max(9**9, 9**9**9)**9**9"):
        with pytest.raises(ValueError, match="no finite value"):
            formula(1.0, text)(0, 0.0, 0.0)
    assert time.process_time() - started < 1.0
