"""Batches: their order, what is in them, who prepares them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.data import Batches, Part
from trainer.data.ahead import prepared_ahead
from trainer.errors import UsageError


def examples(number: int) -> Part:
    """Give examples whose inputs tell their place."""
    return Part(np.arange(2 * number, dtype=np.float32).reshape(number, 2), np.arange(number))


class Slow:
    """Rows that somebody else fetches, as from a network; who asks for them is written down."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self.rows = rows
        self.shape, self.dtype = rows.shape, rows.dtype
        self.asked: list[str] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        self.asked.append(threading.current_thread().name)
        rows: NDArray[Any] = self.rows[key]
        return rows


class TestBatches:
    def test_without_a_seed_come_in_order_the_short_one_last(self) -> None:
        batches = Batches(examples(7), 3)
        assert len(batches) == 3
        assert [targets.tolist() for _, targets in batches.epoch(1)] == [[0, 1, 2], [3, 4, 5], [6]]

    @pytest.mark.parametrize(("number", "size", "count"), [(6, 3, 2), (7, 3, 3), (1, 5, 1), (0, 5, 0)])
    def test_count_the_short_batch(self, number: int, size: int, count: int) -> None:
        batches = Batches(examples(number), size, seed=1)
        assert len(batches) == len(list(batches.epoch(1))) == count

    def test_a_shuffled_epoch_has_each_example_once_beside_its_target(self) -> None:
        parts = list(Batches(examples(100), 32, seed=1).epoch(1))
        inputs = np.concatenate([inputs for inputs, _ in parts])
        targets = np.concatenate([targets for _, targets in parts])
        assert sorted(targets) == list(range(100))
        assert targets.tolist() != list(range(100))
        assert np.array_equal(inputs, np.column_stack([2 * targets, 2 * targets + 1]))

    def test_the_order_is_a_function_of_seed_and_epoch_alone(self) -> None:
        def order(batches: Batches, epoch: int) -> list[int]:
            return [int(target) for _, targets in batches.epoch(epoch) for target in targets]

        used = Batches(examples(50), 8, seed=4)
        list(used.epoch(1))
        first, second = order(used, 2), order(used, 3)
        assert order(Batches(examples(50), 16, seed=4), 2) == first
        assert first != second
        assert order(Batches(examples(50), 8, seed=5), 2) != first

    @pytest.mark.parametrize("seed", [None, 7])
    def test_begin_in_the_middle_of_an_epoch(self, seed: int | None) -> None:
        batches = Batches(examples(10), 3, seed=seed)
        whole = [targets.tolist() for _, targets in batches.epoch(2)]
        assert [targets.tolist() for _, targets in batches.epoch(2, start=2)] == whole[2:]
        assert list(batches.epoch(2, start=4)) == []

    @pytest.mark.parametrize("seed", [None, 7])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_are_contiguous_and_of_the_asked_dtype(self, seed: int | None, dtype: str) -> None:
        transposed = Part(np.ones((2, 9)).T, np.arange(9, dtype=np.int64))
        for inputs, targets in Batches(transposed, 4, seed=seed, dtype=dtype).epoch(1):
            assert type(inputs) is np.ndarray
            assert inputs.dtype == dtype
            assert inputs.flags.c_contiguous
            assert targets.dtype == np.int32

    def test_keep_targets_that_are_no_whole_numbers(self) -> None:
        part = Part(np.zeros((2, 1)), np.array([0.5, 1.5]))
        ((_, targets),) = Batches(part, 2).epoch(1)
        assert targets.dtype == np.float32
        assert targets.tolist() == [0.5, 1.5]

    def test_of_memory_mapped_arrays_are_plain_arrays(self, tmp_path: Path) -> None:
        np.save(tmp_path / "inputs.npy", np.eye(5, dtype=np.float32))
        part = Part(np.load(tmp_path / "inputs.npy", mmap_mode="r"), np.arange(5))
        for seed in (None, 3):
            for inputs, targets in Batches(part, 2, seed=seed).epoch(1):
                assert type(inputs) is np.ndarray
                assert np.array_equal(inputs, np.eye(5)[targets])

    def test_refuse_a_size_below_one(self) -> None:
        with pytest.raises(UsageError, match=r"training\.batch_size is 0"):
            Batches(examples(3), 0)

    def test_small_and_large_batches_of_one_part_come_in_one_order(self) -> None:
        part = Part(np.random.default_rng(0).random((300, 700), dtype=np.float32), np.arange(300))
        small = list(Batches(part, 7, seed=3).epoch(2))
        (whole,) = Batches(part, 300, seed=3).epoch(2)
        assert np.array_equal(np.concatenate([inputs for inputs, _ in small]), whole[0])
        assert np.array_equal(whole[0], part.inputs[whole[1]])

    def test_convert_bytes_to_the_dtype(self) -> None:
        part = Part(np.arange(256, dtype=np.uint8).reshape(128, 2), np.arange(128))
        for inputs, targets in Batches(part, 50, seed=1).epoch(1):
            assert inputs.dtype == np.float32
            assert np.array_equal(inputs, np.column_stack([2 * targets, 2 * targets + 1]))


class TestSubsets:
    def test_have_the_chosen_rows_in_their_order(self) -> None:
        part = Part(examples(9).inputs, np.arange(9), rows=np.array([8, 2, 5]))
        ((inputs, targets),) = part.batches(5).epoch(1)
        assert len(part) == 3
        assert inputs.tolist() == [[16, 17], [4, 5], [10, 11]]
        assert targets.tolist() == [8, 2, 5]

    def test_of_arrays_that_are_not_in_memory_read_only_what_is_asked_for(self) -> None:
        array: Any = Slow(examples(9).inputs)
        part = Part(array, np.arange(9), rows=np.array([8, 2, 5]))
        assert part.inputs.shape == (3, 2)
        assert not array.asked
        for seed in (None, 1):
            pairs = list(part.batches(2, seed=seed, ahead=0).epoch(1))
            targets = np.concatenate([targets for _, targets in pairs])
            assert sorted(targets) == [2, 5, 8]
            inputs = np.concatenate([inputs for inputs, _ in pairs])
            assert np.array_equal(inputs, np.column_stack([2 * targets, 2 * targets + 1]))
        assert part.inputs[1].tolist() == [4, 5]
        assert np.asarray(part.inputs).tolist() == [[16, 17], [4, 5], [10, 11]]


class TestPrefetch:
    @pytest.mark.parametrize("seed", [None, 1])
    def test_rows_are_asked_for_while_the_batch_before_them_is_used(self, seed: int | None) -> None:
        class Asked(Slow):
            def prefetch(self, places: NDArray[Any]) -> None:
                self.wanted = places

        array: Any = Asked(np.zeros((30, 2**17), np.float32))
        part = Part(array, np.arange(30), rows=np.arange(29, 9, -1))
        batches = part.batches(8, seed=seed)
        assert batches.ahead == 0
        order = np.concatenate([targets for _, targets in batches.epoch(1)])
        for number, _ in enumerate(batches.epoch(1)):
            assert array.wanted.tolist() == order[8 * number + 8 : 8 * number + 16].tolist()


class TestAugmented:
    def test_is_a_function_of_seed_epoch_and_batch_and_goes_on_in_the_middle(self) -> None:
        def add(inputs: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
            changed: NDArray[Any] = inputs + generator.random(inputs.shape, dtype=np.float32)
            return changed

        def numbers(seed: int | None, epoch: int, start: int = 0) -> list[Any]:
            part = Part(np.zeros((10, 3), np.float32), np.arange(10))
            batches = part.batches(4, seed=seed, augmentation=[add])
            return [inputs.tolist() for inputs, _ in batches.epoch(epoch, start)]

        whole = numbers(5, 2)
        assert numbers(5, 2) == whole
        assert numbers(5, 2, start=1) == whole[1:]
        assert numbers(6, 2) != whole
        assert numbers(5, 3) != whole
        assert whole[0] != whole[1]
        # The order of an epoch and the first batch's augmentation must not come from the same numbers.
        assert whole[0] != np.random.default_rng([5, 2]).random((4, 3), dtype=np.float32).tolist()

    def test_applies_all_in_their_order_and_leaves_the_part_as_it_is(self) -> None:
        part = examples(3)
        before = part.inputs.copy()
        steps = [
            lambda inputs, generator: inputs + 1,
            lambda inputs, generator: inputs.astype("float64") * 10,
        ]
        ((inputs, _),) = part.batches(3, augmentation=steps).epoch(1)
        assert inputs.tolist() == [[10, 20], [30, 40], [50, 60]]
        assert inputs.dtype == np.float32
        assert np.array_equal(part.inputs, before)


class TestAhead:
    @staticmethod
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "batches"]

    def test_gives_the_same_batches_as_without(self) -> None:
        def epoch(ahead: int) -> list[Any]:
            return [
                (x.tolist(), y.tolist()) for x, y in examples(50).batches(7, seed=2, ahead=ahead).epoch(3)
            ]

        assert epoch(3) == epoch(0)
        assert not self.threads()

    def test_prepares_no_more_than_its_depth(self) -> None:
        made: list[int] = []

        def count() -> Iterator[int]:
            for number in range(100):
                made.append(number)
                yield number

        items = prepared_ahead(count(), 2)
        assert made == []
        assert next(items) == 0
        deadline = time.monotonic() + 10
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        # One was taken, two are ready, and one is in the making.
        assert made == [0, 1, 2, 3]
        assert list(items) == list(range(1, 100))

    def test_an_error_of_the_thread_reaches_the_loop_after_the_batches_before_it(self) -> None:
        def fail(inputs: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
            if 8 in inputs:
                raise UsageError("the fifth example is broken")
            return inputs

        epoch = examples(8).batches(2, augmentation=[fail], ahead=2).epoch(1)
        assert [targets.tolist() for _, targets in (next(epoch), next(epoch))] == [[0, 1], [2, 3]]
        with pytest.raises(UsageError, match="fifth example"):
            next(epoch)
        assert not self.threads()

    def test_the_thread_ends_when_the_loop_leaves_early(self) -> None:
        for _ in examples(1000).batches(1, ahead=2).epoch(1):
            assert len(self.threads()) == 1
            break
        gc.collect()
        assert not self.threads()

    def test_the_thread_ends_when_the_loop_raises(self) -> None:
        def loop() -> None:
            for _ in examples(1000).batches(1, ahead=2).epoch(1):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loop()
        gc.collect()
        assert not self.threads()

    def test_is_chosen_where_rows_are_waited_for(self) -> None:
        array: Any = Slow(examples(6).inputs)
        waiting = Part(array, np.arange(6)).batches(2)
        assert (waiting.ahead, examples(6).batches(2).ahead) == (2, 0)
        list(waiting.epoch(1))
        assert set(array.asked) == {"batches"}
        assert "by a thread, up to 2 ahead of the step, since reading waits" in waiting.describe()
        assert "gathered in memory" in examples(6).batches(2).describe()

    def test_refuses_a_depth_below_none(self) -> None:
        with pytest.raises(UsageError, match="ahead is -1"):
            examples(3).batches(1, ahead=-1)
