"""Theano is made ready with the device, precision, BLAS, compiler and cache asked for, or an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer import runtime
from trainer.errors import UsageError
from trainer.runtime import flags, quiet

PROJECT = Path(__file__).parent.parent


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python text in a process with no flags of ours or the user's but those given here."""
    cleared = {"THEANO_FLAGS": "", "THEANORC": "", "OMP_NUM_THREADS": "", "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, **cleared, **environment},
    )


def product(mode: Any = None) -> Any:
    left, right = tensor.matrix(), tensor.matrix()
    return theano.function([left, right], tensor.dot(left, right), mode=mode)


def refusals(*settings: dict[str, Any], **environment: str) -> list[str]:
    """Return what `prepare` says to each of these settings, and make sure that Theano stays out."""
    program = f"""
        import json, sys
        from trainer import runtime
        from trainer.errors import UsageError
        said = []
        for arguments in json.loads({json.dumps(json.dumps(settings))}):
            try:
                runtime.prepare(**arguments)
                said.append("")
            except UsageError as error:
                said.append(str(error))
        assert "theano" not in sys.modules
        print(json.dumps(said))
    """
    done = run(program, **environment)
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said


def test_a_second_prepare_changes_nothing_but_threads() -> None:
    ready = runtime.prepare()
    assert runtime.prepare() is ready
    assert runtime.prepare(threads=1).threads == 1
    assert runtime.prepare() == ready


def test_a_living_process_keeps_its_precision_and_device() -> None:
    with pytest.raises(UsageError, match=r"device\.precision=float64 \(was float32\).*process of its own"):
        runtime.prepare(precision="float64")
    with pytest.raises(UsageError, match=r"device\.name=cuda \(was cpu\)"):
        runtime.prepare(name="cuda")


def test_a_matrix_product_calls_the_library_that_was_chosen() -> None:
    multiply = product()
    runtime.verify(multiply)
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((7, 7)).astype("float32") for _ in range(2))
    reference = left.astype("float64") @ right.astype("float64")
    np.testing.assert_allclose(multiply(left, right), reference, rtol=1e-4, atol=1e-5)
    if sys.platform == "linux":
        assert runtime.prepare().blas.file in Path("/proc/self/maps").read_text()


def test_a_product_in_numpy_is_refused() -> None:
    images, filters = tensor.tensor4(), tensor.tensor4()
    with theano.configparser.change_flags(**{"blas.ldflags": ""}):
        multiply = product()
        convolve = theano.function([images, filters], tensor.nnet.conv2d(images, filters))
    with pytest.raises(UsageError, match="Dot22 runs in NumPy"):
        runtime.verify(multiply)
    with pytest.raises(UsageError, match="CorrMM was compiled without a BLAS library"):
        runtime.verify(convolve)


@pytest.mark.parametrize("optimizer", ["fast_run", None])
def test_a_product_in_python_is_refused(optimizer: str | None) -> None:
    with pytest.raises(UsageError, match="runs in NumPy"):
        runtime.verify(product(theano.Mode("py", optimizer)))


def test_scan_runs_and_its_inner_products_are_looked_at() -> None:
    mode = theano.Mode("py", "fast_run")
    state, weights = tensor.matrix(), tensor.matrix()
    states, _ = theano.scan(tensor.dot, outputs_info=state, non_sequences=weights, n_steps=3, mode=mode)
    power = theano.function([state, weights], states[-1])
    np.testing.assert_array_equal(
        power(np.eye(2, dtype="float32"), np.array([[1, 1], [0, 1]], "float32")), [[1, 3], [0, 1]]
    )
    with pytest.raises(UsageError, match="runs in NumPy"):
        runtime.verify(power)


def test_what_cannot_be_had_is_named_with_its_cure() -> None:
    cases: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"name": "cude"}, ("device.name=cude", "did you mean cuda?", "opencl")),
        ({"name": "gpu0"}, ("device.name=gpu0", "did you mean cuda0?")),
        ({"precision": "float16"}, ("device.precision=float16", "float32 or float64")),
        ({"threads": 0}, ("device.threads=0", "from 1")),
        ({"compiler": "no-such-compiler"}, ("device.compiler=no-such-compiler", "install")),
        ({"compiler": ""}, ("device.compiler=", "install")),
        ({"blas_ldflags": "-lno_such_library"}, ("device.blas_ldflags=-lno_such_library", "leave it out")),
        ({"blas_ldflags": ""}, ("device.blas_ldflags is empty", "-lopenblas")),
        (
            {"compile_cache": f"{__file__}/below"},
            ("device.compile_cache", "cannot be written", "give a folder"),
        ),
    ]
    for said, (arguments, parts) in zip(refusals(*[case[0] for case in cases]), cases, strict=True):
        for part in parts:
            assert part in said, arguments


def test_a_device_that_is_not_there_ends_the_run() -> None:
    if shutil.which("nvidia-smi") or shutil.which("clinfo"):
        pytest.skip("this machine may have the device")
    (said,) = refusals({"name": "cuda"})
    assert "device.name=cuda" in said
    assert "Devices that there are: cpu" in said
    assert "pygpu" in said


def test_a_device_that_theano_gives_up_on_ends_the_run(tmp_path: Path) -> None:
    """Theano itself logs the driver's error and goes on, on the CPU."""
    package = tmp_path / "pygpu"
    package.mkdir()
    anything = """
        def __getattr__(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (Exception,), {})
    """
    for module in ("basic", "tools", "elemwise", "reduction", "blas"):
        (package / f"{module}.py").write_text(textwrap.dedent(anything))
    counts = "api_version = lambda: (2, 0)\ncount_platforms = lambda kind: 1\n"
    counts += "count_devices = lambda kind, platform: int(kind == 'opencl')\n"
    (package / "gpuarray.py").write_text(textwrap.dedent(anything) + counts)
    starts = "def init(*arguments, **options):\n    raise RuntimeError('no driver answers')\n"
    (package / "__init__.py").write_text(f"from . import gpuarray\n__version__ = '0.7.6'\n{starts}")
    program = """
        from trainer import runtime
        from trainer.errors import UsageError
        try:
            runtime.prepare(name="cuda")
        except UsageError as error:
            print(error)
    """
    done = run(program, PYTHONPATH=os.pathsep.join([str(PROJECT), str(tmp_path)]))
    assert (done.returncode, done.stderr) == (0, "")
    assert "device.name=cuda could not be started" in done.stdout
    assert "no driver answers" in done.stdout
    assert "Devices that there are: cpu, opencl0:0" in done.stdout


def test_without_a_compiler_nothing_runs_in_python(tmp_path: Path) -> None:
    (said,) = refusals({}, PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert "There is no C++ compiler" in said
    assert "install" in said


def test_theano_flags_that_contradict_the_configuration_are_refused() -> None:
    said = refusals({}, {"precision": "float64"}, THEANO_FLAGS="device=cuda,floatX=float32")
    assert "THEANO_FLAGS says device=cuda" in said[0]
    assert "device.name=cpu" in said[0]
    assert "device" in said[1]


def test_the_users_flags_come_first_and_nothing_is_said(tmp_path: Path) -> None:
    ready = runtime.prepare()
    folder = Path(ready.blas.file).parent
    own = f"-L{folder} {ready.blas.ldflags.split()[-1]} -lm"
    users = flags.write({"blas.ldflags": own, "gcc.cxxflags": "-DMINE=1"})
    configuration = tmp_path / "theanorc"
    configuration.write_text(
        "[blas]\nldflags = -lnot_this_one\n[gcc]\ncxxflags = -DOTHER\n[global]\nfloatX = float32\n"
    )
    program = """
        import os, warnings
        from trainer import runtime
        before = os.environ["THEANO_FLAGS"]
        ready = runtime.prepare(precision="float64", threads=1)
        assert os.environ["THEANO_FLAGS"] == before
        import numpy, theano, theano.tensor as T
        matrix = T.matrix()
        square = theano.function([matrix], T.dot(matrix, matrix))
        runtime.verify(square)
        assert square(numpy.eye(2)).dtype == "float64"
        assert "-DMINE=1" in theano.config.gcc.cxxflags
        print(ready.blas.origin, ready.blas.ldflags, sep=":")
    """
    done = run(program, THEANO_FLAGS=users, THEANORC=str(configuration))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == f"user:{own}"


def test_a_second_process_compiles_nothing_with_a_compiler_of_another_name(tmp_path: Path) -> None:
    """Without g++ on the path, Theano's own choice would be Python; each hash seed, its own cache keys."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "compilations"
    wrapper = programs / "clang++"
    real = shutil.which("g++") or shutil.which("clang++")
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nPATH="{os.environ["PATH"]}" exec "{real}" "$@"\n')
    wrapper.chmod(0o755)
    program = """
        from trainer import runtime
        runtime.prepare()
        import numpy, theano, theano.tensor as T
        matrix = T.matrix()
        half = T.constant(numpy.float32(0.5)).dimshuffle("x", "x")
        scaled = theano.function([matrix], T.dot(matrix, matrix) + half)
        runtime.verify(scaled)
        assert theano.config.linker == "cvm"
        print(scaled(numpy.eye(2, dtype="float32")).tolist())
    """

    def compilations(seed: str) -> int:
        done = run(program, PATH=str(programs), XDG_CACHE_HOME=str(tmp_path), PYTHONHASHSEED=seed)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == [[1.5, 0.5], [0.5, 1.5]]
        return sum("-shared" in line for line in log.read_text().splitlines())

    first = compilations("1")
    assert first > 0
    assert compilations("2") == first


def test_only_the_libraries_noise_is_silenced() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        quiet.silence()
        for module in (
            "theano.tensor.opt",
            "numpy.core",
            "/opt/lib/site-packages/theano/a",
            "my_rules",
            "theano_rules",
        ):
            warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module=module)
        warnings.warn_explicit("kept", RuntimeWarning, "file.py", 2, module="theano.tensor.opt")
    assert [str(warning.message) for warning in heard] == ["old", "old", "kept"]


@pytest.mark.parametrize("value", ["-lblas", "-L/opt/a,b -Wl,-rpath,/opt/a b", "quotes \" ' # and \\"])
def test_flags_survive_being_written(value: str) -> None:
    assert theano.configparser.parse_config_string(
        flags.write({"blas.ldflags": value, "floatX": "float32"})
    ) == {
        "blas.ldflags": value,
        "floatX": "float32",
    }
