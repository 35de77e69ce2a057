"""Checks the words of messages, docstrings, comments and docs: `python tools/words.py [FILE …]`.

Plain technical English, as the docs of Python, AWS and Celery are written in. Each row of `WORDS`
is a phrase that readers stumble over, and what to write in its place. Without a file it reads what
git tracks; `make check` does.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS: Final = (
    (r"anew", "again, new"),
    (r"mend(s|ed|ing)?", "fix"),
    (r"(is|are|was|were|be|been) told", "is reported, is notified, receives"),
    (r"tells? (people|nobody|anybody|everybody|whoever)", "notifies, reports"),
    (r"one's own", "your own"),
    (r"so many \w+ as", "as many … as"),
    (
        r"(nobody|somebody|no one|someone|one that) comes for",
        "no worker receives, a worker receives",
    ),
    (r"bear(s|ing)?", "has"),
    (r"the very \w+", "the same"),
    (r"bring(s|ing)? (it|them) about", "causes"),
    (r"makes? \w+ good", "replaces, repairs"),
    (r"(is|are) held to", "is restricted to, must follow"),
    (r"to be rid of", "to remove"),
    (r"of late", "recently"),
    (r"the way on", "the remedy"),
    (r"(is|are) let (pass|through|in)", "is allowed, passes"),
    (r"wherefore|whereupon|thereof|therein|whomever|lest|naught|hence|thence", "a plain sentence"),
)
"""A regular expression of whole words, and the replacement to offer."""
SUMMARY: Final = re.compile(r"(Of|What)\b")
"""How the first line of a docstring must not begin, nor the one below an attribute."""
READ: Final = ("*.py", "*.md", "*.yaml", "*.toml", "*.sh", "Makefile", "Dockerfile")
LEFT_OUT: Final = (":!docs/adr", ":!tools/words.py", ":!tests/tools/test_words.py")
"""Decisions of the past stay as they were written; the other two consist of such phrases."""

_PATTERNS: Final = tuple(
    (re.compile(rf"\b({pattern})\b".replace(" ", r"\s+"), re.IGNORECASE), instead)
    for pattern, instead in WORDS
)
_CODE: Final = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_SPOKEN: Final = frozenset(
    {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
)


def findings(path: Path) -> Iterator[str]:
    """Yields a line for each phrase of a file: place, phrase, and what to write instead."""
    text = path.read_text("utf-8")
    spoken = _of_python(text) if path.suffix == ".py" else _of_prose(text)
    for line, words in spoken:
        for pattern, instead in _PATTERNS:
            for found in pattern.finditer(words):
                at = line + words.count("\n", 0, found.start())
                yield f"{path}:{at}: '{' '.join(found[0].split())}': write: {instead}"
    if path.suffix == ".py":
        yield from _summaries(path, text)


def _of_python(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _SPOKEN:
            yield token.start[0], token.string


def _of_prose(text: str) -> Iterator[tuple[int, str]]:
    yield 1, _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)


def _summaries(path: Path, text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        found = SUMMARY.match(str(node.value.value).lstrip())
        if found:
            yield (
                f"{path}:{node.lineno}: a summary begins with '{found[0]}': write a full sentence "
                "with a verb (Returns the …), or what it is (The …)"
            )


def tracked() -> list[str]:
    """Returns the files that `make check` reads."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *READ, *LEFT_OUT],
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if Path(name).is_file()]


def main(files: list[str]) -> int:
    """Prints every finding; returns 1 if there is one."""
    found = [line for name in files or tracked() for line in findings(Path(name))]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
