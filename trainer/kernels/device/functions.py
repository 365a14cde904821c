"""The activations in the words of a device's kernels."""

from __future__ import annotations

# By name: φ(x), and its slope by y = φ(x).
_FUNCTIONS = {
    "tanh": ("tanh(x)", "1 - y * y"),
    "sigmoid": ("1 / (1 + exp(-x))", "y * (1 - y)"),
    "relu": ("x < 0 ? 0 : x", "y > 0 ? 1 : 0"),
    "leaky_relu": ("x < 0 ? x / 100 : x", "y > 0 ? (REAL)1 : (REAL)1 / 100"),
    "linear": ("x", "1"),
    "softplus": ("(x > 0 ? x : 0) + log1p(exp(x > 0 ? -x : x))", "-expm1(-y)"),
    "elu": ("x > 0 ? x : expm1(x)", "y > 0 ? 1 : y + 1"),
}


def function_and_slope(name: str, dtype: str) -> str:
    """Define `REAL`, `phi(x)` for an activation, and `slope(y)`, its derivative where y = φ(x)."""
    phi, slope = _FUNCTIONS[name]
    return f"""
#define REAL npy_{dtype}
WITHIN_KERNEL REAL phi(REAL x) {{ return {phi}; }}
WITHIN_KERNEL REAL slope(REAL y) {{ return {slope}; }}
"""
