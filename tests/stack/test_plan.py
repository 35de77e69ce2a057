import json
import re
from pathlib import Path

import pytest
import yaml

from cli import plan as plan_command
from stack.hardware import costs, instances, prices, shapes
from stack.preflight import cost_at_rest, plan, rules, synthesis
from stack.preflight.rules import Registration
from taskpacks import PackSpec, manager
from taskpacks.errors import RefusedSettingsError

ROOT = Path(__file__).resolve().parents[2]
USD = prices.load()


def planned(packs, region="us-east-1", known=USD, **settings):
    config = {"aws:region": region, "taskpacks:packs": json.dumps(packs)}
    config |= {f"taskpacks:{name}": json.dumps(value) for name, value in settings.items()}
    return plan.make(ROOT / "__main__.py", config, project="taskpacks", stack="test", prices=known)


def planned_from(file, tmp_path, **settings):
    (tmp_path / file).write_text(
        yaml.safe_dump({"config": {"aws:region": "us-east-1", **settings}})
    )
    return plan_command.run(ROOT, tmp_path / file, None)


def test_a_stack_for_a_cloud_on_this_machine_is_planned_by_its_addresses(tmp_path):
    files = {"taskpacks:packs": {"pi": {}}, "taskpacks:uri_schemes": ["file"]}
    (refused,) = planned_from("Pulumi.mine.yaml", tmp_path, **files).refused
    assert "aws:endpoints is []" in refused
    here = {"aws:endpoints": [{"sqs": "http://127.0.0.1:5000"}]}
    assert planned_from("Pulumi.mine.yaml", tmp_path, **files, **here).refused == ()


def test_what_only_the_cli_can_read_is_planned_without_or_refused(tmp_path):
    secret = {"secure": "v1:abc"}
    planned = planned_from(
        "Pulumi.mine.yaml",
        tmp_path,
        **{"taskpacks:packs": {"pi": {}}, "taskpacks:notify": ["ops@example.com", secret]},
    )
    assert planned.refused == ()
    assert planned.notes[0].startswith("taskpacks:notify is encrypted")
    packs = {"pi": {"environment": {"TOKEN": secret}}}
    (refused,) = planned_from("Pulumi.mine.yaml", tmp_path, **{"taskpacks:packs": packs}).refused
    assert refused.startswith("taskpacks:packs is secret, in whole or in part")


def test_a_plan_tells_which_deployments_send_to_which_and_refuses_what_they_cannot_send_to():
    large = {"pack": "pi", "resources": {"memory_mib": 16384}}
    packs = {
        "pi": {"sends_to": ["csv_sort"], "queue": {"escalate_to": "large"}},
        "csv_sort": {},
        "large": large,
    }
    made = planned(packs)
    assert [each.sends_to for each in made.deployments] == [("csv_sort", "large"), (), ()]
    assert any(
        note.startswith("pi: its workers may send tasks to csv_sort, large, so")
        for note in made.notes
    )
    (refused,) = planned({**packs, "pi": {"sends_to": ["csv-sort"]}}).refused
    assert "Did you mean 'csv_sort'?" in refused


def test_a_plan_tells_which_tasks_may_reach_what_no_statement_names():
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    wild = {"statements": [statement], "allow_wildcard": True}
    noted = planned({"pi": {}, "more": {"pack": "pi", "permissions": wild}}).notes
    assert any(note.startswith("more: permissions.allow_wildcard is set") for note in noted)


@pytest.mark.parametrize("stack", ["dev", "local"])
def test_nothing_is_refused_of_the_stacks_that_come_with_it(stack):
    assert plan_command.run(ROOT, ROOT / f"Pulumi.{stack}.yaml", None).refused == ()


def spec(**resources):
    scaling = resources.pop("scaling", {})
    return PackSpec().overlaid({"resources": resources, "scaling": scaling}, "here")


# Prices.


def test_every_known_instance_type_has_a_price():
    assert all(USD.instance_hour(name) for name in instances.KNOWN)


def test_every_price_has_a_source_and_a_date():
    content = yaml.safe_load(prices.FILE.read_text())
    for group in content["groups"].values():
        assert group["source"].startswith("https://aws.amazon.com/")
        assert group["date"].year >= 2026
        assert group["usd"]


def test_a_family_without_sizes_of_its_own_costs_its_vcpus():
    assert USD.instance_hour("m7i.2xlarge") == pytest.approx(0.4032)
    assert USD.instance_hour("c7g.large") == pytest.approx(0.0725)
    assert USD.instance_hour("g5.12xlarge") == 5.672
    assert USD.instance_hour("p5.48xlarge") is None


def test_ones_own_prices_lie_over_ours(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "region: eu-west-1\n"
        "groups: {ec2_instance_hour: {usd: {p5.48xlarge: 60.5}}, kms_month: {usd: {key: 2}}}\n"
    )
    mine = prices.load(file)
    assert (mine.region, mine.usd("kms_month", "key")) == ("eu-west-1", 2)
    assert mine.instance_hour("p5.48xlarge") == 60.5
    assert mine.instance_hour("g5.xlarge") == USD.instance_hour("g5.xlarge")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("groups: {kms_mont: {usd: {key: 2}}}", "Did you mean 'kms_month'?"),
        ("groups: {kms_month: {usd: {key: free}}}", "'key' in the group 'kms_month' is 'free'"),
        ("groups: {kms_month: 2}", "it is a mapping with source, date and usd"),
        ("groups: {kms_month: {date: soon}}", "write YYYY-MM-DD"),
        ("- 1", "holds no prices"),
        ("a: [", "cannot be read as prices"),
    ],
)
def test_prices_that_cannot_be_used_are_refused(text, error, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(RefusedSettingsError) as caught:
        prices.load(file)
    assert error in str(caught.value)


# Costs, by hand.


def test_a_worker_on_fargate_costs_its_vcpus_its_memory_and_its_scratch_beyond_twenty_gib():
    x86 = spec(vcpus=4, memory_mib=8192, max_vcpus=40, scratch_gib=120)
    assert costs.worker_hour(x86.resources, USD) == pytest.approx(
        4 * 0.04048 + 8 * 0.004445 + 100 * 0.000111
    )
    arm = spec(vcpus=4, memory_mib=8192, architecture="arm64", max_vcpus=40)
    assert costs.worker_hour(arm.resources, USD) == pytest.approx(
        4 * 0.03238 + 8 * 0.00356 + 0.000111
    )
    assert costs.worst_hour(arm, USD) == pytest.approx(10 * costs.worker_hour(arm.resources, USD))


def test_workers_on_ec2_cost_the_dearest_instances_that_they_may_get_with_their_volumes():
    sort = manager.load("csv_sort").spec
    r8g = 4 * 0.05891 + 130 * 0.08 / 730
    assert costs.worst_hour(sort, USD) == pytest.approx(10 * r8g)


def test_an_instance_that_is_not_filled_is_paid_as_a_whole():
    one = spec(platform="ec2", vcpus=2, instance_types=["m7i.4xlarge"], max_vcpus=2)
    volume = (30 + 8 * 21) * 0.08 / 730
    assert costs.worst_hour(one, USD) == pytest.approx(0.8064 + volume)


def test_no_more_instances_are_counted_than_fit_below_max_vcpus_and_one():
    many = spec(platform="ec2", vcpus=1, instance_types=["m7i.4xlarge"], max_vcpus=40)
    volume = (30 + 16 * 21) * 0.08 / 730
    assert costs.worst_hour(many, USD) == pytest.approx(3 * (0.8064 + volume))


def test_two_environments_can_both_be_full_unless_a_controller_counts():
    both = spec(purchase="spot_then_on_demand", max_vcpus=10, scaling={"mode": "alarms"})
    assert costs.max_workers(both) == 20
    counted = spec(purchase="spot_then_on_demand", max_vcpus=10, scaling={"mode": "controller"})
    assert costs.max_workers(counted) == 10
    few = spec(max_vcpus=10, scaling={"mode": "controller", "max_workers": 3})
    assert costs.max_workers(few) == 3


def test_an_unknown_price_is_unknown_and_not_nothing():
    unknown = spec(platform="ec2", instance_types=["p5.48xlarge"])
    assert costs.worst_hour(unknown, USD) is None


def test_what_lies_there_is_counted_by_the_month():
    resources = [
        Registration("aws:cloudwatch/metricAlarm:MetricAlarm", "a", {"metricName": "x"}),
        Registration(
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            "b",
            {"metricQueries": [{"expression": "x"}, {"metric": {}}, {"metric": {}}]},
        ),
        Registration("aws:cloudwatch/dashboard:Dashboard", "d", {}),
        Registration("aws:ec2/natGateway:NatGateway", "n", {}),
        Registration("aws:ec2/eip:Eip", "e", {}),
        Registration(
            "aws:ec2/vpcEndpoint:VpcEndpoint",
            "i",
            {"vpcEndpointType": "Interface", "subnetIds": ["a", "b"]},
        ),
        Registration("aws:ec2/vpcEndpoint:VpcEndpoint", "g", {"vpcEndpointType": "Gateway"}),
        Registration("aws:kms/key:Key", "k", {}),
        Registration(
            "aws:cloudwatch/eventRule:EventRule", "p", {"scheduleExpression": "rate(1 minute)"}
        ),
        Registration("aws:batch/jobQueue:JobQueue", "j", {}),
        Registration("aws:cloudwatch/eventRule:EventRule", "q", {"eventPattern": "{}"}),
        Registration("aws:sqs/queue:Queue", "s", {}),
    ]
    assert cost_at_rest.at_rest(resources, USD) == {
        "alarms": pytest.approx(0.30),
        "dashboard": 3.0,
        "NAT gateways": pytest.approx(32.85),
        "public addresses": pytest.approx(3.65),
        "interface endpoints": pytest.approx(14.60),
        "keys": 1.0,
        # A request of Lambda, 0.33 s of 256 MiB, a request of SQS.
        "doorman": pytest.approx(43_800 * (0.2e-6 + 0.33 / 4 * 13.3334e-6 + 0.4e-6)),
    }


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [("rate(1 minute)", 43_800), ("rate(2 hours)", 365), ("rate(1 day)", 730 / 24), ("", 0)],
)
def test_schedules_run_so_often(schedule, runs):
    assert cost_at_rest.runs_per_month(schedule) == pytest.approx(runs)


# The plan.


def test_a_plan_says_what_each_deployment_gets():
    made = planned(
        {"pi": {}, "gpu": {"pack": "video_encoding", "resources": {"gpus": 1, "purchase": "spot"}}}
    )
    assert made.refused == ()
    pi, gpu = made.deployments
    assert (pi.name, pi.pack, pi.runs_on, pi.purchase) == ("pi", "pi", "Fargate", "on-demand")
    assert pi.shape == "4 vCPU, 8 GiB, 21 GiB scratch, x86_64"
    assert pi.max_workers == 10
    assert (gpu.pack, gpu.purchase) == ("video_encoding", "spot")
    assert gpu.runs_on == "g6.2xlarge, g5.2xlarge, g4dn.2xlarge"
    assert "1 GPU" in gpu.shape
    assert made.worst_usd_per_hour == pi.worst_usd_per_hour + gpu.worst_usd_per_hour
    used = {each.quota.what: each.used for each in made.quotas}
    assert (used["job queues"], used["compute environments"]) == (2, 2)
    assert made.at_rest["interface endpoints"] > 50


def test_a_worker_with_several_processes_costs_what_one_with_one_does():
    made = planned({"pi": {}, "several": {"pack": "pi", "resources": {"processes": 4}}})
    assert made.refused == ()
    pi, several = made.deployments
    assert several.shape == "4 vCPU, 8 GiB, 4 processes, 21 GiB scratch, x86_64"
    assert several.max_workers == pi.max_workers
    assert several.worst_usd_per_hour == pi.worst_usd_per_hour


def test_the_alarms_of_a_deployment_are_counted_as_its_own():
    made = planned({"pi": {}, "pi-deep": {"pack": "pi", "scaling": {"mode": "controller"}}})
    total = next(each.used for each in made.quotas if each.quota.what == "alarms")
    assert sum(each.alarms for each in made.deployments) == total - 2  # the doorman's
    assert all(each.alarms >= 3 for each in made.deployments)


def test_a_plan_of_what_is_refused_says_all_that_is():
    made = planned({"pj": {}, "pi": {"resources": {"vcpus": 3}}})
    assert made.deployments == ()
    assert any("There is no pack 'pj'." in sentence for sentence in made.refused)
    assert any("vcpus is 3: Fargate offers" in sentence for sentence in made.refused)


def test_a_broken_rule_about_a_resource_is_told_beside_the_table():
    lexicon = f"arn:aws:polly:us-east-1:111122223333:lexicon/{'x' * 60}"
    statements = [
        {"Effect": "Allow", "Action": ["polly:SynthesizeSpeech"], "Resource": [lexicon]}
    ] * 80
    made = planned({"pi": {"permissions": {"statements": statements}}})
    assert len(made.deployments) == 1
    assert any("has at most 10_240 without white space" in text for text in made.refused)


def test_sharing_is_suggested_when_quotas_get_near():
    both = {"pack": "pi", "resources": {"purchase": "spot_then_on_demand"}}
    (note,) = planned({f"pi{index}": both for index in range(20)}).notes
    assert "share_compute_environments: true takes 38 compute environments fewer" in note


ON_EC2 = {"pack": "pi", "resources": {"platform": "ec2"}}


def change(count, tmp_path, **settings):
    """Plans the change of some deployments on EC2, each with machines of its own, to settings."""
    packs = {"taskpacks:packs": {f"pi{index}": ON_EC2 for index in range(count)}}
    planned_from("Pulumi.before.yaml", tmp_path, **packs)
    new = {"config": {"aws:region": "us-east-1", **packs, **settings}}
    (tmp_path / "Pulumi.mine.yaml").write_text(yaml.safe_dump(new))
    return plan_command.run(
        ROOT, tmp_path / "Pulumi.mine.yaml", None, tmp_path / "Pulumi.before.yaml"
    )


def test_a_change_that_needs_too_many_environments_at_once_is_refused(tmp_path):
    assert change(26, tmp_path).refused == ()
    (refused,) = change(26, tmp_path, **{"taskpacks:owner": "media"}).refused
    assert "compute environments, old and new at once, is 52: AWS allows 50" in refused
    assert "first set share_compute_environments: true" in refused
    sharing = {"taskpacks:share_compute_environments": True}
    assert change(26, tmp_path, **sharing).refused == ()


def test_a_stack_whose_machines_could_not_all_be_replaced_at_once_is_noted():
    def noted(count):
        notes = planned({f"pi{index}": ON_EC2 for index in range(count)}).notes
        return [note for note in notes if "compute environments at once" in note]

    assert noted(25) == []
    (note,) = noted(26)
    assert "would need 52 compute environments at once, and AWS allows 50" in note


def names_of_environments(**settings):
    own_network = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
    config = {"aws:region": "us-east-1", "taskpacks:packs": json.dumps({"pi": ON_EC2})}
    for name, value in {**own_network, **settings}.items():
        config[f"taskpacks:{name}"] = value if isinstance(value, str) else json.dumps(value)
    made = synthesis.synthesize(ROOT / "__main__.py", config, project="taskpacks", stack="test")
    return {each.name for each in made if each.type.endswith(":ComputeEnvironment")}


CHANGED = {
    "owner": "crew",
    "image_tag": "v2",
    "egress": "nat",
    "kms_key": "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
    "secret_key_arns": [
        "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
    ],
    "subnet_ids": ["subnet-2"],
    "security_group_ids": ["sg-2"],
    "assign_public_ip": True,
    "notify": ["somebody@example.com"],
    "data": "delete",
    "drain_on_delete_seconds": 1,
    "machine_image_generation": 2,
}


def test_the_settings_that_replace_all_machines_are_those_that_plan_and_docs_name():
    before = names_of_environments()
    replacing = {
        name for name, value in CHANGED.items() if names_of_environments(**{name: value}) != before
    }
    assert replacing == set(shapes.REPLACING_ALL_MACHINES)
    page = (ROOT / "docs" / "deploying.md").read_text()
    row = page.partition("\n| on EC2: instance types")[2].partition(" |")[0]
    assert set(re.findall(r"`taskpacks:(\w+)`", row)) == replacing
    (note,) = planned({f"pi{index}": ON_EC2 for index in range(26)}).notes[:1]
    assert set(re.findall(r"taskpacks:(\w+)", note)) == {*replacing, "share_compute_environments"}


def test_settings_before_that_are_refused_are_told_as_such(tmp_path):
    (tmp_path / "Pulumi.before.yaml").write_text("config: {aws:region: us-east-1}\n")
    made = plan_command.run(ROOT, ROOT / "Pulumi.dev.yaml", None, tmp_path / "Pulumi.before.yaml")
    (refused,) = made.refused
    assert refused.startswith("In the settings before: taskpacks:packs is None")


def test_settings_before_that_are_refused_hide_nothing_of_the_new_ones(tmp_path):
    (tmp_path / "Pulumi.before.yaml").write_text("config: {aws:region: us-east-1}\n")
    queue = "arn:aws:sqs:us-east-1:123456789012:one"
    statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue}
    packs = {"pi": {"permissions": {"statements": [statement] * 120}}}
    new = {"config": {"aws:region": "us-east-1", "taskpacks:packs": packs}}
    (tmp_path / "Pulumi.mine.yaml").write_text(yaml.safe_dump(new))
    made = plan_command.run(
        ROOT, tmp_path / "Pulumi.mine.yaml", None, tmp_path / "Pulumi.before.yaml"
    )
    *of_the_new, of_the_old = made.refused
    assert any("has at most 10_240 without white space" in text for text in of_the_new)
    assert of_the_old.startswith("In the settings before: taskpacks:packs is None")
    assert len(made.deployments) == 1


OWN_NETWORK = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}


def test_a_key_of_your_own_is_noted_with_whom_its_policy_must_let_in(tmp_path):
    key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"

    def notes(**packs):
        settings = {"taskpacks:packs": packs, "taskpacks:kms_key": key}
        return planned_from("Pulumi.mine.yaml", tmp_path, **settings).notes

    (note,) = notes(pi={})
    assert note.startswith("taskpacks:kms_key: its own policy cannot be read here")
    assert "EBS" not in note
    assert any("EBS for the instances of sort" in note for note in notes(pi={}, sort=ON_EC2))


def test_subnets_of_your_own_that_may_be_public_are_noted_for_fargate():
    (note,) = planned({"pi": {}}, **OWN_NETWORK).notes
    assert note.startswith("pi: ")
    assert "if they are public" in note
    assert "taskpacks:assign_public_ip: true" in note


def test_subnets_of_your_own_are_not_noted_where_public_addresses_are_settled():
    on_ec2 = {"resources": {"platform": "ec2"}}
    assert not planned({"pi": {}}, assign_public_ip=True, **OWN_NETWORK).notes
    assert not any("public" in note for note in planned({"pi": on_ec2}, **OWN_NETWORK).notes)


def test_what_cannot_be_known_is_noted():
    made = planned(
        {"big": {"pack": "video_encoding", "resources": {"instance_types": ["p5.48xlarge"]}}},
        region="eu-west-1",
    )
    assert made.worst_usd_per_hour is None
    assert any("The prices are those of us-east-1" in note for note in made.notes)
    assert any("p5.48xlarge is no instance type that is known" in note for note in made.notes)
    assert any("big: which instance types eu-west-1 offers only AWS" in note for note in made.notes)


def test_a_plan_for_machines_is_json_with_a_unit_in_every_name():
    made = json.loads(json.dumps(planned({"pi": {}}).as_json()))
    assert made["refused"] == []
    assert made["deployments"][0]["worst_usd_per_hour"] == pytest.approx(1.97, abs=0.02)
    assert made["quotas"][0] == {
        "what": "job queues",
        "in": "a region",
        "used": 1,
        "most": 50,
        "adjustable": False,
        "source": rules.QUOTAS[0].source,
    }
    assert made["at_rest_usd_per_month"] == pytest.approx(sum(made["at_rest"].values()))


@pytest.mark.parametrize(("mode", "alarms", "rules_used"), [("controller", 8, 2), ("alarms", 6, 4)])
def test_the_page_on_costs_says_what_a_plan_counts_for_one_deployment(mode, alarms, rules_used):
    page = (ROOT / "docs" / "costs.md").read_text()
    made = planned({"pi": {"scaling": {"mode": mode}}})
    used = {each.quota.what: each.used for each in made.quotas}
    of_the_stack = {"rules": 1, "alarms": 2}  # the doorman's
    assert used["rules on the default event bus"] == rules_used + of_the_stack["rules"]
    assert used["alarms"] == alarms + of_the_stack["alarms"]
    for figure in (alarms, rules_used):
        assert f"{figure} per deployment" in page or f"`{mode}` {figure}" in page
    assert f"${made.at_rest['alarms'] - 0.20:.2f}" in page
    assert f"**${made.at_rest['interface endpoints']:.2f}**" in page


@pytest.mark.parametrize("deployments", [1, 10, 50])
def test_the_page_on_costs_says_what_the_doorman_costs(deployments):
    made = planned({f"pi-{index}": {"pack": "pi"} for index in range(deployments)})
    row = f"| {deployments} | "
    (found,) = [
        line
        for line in (ROOT / "docs" / "costs.md").read_text().splitlines()
        if line.startswith(row)
    ]
    assert f"**${made.at_rest['doorman']:.2f}**" in found
