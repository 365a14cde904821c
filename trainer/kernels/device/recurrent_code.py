"""The steps of recurrent cells for devices: what stands between two matrix products, an element a thread.

The formulas stand in `trainer.kernels.cells`. A step's sums come with the recurrent product in them; a GRU is
given that apart.
"""

from __future__ import annotations

from trainer.kernels.cells import Cell, GRUCell, LSTMCell, SimpleCell
from trainer.kernels.device.functions import function_and_slope
from trainer.kernels.device.launching import Argument, DeviceKernel, counts

_SIGMOID = "WITHIN_KERNEL REAL sigmoid(REAL x) { return 1 / (1 + exp(-x)); }\n"

# k is the element's place in a state; e the example, at the place g of whose sums the unit's first gate is.
_LOOP = """    EACH(k, examples * units) {{
        const ga_uint e = k / units, u = k % units, g = e * {blocks} * units + u;
        const int off = {off};
{body}    }}
"""

_FORWARD = {
    SimpleCell: """
        const REAL new_h = phi(h[k] + bias[u]);
        h[k] = off ? h_before[k] : new_h;
""",
    LSTMCell: """
        const REAL i = sigmoid(saved[g] + bias[u]);
        const REAL f = sigmoid(saved[g + units] + bias[u + units]);
        const REAL o = sigmoid(saved[g + 2 * units] + bias[u + 2 * units]);
        const REAL n = phi(saved[g + 3 * units] + bias[u + 3 * units]);
        const REAL new_c = f * c_before[k] + i * n;
        saved[g] = i;
        saved[g + units] = f;
        saved[g + 2 * units] = o;
        saved[g + 3 * units] = n;
        c[k] = off ? c_before[k] : new_c;
        h[k] = off ? h_before[k] : o * phi(new_c);
""",
    GRUCell: """
        const ga_uint s = e * 3 * units + u;
        const REAL r = sigmoid(sums[s] + product[s] + bias[u]);
        const REAL z = sigmoid(sums[s + units] + product[s + units] + bias[u + units]);
        const REAL m = product[s + 2 * units] + bias[u + 3 * units];
        const REAL n = phi(sums[s + 2 * units] + bias[u + 2 * units] + r * m);
        saved[g] = r;
        saved[g + units] = z;
        saved[g + 2 * units] = n;
        saved[g + 3 * units] = m;
        h[k] = off ? h_before[k] : n + z * (h_before[k] - n);
""",
}

# Where a step is off, its gradients go on to the step before it untouched.
_BACKWARD = {
    SimpleCell: """
        d_sums[g] = off ? 0 : dh * slope(h[k]);
        d_h[k] = off ? dh : 0;
""",
    LSTMCell: """
        const REAL i = saved[g], f = saved[g + units], o = saved[g + 2 * units], n = saved[g + 3 * units];
        const REAL active = phi(c[k]);
        const REAL dc_now = dc + dh * o * slope(active);
        d_sums[g] = off ? 0 : dc_now * n * i * (1 - i);
        d_sums[g + units] = off ? 0 : dc_now * c_before[k] * f * (1 - f);
        d_sums[g + 2 * units] = off ? 0 : dh * active * o * (1 - o);
        d_sums[g + 3 * units] = off ? 0 : dc_now * i * slope(n);
        d_c[k] = off ? dc : dc_now * f;
        d_h[k] = off ? dh : 0;
""",
    GRUCell: """
        const ga_uint s = e * 3 * units + u;
        const REAL r = saved[g], z = saved[g + units], n = saved[g + 2 * units], m = saved[g + 3 * units];
        const REAL dn = off ? 0 : dh * (1 - z) * slope(n);
        const REAL dr = dn * m * r * (1 - r);
        const REAL dz = off ? 0 : dh * (h_before[k] - n) * z * (1 - z);
        d_sums[s] = dr;
        d_sums[s + units] = dz;
        d_sums[s + 2 * units] = dn;
        d_product[s] = dr;
        d_product[s + units] = dz;
        d_product[s + 2 * units] = dn * r;
        d_h[k] = off ? dh : dh * z;
""",
}


def forward_kernel(cell: Cell, masked: bool, dtype: str) -> DeviceKernel:
    """Give the kernel of a step forward: of what it is given, what it writes stands first."""
    arrays = {
        SimpleCell: ("h", "bias", "h_before"),
        LSTMCell: ("saved", "h", "c", "bias", "h_before", "c_before"),
        GRUCell: ("saved", "h", "bias", "h_before", "sums", "product"),
    }[type(cell)]
    return _kernel(
        "step_forward", cell, masked, dtype, counts("examples", "units"), arrays, _FORWARD[type(cell)]
    )


def backward_kernel(cell: Cell, masked: bool, dtype: str, connected: tuple[bool, ...]) -> DeviceKernel:
    """Give the kernel of a step backward; `connected` says for which states gradients arrive.

    Where `first` is not 0, the gradients of the states count as 0, whatever stands there.
    """
    arrays = {
        SimpleCell: ("d_sums", "d_h", "h"),
        LSTMCell: ("d_sums", "d_h", "d_c", "saved", "c", "c_before"),
        GRUCell: ("d_sums", "d_product", "d_h", "saved", "h_before"),
    }[type(cell)]
    body = ""
    for state, arrives in zip("hc", connected, strict=False):
        plus = f" + to_{state}[k]" if arrives else ""
        body += f"        const REAL d{state} = (first ? 0 : d_{state}[k]){plus};\n"
        arrays += (f"to_{state}",) if arrives else ()
    numbers = counts("examples", "units", "first")
    return _kernel("step_backward", cell, masked, dtype, numbers, arrays, body + _BACKWARD[type(cell)])


def _kernel(
    name: str,
    cell: Cell,
    masked: bool,
    dtype: str,
    numbers: tuple[Argument, ...],
    arrays: tuple[str, ...],
    body: str,
) -> DeviceKernel:
    off = "mask[e] == 0" if masked else "0"
    given = (*arrays, "mask") if masked else arrays
    return DeviceKernel(
        name,
        (*numbers, *(Argument(each, dtype) for each in given)),
        _LOOP.format(blocks=cell.saved or 1, off=off, body=body),
        function_and_slope(cell.activation, dtype) + _SIGMOID,
    )
