"""Bad input to the real packs in real workers: a sentence each, and nothing left behind."""

from pathlib import Path

import pytest

from taskpacks import BadInputError, manager
from taskpacks.contract import ExitCode

FOLDER = "{folder}"
"""Stands for the test's folder, as a file:// URI."""

REFUSED = {
    "pi": {
        "a negative number of digits": (
            "pi.calculate",
            {"digits": -1},
            ["-1", "digits"],
        ),
        "a scheme that is not allowed": (
            "pi.calculate",
            {"digits": 10, "output": "http://example.com/pi.txt"},
            ["http", "file"],
        ),
    },
    "csv_sort": {
        "a file that is not there": (
            "csv_sort.sort",
            {
                "source": f"{FOLDER}/missing.csv",
                "destination": f"{FOLDER}/destination.csv",
                "by": ["a"],
            },
            ["missing.csv"],
        ),
        "a column that is not there": (
            "csv_sort.sort",
            {
                "source": f"{FOLDER}/table.csv",
                "destination": f"{FOLDER}/destination.csv",
                "by": ["agee"],
            },
            ["agee", "age"],
        ),
        "a scheme that is not allowed": (
            "csv_sort.sort",
            {
                "source": "ftp://example.com/table.csv",
                "destination": f"{FOLDER}/destination.csv",
                "by": ["age"],
            },
            ["ftp", "file"],
        ),
    },
    "video_encoding": {
        "a file that is not there": (
            "video_encoding.encode",
            {"source": f"{FOLDER}/missing.mp4", "destination": f"{FOLDER}/destination.mp4"},
            ["missing.mp4"],
        ),
        "no video": (
            "video_encoding.encode",
            {"source": f"{FOLDER}/table.csv", "destination": f"{FOLDER}/destination.mp4"},
            ["table.csv", "video"],
        ),
        "a scheme that is not allowed": (
            "video_encoding.encode",
            {"source": "http://example.com/a.mp4", "destination": f"{FOLDER}/destination.mp4"},
            ["http", "file"],
        ),
    },
}
PACKS = sorted(REFUSED.keys() & manager.available().keys())


@pytest.mark.parametrize("pack", PACKS)
def test_bad_input_is_told_leaves_nothing_and_does_not_stop_the_worker(pack, site, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "table.csv").write_text("name,age\nA,1\n")
    sent = {
        case: site.send(
            task,
            **{
                key: value.format(folder=data.as_uri()) if isinstance(value, str) else value
                for key, value in arguments.items()
            },
        )
        for case, (task, arguments, _) in REFUSED[pack].items()
    }
    with site.worker(TASKPACKS_PACK=pack) as worker:
        for case, result in sent.items():
            with pytest.raises(BadInputError) as caught:
                result.get(timeout=20)
            for text in REFUSED[pack][case][2]:
                assert text in str(caught.value), case
        assert worker.wait(20) == ExitCode.DRAINED
    assert [entry.name for entry in data.iterdir()] == ["table.csv"]
    assert not list(Path(site.folder).glob("taskpacks-*"))
    assert "Traceback" not in site.log
