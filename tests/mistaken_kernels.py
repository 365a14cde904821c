"""Launches kernels with a mistake each on CUDA's first device: `python -m tests.mistaken_kernels NAME…`."""

from __future__ import annotations

import json
import sys

from trainer import runtime

# Each wants 64 ones in y, as x has them. A barrier, though never met, has the threads run as fibres.
_SHARED = "LOCAL_MEM float told[64]; told[k] = x[k]; if (x[0] < 0) local_barrier();"
CODE = {
    "none": "y[k] = x[k];",
    "no barrier before what the next wrote": f"{_SHARED} y[k] = told[k < 63 ? k + 1 : k];",
    "no barrier before what the last wrote": f"{_SHARED} y[k] = told[k > 0 ? k - 1 : k];",
    "reads what nobody wrote": "y[k] += x[k];",
    "writes past the end": "y[k + 1] = x[k];",
}


def is_right(mistake: str) -> list[bool]:
    """Launch its kernel twice; say each time whether all numbers are as they should be."""
    import numpy as np
    from pygpu import gpuarray
    from theano.gpuarray import get_context

    context = get_context(None)
    head = "KERNEL void wrong(GLOBAL_MEM float* y, GLOBAL_MEM float* x)"
    text = f'#include "cluda.h"\n{head} {{ const int k = LID_0; {CODE[mistake]} }}'
    kernel = gpuarray.GpuKernel(text, "wrong", [gpuarray.GpuArray, gpuarray.GpuArray], context=context)
    x = gpuarray.array(np.ones(64, "float32"), context=context)
    found = []
    for _ in range(2):
        y = gpuarray.empty((64,), "float32", context=context)
        kernel(y, x, gs=1, ls=64)
        found.append(bool((np.asarray(y) == 1).all()))
    return found


if __name__ == "__main__":
    runtime.prepare(name="cuda0")
    for mistake in sys.argv[1:]:
        print(json.dumps([mistake, is_right(mistake)]), flush=True)
