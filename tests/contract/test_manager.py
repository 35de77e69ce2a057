import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

from taskpacks import PackSpec, Resources, hookimpl, manager
from taskpacks.errors import (
    DuplicatePackError,
    MisspeltHookError,
    RefusedDeclarationError,
    UnknownPackError,
)

ROOT = Path(manager.__file__).parent.parent


def pack_module(**hooks):
    module = types.ModuleType("a_pack")
    for name, function in hooks.items():
        function.__name__ = name
        setattr(module, name, hookimpl(function))
    return module


def default_spec():
    return PackSpec()


def good_hooks(**more):
    return {
        "taskpack_spec": default_spec,
        "taskpack_register_tasks": lambda app: None,
        **more,
    }


def test_every_folder_is_a_pack_that_loads():
    folders = {entry.parent.name for entry in manager.FOLDER.glob("*/__init__.py")}
    packs = {name: manager.load(name) for name in manager.available()}
    assert folders <= set(packs)
    assert all(isinstance(pack.spec, PackSpec) for pack in packs.values())


def test_a_pack_may_leave_out_arguments_of_a_hook():
    pack = manager.from_module("a", pack_module(**good_hooks()))
    pack.hooks.taskpack_register_tasks(app=None, context=None)


def test_a_missing_optional_hook_answers_nothing():
    pack = manager.from_module("a", pack_module(**good_hooks()))
    assert pack.hooks.taskpack_infrastructure(context=None) is None


def test_an_unknown_pack_names_the_nearest_one():
    with pytest.raises(UnknownPackError, match=r"no pack 'csv_srt'. Did you mean 'csv_sort'\?"):
        manager.load("csv_srt", {"csv_sort": "x", "pi": "y"})


@pytest.mark.parametrize("name", ["Hello", "my-pack", "1st", ""])
def test_a_name_that_no_module_can_have_is_refused(name):
    with pytest.raises(UnknownPackError, match="lower-case letters, digits and '_'"):
        manager.load(name, {name: "x"})


def test_a_value_that_is_refused_in_python_reads_as_in_yaml():
    hooks = good_hooks(taskpack_spec=lambda: PackSpec(resources=Resources(vcpus=3)))
    with pytest.raises(RefusedDeclarationError, match=r"^a\.Resources: vcpus is 3: Fargate offers"):
        manager.from_module("a", pack_module(**hooks))


def test_a_misspelt_setting_in_python_names_the_nearest_of_its_own_record():
    hooks = good_hooks(taskpack_spec=lambda: PackSpec(resources=Resources(vcpu=3)))
    with pytest.raises(
        RefusedDeclarationError,
        match=r"^a\.Resources\.vcpu: there is no such setting\. Did you mean 'vcpus'\?$",
    ):
        manager.from_module("a", pack_module(**hooks))


def test_an_unknown_pack_that_resembles_none_lists_them():
    with pytest.raises(UnknownPackError, match=r"Known: a, b\."):
        manager.load("zzzz", {"b": "x", "a": "y"})


def test_a_misspelt_hook_names_the_nearest_one():
    module = pack_module(**good_hooks(taskpack_worker_strated=lambda: None))
    with pytest.raises(
        MisspeltHookError,
        match=r"_strated', which is no hook\. Did you mean 'taskpack_worker_started'",
    ):
        manager.from_module("a", module)


def test_a_hook_without_its_mark_is_refused():
    module = pack_module(**good_hooks())

    def taskpack_demo():
        return []

    module.taskpack_demo = taskpack_demo
    with pytest.raises(MisspeltHookError, match="without @hookimpl"):
        manager.from_module("a", module)


def test_a_hook_with_an_argument_that_there_is_not_is_refused():
    module = pack_module(**good_hooks(taskpack_demo=lambda folder: []))
    with pytest.raises(MisspeltHookError, match="folder") as refusal:
        manager.from_module("a", module)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("hook", ["taskpack_spec", "taskpack_register_tasks"])
def test_a_required_hook_that_is_missing_is_named(hook):
    hooks = good_hooks()
    del hooks[hook]
    with pytest.raises(MisspeltHookError, match=f"lacks the hook '{hook}'"):
        manager.from_module("a", pack_module(**hooks))


def test_a_spec_of_another_type_is_refused():
    module = pack_module(**good_hooks(taskpack_spec=lambda: {"vcpus": 3}))
    with pytest.raises(RefusedDeclarationError, match="returned dict; it must return a PackSpec"):
        manager.from_module("a", module)


def test_a_spec_that_fails_names_its_pack_and_its_reason():
    def fails():
        return PackSpec.declared({"resources": {"vcpus": 3}}, "spec")

    with pytest.raises(
        RefusedDeclarationError, match=r"Pack 'a': taskpack_spec failed: .*vcpus is 3"
    ):
        manager.from_module("a", pack_module(**good_hooks(taskpack_spec=fails)))


def test_a_pack_that_cannot_be_imported_names_its_module(tmp_path, monkeypatch):
    (tmp_path / "broken_pack.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RefusedDeclarationError, match="no_such_module_anywhere"):
        manager.load("broken", {"broken": "broken_pack"})


def install(tmp_path, monkeypatch, name, target):
    info = tmp_path / f"{name}_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[taskpacks]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_an_installed_distribution_is_a_pack(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "elsewhere", "elsewhere_pack")
    assert metadata.entry_points(group="taskpacks", name="elsewhere")
    assert manager.available()["elsewhere"] == "elsewhere_pack"


def test_two_packs_of_one_name_are_refused(tmp_path, monkeypatch):
    folder = tmp_path / "packs"
    (folder / "twice").mkdir(parents=True)
    (folder / "twice" / "__init__.py").touch()
    install(tmp_path, monkeypatch, "twice", "twice_elsewhere")
    with pytest.raises(DuplicatePackError, match=r"Two packs are named 'twice'.*twice_elsewhere"):
        manager.available(folder)


def test_loading_every_declaration_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from taskpacks import manager\n"
        "for name in manager.available(): manager.load(name)\n"
        "heavy = {'celery', 'kombu', 'pulumi', 'pulumi_aws', 'duckdb', 'flint', 'av', 'boto3', "
        "'imageio_ffmpeg'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "[]"
