"""`taskpacks plan` as an operator runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*options):
    # No region, no account, no Pulumi CLI: nothing but the file.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI"))
    }
    return subprocess.run(
        [sys.executable, "-m", "cli", "plan", *options],
        cwd=ROOT,
        env={**environment, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def test_a_stack_that_may_be_deployed_is_shown_as_a_table():
    done = run("--stack", "dev")
    assert done.returncode == 0, done.stderr
    assert "video_encoding" in done.stdout
    assert "m8g.xlarge" in done.stdout
    assert "At rest: $" in done.stdout
    assert done.stdout.rstrip().endswith("Nothing is refused.")


def test_a_stack_file_that_is_refused_ends_with_one_and_every_reason(tmp_path):
    file = tmp_path / "Pulumi.mine.yaml"
    file.write_text(
        "config:\n"
        "  aws:region: us-east-1\n"
        "  aws:defaultTags: {tags: {team: video}}\n"
        "  taskpacks:packs: {pj: {}, pi: {resources: {vcpus: 3}}}\n"
    )
    done = run("--stack", str(file), "--json")
    assert done.returncode == 1
    refused = json.loads(done.stdout)["refused"]
    assert len(refused) == 2
    assert refused[0].startswith("taskpacks:packs.pj: There is no pack 'pj'.")
    assert refused[1].startswith("taskpacks:packs.pi.resources: vcpus is 3")


def test_a_stack_that_there_is_not_is_one_sentence():
    done = run("--stack", "nowhere")
    assert done.returncode == 1
    assert "Pulumi.nowhere.yaml is not there" in done.stderr
    assert "Traceback" not in done.stderr
