import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policies import OURS, POLICIES
from simulate.bound import clairvoyant
from simulate.loads import Load, at_once, durations, poisson
from simulate.setting import Setting
from simulate.world import World
from tests.launcher.limits import limits_with


def run(load, scaler, setting):
    world = World(load, setting)
    scaler.attach(world)
    return world.run()


@given(
    st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 500)), min_size=1, max_size=30),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.5, 5.0]),
    st.sampled_from(sorted(POLICIES)),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_and_nothing_is_free(messages, seed, spot_per_hour, name):
    messages.sort()
    load = Load("any", [time for time, _ in messages], [seconds for _, seconds in messages])
    setting = Setting(capacity=20, seed=seed, spot_per_hour=spot_per_hour)
    world = World(load, setting)
    POLICIES[name].default(limits_with(max_workers=20, max_vcpus=20)).attach(world)
    figures = world.run()
    assert len(figures.waits) == len(messages)
    assert all(wait >= 0 for wait in figures.waits)
    assert sum(wait == math.inf for wait in figures.waits) <= figures.never
    if not figures.never:
        assert figures.billed_seconds >= load.work_seconds - 1e-6
    if name == OURS:
        assert figures.never == 0
        assert figures.surplus <= figures.started
    assert world.visible + world.in_flight == figures.never


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_same_seed_gives_the_same_figures(name):
    def once():
        rng = Random(5)
        load = poisson(120, 2, durations(60, 0.5, rng), rng=rng)
        figures = run(load, POLICIES[name].default(limits_with()), Setting(seed=5))
        return (figures.waits, figures.billed_seconds, figures.started, figures.api_calls)

    assert once() == once()


def test_no_policy_drains_equal_tasks_before_the_clairvoyant():
    load = at_once(200, durations(60))
    for seed in range(3):
        setting = Setting(capacity=50, seed=seed)
        bound = clairvoyant(load, setting)
        for name, contender in POLICIES.items():
            if name == "backlog-per-task":
                continue  # its one standing worker is up before any message comes
            limits = limits_with(max_workers=50, max_vcpus=50)
            figures = run(load, contender.default(limits), setting)
            assert figures.drained_seconds >= bound.drained_seconds - 1e-6, name
