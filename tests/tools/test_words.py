import subprocess
import sys
from pathlib import Path

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
    text = 'def size():\n    """Of the queue."""\n'
    (line,) = found(tmp_path, "code.py", text)
    assert line.startswith("1: the summary of size begins with 'Of'")
