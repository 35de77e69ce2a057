import subprocess
import sys
from math import isqrt

import flint
import pytest
from celery import Celery
from hypothesis import given, settings
from hypothesis import strategies as st

from local.cloud import LocalCloud
from local.engine import Engine
from taskpacks import BadInputError, DemoContext, WorkerContext, manager
from taskpacks.pi import demo, tasks

FIFTY = "3.14159265358979323846264338327950288419716939937510"


def context_at(folder, **environment):
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return WorkerContext(
        deployment="pi",
        vcpus=2,
        memory_mib=2048,
        uri_schemes=frozenset({"file"}),
        scratch_root=scratch,
        environment=environment,
    )


@pytest.fixture
def context(tmp_path):
    return context_at(tmp_path)


def gauss_legendre(digits):
    """Pi by a third method, in plain integers."""
    one = 10 ** (digits + 20)
    a, b, t, p = one, isqrt(one * one // 2), one // 4, 1
    while a - b > 1:
        a, b, previous = (a + b) // 2, isqrt(a * b), a
        t -= p * (previous - a) ** 2 // one
        p *= 2
    text = str((a + b) ** 2 // (4 * t) // 10**20)
    return f"{text[0]}.{text[1:]}"


def test_pi_is_truncated_not_rounded():
    for digits in range(1, 51):
        assert tasks.decimals(digits) == FIFTY[: digits + 2]


@settings(deadline=None)  # other work on the machine must not fail it
@given(st.integers(1, 2000))
def test_every_digit_is_right_to_the_last(digits):
    assert tasks.decimals(digits, threads=2) == gauss_legendre(digits)


def test_the_six_nines_at_the_762nd_digit_are_not_rounded_up():
    for digits in range(760, 770):
        assert tasks.decimals(digits) == gauss_legendre(digits)
    assert tasks.decimals(767).endswith("999999")


def test_bounds_too_wide_for_the_last_digit_are_refined(monkeypatch):
    precisions = []
    workprec = flint.ctx.workprec

    class Coarse:
        threads = 1

        def workprec(self, bits):
            precisions.append(bits)
            return workprec(bits - 60)

    monkeypatch.setattr(tasks.flint, "ctx", Coarse())
    assert tasks.decimals(100) == gauss_legendre(100)
    assert len(precisions) > 1


def test_the_millionth_digit_is_the_published_one():
    assert tasks.decimals(1_000_000, threads=2).endswith(demo.MILLION_ENDS_WITH)


def test_a_small_result_is_returned_itself(context):
    assert tasks.calculate(context, 4, task_id="x") == {"digits": 4, "pi": "3.1415"}


def test_with_output_the_digits_are_written_and_their_end_returned(context, tmp_path):
    uri = (tmp_path / "new" / "pi.txt").as_uri()
    result = tasks.calculate(context, 50, uri, task_id="x")
    assert result == {"digits": 50, "output": uri, "last_digits": FIFTY[-10:]}
    assert (tmp_path / "new" / "pi.txt").read_text() == FIFTY
    assert not list(context.scratch_root.iterdir())


def test_fewer_than_ten_digits_have_a_shorter_end(context, tmp_path):
    uri = (tmp_path / "pi.txt").as_uri()
    assert tasks.calculate(context, 3, uri, task_id="x")["last_digits"] == "141"


def test_a_long_result_without_output_goes_to_the_deployments_own_folder(tmp_path):
    context = context_at(tmp_path, PI_OUTPUT=tmp_path.as_uri())
    result = tasks.calculate(context, 10_001, task_id="some-id")
    assert result["output"] == f"{tmp_path.as_uri()}/some-id.txt"
    assert len((tmp_path / "some-id.txt").read_text()) == 10_003


def test_a_long_result_with_nowhere_to_go_is_refused_with_the_remedy(context):
    with pytest.raises(BadInputError, match="give output"):
        tasks.calculate(context, 10_001, task_id="x")


@pytest.mark.parametrize(
    "digits",
    [0, -1, tasks.DIGITS_MAX + 1, pytest.param(10**9999, id="huge"), True, 1.0, "10", None],
)
def test_a_number_of_digits_that_makes_no_sense_is_refused(context, digits):
    with pytest.raises(BadInputError, match="digits is"):
        tasks.calculate(context, digits, task_id="x")


def test_an_output_that_cannot_be_written_is_refused_before_the_calculation(context, monkeypatch):
    monkeypatch.delattr(tasks, "decimals")
    with pytest.raises(BadInputError, match="scheme 's3' is not allowed"):
        tasks.calculate(context, 10, "s3://bucket/key", task_id="x")


def test_a_calculation_that_is_cancelled_leaves_nothing_behind(context, tmp_path, monkeypatch):
    def cancel(*_):
        raise SystemExit

    monkeypatch.setattr(tasks.storage, "publish", cancel)
    with pytest.raises(SystemExit):
        tasks.calculate(context, 10, (tmp_path / "pi.txt").as_uri(), task_id="x")
    assert not list(context.scratch_root.iterdir())
    assert not (tmp_path / "pi.txt").exists()


def test_the_celery_task_names_its_result_after_itself(tmp_path):
    app = Celery("test", set_as_current=False)
    tasks.register(app, context_at(tmp_path, PI_OUTPUT=tmp_path.as_uri()))
    result = app.tasks["pi.calculate"].apply(kwargs={"digits": 10_001}, task_id="its-id").get()
    assert result["output"].endswith("/its-id.txt")


def test_the_demo_tasks_pass_their_own_check_and_a_wrong_digit_does_not(context, tmp_path):
    pack = manager.load("pi")
    demo_context = DemoContext(output=(tmp_path / "demo").as_uri())
    samples = pack.hooks.taskpack_demo(context=demo_context)
    assert len(samples) == 31
    for sample in (samples[0], samples[1], samples[-1]):
        result = tasks.calculate(context, **sample.kwargs, task_id="x")
        said = pack.hooks.taskpack_demo_check(context=demo_context, task=sample, result=result)
        assert "digits" in said
    wrong = {**result, "pi": result["pi"][:-1] + "x"}
    with pytest.raises(AssertionError, match="differs"):
        demo.check(demo_context, samples[-1], wrong)
    (tmp_path / "demo" / "pi-1000000.txt").write_text("3." + "0" * 1_000_000)
    with pytest.raises(AssertionError, match="something else"):
        demo.check(demo_context, samples[0], {**result, "output": samples[0].kwargs["output"]})


def test_the_demo_goes_on_to_another_deployment_where_the_stack_lets_it(tmp_path):
    pack = manager.load("pi")
    demo_context = DemoContext(output=tmp_path.as_uri(), sends_to=frozenset({"csv_sort"}))
    there = pack.hooks.taskpack_demo(context=demo_context)[0]
    assert [step.task for step in there.tasks] == ["pi.calculate", "csv_sort.sort"]
    assert "source" not in there.tasks[1].kwargs
    result = {"destination": there.tasks[1].kwargs["destination"], "rows": 1}
    file = tmp_path / "pi-2000-sorted.csv"
    file.write_text(f"{demo.machin(2000)}\n")
    assert "all there" in demo.check(demo_context, there, result)
    file.write_text(f"{demo.machin(2000)}0\n")
    with pytest.raises(AssertionError, match="is not pi to 2000 digits"):
        demo.check(demo_context, there, result)


PROGRAM = """
import json
import pulumi, pulumi_aws as aws
from taskpacks import InfrastructureContext
from taskpacks.pi import infrastructure

trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
         "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}
role = aws.iam.Role("worker", assume_role_policy=json.dumps(trust))
pulumi.export("role", role.name)
pulumi.export("variables", infrastructure.results_bucket(
    InfrastructureContext(
        deployment="pi_big", worker_role=role.name, parent=role, kms_key="arn:the-stacks-key")))
"""


def test_the_bucket_is_private_and_the_tasks_may_only_add_to_it(tmp_path):
    (tmp_path / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
    (tmp_path / "Pulumi.test.yaml").write_text("config: {aws:region: us-east-1}\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    with LocalCloud(tmp_path / "cloud", program_folder=tmp_path, pace=1) as cloud:
        engine = Engine(
            tmp_path, "test", endpoint_url=cloud.endpoint_url, state_file=tmp_path / "state.json"
        )
        engine.up()
        outputs = engine.outputs()
        bucket = outputs["variables"]["PI_OUTPUT"].removeprefix("s3://").removesuffix("/pi")
        assert bucket.startswith("pi-big-results-")  # S3 takes no underscore
        s3, iam = cloud.client("s3"), cloud.client("iam")
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert list(block.values()) == [True] * 4
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"][
            "Rules"
        ]
        encryption = rule["ApplyServerSideEncryptionByDefault"]
        assert encryption["KMSMasterKeyID"] == "arn:the-stacks-key"
        (name,) = iam.list_role_policies(RoleName=outputs["role"])["PolicyNames"]
        policy = iam.get_role_policy(RoleName=outputs["role"], PolicyName=name)["PolicyDocument"]
        (statement,) = policy["Statement"]
        assert statement["Action"] == ["s3:PutObject", "s3:AbortMultipartUpload"]
        assert statement["Resource"] == f"arn:aws:s3:::{bucket}/pi/*"


def test_loading_the_pack_imports_nothing_heavy():
    program = (
        "import sys; from taskpacks import manager; manager.load('pi');"
        "print([name for name in ('celery', 'pulumi', 'flint', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
