"""The data sets that scikit-learn brings along: they need no file and no network."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.parts import Data, Part
from trainer.data.splits import Split
from trainer.errors import UsageError

Numbers = NDArray[np.float64]

IRIS_FEATURES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
IRIS_CLASSES = ("setosa", "versicolor", "virginica")
WINE_FEATURES = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
WINE_CLASSES = ("class_0", "class_1", "class_2")
_CELL_MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
BREAST_CANCER_FEATURES = tuple(
    form.format(measure) for form in ("mean {}", "{} error", "worst {}") for measure in _CELL_MEASURES
)
BREAST_CANCER_CLASSES = ("malignant", "benign")
DIABETES_FEATURES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def digits(validation_fraction: float = 0.15, test_fraction: float = 0.15, seed: int = 1) -> Data:
    """Give scikit-learn's handwritten digits: 1,797 grey images of 8 × 8 pixels in 10 classes.

    Inputs are float32 of shape (1, 8, 8), from 0 (paper) to 1 (ink). The split is stratified and depends on
    this function's `seed` alone, so that runs with different seeds are judged on the same examples.

    Parameters
    ----------
    validation_fraction, test_fraction : float, default 0.15
        The share of all examples that the part takes: at least 0, together below 1. 0 gives an empty part;
        without a validation part a run watches its training loss.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where a fraction is out of its range or scikit-learn is not installed.

    Notes
    -----
    The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998).

    A test part of 270 images is small: over twelve splits (seeds 0 to 11, four runs each) the default network
    with Adam at a learning rate of 0.001 came to 98.0 % on the average, to between 96.5 and 99.3 % on single
    splits, and to 98.7 % on the default one. For a finer judgement, sweep over `data.seed`.
    """
    table = _numbers("digits", "digits.csv.gz", ",")
    images = (table[:, :-1].astype(np.float32) / np.float32(16)).reshape(-1, 1, 8, 8)
    names = tuple(str(digit) for digit in range(10))
    split = Split(validation_fraction, test_fraction, seed)
    return _of_classes("digits", images, table[:, -1], names, split, None)


def iris(validation_fraction: float = 0.15, test_fraction: float = 0.15, seed: int = 1) -> Data:
    """Give Fisher's irises: 150 flowers of 3 species by 4 lengths in cm, 50 of each species.

    Inputs are float32 of shape (4,), as measured. The split is stratified.

    Parameters
    ----------
    validation_fraction, test_fraction, seed
        As in `digits`.

    Notes
    -----
    Fisher 1936, "The use of multiple measurements in taxonomic problems".
    """
    split = Split(validation_fraction, test_fraction, seed)
    return _table_of_classes("iris", "iris.csv", IRIS_FEATURES, IRIS_CLASSES, split)


def wine(validation_fraction: float = 0.15, test_fraction: float = 0.15, seed: int = 1) -> Data:
    """Give the UCI wines: 178 wines of 3 growers by 13 measures of their chemistry.

    Inputs are float32 of shape (13,), as measured: they lie between 0.1 and 1,680, so normalise them. The
    split is stratified.

    Parameters
    ----------
    validation_fraction, test_fraction, seed
        As in `digits`.

    Notes
    -----
    Forina et al. 1988, "PARVUS: an extendable package of programs for data exploration".
    """
    split = Split(validation_fraction, test_fraction, seed)
    return _table_of_classes("wine", "wine_data.csv", WINE_FEATURES, WINE_CLASSES, split)


def breast_cancer(validation_fraction: float = 0.15, test_fraction: float = 0.15, seed: int = 1) -> Data:
    """Give the Wisconsin breast cancer set: 569 tumours, malignant (0) or benign (1), by 30 measures.

    Inputs are float32 of shape (30,), as measured: they lie between 0 and 4,254, so normalise them. The split
    is stratified.

    Parameters
    ----------
    validation_fraction, test_fraction, seed
        As in `digits`.

    Notes
    -----
    Street, Wolberg & Mangasarian 1993, "Nuclear feature extraction for breast tumor diagnosis".
    """
    split = Split(validation_fraction, test_fraction, seed)
    return _table_of_classes(
        "breast_cancer", "breast_cancer.csv", BREAST_CANCER_FEATURES, BREAST_CANCER_CLASSES, split
    )


def diabetes(validation_fraction: float = 0.15, test_fraction: float = 0.15, seed: int = 1) -> Data:
    """Give the diabetes set: 442 patients by 10 measures, and how far the disease had gone a year later.

    Inputs are float32 of shape (10,), as measured (scikit-learn's `load_diabetes(scaled=False)`), so
    normalise them; targets are float32 values from 25 to 346. The split is random.

    Parameters
    ----------
    validation_fraction, test_fraction, seed
        As in `digits`.

    Notes
    -----
    Efron, Hastie, Johnstone & Tibshirani 2004, "Least angle regression". Linear regression explains about
    half of the variance.
    """
    inputs = _numbers("diabetes", "diabetes_data_raw.csv.gz", None).astype(np.float32)
    targets = _numbers("diabetes", "diabetes_target.csv.gz", None).ravel().astype(np.float32)
    places = Split(validation_fraction, test_fraction, seed).places(targets, None)
    train, validation, test = (Part(inputs[rows], targets[rows]) for rows in places)
    return Data(
        train,
        validation,
        test,
        input_shape=inputs.shape[1:],
        outputs=1,
        name="diabetes",
        feature_names=DIABETES_FEATURES,
    )


def _table_of_classes(
    name: str, file: str, features: tuple[str, ...], classes: tuple[str, ...], split: Split
) -> Data:
    table = _numbers(name, file, ",", head_lines=1)
    return _of_classes(name, table[:, :-1].astype(np.float32), table[:, -1], classes, split, features)


def _of_classes(
    name: str,
    inputs: NDArray[np.float32],
    labels: Numbers,
    classes: tuple[str, ...],
    split: Split,
    features: tuple[str, ...] | None,
) -> Data:
    targets = labels.astype(np.int32)
    parts = (Part(inputs[rows], targets[rows]) for rows in split.places(targets, len(classes)))
    train, validation, test = parts
    return Data(
        train,
        validation,
        test,
        input_shape=inputs.shape[1:],
        outputs=len(classes),
        classes=len(classes),
        name=name,
        class_names=classes,
        feature_names=features,
    )


def _numbers(name: str, file: str, separator: str | None, head_lines: int = 0) -> Numbers:
    """Read a file of numbers: importing sklearn.datasets would take twenty times as long."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise UsageError(
            f"data={name} comes with scikit-learn, which is not installed: pip install scikit-learn"
        )
    path = Path(package.origin).parent / "datasets" / "data" / file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"data={name}: this scikit-learn has no {path.name} ({error.strerror}); install another version"
        ) from error
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return np.loadtxt(text.splitlines(), delimiter=separator, skiprows=head_lines, dtype=np.float64)
