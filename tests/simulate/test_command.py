import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from taskpacks.errors import TaskpacksError

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments):
    result = CliRunner().invoke(app, ["simulate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def figures(*arguments):
    return {each["policy"]: each for each in json.loads(run("--json", *arguments))["policies"]}


def refused(*arguments):
    with pytest.raises(TaskpacksError) as refusal:
        run(*arguments)
    return str(refusal.value)


def test_a_thousand_messages_are_simulated_with_the_limits_that_are_given():
    ours = figures("--max-workers", "50", "--max-vcpus", "50")["taskpacks"]
    assert ours["messages"] == 1000
    assert ours["workers_started"] == 50
    assert ours["never_done"] == 0


def test_the_same_seed_prints_the_same():
    arguments = ("--load", "poisson", "--hours", "2", "--task-spread", "1", "--seed", "7")
    assert figures(*arguments) == figures(*arguments)
    assert figures(*arguments) != figures(*arguments[:-1], "8")


@pytest.mark.parametrize("load", ["at-once", "poisson", "tide", "bursts"])
def test_every_load_can_be_chosen(load):
    ours = figures("--load", load, "--messages", "20", "--hours", "12")["taskpacks"]
    assert ours["messages"] > 0
    assert ours["never_done"] == 0


@pytest.mark.timeout(30)
def test_a_hundred_thousand_messages_are_simulated_within_half_a_minute():
    arguments = ("--messages", "100000", "--task-seconds", "5", "--max-workers", "200")
    ours = figures(*arguments, "--max-vcpus", "200")["taskpacks"]
    assert (ours["messages"], ours["never_done"]) == (100_000, 0)


def test_spot_takes_workers():
    ours = figures("--messages", "200", "--spot-per-hour", "5")["taskpacks"]
    assert ours["workers_taken_by_spot"] > 0
    assert ours["never_done"] == 0


def test_the_terminal_gets_a_table_and_reasons():
    output = run("--messages", "7", "--decisions")
    assert "7 messages" in output
    assert "start 2: 7 messages visible" in output


@pytest.mark.parametrize("option", ["--png", "--html"])
def test_a_file_that_cannot_be_written_is_refused_before_the_simulation(option, tmp_path):
    there_is_none = tmp_path / "none" / "x"
    text = refused(option, str(there_is_none), "--trace", str(tmp_path / "not-read.csv"))
    assert text.startswith(f"{option} {there_is_none}: there is no folder {there_is_none.parent};")
    assert "is a folder" in refused(option, str(tmp_path))


def test_nobody_waits_where_no_message_comes():
    assert "never" not in run("--messages", "0")


def test_plot_and_page_are_written(tmp_path):
    png, page = tmp_path / "plot.png", tmp_path / "page.html"
    run("--messages", "20", "--png", str(png), "--html", str(page))
    assert png.read_bytes().startswith(PNG)
    text = page.read_text("utf-8")
    assert "20 messages" in text
    assert "data:image/png;base64," in text


def test_a_trace_is_simulated(tmp_path):
    trace = tmp_path / "mine.csv"
    trace.write_text("time,task_seconds\n0,60\n30,5\n", "utf-8")
    assert figures("--trace", str(trace))["taskpacks"]["messages"] == 2
    trace.write_text("time,task_seconds\n0,soon\n", "utf-8")
    assert "line 2: task_seconds is 'soon'" in refused("--trace", str(trace))


def test_limits_come_from_a_deployment_of_a_stack():
    arguments = ("--json", "--messages", "1", "--stack", "local")
    first = json.loads(run(*arguments))["limits"]
    assert (first["max_vcpus"], first["idle_seconds"]) == (4, 3)
    other = json.loads(run(*arguments, "--deployment", "csv_sort"))["limits"]
    assert (other["max_vcpus"], other["start_within_seconds"]) == (2, 420)


def test_limits_come_from_a_packs_own_declaration():
    limits = json.loads(run("--json", "--messages", "1", "--pack", "pi"))["limits"]
    assert limits["idle_seconds"] == 30


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--pack", "py"), "There is no pack 'py'"),
        (("--stack", "nowhere"), "Pulumi.nowhere.yaml is not there"),
        (("--stack", "local", "--deployment", "csvsort"), "csv_sort"),
        (("--deployment", "pi"), "add --stack"),
        (("--pack", "pi", "--stack", "local"), "give one of them"),
    ],
)
def test_what_is_not_there_is_refused_with_a_remedy(arguments, told):
    assert told in refused(*arguments)
