"""The table of scripts/benchmark; what it measures is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmark.data import ROOT
from tests.benchmark.table import Row, table, write_page

ROW = Row("walk", "ms a step", {"ours": [2.0, 1.0, 30.0], "Slow": [9.0], "Quick": [5.0, 3.0]}, limit=0.5)


def test_the_ratio_is_that_of_the_medians_of_the_best_peer_and_ours() -> None:
    assert ROW.ratio == 4.0 / 2.0


def test_there_is_no_ratio_without_a_peer() -> None:
    assert Row("start", "s", {"ours": [1.5]}).ratio is None


def test_a_table_shows_median_and_spread_and_leaves_out_who_did_not_take_part() -> None:
    lines = table([ROW, Row("start", "s", {"ours": [1.5]})]).splitlines()
    assert lines[0] == "| work | unit | ours | Slow | Quick | best peer / ours | of the limit |"
    assert lines[2] == "| walk | ms a step | 2 (1–30) | 9 (9–9) | 4 (3–5) | 2.00 | 50% |"
    assert lines[3] == "| start | s | 1.5 (1.5–1.5) | – | – | – | – |"


def test_only_what_stands_between_the_marks_of_a_page_is_renewed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmark: begin -->\nold\n<!-- benchmark: end -->\nafter\n")
    for written in ("new", "newer"):
        write_page(page, written)
    text = page.read_text()
    assert text == "before\n<!-- benchmark: begin -->\n\nnewer\n\n<!-- benchmark: end -->\nafter\n"


def test_a_page_without_marks_is_refused_and_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine\n")
    with pytest.raises(SystemExit, match="lacks the lines"):
        write_page(page, "new")
    assert page.read_text() == "mine\n"


def test_a_page_that_is_not_there_is_made(tmp_path: Path) -> None:
    write_page(tmp_path / "page.md", "| new |")
    assert "| new |" in (tmp_path / "page.md").read_text()


def test_the_page_of_the_project_has_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text())
    write_page(page, "| new |")
    assert "| new |" in page.read_text()


def test_a_request_that_fails_is_answered_by_null_and_the_next_one_is_served() -> None:
    program = (
        "from tests.benchmark.serving import serve\n"
        "def answer(work, form, count):\n"
        "    print('chatter')\n"
        "    return 1 / count\n"
        "serve(answer)\n"
    )
    requests = [{"work": "any", "form": "", "count": count} for count in (0, 2)]
    asked = "".join(json.dumps(each) + "\n" for each in requests)
    done = subprocess.run(
        [sys.executable, "-c", program], input=asked, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["null", "0.5"]
    assert "ZeroDivisionError" in done.stderr
    assert "chatter" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["swimming"], "swimming is not known"),
        (["--rounds", "0"], "at least 1"),
        (["--threads", "0"], "give 1"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmark", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert told in done.stderr
