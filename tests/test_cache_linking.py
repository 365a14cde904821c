"""Theano links with our modules: found by what they are made of, compiled side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import theano
from theano import tensor
from theano.gof import cc, vm

from tests.conftest import ROOT
from trainer import runtime
from trainer.runtime import linking


def test_what_a_function_lacks_is_ordered_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules = linking.Modules(tmp_path)
    orders: list[int] = []
    monkeypatch.setattr(modules.workshop, "order", lambda units: orders.append(len(units)))
    monkeypatch.setattr(modules.workshop, "get", lambda unit: pytest.skip("nothing is compiled here"))
    vector, matrix = tensor.vector(), tensor.matrix()
    monkeypatch.setattr(linking, "_expected", [])
    linking.expect(lambda: [tensor.log(vector).owner])

    class Handed(theano.Op):  # type: ignore[misc]
        """Links another operation in its place."""

        def make_node(self, given: Any) -> Any:
            return theano.Apply(self, [given], [given.type()])

        def make_thunk(self, *arguments: Any, **options: Any) -> Any:
            raise AssertionError("looking ahead links nothing")

        def compiled_ahead(self) -> Any:
            return tensor.exp(vector).owner

    graph = theano.FunctionGraph([vector, matrix], [matrix.sum(axis=0) + Handed()(vector)])
    linker = vm.VM_Linker().accept(graph)
    node = next(node for node in graph.toposort() if not isinstance(node.op, Handed))
    alone = cc.CLinker().accept(theano.FunctionGraph(node.inputs, node.outputs))
    with pytest.raises(pytest.skip.Exception):
        modules.link(linker, lambda: modules.module_from_key(alone.cmodule_key(), alone))
    assert orders == [len(graph.apply_nodes) + 1]


def test_what_only_arranges_is_compiled_with_less_optimization(monkeypatch: pytest.MonkeyPatch) -> None:
    def level(result: Any) -> str:
        node = result.owner
        linker = cc.CLinker().accept(theano.FunctionGraph(node.inputs, node.outputs))
        return linking.unit_of(linker)[0].level

    matrix, scalar = tensor.matrix(), tensor.scalar()
    arranging = [matrix.T, matrix.reshape((3, 4)), tensor.exp(scalar), theano.compile.ops.Shape_i(0)(matrix)]
    assert [level(each) for each in arranging] == [linking.LIGHTLY] * 4
    assert [level(each) for each in (tensor.exp(matrix), matrix.sum())] == [""] * 2
    with theano.change_flags(**{"gcc.cxxflags": f"{theano.config.gcc.cxxflags} -O2"}):
        assert level(matrix.T) == ""


def test_no_module_is_compiled_for_a_view_of_a_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    make_thunk = cc.CLinker.make_thunk

    def noted(self: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(self.fgraph.outputs)
        return make_thunk(self, *arguments, **options)

    monkeypatch.setattr(cc.CLinker, "make_thunk", noted)
    constant = tensor.constant([[1.0, 2.0], [3.0, 5.0]])
    vector = tensor.vector()
    result = vector + constant.T.reshape((4,))[1:3]
    function = theano.function([vector], result, mode=theano.Mode("py", "fast_run"))
    assert function([10, 20]).tolist() == [13, 22]
    assert asked == []


def test_an_operation_without_a_version_is_compiled_in_each_process() -> None:
    class Unversioned(theano.tensor.extra_ops.CpuContiguous):  # type: ignore[misc]
        def c_code_cache_version(self) -> tuple[()]:
            return ()

    vector = tensor.vector()
    folder = Path(theano.config.compiledir) / "modules"

    def kept() -> set[Path]:
        assert theano.function([vector], Unversioned()(vector))([1.0, 2.0]).tolist() == [1.0, 2.0]
        return set(folder.glob("*.so"))

    named = [path.name.split(".")[0] for path in kept()]
    alone = cc.CLinker().accept(theano.FunctionGraph([vector], [Unversioned()(vector)]))
    assert linking.unit_of(alone)[0].name not in named


def test_a_theano_that_is_otherwise_keeps_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert linking.unexpected() == ""

    def make_all(self: Any, storage: Any) -> None: ...

    monkeypatch.setattr(vm.VM_Linker, "make_all", make_all)
    theirs = cc.get_module_cache
    assert linking.unexpected() == "theano.gof.vm.VM_Linker.make_all"
    linking.install(linking.Modules(Path("unused")))
    assert cc.get_module_cache is theirs
    assert vm.VM_Linker.make_all is make_all


def test_what_theano_imports_for_rare_operations_comes_when_it_is_needed() -> None:
    program = """
        import sys
        from trainer import runtime
        runtime.prepare()
        import numpy, theano
        from theano import tensor
        assert not {"scipy.stats", "scipy.special", "scipy.linalg"} & set(sys.modules)
        assert not {"setuptools", "distutils"} & set(sys.modules)
        import theano.tensor.slinalg
        mode = theano.Mode("py", "fast_run")
        x, m, v = tensor.vector(), tensor.matrix(), tensor.vector()
        error = theano.function([x], tensor.erf(x), mode=mode)
        product = theano.function([m, v], tensor.dot(m, v), mode=mode)
        inverse = theano.function([m], tensor.slinalg.cholesky(m), mode=mode)
        two = 2 * numpy.eye(2, dtype="float32")
        print(f"{error([1])[0]:.6f}", product(two, [1, 2]).tolist(), f"{inverse(two)[1, 1]:.6f}")
        import scipy.linalg, scipy.stats
        print(f"{scipy.stats.norm.cdf(1.0):.6f}", scipy.linalg.det(two))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "THEANO_FLAGS": "", "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "0.842701 [2.0, 4.0] 1.414214\n0.841345 4.0\n", done.stderr


def test_a_matrix_product_is_checked_in_a_module_of_ours() -> None:
    matrix = tensor.matrix()
    runtime.verify(theano.function([matrix], tensor.dot(matrix, matrix)))
