from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.cloud import CloudError, JobChanged, JobSubmitted, LogLine

PRINT_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"
WAIT = "import time; print('ready'); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(60)"


@pytest.fixture(scope="module")
def fleet(shared_cloud, deploy_fleet):
    return deploy_fleet(shared_cloud)


def wait_for_line(fleet, job_id, line="ready"):
    fleet.cloud.events.wait_for(
        lambda event: isinstance(event, LogLine) and (event.job_id, event.line) == (job_id, line),
        seconds=60,
    )


def statuses(fleet, job_id):
    return [
        event.status
        for event in fleet.cloud.events.past
        if isinstance(event, JobChanged) and event.job_id == job_id
    ]


def test_a_job_runs_its_command_and_passes_through_every_status(fleet):
    job_id = fleet.submit(fleet.define("hello", "print('hello'); print('world')"))
    job = fleet.wait(job_id)
    assert statuses(fleet, job_id) == [
        *("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED")
    ]
    assert job["container"]["exitCode"] == 0
    assert job["statusReason"] == "Essential container in task exited"
    assert job["createdAt"] <= job["startedAt"] <= job["stoppedAt"]
    assert job["stoppedAt"] <= fleet.cloud.events.now().cloud.timestamp() * 1000
    assert job["container"]["logStreamName"].startswith("hello/default/")
    assert fleet.log(job_id) == ["hello", "world"]


def test_a_job_sees_its_own_environment_and_not_ours(fleet, monkeypatch):
    monkeypatch.setenv("OUR_SECRET", "x")
    definition = fleet.define(
        "env",
        PRINT_ENVIRONMENT,
        container={"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
    )
    job_id = fleet.submit(
        definition, containerOverrides={"environment": [{"name": "B", "value": "2"}]}
    )
    fleet.wait(job_id)
    environment = json.loads("".join(fleet.log(job_id)))
    assert {"A": "1", "B": "2"}.items() <= environment.items()
    assert fleet.cloud.environment.items() <= environment.items()  # also what fits the region
    assert {
        "AWS_BATCH_JOB_ID": job_id,
        "AWS_BATCH_JOB_ATTEMPT": "1",
        "AWS_BATCH_JQ_NAME": "job-queue",
        "AWS_BATCH_CE_NAME": "environment",
    }.items() <= environment.items()
    assert not environment.keys() & {"OUR_SECRET", "AWS_BATCH_JOB_ARRAY_INDEX", "VIRTUAL_ENV"}


def test_a_job_that_names_its_region_in_one_variable_is_given_no_other(fleet):
    """So the agent on EC2: https://github.com/aws/amazon-ecs-agent/pull/4946."""
    own = [{"name": "AWS_REGION", "value": "us-east-1"}]
    job_id = fleet.submit(fleet.define("region", PRINT_ENVIRONMENT, container={"environment": own}))
    fleet.wait(job_id)
    environment = json.loads("".join(fleet.log(job_id)))
    assert environment["AWS_REGION"] == "us-east-1"
    assert "AWS_DEFAULT_REGION" not in environment


def test_a_job_runs_in_the_program_folder_and_its_own_scratch_is_removed(fleet):
    job_id = fleet.submit(
        fleet.define("where", "import os; print(os.getcwd()); print(os.environ['TMPDIR'])")
    )
    fleet.wait(job_id)
    folder, scratch = fleet.log(job_id)
    assert Path(folder).name == "program"
    assert Path(scratch).parts[-3:-1] == ("work", "jobs")
    assert not Path(scratch).exists()


def test_parameters_reach_the_command(fleet):
    definition = fleet.define(
        "args",
        "",
        parameters={"who": "nobody"},
        container={"command": ["python", "-c", "import sys; print(sys.argv[1])", "Ref::who"]},
    )
    job_id = fleet.submit(definition, parameters={"who": "world"})
    fleet.wait(job_id)
    assert fleet.log(job_id) == ["world"]


def test_logs_go_to_the_group_and_prefix_of_the_log_configuration(fleet):
    fleet.cloud.client("logs").create_log_group(logGroupName="/taskpacks/pi")
    definition = fleet.define(
        "logs",
        "import sys; print('bad', file=sys.stderr)",
        container={
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/taskpacks/pi", "awslogs-stream-prefix": "worker"},
            }
        },
    )
    job_id = fleet.submit(definition)
    job = fleet.wait(job_id)
    assert job["container"]["logStreamName"].startswith("worker/default/")
    assert fleet.log(job_id, "/taskpacks/pi") == ["bad"]


def test_a_log_group_that_is_deleted_costs_the_lines_and_not_the_job(fleet):
    fleet.cloud.client("logs").create_log_group(logGroupName="/short-lived")
    options = {"awslogs-group": "/short-lived"}
    definition = fleet.define(
        "logs",
        "import time; print('ready'); time.sleep(0.5); print('lost')",
        container={"logConfiguration": {"logDriver": "awslogs", "options": options}},
    )
    job_id = fleet.submit(definition)
    wait_for_line(fleet, job_id)
    fleet.cloud.client("logs").delete_log_group(logGroupName="/short-lived")
    assert fleet.wait(job_id)["status"] == "SUCCEEDED"
    assert any(
        isinstance(event, CloudError) and f"{job_id}: 1 log lines were lost" in event.text
        for event in fleet.cloud.events.past
    )


def test_a_missing_log_group_keeps_the_task_from_starting(fleet):
    definition = fleet.define(
        "logs",
        "print('never')",
        container={
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/none"}}
        },
    )
    job = fleet.wait(fleet.submit(definition))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"].startswith("ResourceInitializationError")
    assert "exitCode" not in job["container"]


def test_a_program_that_is_not_there_fails_to_start(fleet):
    definition = fleet.define("none", "", container={"command": ["no-such-program"]})
    job = fleet.wait(fleet.submit(definition))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert "CannotStartContainerError" in job["container"]["reason"]


def test_an_array_job_runs_each_index_once_and_its_parent_succeeds(fleet):
    definition = fleet.define("array", "import os; print(os.environ['AWS_BATCH_JOB_ARRAY_INDEX'])")
    job_id = fleet.submit(definition, arrayProperties={"size": 3})
    parent = fleet.wait(job_id)
    assert parent["status"] == "SUCCEEDED"
    assert parent["arrayProperties"]["size"] == 3
    assert parent["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 3
    assert [fleet.log(f"{job_id}:{index}") for index in range(3)] == [["0"], ["1"], ["2"]]
    assert statuses(fleet, job_id) == ["SUBMITTED", "PENDING", "SUCCEEDED"]
    [submitted] = [
        event
        for event in fleet.cloud.events.past
        if isinstance(event, JobSubmitted) and event.job_id == job_id
    ]
    assert (submitted.queue, submitted.array_size) == ("job-queue", 3)


def test_one_failed_child_makes_a_failed_parent_after_all_have_ended(fleet):
    code = "import os, sys; sys.exit(os.environ['AWS_BATCH_JOB_ARRAY_INDEX'] == '1')"
    job_id = fleet.submit(fleet.define("array", code), arrayProperties={"size": 3})
    parent = fleet.wait(job_id)
    assert parent["status"] == "FAILED"
    assert parent["statusReason"] == "Array Child Job failed"
    summary = parent["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"]) == (2, 1)
    assert fleet.job(f"{job_id}:1")["container"]["exitCode"] == 1


def test_jobs_are_listed_by_queue_without_children_and_by_parent_with_them(fleet):
    job_id = fleet.submit(fleet.define("wait", WAIT), arrayProperties={"size": 2})
    for index in (0, 1):
        wait_for_line(fleet, f"{job_id}:{index}")

    def listed(**request):
        jobs = fleet.batch.list_jobs(**request)["jobSummaryList"]
        return [(job["jobId"], job["status"]) for job in jobs]

    assert listed(jobQueue="job-queue", jobStatus="PENDING") == [(job_id, "PENDING")]
    assert listed(jobQueue="job-queue") == []
    assert listed(arrayJobId=job_id) == [(f"{job_id}:0", "RUNNING"), (f"{job_id}:1", "RUNNING")]
    assert listed(arrayJobId=job_id, jobStatus="FAILED") == []
    fleet.batch.terminate_job(jobId=job_id, reason="end of the test")
    fleet.wait(job_id)


# Retries and time-outs


def test_attempts_are_recorded_until_one_succeeds(fleet):
    code = "import os, sys; sys.exit(os.environ['AWS_BATCH_JOB_ATTEMPT'] != '3' and 75)"
    definition = fleet.define(
        "retry",
        code,
        retryStrategy={
            "attempts": 4,
            "evaluateOnExit": [
                {"onExitCode": "75", "action": "RETRY"},
                {"onReason": "*", "action": "EXIT"},
            ],
        },
    )
    job_id = fleet.submit(definition)
    job = fleet.wait(job_id)
    assert job["status"] == "SUCCEEDED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [75, 75, 0]
    assert all(attempt["startedAt"] <= attempt["stoppedAt"] for attempt in job["attempts"])
    assert len({attempt["container"]["logStreamName"] for attempt in job["attempts"]}) == 3


def test_a_rule_that_says_exit_ends_the_attempts(fleet):
    strategy = {"attempts": 4, "evaluateOnExit": [{"onExitCode": "64", "action": "EXIT"}]}
    job = fleet.wait(
        fleet.submit(fleet.define("exit", "raise SystemExit(64)", retryStrategy=strategy))
    )
    assert (job["status"], len(job["attempts"])) == ("FAILED", 1)


def test_the_retry_strategy_of_submit_job_wins(fleet):
    definition = fleet.define("retry", "raise SystemExit(1)", retryStrategy={"attempts": 1})
    job = fleet.wait(fleet.submit(definition, retryStrategy={"attempts": 2}))
    assert len(job["attempts"]) == 2
    assert job["retryStrategy"]["attempts"] == 2


def test_a_job_that_takes_too_long_is_ended_and_not_retried(fleet):
    definition = fleet.define(
        "slow", WAIT, timeout={"attemptDurationSeconds": 600}, retryStrategy={"attempts": 3}
    )
    job = fleet.wait(fleet.submit(definition, timeout={"attemptDurationSeconds": 1}))
    assert (job["status"], len(job["attempts"])) == ("FAILED", 1)
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    assert job["container"]["exitCode"] == 143


def test_a_job_that_ignores_sigterm_is_killed(fleet, monkeypatch):
    monkeypatch.setattr("taskpacks.limits.JOB_KILL_SECONDS", 0.5)
    job_id = fleet.submit(fleet.define("stubborn", STUBBORN))
    wait_for_line(fleet, job_id)
    fleet.batch.terminate_job(jobId=job_id, reason="enough")
    assert fleet.wait(job_id)["container"]["exitCode"] == 137


def test_what_a_job_leaves_running_ends_with_it(fleet, tmp_path):
    alive = tmp_path / "alive"
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        f"'import time, pathlib; time.sleep(1); pathlib.Path({str(alive)!r}).touch()'])"
    )
    code = code.replace(f"{str(alive)!r}", f'"{alive}"')
    assert fleet.wait(fleet.submit(fleet.define("parent", code)))["status"] == "SUCCEEDED"
    # A job of the same length starts after the child did and outlives its plan.
    fleet.wait(fleet.submit(fleet.define("later", "import time; time.sleep(1.2)")))
    assert not alive.exists()


# Ending jobs


def test_terminate_ends_a_running_job_with_the_reason_given(fleet):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); print('ready')"
    job_id = fleet.submit(
        fleet.define("wait", f"{code}; time.sleep(60)", retryStrategy={"attempts": 5})
    )
    wait_for_line(fleet, job_id)
    fleet.batch.terminate_job(jobId=job_id, reason="no longer needed")
    job = fleet.wait(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "no longer needed")
    assert (job["container"]["exitCode"], len(job["attempts"])) == (75, 1)


def test_cancel_leaves_running_jobs_alone_and_ends_waiting_ones(fleet):
    definition = fleet.define("wait", WAIT, vcpus="4")
    running, waiting = fleet.submit(definition), fleet.submit(definition)
    fleet.wait(running, "RUNNING")
    fleet.wait(waiting, "RUNNABLE")
    for job_id in (running, waiting):
        fleet.batch.cancel_job(jobId=job_id, reason="changed my mind")
    job = fleet.wait(waiting)
    assert (job["status"], job["statusReason"]) == ("FAILED", "changed my mind")
    assert "startedAt" not in job
    assert fleet.job(running)["status"] == "RUNNING"
    fleet.batch.terminate_job(jobId=running, reason="end of the test")
    fleet.wait(running)


def test_terminating_an_array_job_ends_all_its_children(fleet):
    job_id = fleet.submit(fleet.define("wait", WAIT, vcpus="2"), arrayProperties={"size": 4})
    fleet.wait(f"{job_id}:1", "RUNNING")
    fleet.batch.terminate_job(jobId=job_id, reason="stop")
    parent = fleet.wait(job_id)
    assert parent["arrayProperties"]["statusSummary"]["FAILED"] == 4


# Capacity


def test_jobs_wait_in_runnable_until_there_are_vcpus(fleet, tmp_path):
    go = tmp_path / "go"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)"
    definition = fleet.define("wait", code, vcpus="2")
    jobs = [fleet.submit(definition) for _ in range(3)]
    for job_id in jobs[:2]:
        fleet.wait(job_id, "RUNNING")
    assert fleet.job(jobs[2])["status"] == "RUNNABLE"
    go.touch()
    assert fleet.wait(jobs[2])["status"] == "SUCCEEDED"
    ends = [fleet.job(job_id).get("stoppedAt") for job_id in jobs[:2]]
    assert fleet.job(jobs[2])["startedAt"] >= min(end for end in ends if end)


def test_a_job_that_can_never_run_stays_runnable_and_is_told_of(fleet):
    job_id = fleet.submit(fleet.define("huge", "", vcpus="8"))
    error = fleet.cloud.events.wait_for(
        lambda event: isinstance(event, CloudError) and job_id in event.text, seconds=10
    )
    assert "needs 8 vCPUs" in str(error)
    assert fleet.job(job_id)["status"] == "RUNNABLE"
    fleet.batch.terminate_job(jobId=job_id, reason="too large")
    assert fleet.wait(job_id)["statusReason"] == "too large"


def test_a_disabled_job_queue_takes_no_jobs_and_finishes_those_that_it_has(fleet):
    definition = fleet.define("hello", "print('hello')")
    fleet.batch.update_compute_environment(computeEnvironment="environment", state="DISABLED")
    job_id = fleet.submit(definition)
    fleet.batch.update_job_queue(jobQueue="job-queue", state="DISABLED")
    fleet.batch.update_compute_environment(computeEnvironment="environment", state="ENABLED")
    with pytest.raises(ClientError, match="is DISABLED"):
        fleet.submit(definition)
    assert fleet.wait(job_id)["status"] == "SUCCEEDED"
    fleet.batch.update_job_queue(jobQueue="job-queue", state="ENABLED")


def test_a_disabled_compute_environment_starts_nothing_until_it_is_enabled(fleet):
    fleet.batch.update_compute_environment(computeEnvironment="environment", state="DISABLED")
    job_id = fleet.submit(fleet.define("hello", "print('hello')"))
    fleet.wait(job_id, "RUNNABLE")
    fleet.batch.update_compute_environment(computeEnvironment="environment", state="ENABLED")
    assert fleet.wait(job_id)["status"] == "SUCCEEDED"


def test_a_job_waits_for_the_one_that_it_depends_on(fleet):
    first = fleet.submit(fleet.define("first", "raise SystemExit(1)"))
    second = fleet.submit(fleet.define("second", ""), dependsOn=[{"jobId": first}])
    job = fleet.wait(second)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Dependent Job failed")


# Refusals


@pytest.mark.parametrize("size", [1, 10_001])
def test_an_array_size_out_of_range_is_refused(fleet, size):
    with pytest.raises(ClientError, match=f"Array size {size}"):
        fleet.submit(fleet.define("array", ""), arrayProperties={"size": size})


def test_more_than_ten_attempts_are_refused(fleet):
    with pytest.raises(ClientError, match="11 attempts"):
        fleet.submit(fleet.define("retry", ""), retryStrategy={"attempts": 11})


def test_secrets_are_refused_and_told_of(fleet):
    definition = fleet.define(
        "secret", "", container={"secrets": [{"name": "TOKEN", "valueFrom": "arn:x"}]}
    )
    with pytest.raises(ClientError, match="no secrets to give: secret wants TOKEN"):
        fleet.submit(definition)
    assert any(isinstance(event, CloudError) for event in fleet.cloud.events.past)


def test_what_moto_refuses_is_refused(fleet):
    with pytest.raises(ClientError, match="does not exist"):
        fleet.submit("nothing")
    definition = fleet.define("old", "")
    fleet.batch.deregister_job_definition(jobDefinition=definition)
    with pytest.raises(ClientError, match="is INACTIVE"):
        fleet.submit(definition)


def test_jobs_are_listed_in_pages_by_status_by_filter_and_by_array(fleet):
    definition = fleet.define("listed", "print(1)")
    array = fleet.submit(definition, jobName="array", arrayProperties={"size": 3})
    single = fleet.submit(definition, jobName="single")
    for job_id in (array, single):
        fleet.wait(job_id)

    def listed(**request):
        answer = fleet.batch.list_jobs(**request)
        return [job["jobId"] for job in answer["jobSummaryList"]], answer.get("nextToken")

    done = {"jobQueue": fleet.job_queue, "jobStatus": "SUCCEEDED", "maxResults": 1}
    page, token = listed(**done)
    pages = [page]
    while token:
        page, token = listed(**done, nextToken=token)
        pages.append(page)
    assert all(len(page) == 1 for page in pages)
    assert {array, single} <= {job_id for page in pages for job_id in page}
    children, _ = listed(arrayJobId=array, jobStatus="SUCCEEDED")
    assert sorted(children) == [f"{array}:{index}" for index in range(3)]
    assert listed(arrayJobId=array) == ([], None)

    parent = fleet.job(array)
    assert parent["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 3
    assert parent["createdAt"] <= parent["startedAt"] <= parent["stoppedAt"]
    assert "exitCode" not in parent["container"]


def test_a_listing_by_filters_or_by_both_keys_is_refused(fleet):
    job = fleet.submit(fleet.define("any", "pass"))
    with pytest.raises(ClientError, match="one of jobQueue and arrayJobId"):
        fleet.batch.list_jobs(jobQueue=fleet.job_queue, arrayJobId=job)
    with pytest.raises(ClientError, match="not by filters"):
        fleet.batch.list_jobs(
            jobQueue=fleet.job_queue, filters=[{"name": "JOB_NAME", "values": ["any"]}]
        )
