import importlib.util
import inspect
from pathlib import Path

import pytest

from taskpacks import hookspecs, manager

_SPEC = importlib.util.spec_from_file_location(
    "probe_pack", Path(__file__).parent.parent / "worker" / "probe_pack.py"
)
PROBE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PROBE)

HOOKS = {
    name: function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if name.startswith("taskpack_")
}


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_says_when_it_is_called_what_an_exception_does_and_how_it_is_written(hook):
    text = inspect.getdoc(HOOKS[hook])
    assert "Called by" in text
    assert "xception" in text or "raises" in text
    assert "Example::" in text
    assert f"def {hook}(" in text


@pytest.mark.parametrize("hook", HOOKS)
def test_each_example_takes_arguments_that_the_hook_has(hook):
    text = inspect.getdoc(HOOKS[hook])
    written = text.split(f"def {hook}(")[1].split(")")[0]
    taken = {name.strip() for name in written.split(",") if name.strip()}
    assert taken <= set(inspect.signature(HOOKS[hook]).parameters)


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_implemented_by_a_pack_that_really_runs(hook):
    # The probe pack runs in real workers (tests/worker), so that no pack's folder is needed here.
    packs = [manager.load(name) for name in manager.available()]
    packs.append(manager.from_module("probe", PROBE))
    assert any(getattr(pack.hooks, hook).get_hookimpls() for pack in packs)
