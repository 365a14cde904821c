"""Each later elementwise rule follows its paper, written again in float64 NumPy in the paper's own terms."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from tests.updates.following import State, Step, worst_errors
from trainer import updates


def adamw(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    m_hat, v_hat = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    return p - lr * (m_hat / (np.sqrt(v_hat) + 1e-8) + 0.01 * p)


def nadam(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    momenta = [0.9 * (1 - 0.5 * 0.96 ** (i / 250)) for i in range(1, t + 2)]
    now, ahead = momenta[-2:]
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["n"] = 0.999 * s["n"] + 0.001 * g**2
    g_hat, m_hat = g / (1 - np.prod(momenta[:-1])), s["m"] / (1 - np.prod(momenta))
    m_bar = (1 - now) * g_hat + ahead * m_hat
    return p - lr * m_bar / (np.sqrt(s["n"] / (1 - 0.999**t)) + 1e-8)


def nadamw(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    return nadam(p, g, s, t, lr) - lr * 0.01 * p


def radam(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    m_hat = s["m"] / (1 - 0.9**t)
    at_infinity = 2 / (1 - 0.999) - 1
    now = at_infinity - 2 * t * 0.999**t / (1 - 0.999**t)
    if now <= 4:
        return p - lr * m_hat
    above = (now - 4) * (now - 2) * at_infinity
    below = (at_infinity - 4) * (at_infinity - 2) * now
    return p - lr * np.sqrt(above / below) * m_hat * np.sqrt(1 - 0.999**t) / (np.sqrt(s["v"]) + 1e-8)


def adabelief(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["s"] = 0.999 * s["s"] + 0.001 * (g - s["m"]) ** 2 + 1e-16
    m_hat, s_hat = s["m"] / (1 - 0.9**t), s["s"] / (1 - 0.999**t)
    return p - lr * m_hat / (np.sqrt(s_hat) + 1e-16)


def yogi(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = s["v"] - 0.001 * np.sign(s["v"] - g**2) * g**2
    return p - lr * s["m"] / (np.sqrt(s["v"]) + 1e-3)


def adan(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    beta1, beta2, beta3 = 0.02, 0.08, 0.01
    difference = g - (s["before"] if t > 1 else g)
    s["before"] = g
    s["m"] = (1 - beta1) * s["m"] + beta1 * g
    s["v"] = (1 - beta2) * s["v"] + beta2 * difference
    s["n"] = (1 - beta3) * s["n"] + beta3 * (g + (1 - beta2) * difference) ** 2
    m, v, n = (s[name] / (1 - (1 - b) ** t) for name, b in (("m", beta1), ("v", beta2), ("n", beta3)))
    return (p - lr / (np.sqrt(n) + 1e-8) * (m + (1 - beta2) * v)) / (1 + 0.02 * lr)


def lion(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    change = np.sign(0.9 * s["m"] + 0.1 * g)
    s["m"] = 0.99 * s["m"] + 0.01 * g
    return p - lr * (change + 0.3 * p)


def signsgd(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    return p - lr * np.sign(g)


def signum(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    return p - lr * np.sign(s["m"])


def rprop(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    if t == 1:
        s.update(size=np.ones_like(p), g=np.zeros_like(p), change=np.zeros_like(p))
    moved = np.array(p)
    for i in np.ndindex(np.shape(p)):
        product, gradient = np.sign(s["g"][i]) * np.sign(g[i]), g[i]
        if product < 0:
            s["size"][i] = max(0.5 * s["size"][i], 1e-5)
            moved[i] -= s["change"][i]
            gradient = 0.0
        else:
            if product > 0:
                s["size"][i] = min(1.2 * s["size"][i], 500)
            s["change"][i] = -np.sign(gradient) * lr * s["size"][i]
            moved[i] += s["change"][i]
        s["g"][i] = gradient
    return moved


def rmsprop_centered(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["n"] = 0.95 * s["n"] + 0.05 * g**2
    s["g"] = 0.95 * s["g"] + 0.05 * g
    s["change"] = 0.9 * s["change"] - lr * g / np.sqrt(s["n"] - s["g"] ** 2 + 1e-4)
    return p + s["change"]


RULES: dict[str, Step] = {
    "adamw": adamw,
    "nadam": nadam,
    "nadamw": nadamw,
    "radam": radam,
    "adabelief": adabelief,
    "yogi": yogi,
    "adan": adan,
    "lion": lion,
    "signsgd": signsgd,
    "signum": signum,
    "rprop": rprop,
    "rmsprop_centered": rmsprop_centered,
}


def build(name: str, gradients: list[Any], params: list[Any], learning_rate: Any) -> OrderedDict[Any, Any]:
    if name == "signum":
        return updates.signsgd(gradients, params, learning_rate, momentum=0.9)
    arguments = {"weight_decay": 0.3} if name == "lion" else {}
    return getattr(updates, name)(gradients, params, learning_rate, **arguments)  # type: ignore[no-any-return]


def test_rules_follow_their_papers_in_float64() -> None:
    worst = worst_errors(RULES, build, "float64")
    assert {name: error for name, error in worst.items() if not error < 1e-10} == {}


def test_rules_follow_their_papers_in_float32() -> None:
    worst = worst_errors(RULES, build, "float32")
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}
