import csv
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from decimal import Decimal

import pytest
from celery import Celery
from hypothesis import given, settings
from hypothesis import strategies as st

from taskpacks import BadInputError, DemoContext, TaskpacksError, WorkerContext, manager
from taskpacks.csv_sort import demo, engine, keys, masking, tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("csv_sort")


def context_at(folder, memory_mib=1024):
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return WorkerContext(
        deployment="sort",
        vcpus=2,
        memory_mib=memory_mib,
        uri_schemes=frozenset({"file"}),
        scratch_root=scratch,
        environment={},
    )


@pytest.fixture
def sort(tmp_path):
    """Sorts text, returns text; nothing else may be left, whatever happened."""

    def run(content, by, **layout):
        context = context_at(tmp_path)
        source, destination = tmp_path / "source.csv", tmp_path / "sorted.csv"
        source.write_bytes(content.encode() if isinstance(content, str) else content)
        destination.unlink(missing_ok=True)
        left = {"scratch", "source.csv"}
        try:
            result = tasks.sort(context, source.as_uri(), destination.as_uri(), by, **layout)
            left.add("sorted.csv")
        finally:
            assert list(context.scratch_root.iterdir()) == []
            assert {path.name for path in tmp_path.iterdir()} == left
        done = destination.read_bytes()
        assert (result["destination"], result["bytes"]) == (destination.as_uri(), len(done))
        return done.decode()

    return run


def numeric(column, order="ascending"):
    return {"column": column, "type": "numeric", "order": order}


# Other work on the machine must not fail a test.
EXAMPLES = settings(deadline=None, max_examples=60)


# What comes out


def test_records_are_sorted_below_the_header_and_keep_leading_zeros(sort):
    assert sort("id,n\n10,a\n007,b\n08,c\n", ["id"]) == "id,n\n007,b\n08,c\n10,a\n"


def test_quoting_comes_out_as_it_went_in(sort):
    content = 'k,v\nb,"needless"\na,""\n"a",\nc,"x""y"\n'
    assert sort(content, ["k"]) == 'k,v\na,""\n"a",\nb,"needless"\nc,"x""y"\n'


def test_line_ends_and_delimiters_in_quotes_belong_to_their_field(sort):
    content = 'k,v\n"b\n1",x\n"a,2","y\r\nz"\n'
    assert sort(content, ["k"]) == 'k,v\n"a,2","y\r\nz"\n"b\n1",x\n'


def test_a_quoted_key_is_sorted_by_its_value_not_by_its_quotes(sort):
    assert sort('k\nb\n"a"\n"""c"\n', ["k"]) == 'k\n"""c"\n"a"\nb\n'


def test_windows_line_ends_and_byte_order_mark_stay(sort):
    content = "\ufeffk,v\r\nb,1\r\na,2"
    assert sort(content, ["k"]) == "\ufeffk,v\r\na,2\r\nb,1\r\n"
    assert sort(content, [2], header=False) == "\ufeffb,1\r\na,2\r\nk,v\r\n"


def test_mixed_line_ends_stay_with_their_records(sort):
    assert sort("k,v\r\nb,1\na,2\r\n", ["v"]) == "k,v\r\nb,1\na,2\r\n"
    assert sort("k,v\nb,2\r\na,1\n", ["v"]) == "k,v\na,1\nb,2\r\n"


def test_a_missing_last_line_end_is_added(sort):
    assert sort("k\nb\na", ["k"]) == "k\na\nb\n"


def test_text_is_sorted_by_code_point(sort):
    assert sort("k\né\nz\n😀\nZ\n\uffee\n", ["k"]) == "k\nZ\nz\né\n\uffee\n😀\n"


def test_equal_records_keep_the_sources_order_in_both_directions(sort):
    content = "k,v\nb,1\na,2\nb,3\na,4\n"
    assert sort(content, ["k"]) == "k,v\na,2\na,4\nb,1\nb,3\n"
    down = [{"column": "k", "order": "descending"}]
    assert sort(content, down) == "k,v\nb,1\nb,3\na,2\na,4\n"


def test_numbers_are_compared_exactly_however_long(sort):
    big = 10**60
    content = f"n\n{big + 1}\n{big}\n0.{'0' * 40}2\n0.{'0' * 40}1\n-{big + 1}\n-{big}\n"
    assert sort(content, [numeric("n")]) == (
        f"n\n-{big + 1}\n-{big}\n0.{'0' * 40}1\n0.{'0' * 40}2\n{big}\n{big + 1}\n"
    )


def test_what_is_no_number_comes_last_in_the_sources_order_in_both_directions(sort):
    content = "n\nNA\n2\n\n-1\nnan\n10\ninf\n"
    # One column: the empty line is a record.
    assert sort(content, [numeric("n")]) == "n\n-1\n2\n10\nNA\n\nnan\ninf\n"
    assert sort(content, [numeric("n", "descending")]) == "n\n10\n2\n-1\nNA\n\nnan\ninf\n"


def test_several_keys_each_have_their_own_order_and_type(sort):
    content = "a;b\nx;2\ny;10\nx;10\n"
    by = ["a", numeric("b", "descending")]
    assert sort(content, by, delimiter=";") == "a;b\nx;10\nx;2\ny;10\n"


@pytest.mark.parametrize(
    "delimiter", [",", ";", "\t", "|", " ", "\\", "]", "^", "-", "'", "0", "\x01"]
)
def test_any_ascii_delimiter_works(sort, delimiter):
    content = 'k,"q,q"\nb,x\na,"y,"\n'.replace(",", delimiter)
    expected = 'k,"q,q"\na,"y,"\nb,x\n'.replace(",", delimiter)
    assert sort(content, ["k"], delimiter=delimiter) == expected


def test_of_columns_with_one_name_either_can_be_chosen_by_number(sort):
    assert sort("a,a\n1,2\n2,1\n", [2]) == "a,a\n2,1\n1,2\n"


def test_a_header_alone_and_an_empty_file_without_one_have_no_rows(sort):
    assert sort("a,b\n", ["a"]) == "a,b\n"
    assert sort("", [1], header=False) == ""


def test_blank_lines_are_dropped_where_records_have_several_fields(sort):
    assert sort("a,b\n\n2,x\n\n1,y\n\n", ["a"]) == "a,b\n1,y\n2,x\n"


def test_a_field_of_many_megabytes_is_sorted(sort):
    long = "x" * 8_000_000
    assert sort(f'k,v\n"b",{long}\na,1\n', ["k"]) == f'k,v\na,1\n"b",{long}\n'


# For all tables

# Not surrogates, which UTF-8 has not; NUL is tested on its own.
TEXT = st.text(
    st.one_of(
        st.sampled_from("\",;\n\r\t \x01\x02\x1f\x7f'\\0149-.eé😀\ufeff"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=6,
)
NUMBERS = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.sampled_from(["", "NA", "007", "-0", "+1", "1e3", "-1E-2", ".5", "5.", " 2 ", "1e", "0x1"]),
)


@st.composite
def tables(draw):
    columns = draw(st.integers(2, 4))
    row = st.lists(st.one_of(TEXT, NUMBERS), min_size=columns, max_size=columns)
    rows = draw(st.lists(row, max_size=12))
    entry = st.fixed_dictionaries(
        {"column": st.integers(1, columns)},
        optional={"order": st.sampled_from(keys.ORDERS), "type": st.sampled_from(keys.TYPES)},
    )
    return rows, draw(st.lists(entry, min_size=1, max_size=3))


@EXAMPLES
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_the_result_is_what_sorted_makes_of_the_same_records(
    folder, table, delimiter, line_end, quoting
):
    rows, by = table
    texts = []
    for row in rows:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerow(
            row
        )
        texts.append(buffer.getvalue())
    # A mark at the beginning is no part of the first field.
    rows = [
        [
            field.removeprefix("\ufeff") if texts[0].startswith("\ufeff") and i == j == 0 else field
            for j, field in enumerate(row)
        ]
        for i, row in enumerate(rows)
    ]
    source, destination = folder / "source.csv", folder / "sorted.csv"
    source.write_bytes("".join(texts).encode())
    tasks.sort(
        context_at(folder),
        source.as_uri(),
        destination.as_uri(),
        by,
        header=False,
        delimiter=delimiter,
    )
    mark = "\ufeff" if texts and texts[0].startswith("\ufeff") else ""
    texts[:1] = [text.removeprefix("\ufeff") for text in texts[:1]]
    expected = demo.sorted_records(list(zip(rows, texts, strict=True)), by, None)
    assert destination.read_bytes().decode() == mark + "".join(text for _, text in expected)


@EXAMPLES
@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_numbers_are_in_the_order_of_decimals(folder, numbers):
    source, destination = folder / "numbers.csv", folder / "sorted.csv"
    source.write_text("".join(f"{number},x\n" for number in numbers), newline="")
    tasks.sort(
        context_at(folder), source.as_uri(), destination.as_uri(), [numeric(1)], header=False
    )
    found = [line.partition(",")[0] for line in destination.read_text().splitlines()]
    others = {"", "NA", "1e", "0x1"}
    assert found == sorted(
        numbers, key=lambda text: (text in others, 0 if text in others else Decimal(text.strip()))
    )


@EXAMPLES
@given(
    st.text(st.sampled_from('a",\n\r\x01'), max_size=30).map(str.encode),
    st.integers(1, 4),
)
def test_masking_is_undone_to_the_byte_whatever_the_size_of_blocks(folder, content, block):
    source, masked = folder / "source", folder / "masked"
    source.write_bytes(content)
    original = masking._BLOCK_BYTES
    masking._BLOCK_BYTES = block
    try:
        prepared = masking.prepare(source, masked, b",")
    except BadInputError:
        assert content.count(b'"') % 2
        return
    finally:
        masking._BLOCK_BYTES = original
    text = prepared.path.read_bytes()
    assert prepared.unmask(text).startswith(content)
    assert prepared.longest_bytes == max((len(line) for line in text.split(b"\n")), default=0)


# What is refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n3\n", "Line 3 .* has 1 fields, and its first line has 2"),
        ('a,b\n"1\n\n",2\n3,4,5\n', "Line 5 .* has 3 fields"),
        ('a,b\n1,2\n3,x"y\n4,z"w\n', "line 3 .* quote in the middle"),
        ('a,b\n1,"2"x\n', "line 2 .* quote in the middle"),
        ('a,b\n"1\n",2\n3,"4\n5,6\n', "line 4 lacks a closing one"),
        (b"a,b\n1,2\n3,\xff\n", "Line 3 .* not UTF-8"),
        (b"a\xff,b\n", "Line 1 .* not UTF-8"),
        ("", "The source is empty"),
        (bytes(range(1, 32)), "control character"),
    ],
)
def test_a_source_that_is_no_table_is_refused_with_its_line(sort, content, said):
    with pytest.raises(BadInputError, match=said):
        sort(content, ["a"])


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (["nam"], "Did you mean 'name'"),
        ([{"column": "nam"}], "Did you mean 'name'"),
        ([0], "2 columns"),
        ([3], "2 columns"),
        (["twice"], "2 times; give one's number instead: 2, 3"),
        ("name", "must be a list"),
        ([], "must be a list"),
        (None, "must be a list"),
        ([True], "header's name or a number"),
        ([1.0], "header's name or a number"),
        ([{"column": None}], "header's name or a number"),
        ([{"order": "ascending"}], "without a 'column'"),
        ([{"column": "name", "ordre": "ascending"}], "Did you mean 'order'"),
        ([{"column": "name", "order": "up"}], "ascending or descending"),
        ([{"column": "name", "type": ["text"]}], "text or numeric"),
        (["name'; DROP TABLE x; --"], "which the source has not"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_with_the_remedy(sort, by, said):
    content = "name,twice,twice\n1,2,3\n" if by == ["twice"] else "name,b\n1,2\n"
    with pytest.raises(BadInputError, match=said):
        sort(content, by)


def test_a_name_is_refused_where_there_is_no_header(sort):
    with pytest.raises(BadInputError, match="without a header"):
        sort("a,b\n", ["a"], header=False)


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "§", None, 1])
def test_a_delimiter_must_be_one_ascii_character(sort, delimiter):
    with pytest.raises(BadInputError, match="one ASCII character"):
        sort("a\n", ["a"], delimiter=delimiter)


def test_a_header_that_is_not_true_or_false_is_refused(sort):
    with pytest.raises(BadInputError, match="true or false"):
        sort("a\n", ["a"], header="yes")


def test_the_source_is_never_its_own_destination(tmp_path):
    uri = (tmp_path / "source.csv").as_uri()
    with pytest.raises(BadInputError, match="both source and destination"):
        tasks.sort(context_at(tmp_path), uri, uri, ["a"])


def test_a_record_too_long_for_the_memory_is_refused(tmp_path):
    (tmp_path / "source.csv").write_text("a\n" + "x" * 4_000_000 + "\n")
    with pytest.raises(BadInputError, match="record of 4000000 bytes"):
        tasks.sort(
            context_at(tmp_path, memory_mib=128),
            (tmp_path / "source.csv").as_uri(),
            (tmp_path / "sorted.csv").as_uri(),
            ["a"],
        )


def test_too_many_long_records_for_the_memory_are_refused_and_not_called_a_crash(tmp_path):
    with (tmp_path / "source.csv").open("w") as file:
        file.writelines(f"{99 - number},{'y' * 2_500_000}\n" for number in range(100))
    source, destination = (tmp_path / "source.csv").as_uri(), (tmp_path / "sorted.csv").as_uri()
    context = context_at(tmp_path, memory_mib=512)
    with pytest.raises(BadInputError, match="more memory_mib"):
        tasks.sort(context, source, destination, [1], header=False)
    assert list(context.scratch_root.iterdir()) == []


def test_nul_characters_are_text_like_any_other(sort):
    assert sort("k\nb\0\nb\na\0b\na\n", ["k"]) == "k\na\na\0b\nb\nb\0\n"


# Memory, cancellation, hooks


def big_file(path, megabytes):
    chance = random.Random(0)  # noqa: S311 - sample data
    with path.open("w") as file:
        file.write("id,text,number\n")
        while file.tell() < megabytes * 1_000_000:
            file.writelines(
                f'{number},"{chance.randrange(10**9):x}",{chance.randrange(10**6)}{"." * 90}\n'
                for number in range(10_000)
            )


SORT_IN_OWN_PROCESS = """
import pathlib, re, sys
from taskpacks import WorkerContext
from taskpacks.csv_sort import tasks
folder, memory_mib = pathlib.Path(sys.argv[1]), int(sys.argv[2])
context = WorkerContext(deployment="sort", vcpus=2, memory_mib=memory_mib,
    uri_schemes=frozenset({"file"}), scratch_root=folder / "scratch", environment={})
tasks.sort(context, (folder / "big.csv").as_uri(), (folder / "sorted.csv").as_uri(), ["text"])
# Not getrusage: a forked process begins with its parent's peak there.
status = pathlib.Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
"""


def test_a_file_larger_than_memory_is_sorted_within_it(tmp_path):
    big_file(tmp_path / "big.csv", megabytes=300)
    (tmp_path / "scratch").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SORT_IN_OWN_PROCESS, tmp_path, "512"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # The worker's main process needs its part of the 512 MiB too, about 100.
    assert int(done.stdout) < 400
    with (tmp_path / "sorted.csv").open() as file:
        assert next(file) == "id,text,number\n"
        texts = [line.split(",", 2)[1] for line in file]
    assert texts == sorted(texts)
    assert (tmp_path / "sorted.csv").stat().st_size == (tmp_path / "big.csv").stat().st_size


def test_a_sort_that_is_cancelled_ends_at_once_and_leaves_nothing(tmp_path):
    big_file(tmp_path / "big.csv", megabytes=60)
    context = context_at(tmp_path)

    def cancel(*_):
        raise SystemExit(1)

    def when_sorting():
        while not list(context.scratch_root.glob("task-*/sorted.csv*")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, cancel)
    watcher = threading.Thread(target=when_sorting, daemon=True)
    watcher.start()
    try:
        with pytest.raises(SystemExit):
            tasks.sort(
                context,
                (tmp_path / "big.csv").as_uri(),
                (tmp_path / "sorted.csv").as_uri(),
                [numeric("number")],
            )
    finally:
        watcher.join()
        signal.signal(signal.SIGUSR1, before)
    assert list(context.scratch_root.iterdir()) == []
    assert not (tmp_path / "sorted.csv").exists()
    assert "csv_sort" not in {thread.name for thread in threading.enumerate()}


def test_memory_and_threads_follow_the_workers_size(tmp_path):
    assert engine.settings(context_at(tmp_path, 16384)) == {"memory_mib": 11289, "threads": 2}
    assert engine.settings(context_at(tmp_path, 128)) == {"memory_mib": 64, "threads": 1}
    shared = replace(context_at(tmp_path, 32768), processes=2)
    assert engine.settings(shared) == {"memory_mib": 11289, "threads": 1}


def test_the_celery_task_takes_the_same_arguments(tmp_path):
    app = Celery("test", set_as_current=False)
    tasks.register(app, context_at(tmp_path))
    (tmp_path / "source.csv").write_text("b;1\na;2\n")
    result = app.tasks["csv_sort.sort"].apply(
        kwargs={
            "source": (tmp_path / "source.csv").as_uri(),
            "destination": (tmp_path / "sorted.csv").as_uri(),
            "by": [1],
            "header": False,
            "delimiter": ";",
        }
    )
    assert result.get()["rows"] == 2
    assert (tmp_path / "sorted.csv").read_text() == "a;2\nb;1\n"


def test_the_demo_tasks_pass_their_own_check_and_a_swapped_line_does_not(tmp_path):
    pack = manager.load("csv_sort")
    context = DemoContext(output=(tmp_path / "demo output").as_uri())
    try:
        samples = pack.hooks.taskpack_demo(context=context)
    except TaskpacksError as error:
        pytest.skip(str(error))
    for sample in samples[2:]:
        result = tasks.sort(context_at(tmp_path), **sample.kwargs)
        said = pack.hooks.taskpack_demo_check(context=context, task=sample, result=result)
        assert "order of Python's sorted" in said
    path = tmp_path / "demo output" / "airports-by-altitude.csv"
    header, first, second, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, second, first, *others]))
    with pytest.raises(AssertionError, match="record 2"):
        demo.check(context, samples[2], {"destination": path.as_uri(), "rows": len(others) + 2})


def test_without_its_data_the_demo_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DATA_PACKAGE", "no_such_package")
    with pytest.raises(TaskpacksError, match="make setup"):
        demo.samples(DemoContext(output=tmp_path.as_uri()))


def test_the_stopping_worker_logs_what_sorting_took(tmp_path, caplog):
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    with caplog.at_level("INFO"):
        manager.load("csv_sort").hooks.taskpack_worker_stopping(context=context_at(tmp_path))
    assert "of 1024 MiB" in caplog.text


def test_loading_the_pack_imports_nothing_heavy():
    program = (
        "import sys; from taskpacks import manager; manager.load('csv_sort');"
        "print([name for name in ('celery', 'duckdb', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"


def test_the_result_of_the_task_before_is_a_source(tmp_path):
    (tmp_path / "source.csv").write_text("b\na\n")
    before = {"digits": 2, "output": (tmp_path / "source.csv").as_uri()}
    destination = (tmp_path / "sorted.csv").as_uri()
    result = tasks.sort(context_at(tmp_path), before, destination, [1], header=False)
    assert (result["rows"], (tmp_path / "sorted.csv").read_text()) == (2, "a\nb\n")
