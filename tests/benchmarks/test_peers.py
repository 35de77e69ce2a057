"""Each peer's own source gives what it starts for a given view."""

import pytest

from benchmarks.peers import (
    BacklogPerTask,
    BuildkiteScaler,
    KedaScaledJob,
    PostLoop,
    SampleAlarms,
)
from simulate.loads import at_once, durations
from simulate.setting import Setting
from simulate.world import World

SETTING = Setting(startup_seconds=120, startup_spread=0, capacity=1000)


def started(scaler, messages, until, task_seconds=100_000, setting=SETTING):
    """How many workers were started for messages that come at 0, by a time."""
    world = World(at_once(messages, durations(task_seconds)), setting)
    counted = []
    scaler.attach(world)
    world.at(until, lambda: counted.append(world.figures.started))
    world.run()
    return counted[0]


@pytest.mark.parametrize(("messages", "workers"), [(4, 0), (5, 1), (49, 1), (50, 11)])
def test_the_samples_alarms_start_one_at_five_and_ten_more_at_fifty(messages, workers):
    assert started(SampleAlarms(), messages, 3600) == workers


@pytest.mark.parametrize(("messages", "workers"), [(4, 0), (10, 1), (50, 1), (51, 10)])
def test_the_posts_loop_starts_one_or_ten_in_its_first_round(messages, workers):
    assert started(PostLoop(), messages, 175) in (workers, 2 * workers)
    assert started(PostLoop(), messages, 175) % max(1, workers) == 0


def test_the_posts_loop_forgets_who_is_on_the_way():
    first = started(PostLoop(), 500, 130)
    assert started(PostLoop(), 500, 130 + 600) == first + 100


@pytest.mark.parametrize(
    ("strategy", "messages", "workers"),
    [("default", 1, 1), ("default", 11, 3), ("default", 10_000, 100), ("accurate", 11, 3)],
)
def test_keda_starts_a_job_for_each_five_messages(strategy, messages, workers):
    assert started(KedaScaledJob(strategy), messages, 100) == workers


def test_keda_default_counts_running_jobs_and_accurate_only_pending_ones():
    # One job of one message at a time: at 150 s it runs, and four messages are left of five.
    assert started(KedaScaledJob("default"), 5, 1000) == 1
    assert started(KedaScaledJob("accurate"), 5, 1000) > 2
    accurate = KedaScaledJob("accurate", queue_length=1, count_in_flight=False)
    assert started(accurate, 5, 100) == 5


def test_buildkite_starts_an_instance_for_each_job_up_to_its_limit():
    assert started(BuildkiteScaler(), 4, 130) == 4
    assert started(BuildkiteScaler(), 400, 130) == 10
    assert started(BuildkiteScaler(max_size=5000), 2000, 130) == 1000


def test_target_tracking_waits_three_minutes_and_then_grows_in_proportion():
    def scaler(most):
        return BacklogPerTask(acceptable_seconds=600, task_seconds=60, max_tasks=most)

    def over_time(most):
        world = World(at_once(101, durations(100)), SETTING)
        seen = []
        scaler(most).attach(world)
        for time in range(60, 400, 10):
            world.at(time, lambda: seen.append(world.figures.started))
        world.run()
        return seen

    # 100 visible, one running: ten times the target. A minute later none of the ten is up yet,
    # the metric is the same, and the capacity that it is applied to is ten.
    assert sorted(set(over_time(100))) == [1, 10, 100]
    assert started(scaler(100), 101, 120) == 1
    assert max(over_time(8)) == 8


def test_target_tracking_goes_back_to_its_minimum_and_does_not_leave():
    world = World(at_once(101, durations(60)), SETTING)
    BacklogPerTask(acceptable_seconds=600, task_seconds=60, max_tasks=100).attach(world)
    seen = []
    world.at(2000, lambda: seen.append(world.running + world.starting))
    world.run()
    assert seen == [1]
