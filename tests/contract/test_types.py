import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskpacks import PackSpec, Resources, limits
from taskpacks.errors import RefusedDeclarationError


def refusal(**overrides):
    with pytest.raises(RefusedDeclarationError) as caught:
        PackSpec().overlaid(overrides, "taskpacks:packs.pi")
    return str(caught.value)


def test_the_defaults_are_deployable():
    assert PackSpec().resources.platform == "fargate"


def test_three_vcpus_on_fargate_names_the_sizes_that_there_are():
    text = refusal(resources={"vcpus": 3})
    assert "taskpacks:packs.pi.resources: vcpus is 3" in text
    assert "0.25, 0.5, 1, 2, 4, 8, 16" in text
    assert "platform: ec2" in text


def test_memory_that_does_not_pair_with_the_vcpus_is_told_which_does():
    text = refusal(resources={"vcpus": 8, "memory_mib": 17000})
    assert "memory_mib is 17000" in text
    assert "take 20480" in text


def test_a_gpu_on_fargate_is_sent_to_ec2():
    assert "gpus is 1: Fargate has no GPUs; set platform: ec2" in refusal(resources={"gpus": 1})


def test_a_gpu_on_arm64_is_refused():
    resources = {"gpus": 1, "platform": "ec2", "architecture": "arm64"}
    assert "is for x86_64" in refusal(resources=resources)


def test_a_scratch_size_can_be_chosen_on_ec2():
    spec = PackSpec().overlaid({"resources": {"platform": "ec2", "scratch_gib": 500}}, "here")
    assert spec.resources.scratch_gib == 500
    assert "scratch_gib" in refusal(resources={"platform": "ec2", "scratch_gib": 20_000})


@pytest.mark.parametrize(
    ("vcpus", "memory_mib", "most"), [(0.25, 512, 1), (1, 2048, 4), (8, 16384, 32)]
)
def test_a_vcpu_holds_at_most_four_processes(vcpus, memory_mib, most):
    shape = {"vcpus": vcpus, "memory_mib": memory_mib}
    assert PackSpec().resources.processes == 1
    spec = PackSpec().overlaid({"resources": {**shape, "processes": most}}, "here")
    assert spec.resources.processes == most
    text = refusal(resources={**shape, "processes": most + 1})
    assert f"processes is {most + 1}: " in text


def test_processes_that_share_a_vcpu_too_many_are_told_what_helps():
    text = refusal(resources={"processes": 5})
    assert text == (
        "taskpacks:packs.pi.resources: processes is 5: 1 vCPUs hold at most 4, 4 for each, since "
        "tasks that share one take longer; take fewer processes, or more vcpus."
    )


@pytest.mark.parametrize(
    ("value", "rule"), [(0, "it is at least 1"), (33, "it is at most 32"), (2.5, "whole number")]
)
def test_a_number_of_processes_that_no_worker_has_is_refused(value, rule):
    text = refusal(resources={"vcpus": 16, "memory_mib": 32768, "processes": value})
    assert f"resources.processes is {value}: " in text
    assert rule in text


@pytest.mark.parametrize("name", ["C7i", "c7i.", "c7i large", ""])
def test_a_misspelt_instance_type_is_refused(name):
    assert "instance_types[0]" in refusal(resources={"platform": "ec2", "instance_types": [name]})


def test_workers_that_would_be_ended_in_mid_task_are_refused():
    text = refusal(scaling={"worker_lifetime_seconds": 600})
    assert "worker_lifetime_seconds is 600" in text
    assert "queue.task_time_limit_seconds is 900" in text


def test_a_secret_by_value_is_refused():
    assert "it has the form ^arn:" in refusal(secrets={"KEY": "hunter2"})


def test_a_gpu_on_ec2_is_taken():
    spec = PackSpec().overlaid({"resources": {"gpus": 1, "platform": "ec2"}}, "here")
    assert spec.resources.gpus == 1


def test_instance_types_on_fargate_are_refused():
    assert "no instances to choose" in refusal(resources={"instance_types": ["c7i.large"]})


def test_a_visibility_longer_than_twelve_hours_is_refused():
    text = refusal(queue={"visibility_timeout_seconds": 43_201})
    assert "visibility_timeout_seconds is 43201" in text
    assert "43200 s (12 h)" in text


def test_a_time_limit_that_sqs_cannot_hide_a_message_for_is_refused():
    text = refusal(queue={"task_time_limit_seconds": 43_200})
    assert "task_time_limit_seconds is 43200" in text
    assert "split tasks" in text


def test_fewer_receives_than_attempts_are_refused():
    text = refusal(queue={"max_receives": 2, "max_attempts": 3})
    assert "max_receives is 2 and max_attempts is 3" in text
    assert "raise max_receives" in text


@pytest.mark.parametrize(("low", "high"), [(50, 50), (51, 50)])
def test_a_low_threshold_that_is_not_below_the_high_one_is_refused(low, high):
    text = refusal(scaling={"low_depth": low, "high_depth": high})
    assert f"low_depth is {low} and high_depth is {high}" in text
    assert "lower low_depth or raise high_depth" in text


@pytest.mark.parametrize("size", [0, 1, 10_001])
def test_an_array_that_batch_would_refuse_is_refused(size):
    text = refusal(scaling={"high_workers": size})
    assert f"high_workers is {size}" in text
    assert "2 to 10_000" in text


def test_an_sla_shorter_than_a_start_is_refused():
    assert "allow at least 180" in refusal(scaling={"start_within_seconds": 100})


def test_a_deadline_shorter_than_a_start_is_refused():
    text = refusal(
        scaling={
            "drain_within_seconds": 300,
            "startup_seconds": 300,
        }
    )
    assert "drain_within_seconds is 300: a worker needs 300 s to start" in text
    assert "allow more than 300" in text


def test_a_daily_cap_that_one_worker_would_break_is_refused():
    text = refusal(
        resources={"vcpus": 4, "memory_mib": 8192},
        scaling={"vcpu_hours_per_day": 0.1, "task_seconds": 240, "startup_seconds": 120},
    )
    assert "scaling.vcpu_hours_per_day is 0.1: one worker of 4 vCPUs" in text
    assert "uses 0.40 vCPU-hours; raise the cap" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_workers", 0),
        ("task_seconds", 0),
        ("break_even", 0),
        ("round_seconds", 0),
        ("round_seconds", 601),
        ("breaker_failures", 0),
        ("vcpu_hours_per_day", 0),
        ("mode", "controler"),
    ],
)
def test_a_figure_of_the_controller_that_makes_no_sense_is_refused(name, value):
    text = refusal(scaling={name: value})
    assert text.startswith(f"taskpacks:packs.pi.scaling.{name} is {value!r}: it is ")


def test_fewer_vcpus_in_all_than_one_worker_needs_are_refused():
    assert "none could start" in refusal(resources={"max_vcpus": 1, "vcpus": 2, "memory_mib": 4096})


def test_an_unknown_setting_names_the_nearest_one():
    text = refusal(scaling={"high_wrkers": 3})
    assert text.startswith("taskpacks:packs.pi.scaling.high_wrkers: there is no such setting.")
    assert "Did you mean 'high_workers'?" in text


def test_a_number_written_as_text_is_refused_and_not_guessed_at():
    assert refusal(resources={"memory_mib": "2"}).endswith("is '2': it is a whole number.")


def test_every_refused_field_has_a_line_of_its_own():
    lines = refusal(resources={"gpus": 1}, queue={"max_receives": 0}).splitlines()
    assert [line.split(":")[1] for line in lines] == [
        "packs.pi.resources",
        "packs.pi.queue.max_receives is 0",
    ]


def test_reserved_environment_names_are_refused():
    assert "TASKPACKS_" in refusal(environment={"TASKPACKS_PACK": "x"})


def test_an_overlay_changes_what_it_names_and_nothing_else():
    spec = PackSpec(resources=Resources(vcpus=2, memory_mib=4096))
    overlaid = spec.overlaid({"scaling": {"low_depth": 2}}, "here")
    assert overlaid.resources == spec.resources
    assert overlaid.scaling == spec.scaling.model_copy(update={"low_depth": 2})


@given(
    vcpus=st.sampled_from(sorted(limits.FARGATE_MEMORY_MIB_BY_VCPUS)),
    memory_mib=st.integers(512, 130_000),
)
def test_fargate_takes_exactly_the_pairs_of_its_table(vcpus, memory_mib):
    try:
        Resources(vcpus=vcpus, memory_mib=memory_mib, max_vcpus=16)
    except ValueError:
        taken = False
    else:
        taken = True
    assert taken == (memory_mib in limits.FARGATE_MEMORY_MIB_BY_VCPUS[vcpus])


def test_a_cap_that_stops_workers_needs_the_mode_that_counts_what_they_used():
    text = refusal(scaling={"mode": "alarms", "cap": "stop"})
    assert "cap is stop in mode alarms" in text
    assert "set mode to controller" in text


def test_waking_on_send_needs_the_mode_that_can_be_woken():
    text = refusal(scaling={"mode": "alarms", "wake_on_send": True})
    assert "wake_on_send is True in mode alarms" in text
    assert "set mode: controller" in text
