"""The table of scenarios in README.md names tests that there are, and every scenario it must."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
NUMBERS = {
    "A": (*range(1, 9), *range(10, 16), 17, 18),
    "D": (1, 2, 4, 5, 7, 8, 9, 12, 16, 17, 19),
    "N": (*range(1, 11), 13, 14, 15),
}
WANTED = {f"{letter}{number}" for letter, numbers in NUMBERS.items() for number in numbers}


def rows() -> list[list[str]]:
    """The cells of each row."""
    lines = (TESTS / "faults" / "README.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][
        1:
    ]


def test_each_scenario_has_a_test() -> None:
    assert {row[0] for row in rows()} == WANTED


def test_each_test_named_exists() -> None:
    for row in rows():
        path, _, name = row[-1].partition("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, row


def test_each_file_named_says_whose_scenario_it_is() -> None:
    for row in rows():
        content = (TESTS / row[-1].partition("::")[0]).read_text(encoding="utf-8")
        assert row[0] in content, row


def test_each_test_of_the_interface_says_whose_scenario_it_is() -> None:
    for row in rows():
        path, _, name = row[-1].partition("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        (test,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
        told = f"{ast.get_docstring(tree)} {ast.get_docstring(test)}"
        assert row[0][0] != "A" or re.search(rf"\b{row[0]}\b", told), row
