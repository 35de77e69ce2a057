"""Hooks of the program before something is deleted."""

from __future__ import annotations

import pytest

from local.engine import Action, HookError
from tests.engine.conftest import urn

QUEUE = "aws:sqs/queue:Queue"
HOOK = """
def look(args):
    with open("asked", "a") as file:
        print(args.name, args.type, args.id == args.old_outputs["url"], file=file)
    if args.old_inputs["delaySeconds"] == 7:
        raise ValueError("there is something in it")

def hooked(name, delay_seconds, **more):
    return aws.sqs.Queue(name, delay_seconds=delay_seconds, opts=pulumi.ResourceOptions(
        hooks=pulumi.ResourceHookBinding(before_delete=[HOOK]), **more))

HOOK = pulumi.ResourceHook("look", look, pulumi.ResourceHookOptions(OPTIONS))
"""


def program(*lines, options=""):
    return HOOK.replace("OPTIONS", options) + "\n".join(lines)


def asked(project):
    file = project.folder / "asked"
    return file.read_text().splitlines() if file.exists() else []


def queues(project):
    return len(project.client("sqs").list_queues().get("QueueUrls", []))


def test_a_hook_is_asked_before_what_the_program_gave_up_is_deleted(project):
    project.write(program("hooked('work', 0)")).up()
    project.write(program("hooked('work', 1)")).up()
    assert asked(project) == []
    summary = project.write(program()).up()
    assert summary.changes[urn(QUEUE, "work")].action is Action.DELETED
    assert asked(project) == [f"work {QUEUE} True"]
    assert not queues(project)


def test_a_hook_that_fails_keeps_the_resource_and_the_next_run_asks_again(project):
    project.write(program("hooked('work', 7)")).up()
    for _ in range(2):
        with pytest.raises(HookError, match=r"Queue::work: .* 'look' failed: there is something"):
            project.write(program()).up()
        assert queues(project) == 1
    assert len(asked(project)) == 2
    assert not project.write(program("hooked('work', 7)")).up().changed
    project.write(program("hooked('work', 8)")).up()
    project.write(program()).up()
    assert not queues(project)


def test_what_depends_on_the_kept_resource_is_gone_and_what_it_depends_on_stays(project):
    project.write(
        program(
            "first = aws.sqs.Queue('first')",
            "kept = hooked('kept', 7, depends_on=[first])",
            "aws.sqs.Queue('last', tags={'after': kept.name})",
        )
    ).up()
    with pytest.raises(HookError):
        project.write(program()).up()
    names = {url.rpartition("/")[2][:5] for url in project.client("sqs").list_queues()["QueueUrls"]}
    assert names == {"first", "kept-"}


def test_a_preview_asks_only_the_hooks_that_want_it(project):
    project.write(program("hooked('work', 7)")).up()
    assert project.write(program()).preview().counts[Action.DELETED] == 1
    assert asked(project) == []
    with pytest.raises(HookError):
        project.write(program(options="on_dry_run=True")).preview()


def test_a_hook_whose_errors_count_for_nothing_is_only_told_of(project, caplog):
    project.write(program("hooked('work', 7)")).up()
    project.write(program(options="ignore_errors=True")).up()
    assert not queues(project)
    assert "'look' failed: there is something in it" in caplog.text


def test_a_replacement_asks_too(project):
    named = "aws.sqs.Queue('work', name='NAME', delay_seconds=7, opts=pulumi.ResourceOptions("
    named += "hooks=pulumi.ResourceHookBinding(before_delete=[HOOK])))"
    project.write(program(named.replace("NAME", "one"))).up()
    with pytest.raises(HookError):
        project.write(program(named.replace("NAME", "two"))).up()
    assert queues(project) == 2


def test_destroying_needs_the_program_where_there_are_hooks_as_with_the_real_cli(project):
    project.write(program("hooked('work', 0)", "aws.sqs.Queue('other')")).up()
    with pytest.raises(
        HookError, match=r"Queue::work \(and 0 more\) has hooks .*destroy\(run_program=True\)"
    ):
        project.engine().destroy()
    assert queues(project) == 2
    summary = project.engine().destroy(run_program=True)
    assert summary.counts == {Action.DELETED: 3}
    assert asked(project) == [f"work {QUEUE} True"]
    assert not queues(project)
    assert project.engine().outputs() == {}


def test_destroying_with_the_program_makes_nothing_that_was_not_there(project):
    project.write(program("hooked('work', 0)")).up()
    engine = project.write(
        program("hooked('work', 0)", "hooked('new', 0).url.apply(lambda u: 1/0)")
    )
    engine.destroy(run_program=True)
    assert not queues(project)
    assert project.engine().destroy(run_program=True).counts == {}


def test_a_hook_that_the_program_does_not_register_any_more_is_named(project):
    project.write(program("hooked('work', 0)")).up()
    with pytest.raises(HookError, match=r"its hook 'look', and the program has registered none"):
        project.write("pulumi.export('a', 1)").up()
    assert queues(project) == 1


def test_two_hooks_of_one_name_are_refused(project):
    engine = project.write(program("pulumi.ResourceHook('look', look)"))
    with pytest.raises(HookError, match="Two hooks have the name 'look'"):
        engine.up()


def test_hooks_at_other_times_are_refused_by_name(project):
    engine = project.write(program("hooked('work', 0)").replace("before_delete=", "after_create="))
    with pytest.raises(Exception, match="the option 'hooks' cannot be honoured here"):
        engine.up()
