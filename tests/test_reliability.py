"""The document about reliability names tests that there are, and leaves out none of those of faults."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT

FOLDER = ROOT / "tests"
NAMED = re.compile(r"`(test_\w+)`")


def names_of_tests(pattern: str) -> set[str]:
    """Return the names of the tests in files of a pattern."""
    return {
        node.name
        for path in FOLDER.rglob(pattern)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_claim_names_tests_that_there_are() -> None:
    known = names_of_tests("test_*.py")
    for row in rows():
        assert len(row) == 3, row
        if row[2] == "Test":
            continue
        named = NAMED.findall(row[2])
        assert named, f"no test proves: {row[0]}"
        assert set(named) <= known, row[0]


def test_each_fault_that_is_tested_is_in_the_document() -> None:
    named = {name for row in rows() for name in NAMED.findall(row[2])}
    details = {
        "test_a_log_that_waits_too_long_keeps_its_newest_lines",
        "test_a_module_in_the_making_is_left_alone",
        "test_a_damaged_module_that_cannot_be_removed_is_named_with_the_cure",
        "test_what_is_said_otherwise_than_before_changes_the_run",
        "test_a_persons_own_function_goes_on_without_being_allowed_once_more",
        "test_the_folder_must_be_named",
        "test_a_sweep_is_refused",
    }
    assert names_of_tests("test_fault_*.py") - details <= named
