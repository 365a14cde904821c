"""Text: characters, parts, streams that cover it, a language model's run, and what it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Finished
from trainer.data import Batches, Data, text
from trainer.errors import UsageError
from trainer.models import Network, char_lstm
from trainer.sampling import Sampler

Array = NDArray[Any]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Write a file and return its name."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "text.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def long_text(written: Callable[[str], str]) -> Callable[..., Data]:
    """Give a text of 1,000 different characters, so that a character says its place."""

    def read(**arguments: Any) -> Data:
        return text(written("".join(chr(0x4E00 + place) for place in range(1000))), **arguments)

    return read


def characters(data: Data, numbers: Array) -> str:
    assert data.vocabulary is not None
    return "".join(data.vocabulary[number] for number in numbers.ravel())


def seen(batches: Batches, epoch: int = 0, start: int = 0) -> list[tuple[Array, Array]]:
    return list(batches.epoch(epoch, start))


class TestParts:
    def test_windows_and_what_comes_next(self, written: Callable[[str], str]) -> None:
        data = text(written("to be, or not to be"), length=4, validation_fraction=0.2, test_fraction=0.2)
        assert data.vocabulary == (" ", ",", "b", "e", "n", "o", "r", "t")
        assert (data.outputs, data.classes, data.input_shape, data.input_dtype) == (8, 8, (4,), "int32")
        assert [characters(data, window) for window in data.train.inputs] == ["to b", "e, o"]
        assert [characters(data, window) for window in data.train.targets] == ["o be", ", or"]
        assert characters(data, data.validation.inputs) == "not "
        assert characters(data, data.validation.targets) == "ot t"
        assert characters(data, data.test.inputs) == " to "[1:] + "b"
        assert characters(data, data.test.targets) == "o be"

    def test_each_held_out_character_is_predicted_once(self, long_text: Callable[..., Data]) -> None:
        data = long_text(length=7, validation_fraction=0.1, test_fraction=0.2)
        held_out = np.concatenate([data.validation.targets.ravel(), data.test.targets.ravel()])
        assert held_out.tolist() == list(range(1000 - 98 - 203, 1000))
        assert data.train.targets.max() < held_out.min()

    def test_a_character_that_training_lacks_has_a_number(self, written: Callable[[str], str]) -> None:
        data = text(written("ab" * 50 + "é" * 10), length=5)
        assert data.vocabulary == ("a", "b", "é")
        assert data.train.targets.max() == 1
        assert data.validation.targets.max() == 2

    def test_characters_are_code_points_and_line_ends_stay(self, written: Callable[[bytes], str]) -> None:
        content = b"\xef\xbb\xbf" + "é\r\n𝄞\n".encode()
        data = text(written(content), length=2, validation_fraction=0)
        assert characters(
            data, np.r_[data.train.inputs[0], data.train.inputs[1], data.train.targets[1, -1]]
        ) == ("é\r\n𝄞\n")


class TestStreams:
    @pytest.mark.parametrize("seed", [None, 5])
    def test_each_row_goes_on_where_it_ended(self, long_text: Callable[..., Data], seed: int | None) -> None:
        batches = seen(long_text(length=8).train.batches(6, seed=seed), epoch=3)
        assert len(batches) > 10
        for (_, earlier), (later, _) in pairwise(batches):
            assert (later[:, 0] == earlier[: len(later), -1]).all()
        for inputs, targets in batches:
            assert (targets == inputs + 1).all()
            assert inputs.dtype == targets.dtype == np.int32
            assert inputs.flags.c_contiguous
            assert targets.flags.c_contiguous

    def test_an_epoch_of_training_has_each_character_at_most_once(
        self, long_text: Callable[..., Data]
    ) -> None:
        data = long_text(length=8)
        batches = data.train.batches(6, seed=5)
        left_out = set()
        for epoch in range(40):
            targets = np.concatenate([targets.ravel() for _, targets in seen(batches, epoch)])
            assert len(set(targets)) == len(targets) == len(batches) * 6 * 8
            left_out.add(len(data.train.numbers) - 1 - len(targets))  # type: ignore[attr-defined]
        assert left_out == {(len(data.train.numbers) - 1) % (6 * 8)}  # type: ignore[attr-defined]

    def test_the_place_of_the_streams_changes_with_the_epoch(self, long_text: Callable[..., Data]) -> None:
        batches = long_text(length=8).train.batches(6, seed=5)
        first = {int(seen(batches, epoch)[0][0][0, 0]) for epoch in range(20)}
        assert len(first) > 3

    @pytest.mark.parametrize("windows", [1, 3, 6, 7, 12, 17])
    def test_an_evaluation_counts_each_window_once(
        self, long_text: Callable[..., Data], windows: int
    ) -> None:
        part = long_text(length=8, validation_fraction=windows * 8 / 1000).validation
        assert len(part) == windows
        batches = part.batches(6)
        found = seen(batches)
        assert len(found) == len(batches)
        assert Counter(tuple(row) for _, targets in found for row in targets) == Counter(
            map(tuple, part.targets)
        )

    @pytest.mark.parametrize("continuous", [True, False])
    def test_the_order_is_that_of_seed_and_epoch_alone(
        self, long_text: Callable[..., Data], continuous: bool
    ) -> None:
        part = long_text(length=8, continuous=continuous).train

        def first(seed: int, epoch: int, start: int = 0) -> list[Any]:
            return [inputs.tolist() for inputs, _ in seen(part.batches(6, seed=seed), epoch, start)]

        assert first(5, 2) == first(5, 2)
        assert first(5, 2, start=4) == first(5, 2)[4:]
        assert len({str(first(seed, epoch)) for seed, epoch in ((5, 2), (5, 3), (6, 2))}) == 3

    def test_windows_on_their_own_are_shuffled_and_each_comes_once(
        self, long_text: Callable[..., Data]
    ) -> None:
        part = long_text(length=8, continuous=False).train
        firsts = np.concatenate([inputs[:, 0] for inputs, _ in seen(part.batches(6, seed=5), 1)])
        assert len(firsts) == len(part)
        assert (np.diff(np.sort(firsts)) == 8).all()
        assert (np.diff(firsts) < 0).any()
        assert [targets.tolist() for _, targets in seen(part.batches(len(part)))] == [part.targets.tolist()]


class TestErrors:
    @pytest.mark.parametrize(
        ("content", "arguments", "words"),
        [
            (b"", {}, r"text\.txt: is empty"),
            (b"\xef\xbb\xbf", {}, r"text\.txt: is empty"),
            (b"to be\xff or", {}, r"text\.txt: .* byte 5 \(from 0\) is ff"),
            (b"to be \xc3", {}, r"text\.txt: .* byte 6 \(from 0\) is c3"),
            (
                b"to be",
                {"length": 5, "validation_fraction": 0},
                r"text\.txt: has 5 characters, .* at least 6 are needed",
            ),
            (b"to be" * 20, {"length": 64}, r"text\.txt: 0\.1 of its 100 characters are no window of 64"),
            (b"to be", {"length": 0}, "data.length=0"),
            (b"to be", {"validation_fraction": 1.0}, "validation_fraction"),
            (b"to be", {"validation_fraction": 0.5, "test_fraction": 0.5}, "nothing to train on"),
        ],
    )
    def test_name_the_file_and_the_place(
        self, written: Callable[[bytes], str], content: bytes, arguments: dict[str, Any], words: str
    ) -> None:
        file = written(content)
        with pytest.raises(UsageError, match=words):
            text(file, **arguments)

    @pytest.mark.parametrize("name", ["none.txt", "."])
    def test_a_file_that_cannot_be_read(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot be read .* data\.file=FILE"):
            text(str(tmp_path / name))

    def test_too_few_characters_for_a_batch(self, long_text: Callable[..., Data]) -> None:
        with pytest.raises(UsageError, match=r"training\.batch_size=200: .* give at most 112"):
            long_text(length=8).train.batches(200, seed=1)

    def test_an_augmentation_is_refused(self, long_text: Callable[..., Data]) -> None:
        with pytest.raises(UsageError, match="augmentation"):
            long_text().train.batches(2, augmentation=[lambda batch, generator: batch])


def model(vocabulary: Sequence[str], carry: bool, logits: Sequence[float] | None = None) -> Network:
    """Build a small language model; with `logits`, one that gives these whatever it has read."""
    layers = char_lstm((6,), len(vocabulary), len(vocabulary), units=5, carry=carry)
    network = Network(layers, (6,), 2, "int32")
    draws = np.random.default_rng(4)
    weights = {name: 3 * draws.normal(size=value.shape) for name, value in network.weights().items()}
    if logits is not None:
        weights["dense_1.W"][:] = 0
        weights["dense_1.b"][:] = logits
    network.load_weights(weights)
    return network


class TestSampling:
    def test_the_seed_determines_the_text(self) -> None:
        sampler = Sampler(model("abcd\n", carry=True), "abcd\n")
        assert len(sampler("ab", 40, seed=1)) == 40
        assert sampler("ab", 40, seed=1) == sampler("ab", 40, seed=1)
        assert sampler("ab", 40, seed=1) != sampler("ab", 40, seed=2)
        assert sampler("ab", 40, temperature=0, seed=1) == sampler("ab", 40, temperature=0, seed=2)
        assert sampler("ab", 0) == ""

    def test_the_prompt_is_read(self) -> None:
        sampler = Sampler(model("abcd\n", carry=True), "abcd\n")
        texts = {prompt: sampler(prompt, 40, seed=1) for prompt in ("", "\n", "a", "bbba")}
        assert texts[""] == texts["\n"]
        assert len(set(texts.values())) == 3

    def test_carried_states_give_what_reading_all_anew_gives(self) -> None:
        samplers = [Sampler(model("abcd\n", carry=carry), "abcd\n") for carry in (True, False)]
        texts = [sampler("ab", 5, seed=3) for sampler in samplers]
        assert texts[0] == texts[1]

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
    def test_characters_come_as_often_as_the_softmax_says(self, temperature: float) -> None:
        logits = np.array([0.0, 1.0, -1.0, 2.0])
        drawn = Sampler(model("abcd", carry=True, logits=logits.tolist()), "abcd")(
            "a", 4000, temperature, seed=5
        )
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        shares = np.array([drawn.count(character) for character in "abcd"]) / 4000
        # Four standard deviations of a share of 4,000 draws are 0.032 at most.
        np.testing.assert_allclose(shares, expected, atol=0.032)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"prompt": "abé"}, "character 3 of the prompt, 'é'"),
            ({"temperature": -1.0}, "temperature=-1"),
            ({"temperature": float("nan")}, "temperature=nan"),
            ({"length": -1}, "length=-1"),
        ],
    )
    def test_errors_say_what_is_allowed(self, arguments: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            Sampler(model("abcd", carry=True), "abcd")(**arguments)

    def test_a_vocabulary_of_another_size_is_refused(self) -> None:
        with pytest.raises(UsageError, match="logits of 3 tokens"):
            Sampler(model("abcd", carry=True), "abc")


def test_a_run_learns_what_comes_next(train: Callable[..., Finished], written: Callable[[str], str]) -> None:
    # Each line is one of two, told by its first letter alone: what follows needs memory, nothing more.
    draws = np.random.default_rng(1)
    content = "".join(draws.choice(["a....1\n", "b....2\n"], size=1200))
    finished = train(
        "+experiment=char_lstm",
        f"data.file={written(content)}",
        "data.length=10",
        "model.units=16",
        "optimizer.learning_rate=0.03",
        "training.epochs=8",
        "training.batch_size=16",
        "training.evaluation_batch_size=2",
    )
    assert finished.status == 0, finished.err
    # One choice of two in seven characters: no model comes below log(2) / 7 = 0.099 nats a character.
    loss = finished.summary["best"]["validation/loss"]
    assert 0.09 < loss < 0.125
