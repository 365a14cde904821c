"""Normalisation: what is found on a part, and the layers that keep it with the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from trainer.data import Part, normalization
from trainer.data.normalization import fit_inputs, fit_targets
from trainer.data.stored import StoredArray
from trainer.errors import UsageError
from trainer.layers import Dense, Layer
from trainer.layers.normalize import Denormalize, Normalize
from trainer.models import Network

GENERATOR = np.random.default_rng(0)
TABLE = (GENERATOR.normal(size=(700, 4)) * [1, 1e-3, 50, 1] + [0, 1e4, -3, 5]).astype(np.float32)
IMAGES = GENERATOR.integers(0, 256, (60, 3, 5, 4)).astype(np.uint8)


def part(inputs: NDArray[Any]) -> Part:
    return Part(inputs, np.zeros(len(inputs), np.int32))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read parts in pieces that do not divide them evenly."""
    monkeypatch.setattr(normalization, "_CHUNK_NUMBERS", 250)


@pytest.mark.parametrize("kind", ["standard", "range"])
class TestFit:
    def test_agrees_with_scikit_learn_by_feature(self, kind: str) -> None:
        found = fit_inputs(part(TABLE), kind)
        assert found is not None
        scaler = StandardScaler() if kind == "standard" else MinMaxScaler()
        wanted = scaler.fit_transform(TABLE.astype(np.float64))
        assert found.offset.shape == (4,)
        np.testing.assert_allclose((TABLE - found.offset) / found.scale, wanted, rtol=1e-7, atol=1e-7)

    def test_is_by_channel_for_images(self, kind: str) -> None:
        found = fit_inputs(part(IMAGES), kind)
        assert found is not None
        for channel in range(3):
            pixels = IMAGES[:, channel].astype(np.float64)
            offset, scale = (
                (pixels.mean(), pixels.std())
                if kind == "standard"
                else (pixels.min(), pixels.max() - pixels.min())
            )
            assert found.offset[channel] == pytest.approx(offset, rel=1e-12)
            assert found.scale[channel] == pytest.approx(scale, rel=1e-12)

    def test_is_one_number_for_other_shapes_and_for_single_targets(self, kind: str) -> None:
        sequences = GENERATOR.normal(size=(40, 6, 3))
        found = fit_inputs(part(sequences), kind)
        targets = fit_targets(Part(TABLE, TABLE[:, 2]), kind)
        assert found is not None
        assert targets is not None
        for (offset, scale), values in ((found, sequences), (targets, TABLE[:, 2].astype(np.float64))):
            assert offset.shape == scale.shape == ()
            if kind == "standard":
                assert (offset, scale) == pytest.approx((values.mean(), values.std()), rel=1e-12)
            else:
                assert (offset, scale) == (values.min(), values.max() - values.min())

    def test_is_by_output_for_several_targets(self, kind: str) -> None:
        inputs, targets = fit_inputs(part(TABLE), kind), fit_targets(Part(TABLE, TABLE), kind)
        assert inputs is not None
        assert targets is not None
        assert np.array_equal(inputs.offset, targets.offset)
        assert np.array_equal(inputs.scale, targets.scale)

    def test_a_constant_feature_becomes_0(self, kind: str) -> None:
        table = np.column_stack([np.full(1001, 0.1), np.arange(1001)])
        found = fit_inputs(part(table), kind)
        assert found is not None
        assert found.scale[0] == 1
        assert np.all((table[:, 0] - found.offset[0]) / found.scale[0] == 0)

    def test_looks_at_the_chosen_rows_alone(self, kind: str, tmp_path: Path) -> None:
        np.save(tmp_path / "table.npy", TABLE)
        rows = np.arange(1, 700, 3)
        stored: Any = StoredArray(tmp_path / "table.npy")
        found = fit_inputs(Part(stored, np.zeros(700), rows), kind)
        wanted = fit_inputs(part(TABLE[rows]), kind)
        assert found is not None
        assert wanted is not None
        assert np.array_equal(found, wanted)
        assert not np.array_equal(found, fit_inputs(part(TABLE), kind) or ())

    def test_a_number_that_is_not_finite_is_named_with_its_place(self, kind: str, tmp_path: Path) -> None:
        table = TABLE.copy()
        table[500, 2] = np.nan
        with pytest.raises(UsageError, match=r"data: the training part: input \[500, 2\] is nan"):
            fit_inputs(part(table), kind)
        np.save(tmp_path / "table.npy", table)
        stored: Any = StoredArray(tmp_path / "table.npy")
        with pytest.raises(UsageError, match=r"table\.npy: input \[500, 2\] is nan"):
            fit_inputs(Part(stored, np.zeros(700), np.arange(100, 700)), kind)
        with pytest.raises(UsageError, match=r"the training part: target \[1\] is inf"):
            fit_targets(Part(TABLE[:2], np.array([0, np.inf])), kind)


def test_keeps_its_digits_where_the_mean_is_large() -> None:
    values = np.array([1e9, 1e9 + 1, 1e9 + 2] * 400)
    found = fit_targets(Part(values, values), "standard")
    assert found is not None
    assert found.scale == pytest.approx(np.sqrt(2 / 3), rel=1e-9)


def test_none_is_none() -> None:
    assert fit_inputs(part(TABLE), "none") is None
    assert fit_targets(part(TABLE), "none") is None


def test_refuses_what_it_does_not_know_and_classes() -> None:
    with pytest.raises(UsageError, match=r"data\.normalization=standart.*did you mean standard"):
        fit_inputs(part(TABLE), "standart")
    with pytest.raises(UsageError, match=r"data\.target_normalization=range .*whole numbers"):
        fit_targets(part(TABLE), "range")


class TestLayers:
    @staticmethod
    def output(layers: list[Layer], inputs: NDArray[Any]) -> tuple[Network, NDArray[Any]]:
        network = Network(layers, inputs.shape[1:])
        x = network.input_variable()
        function = theano.function([x], network.output(x, training=False), mode="FAST_COMPILE")
        return network, function(inputs.astype(theano.config.floatX))

    @pytest.mark.parametrize("shape", [(5, 3), (5, 3, 2, 2), (5, 3, 2)])
    @pytest.mark.parametrize("kind", [Normalize, Denormalize])
    def test_compute_by_feature_or_channel(self, shape: tuple[int, ...], kind: Any) -> None:
        inputs = GENERATOR.normal(size=shape)
        offset, scale = np.array([1.0, -2.0, 30.0]), np.array([2.0, 0.5, 10.0])
        by_axis = (3, *[1] * (len(shape) - 2))
        o, s = offset.reshape(by_axis), scale.reshape(by_axis)
        _, found = self.output([kind(offset, scale)], inputs)
        wanted = (inputs - o) / s if kind is Normalize else inputs * s + o
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    def test_compute_with_one_number_and_undo_each_other(self) -> None:
        inputs = GENERATOR.normal(size=(4, 2, 3))
        _, found = self.output([Normalize(3.0, 0.25)], inputs)
        np.testing.assert_allclose(found, (inputs - 3) / 0.25, rtol=1e-5)
        _, found = self.output([Normalize(3.0, 0.25), Denormalize(3.0, 0.25)], inputs)
        np.testing.assert_allclose(found, inputs, rtol=1e-5, atol=1e-5)

    def test_are_kept_with_the_weights_and_not_trained(self) -> None:
        network = Network([Normalize([1, 2], [3, 4]), Dense(1), Denormalize([5], [6])], (2,))
        assert [variable.name for variable in network.parameters] == ["dense_1.W", "dense_1.b"]
        weights = network.weights()
        assert {name: values.tolist() for name, values in weights.items() if "dense" not in name} == {
            "normalize_1.offset": [1, 2],
            "normalize_1.scale": [3, 4],
            "denormalize_1.offset": [5],
            "denormalize_1.scale": [6],
        }
        another = Network([Normalize([0, 0], [1, 1]), Dense(1), Denormalize([0], [1])], (2,))
        another.load_weights(weights)
        assert another.weights()["normalize_1.offset"].tolist() == [1, 2]

    def test_refuse_what_does_not_fit(self) -> None:
        with pytest.raises(UsageError, match=r"normalize: offset has the shape \(2,\) and scale \(3,\)"):
            Normalize([1, 2], [1, 2, 3])
        with pytest.raises(UsageError, match="scale not 0"):
            Normalize([1, 2], [1, 0])
        with pytest.raises(UsageError, match="must be finite"):
            Denormalize(np.nan, 1)
        with pytest.raises(UsageError, match=r"layer 1 \(normalize_1\) takes inputs with 2 features.*\(3,\)"):
            Network([Normalize([1, 2], [1, 2])], (3,))
