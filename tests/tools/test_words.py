import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def found(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "tools/words.py", str(file)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return [line.removeprefix(f"{file}:") for line in done.stdout.splitlines()]


def test_a_phrase_in_a_doc_is_found_with_its_line_and_what_to_write(tmp_path):
    assert found(tmp_path, "page.md", "Fine.\n\nThe worker starts anew.\n") == [
        "3: 'anew': write: again, new"
    ]


def test_code_in_a_doc_is_left_alone(tmp_path):
    assert found(tmp_path, "page.md", "Run `mend`.\n\n```\nanew\n```\n") == []


def test_messages_comments_and_docstrings_are_read_and_names_are_not(tmp_path):
    text = 'mend = "mend it"  # made anew\nvalue = mend + f"{mend} bears"\n'
    phrases = [line.split(": ")[1] for line in found(tmp_path, "code.py", text)]
    assert set(phrases) >= {"'mend'", "'anew'", "'bears'"}
    assert {line.split(":")[0] for line in found(tmp_path, "code.py", text)} == {"1", "2"}
    assert found(tmp_path, "code.py", "mend = 1\n") == []


def test_a_summary_that_is_no_sentence_is_found(tmp_path):
    text = 'def size():\n    """Of the queue."""\n\n\nclass Size:\n    """What it is."""\n'
    function, of_class = found(tmp_path, "code.py", text)
    assert function.startswith("2: a summary begins with 'Of'")
    assert of_class.startswith("6: a summary begins with 'What'")


def test_a_phrase_that_goes_over_two_lines_is_found(tmp_path):
    assert found(tmp_path, "page.md", "The launcher is\ntold so.\n") == [
        "1: 'is told': write: is reported, is notified, receives"
    ]


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "words.py", tmp_path / "tools")
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def words_of_check(repository):
    subprocess.run(["git", "add", "."], check=True, cwd=repository)
    return subprocess.run(
        ["make", "-s", "words", f"PYTHON={sys.executable}"],
        check=False,
        cwd=repository,
        capture_output=True,
        text=True,
    )


def test_a_tree_in_plain_words_passes(repository):
    (repository / "code.py").write_text('"""Starts a worker."""\n')
    assert words_of_check(repository).returncode == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("code.py", 'def start():\n    """Starts it anew."""\n'),
        ("code.py", 'raise ValueError("x is 1: mend it")\n'),
        ("docs/page.md", "The launcher is told.\n"),
    ],
    ids=["a docstring", "a message", "a doc"],
)
def test_a_planted_phrase_makes_the_check_fail(repository, name, text):
    planted = repository / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(text)
    done = words_of_check(repository)
    assert done.returncode != 0
    assert name in done.stdout


def test_make_check_checks_the_words():
    done = subprocess.run(
        ["make", "-n", "check"], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "tools/words.py" in done.stdout
