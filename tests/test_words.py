"""The words: standard terms in names and prose, one meaning per class name, and no private vocabulary."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = frozenset(
    """
    abdicate asked bend bent beside bury buried cemetery chart charts departure dethroned era guest heard
    lane lanes lived mourn moved news nobody noted outlet outlets parcel parcels pupil reign reigns said
    sealed shelf somebody taken taste told whoever world yardstick yardsticks
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
"""Words that once had a private meaning here. The glossary in CONTRIBUTING.md has the terms that replaced them."""
PROSE = re.compile(
    r"\b(whoever|nobody|somebody|cemetery|buri(?:ed|es)|mourn\w*|reigns?|abdicat\w+|dethroned|parcels?|pupils?"
    r"|yardsticks?|old mind|cold person|hot people|due work|due queue|old news)\b",
    re.IGNORECASE,
)
"""Words and phrases that no docstring, comment, message or document uses."""
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for top in ("models", "streams", "deploy", "tests") for path in ROOT.glob(f"{top}/*.md")),
    ]
)


def trees() -> dict[str, ast.Module]:
    """Every module of the two packages, by its path."""
    paths = [path for package in ("models", "streams") for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


TREES = trees()


def words(name: str) -> set[str]:
    """The words of an identifier in snake case or camel case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def defined(tree: ast.Module) -> Iterator[str]:
    """The classes, functions, methods and parameters that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def test_no_name_has_a_private_word() -> None:
    """Files, classes, functions and parameters use the terms of the field."""
    names = {path: {path, *defined(tree)} for path, tree in TREES.items()}
    private = {path: sorted(name for name in every if words(name) & NAMES) for path, every in names.items()}
    assert {path: every for path, every in private.items() if every} == {}


def test_no_class_name_stands_twice() -> None:
    """A class name means one thing in both packages."""
    classes = Counter(node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("path", [*TREES, *(str(path.relative_to(ROOT)) for path in DOCUMENTS)])
def test_no_text_has_a_private_phrase(path: str) -> None:
    """Docstrings, comments, messages and documents are plain technical English."""
    lines = (ROOT / path).read_text().splitlines()
    found = [f"{number}: {match[0]}" for number, line in enumerate(lines, 1) for match in PROSE.finditer(line)]
    assert found == []


def test_a_private_word_would_be_found() -> None:
    """The check sees words in both cases of identifiers and in running text."""
    assert words("LetterOfTheCemetery_row") & NAMES == {"cemetery"}
    assert PROSE.search("Nobody is told") and PROSE.search("the due work of a user")
