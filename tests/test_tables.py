"""Tables: what columns become, how parts are made, and what is refused, at which line."""

from __future__ import annotations

import gzip
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as pyarrow_parquet

from trainer.data import csv, parquet
from trainer.data.table_files import read_csv
from trainer.data.tables import table_inputs
from trainer.errors import UsageError

HEAD = "id,height,colour,kind"
ROWS = [
    (number, f"{number / 4}", ("red", "blue", "green")[number % 3], ("no", "yes")[number % 2])
    for number in range(24)
]


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def table_text(head: str = HEAD, separator: str = ",") -> str:
    lines = [separator.join(str(cell) for cell in row) for row in ROWS]
    return "\n".join([head.replace(",", separator), *lines]) + "\n"


@pytest.fixture
def table(tmp_path: Path) -> str:
    return write(tmp_path / "table.csv", table_text())


def rows_of(data: Any) -> list[tuple[float, ...]]:
    """Give every example of all parts, inputs and target, in order."""
    parts = (data.train, data.validation, data.test)
    rows = [np.column_stack([part.inputs, part.targets]) for part in parts]
    return sorted(tuple(row) for row in np.concatenate(rows).tolist())


class TestColumns:
    def test_are_numbers_or_one_input_a_category(self, table: str) -> None:
        data = csv(table, "kind", exclude=["id"], categorical=["colour"])
        assert data.feature_names == ("height", "colour=blue", "colour=green", "colour=red")
        assert data.class_names == ("no", "yes")
        assert (data.input_shape, data.outputs, data.classes) == ((4,), 2, 2)
        assert data.train.inputs.dtype == np.float32
        assert data.train.targets.dtype == np.int32
        wanted = [
            (n / 4, float(n % 3 == 1), float(n % 3 == 2), float(n % 3 == 0), float(n % 2)) for n in range(24)
        ]
        assert rows_of(data) == sorted(wanted)

    def test_come_in_the_order_of_features(self, table: str) -> None:
        data = csv(table, "kind", features=["height", "id"])
        assert data.feature_names == ("height", "id")
        assert np.array_equal(data.train.inputs[:, 0] * 4, data.train.inputs[:, 1])

    def test_may_have_no_names(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "1,2.5,u\n3,4.5,v\n" * 5)
        data = csv(file, 3, header=False)
        assert data.feature_names == ("1", "2")
        assert data.class_names == ("u", "v")
        assert len(data.train) + len(data.validation) + len(data.test) == 10

    @pytest.mark.parametrize(
        "content",
        [
            gzip.compress(table_text().encode()),
            b"\xef\xbb\xbf" + table_text().encode(),
            table_text().replace("\n", "\r\n").encode(),
            table_text().replace("\n", "\n\n").encode(),
            table_text().replace(",red,", ',"red",').encode(),
            table_text().replace(",", " , ").encode(),
        ],
        ids=["gzip", "byte-order mark", "CRLF", "blank lines", "quotes", "spaces"],
    )
    def test_are_the_same_however_the_file_is_written(
        self, tmp_path: Path, table: str, content: bytes
    ) -> None:
        plain = csv(table, "kind", categorical=["colour"])
        other = csv(write(tmp_path / "other", content), "kind", categorical=["colour"])
        assert rows_of(other) == rows_of(plain)
        assert other.feature_names == plain.feature_names

    def test_are_divided_by_the_separator_and_read_in_the_encoding(self, tmp_path: Path) -> None:
        text = table_text(separator=";").replace("height", "größe")
        file = write(tmp_path / "a.csv", text.encode("latin-1"))
        data = csv(file, "kind", features=["größe"], separator=";", encoding="latin-1")
        assert data.feature_names == ("größe",)

    def test_take_the_categories_of_the_training_part_and_others_are_zeros(
        self, tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        test = write(tmp_path / "test.csv", f"{HEAD}\n1,1,violet,no\n2,2,red,no\n3,3,white,yes\n")
        with caplog.at_level(logging.WARNING):
            data = csv(table, "kind", features=["colour"], categorical=["colour"], test_file=test)
        assert data.feature_names == ("colour=blue", "colour=green", "colour=red")
        assert data.test.inputs.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
        assert "'colour' has 2 rows of categories that the training part lacks (violet, white)" in caplog.text

    def test_take_no_category_from_the_parts_that_judge(self, tmp_path: Path) -> None:
        lines = [f"{number},{number % 2},common" for number in range(20)]
        file = tmp_path / "a.csv"
        for rare in range(20):
            rows = [*lines[:rare], f"{rare},{rare % 2},rare", *lines[rare + 1 :]]
            data = csv(write(file, "\n".join(["n,y,c", *rows])), "y", exclude=["n"], categorical=["c"])
            held_back = len(set(data.train.inputs[:, 0])) == 1
            assert data.feature_names == (("c=common",) if held_back else ("c=common", "c=rare"))


class TestTargets:
    @pytest.mark.parametrize(
        ("cells", "task", "names"),
        [
            (["b", "a", "b", "a"], "auto", ("a", "b")),
            (["10", "9", "10", "9"], "auto", ("9", "10")),
            (["1.0", "-1", "1", "-1"], "auto", ("-1", "1")),
            (["0.5", "0.25", "0.5", "0.25"], "classes", ("0.25", "0.5")),
            (["x", "1", "x", "1"], "classes", ("1", "x")),
        ],
    )
    def test_are_classes_in_sorted_order(
        self, tmp_path: Path, cells: list[str], task: Any, names: tuple[str, str]
    ) -> None:
        lines = "".join(f"{place},{cell}\n" for place, cell in enumerate(cells))
        data = csv(
            write(tmp_path / "a.csv", "a,y\n" + lines), "y", task=task, validation_fraction=0, test_fraction=0
        )
        assert data.class_names == names
        assert (data.outputs, data.classes) == (2, 2)
        assert data.train.targets.tolist() == [1, 0, 1, 0]

    @pytest.mark.parametrize(("cells", "task"), [(["0.5", "1", "3"], "auto"), (["2", "1", "3"], "values")])
    def test_are_values(self, tmp_path: Path, cells: list[str], task: Any) -> None:
        lines = "".join(f"{place},{cell}\n" for place, cell in enumerate(cells))
        data = csv(
            write(tmp_path / "a.csv", "a,y\n" + lines), "y", task=task, validation_fraction=0, test_fraction=0
        )
        assert (data.outputs, data.classes, data.class_names) == (1, None, None)
        assert data.train.targets.dtype == np.float32
        assert data.train.targets.tolist() == [float(cell) for cell in cells]

    def test_may_be_several_values(self, table: str) -> None:
        data = csv(table, ["height", "id"], exclude=["kind"], categorical=["colour"])
        assert (data.outputs, data.classes) == (2, None)
        assert data.train.targets.shape == (len(data.train), 2)
        assert np.array_equal(data.train.targets[:, 0] * 4, data.train.targets[:, 1])

    def test_of_other_files_have_the_classes_of_the_training_file(self, tmp_path: Path, table: str) -> None:
        test = write(tmp_path / "test.csv", f"{HEAD}\n1,1,red,yes\n2,2,red,yes\n")
        data = csv(table, "kind", features=["id"], test_file=test, validation_fraction=0.25)
        assert data.test.targets.tolist() == [1, 1]
        assert (len(data.train), len(data.validation)) == (18, 6)
        data = csv(table, "kind", features=["id"], validation_file=test, test_fraction=0.25)
        assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 6)


class TestSplit:
    def test_gives_each_class_its_share_of_each_part(self, tmp_path: Path) -> None:
        lines = "".join(f"{number},{'rare' if number % 10 == 0 else 'common'}\n" for number in range(100))
        file = write(tmp_path / "a.csv", "a,y\n" + lines)
        data = csv(file, "y", validation_fraction=0.2, test_fraction=0.3)
        assert [np.bincount(part.targets).tolist() for part in (data.train, data.validation, data.test)] == [
            [45, 5],
            [18, 2],
            [27, 3],
        ]

    def test_is_a_function_of_its_seed(self, table: str) -> None:
        def test_part(seed: int) -> list[float]:
            inputs = csv(table, "height", features=["id"], test_fraction=0.5, seed=seed).test.inputs
            return [float(number) for number in inputs.ravel()]

        assert test_part(3) == test_part(3)
        assert test_part(3) != test_part(4)
        assert len(test_part(3)) == 12


def broken(old: str, new: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    assert old in table_text()
    return table_text().replace(old, new, 1), {"target": "kind", "categorical": ["colour"], **arguments}


@pytest.mark.parametrize(
    ("content", "arguments", "named"),
    [
        (*broken("", "", target="knid"), "no column 'knid', which data.target names: did you mean kind?"),
        (*broken("", "", exclude=["x"]), "no column 'x', which data.exclude names"),
        (*broken("", "", features=["heigth"]), "'heigth', which data.features names: did you mean height?"),
        (*broken("", "", features=["id", "kind"]), "data.features names 'kind', which is the target"),
        (
            *broken("", "", exclude=["colour"]),
            "data.categorical names 'colour', which is none of the features",
        ),
        (*broken("", "", exclude=["id", "height", "colour"], categorical=None), "no column is left"),
        (*broken("", "", categorical=None), "line 2, column 'colour': 'red' is no number"),
        (*broken("", "", target="id"), "data.task=auto cannot tell .* 24 different whole numbers in 24 rows"),
        (*broken("", "", target=["id", "height"], task="classes"), "several columns"),
        (*broken("", "", target="colour", categorical=None, task="values"), "'colour': 'red' is no number"),
        (*broken("", "", separator=",,"), "data.separator=',,' is not allowed"),
        (*broken("", "", encoding="utf-9"), "data.encoding=utf-9 is not known"),
        (*broken("", "", test_fraction=0.9), "leave nothing to train on"),
        (*broken("1.25", ""), "line 7, column 'height': the value is missing"),
        (*broken("1.25", "nan"), "line 7, column 'height': nan is not a finite number"),
        (*broken("1.25", "-inf"), "line 7, column 'height': -inf is not a finite number"),
        (*broken("1.25", "1e39"), r"line 7, column 'height': 1e\+39 is not a finite number of float32"),
        (*broken("1.25", "1_25"), "line 7, column 'height': '1_25' is no number"),
        (*broken("1.25", "tall"), "line 7, column 'height': 'tall' is no number"),
        (*broken("1.25,green", "1.25,"), "line 7, column 'colour': the value is missing"),
        (*broken("1.25,green,yes", "1.25,green, "), "line 7, column 'kind': the value is missing"),
        (*broken("1.25,green,yes", "1.25,green,1"), "line 2, column 'kind': the target 'no' stands among"),
        (*broken("1.25", "1.25,3"), "line 7: has 5 cells, but line 1 has 4"),
        (*broken("1.25", "1.25\n"), "line 7: has 2 cells"),
        (*broken("\n5,1.25", '\n\n"5","1.\n25"'), "line 8, column 'height': '1.*25' is no number"),
        (*broken("0.25,blue", '0.25,"blue'), "line 3: is no sound CSV"),
        (*broken("height", "id"), "2 columns are named 'id'"),
        (*broken("height", " "), "column 2 has no name"),
        ("", {"target": "kind"}, "is empty"),
        (HEAD + "\n", {"target": "kind"}, "has no rows"),
        ("a,y\n1,u\n2,u\n", {"target": "y"}, "line 2, column 'y': all targets are u"),
        (b"a,y\n1,u\n2,\xff\n", {"target": "y"}, "line 3: byte 10 is no utf-8 text"),
        (gzip.compress(table_text().encode())[:-20], {"target": "kind"}, "damaged or cut short"),
    ],
)
def test_a_broken_csv_is_refused_with_file_and_line(
    tmp_path: Path, content: str | bytes, arguments: dict[str, Any], named: str
) -> None:
    file = write(tmp_path / "table.csv", content)
    with pytest.raises(UsageError, match=f"(?s){named}") as error:
        csv(file, **arguments)
    assert file in str(error.value) or str(error.value).startswith("data.")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: cannot be read \(No such file"):
        csv(str(tmp_path / "none.csv"), "y")


def test_a_class_that_the_training_file_lacks_is_refused(tmp_path: Path, table: str) -> None:
    test = write(tmp_path / "test.csv", f"{HEAD}\n1,1,red,yes\n2,2,red,maybe\n")
    with pytest.raises(
        UsageError, match=r"test.csv, line 3, .* 'maybe' is none of the 2 classes .*: no, yes"
    ):
        csv(table, "kind", categorical=["colour"], test_file=test)


def test_new_rows_become_the_inputs_that_the_network_was_trained_with(tmp_path: Path, table: str) -> None:
    data = csv(table, "kind", exclude=["id"], categorical=["colour"])
    assert data.feature_names is not None
    new = read_csv(Path(write(tmp_path / "new.csv", "more,colour,height\nx,green,7\ny,red,8\n")))
    assert table_inputs(new, data.feature_names).tolist() == [[7, 0, 1, 0], [8, 0, 0, 1]]
    lacking = read_csv(Path(write(tmp_path / "lacking.csv", "height\n1\n")))
    with pytest.raises(UsageError, match=r"lacking\.csv: has no column for the input 'colour=blue'"):
        table_inputs(lacking, data.feature_names)


COLUMNS: dict[str, Any] = {
    "id": pyarrow.array([row[0] for row in ROWS], pyarrow.int32()),
    "height": [float(row[1]) for row in ROWS],
    "colour": pyarrow.array([row[2] for row in ROWS]).dictionary_encode(),
    "kind": [row[3] for row in ROWS],
}


def test_columns_whose_names_look_like_categories_are_told_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "a,a=b,y\n" + "u,v=w,0\nx,z,1\n" * 4)
    data = csv(file, "y", categorical=["a", "a=b"])
    assert data.feature_names == ("a=u", "a=x", "a=b=v=w", "a=b=z")
    assert table_inputs(read_csv(Path(file)), data.feature_names).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]] * 4


class TestParquet:
    @pytest.fixture
    def write(self, tmp_path: Path) -> Callable[..., str]:
        def write(**replaced: Any) -> str:
            path = tmp_path / "table.parquet"
            pyarrow_parquet.write_table(pyarrow.table({**COLUMNS, **replaced}), path)
            return str(path)

        return write

    def test_gives_what_the_same_table_gives_as_csv(self, write: Callable[..., str], table: str) -> None:
        file = write()
        for arguments in (
            {"target": "kind", "categorical": ["colour"]},
            {"target": "height", "exclude": ["kind"], "categorical": ["colour"]},
            {"target": "id", "task": "values", "features": ["height"]},
        ):
            ours, other = parquet(file, **arguments), csv(table, **arguments)  # type: ignore[arg-type]
            assert ours.feature_names == other.feature_names
            assert ours.class_names == other.class_names
            for part in ("train", "validation", "test"):
                assert np.array_equal(getattr(ours, part).inputs, getattr(other, part).inputs)
                assert np.array_equal(getattr(ours, part).targets, getattr(other, part).targets)

    def test_takes_truth_values_as_numbers_and_as_classes(self, write: Callable[..., str]) -> None:
        odd = [row[0] % 2 == 1 for row in ROWS]
        data = parquet(write(odd=odd, also=odd), "odd", features=["also"])
        assert data.classes == 2
        assert np.array_equal(data.train.inputs.ravel(), data.train.targets)

    @pytest.mark.parametrize(
        ("replaced", "named"),
        [
            ({"height": [1.0] * 5 + [None] * 19}, "row 6, column 'height': the value is missing"),
            ({"id": [1] * 23 + [None]}, "row 24, column 'id': the value is missing"),
            ({"height": [1.0] * 5 + [np.nan] * 19}, "row 6, column 'height': nan is not a finite number"),
            ({"colour": ["red"] * 5 + [None] * 19}, "row 6, column 'colour': the value is missing"),
            ({"height": [[1.0]] * 24}, "row 1, column 'height': 'list<.*' is no number"),
            ({"height": ["1"] * 5 + ["x"] * 19}, "row 6, column 'height': 'x' is no number"),
        ],
    )
    def test_names_a_broken_value_by_row_and_column(
        self, write: Callable[..., str], replaced: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(UsageError, match=rf"table\.parquet, {named}"):
            parquet(write(**replaced), "kind", categorical=["colour"])

    @pytest.mark.parametrize("keep", [0, 4, 200, -9])
    def test_refuses_a_file_that_is_cut_short(self, write: Callable[..., str], keep: int) -> None:
        path = Path(write())
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(UsageError, match=r"table\.parquet: is no sound Parquet file"):
            parquet(str(path), "kind")

    def test_refuses_a_missing_file_and_an_empty_table(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"none: there is no such file"):
            parquet(str(tmp_path / "none"), "y")
        pyarrow_parquet.write_table(pyarrow.table({"y": pyarrow.array([], "int64")}), tmp_path / "empty")
        with pytest.raises(UsageError, match=r"empty: has no rows"):
            parquet(str(tmp_path / "empty"), "y")

    def test_names_the_extra_that_brings_pyarrow(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(UsageError, match=r"pip install 'theano-trainer\[tables\]'"):
            parquet(str(tmp_path / "table.parquet"), "kind")
