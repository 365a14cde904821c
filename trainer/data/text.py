"""Text for language models: the characters of a file, and batches that continue each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.data.batches import Augmentation, Batch, Batches
from trainer.data.parts import Data, Part
from trainer.data.splits import check_fractions
from trainer.errors import UsageError


def text(
    file: str,
    length: int = 64,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    continuous: bool = True,
) -> Data:
    """Read the characters of one UTF-8 file, for a language model that predicts the next one.

    An example is a window of `length` characters, as numbers, (length,) of int32; its target is the same
    window one character later. The vocabulary is that of the whole file, by code point: a character that the
    training part lacks has a number too, and only costs many nats where it comes.

    The parts stand behind each other in the file: training, validation, test. The latter two are cut to
    whole windows, the first of which begins with the character before the part, so that an evaluation
    predicts each of their characters exactly once.

    Parameters
    ----------
    file : str
        The file, relative to the folder in which the command runs. Its line ends stay as they are; a byte
        order mark is left out.
    length : int, default 64
        Characters a window, at least 1: as far as the gradient goes back.
    validation_fraction : float, default 0.1
        The share of the characters that the validation part takes: at least 0, below 1.
    test_fraction : float, default 0
        The share that the test part takes; together they are below 1.
    continuous : bool, default True
        Whether each example of a batch goes on where the same one of the batch before ended, for networks
        that carry their states; otherwise windows are drawn in random order.

    Returns
    -------
    Data
        With the vocabulary as `outputs`, `classes` and `class_names`, `vocabulary` its characters by number.

    Raises
    ------
    UsageError
        Where the file is missing, cannot be read, is empty, too short for its windows, or no UTF-8 (with the
        place of the first wrong byte), and for an argument out of its range.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise UsageError(f"data.length={length}: give a whole number of at least 1, characters a window")
    check_fractions(validation_fraction, test_fraction)
    path = Path(file).expanduser()
    characters = _read(path)
    codes, numbers = np.unique(np.frombuffer(characters.encode("utf-32-le"), np.uint32), return_inverse=True)
    numbers = numbers.astype(np.int32)
    held_out = [
        length * round(fraction * len(numbers) / length) for fraction in (validation_fraction, test_fraction)
    ]
    for name, fraction, size in zip(
        ("validation", "test"), (validation_fraction, test_fraction), held_out, strict=True
    ):
        if fraction and not size:
            raise UsageError(
                f"{path}: {fraction:g} of its {len(numbers):,} characters are no window of {length}: give a "
                f"larger data.{name}_fraction, 0, or a smaller data.length"
            )
    first, second = len(numbers) - sum(held_out), len(numbers) - held_out[1]
    if first < length + 1:
        raise UsageError(
            f"{path}: has {len(numbers):,} characters, of which {max(first, 0):,} are left to train on; at "
            f"least {length + 1:,} are needed, data.length and the one that comes next"
        )
    vocabulary = tuple(map(chr, codes.tolist()))
    return Data(
        train=TextPart.of(numbers[:first], length, continuous),
        validation=TextPart.of(numbers[first - 1 : second], length, continuous),
        test=TextPart.of(numbers[second - 1 :], length, continuous),
        input_shape=(length,),
        outputs=len(vocabulary),
        classes=len(vocabulary),
        class_names=vocabulary,
        vocabulary=vocabulary,
        input_dtype="int32",
        name=path.name,
    )


@dataclass(frozen=True, eq=False)
class TextPart(Part):
    """Windows of a text, behind each other.

    Parameters
    ----------
    inputs, targets : arrays of int32, (windows, length)
        As they stand in the text, without those characters at its end that fill no window.
    numbers : array of int32, (characters,)
        The whole text of the part.
    continuous : bool
        Whether batches continue each other.
    """

    numbers: NDArray[np.int32] = None  # type: ignore[assignment]
    continuous: bool = True

    @classmethod
    def of(cls, numbers: NDArray[np.int32], length: int, continuous: bool) -> TextPart:
        """Cut a text into windows."""
        inputs, targets = _windows(numbers, length)
        return cls(inputs, targets, None, numbers, continuous)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
        augmentation: Sequence[Augmentation] | None = None,
        ahead: int | None = None,
    ) -> Batches:
        """Cut the part into batches of characters' numbers; `dtype` and `ahead` change nothing here.

        Raises
        ------
        UsageError
            For an augmentation, and where the part is too short for a batch.
        """
        if augmentation:
            raise UsageError("data.augmentation does not go with data=text: leave it empty")
        kind = Streams if self.continuous else Windows
        return kind(self, batch_size, seed)


class Windows(Batches):
    """Windows of a text in batches: shuffled with a seed, in their order without one.

    With a seed, the first window of an epoch begins up to a window later, at a place drawn from the seed and
    the epoch, so that the borders between windows lie elsewhere each time.

    Parameters
    ----------
    part : TextPart
        The text.
    batch_size : int
        Windows a batch; the last one may have fewer.
    seed : int or None
        As in `Batches`.
    """

    def __init__(self, part: TextPart, batch_size: int, seed: int | None = None) -> None:
        super().__init__(part, batch_size, seed=seed, dtype=np.int32, ahead=0)
        self._numbers = part.numbers
        self._length = part.inputs.shape[1]

    def describe(self) -> str:
        """Say how batches come to the step, for the log."""
        return f"batches of {self.batch_size} windows of {self._length} characters, gathered in memory"

    def _batches(self, number: int, start: int) -> Iterator[Batch]:
        inputs, targets = self._inputs, self._targets
        order = np.arange(len(inputs))
        if self.seed is not None:
            generator = np.random.default_rng(np.random.SeedSequence([self.seed, number]))
            spare = len(self._numbers) - 1 - inputs.size
            offset = int(generator.integers(spare + 1))
            inputs, targets = _windows(self._numbers[offset:], self._length)
            order = generator.permutation(order)
        for first in range(start * self.batch_size, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            yield np.take(inputs, rows, axis=0), np.take(targets, rows, axis=0)


class Streams(Windows):
    """Batches that continue each other: row r of a batch goes on where row r of the one before ended.

    The text is cut into `batch_size` streams of equal length, one a row. With a seed, for training, what is
    too short for one more batch is left out, before and behind the streams, at a place drawn from the seed
    and the epoch. Without one, for evaluation, each window counts once: the first streams may be one window
    longer, and the last batch then has only their rows; where there are fewer windows than rows, each stream
    is one window.

    Parameters
    ----------
    part : TextPart
        The text.
    batch_size : int
        Streams, at least 1.
    seed : int or None
        As in `Windows`.

    Raises
    ------
    UsageError
        Where training has too few characters for one batch.
    """

    def __init__(self, part: TextPart, batch_size: int, seed: int | None = None) -> None:
        super().__init__(part, batch_size, seed)
        if seed is not None and len(part) < batch_size:
            raise UsageError(
                f"training.batch_size={batch_size}: the {len(part.numbers):,} characters to train on are "
                f"{len(part):,} windows of {self._length}: give at most {len(part)}, or a smaller data.length"
            )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._inputs) // self.batch_size if self.seed is not None else super().__len__()

    def describe(self) -> str:
        """Say how batches come to the step, for the log."""
        return (
            f"batches of {self._length} characters of {self.batch_size} streams, each going on from the last"
        )

    def _batches(self, number: int, start: int) -> Iterator[Batch]:
        inputs, targets = self._inputs, self._targets
        shortest, longer = divmod(len(inputs), self.batch_size)
        if self.seed is not None:
            longer = 0
            generator = np.random.default_rng(np.random.SeedSequence([self.seed, number]))
            spare = len(self._numbers) - 1 - shortest * self.batch_size * self._length
            offset = int(generator.integers(spare + 1))
            inputs, targets = _windows(self._numbers[offset:], self._length)
        rows = np.arange(self.batch_size)
        firsts = rows * shortest + np.minimum(rows, longer)
        for step in range(start, len(self)):
            places = firsts[: longer if step == shortest else None] + step
            yield np.take(inputs, places, axis=0), np.take(targets, places, axis=0)


def _windows(numbers: NDArray[np.int32], length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    count = max(0, len(numbers) - 1) // length
    inputs, targets = (numbers[first : first + count * length].reshape(count, length) for first in (0, 1))
    return inputs, targets


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"data.file={path} cannot be read ({error.strerror or error}): name a text file "
            "with data.file=FILE"
        ) from error
    try:
        characters = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: is no UTF-8 text: byte {error.start:,} (from 0) is {content[error.start]:02x} "
            f"({error.reason}); convert it, as with iconv -t UTF-8"
        ) from error
    characters = characters.removeprefix("\ufeff")
    if not characters:
        raise UsageError(f"{path}: is empty; name a file with text with data.file=FILE")
    return characters
