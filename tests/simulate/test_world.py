import math
from collections import Counter
from dataclasses import replace
from random import Random
from statistics import fmean

from simulate.bound import clairvoyant
from simulate.loads import Load, at_once, durations, tree
from simulate.scalers import Alarm, LauncherLoop, percentile
from simulate.setting import Setting
from simulate.world import World
from tests.launcher.limits import limits_with

EXACT = Setting(startup_seconds=100, startup_spread=0, idle_seconds=30, capacity=10)


class StartsAt:
    """Starts so many workers at a time."""

    def __init__(self, workers, time=0.0):
        self.workers, self.time = workers, time

    def attach(self, world):
        world.at(self.time, lambda: world.start(self.workers))


def run(load, scaler, setting=EXACT):
    world = World(load, setting)
    scaler.attach(world)
    return world.run()


def test_one_worker_does_one_message_and_leaves():
    figures = run(at_once(1, durations(60)), StartsAt(1))
    assert figures.waits == [100]
    assert figures.drained_seconds == 160
    assert figures.billed_seconds == 100 + 60 + 30
    assert (figures.started, figures.surplus, figures.never) == (1, 0, 0)


def test_counts_may_be_exact():
    figures = run(at_once(1, durations(60)), StartsAt(1), replace(EXACT, count_lag_seconds=0))
    assert figures.drained_seconds == 160


def test_workers_share_the_backlog_one_task_at_a_time():
    figures = run(at_once(6, durations(60)), StartsAt(2))
    assert figures.waits == [100, 100, 160, 160, 220, 220]
    assert figures.billed_seconds == 2 * (100 + 180 + 30)


def test_a_worker_that_never_got_a_task_is_surplus_and_is_paid_for():
    figures = run(at_once(1, durations(60)), StartsAt(2))
    assert figures.surplus == 1
    assert figures.billed_seconds == (100 + 60 + 30) + (100 + 30)


def test_jobs_beyond_the_machines_wait_and_are_not_paid_for_meanwhile():
    setting = Setting(startup_seconds=100, startup_spread=0, idle_seconds=30, capacity=1)
    figures = run(at_once(1, durations(60)), StartsAt(2), setting)
    assert figures.billed_seconds == (100 + 60 + 30) + (100 + 30)


def test_an_idle_worker_takes_a_message_that_comes_while_it_lingers():
    figures = run(Load("two", [0, 180], [60, 60]), StartsAt(1))
    assert figures.waits == [0, 100]
    assert figures.billed_seconds == 100 + 60 + 20 + 60 + 30


def test_without_a_worker_nothing_is_ever_done():
    figures = run(at_once(3, durations(60)), StartsAt(0))
    assert (figures.never, figures.drained_seconds) == (3, math.inf)
    assert figures.waits == [math.inf] * 3


def test_a_load_of_nothing_is_drained_at_once():
    figures = run(at_once(0, durations(60)), LauncherLoop(limits_with()))
    assert (figures.started, figures.drained_seconds) == (0, 0)


def test_what_spot_takes_comes_back_after_the_lease_and_is_done_in_the_end():
    setting = Setting(spot_per_hour=20, capacity=10, seed=3)
    figures = run(at_once(40, durations(120)), StartsAt(5), setting)
    assert figures.taken > 0
    assert figures.never == 0


def test_counts_lag_behind():
    world = World(at_once(5, durations(60)), EXACT)
    seen = []
    for time in (1, 9, 11):
        world.at(time, lambda: seen.append((world.visible, world.counts()[0])))
    world.run()
    assert seen == [(5, 0), (5, 0), (5, 5)]


def test_an_alarm_rings_when_it_enters_alarm_and_not_again_before_it_was_ok():
    world = World(Load("three", [10, 400, 4000], [60, 60, 60]), EXACT)
    rung = []
    Alarm(world, lambda visible, _: visible >= 1, lambda: rung.append(world.now))
    world.at(1000, lambda: world.start(1))
    world.at(5000, lambda: world.start(1))
    world.run()
    first, second = rung
    assert 10 + 60 <= first <= 10 + 120  # a minute's sample, and the metric's delay
    assert 4000 + 60 <= second <= 4000 + 120


def test_another_seed_gives_other_figures():
    load = at_once(50, durations(60))
    first = run(load, LauncherLoop(limits_with()), Setting(seed=1))
    second = run(load, LauncherLoop(limits_with()), Setting(seed=2))
    assert first.waits != second.waits


def test_one_message_starts_exactly_one_worker_whatever_the_phase_of_the_clocks():
    for seed in range(50):
        figures = run(at_once(1, durations(60)), LauncherLoop(limits_with()), Setting(seed=seed))
        assert (figures.started, figures.surplus) == (1, 0)


def test_a_thousand_messages_meet_the_goals_of_the_bench():
    limits = limits_with(max_workers=200, max_vcpus=200)
    load = at_once(1000, durations(60))
    for seed in range(3):
        setting = Setting(capacity=200, seed=seed)
        ours, bound = run(load, LauncherLoop(limits), setting), clairvoyant(load, setting)
        assert ours.drained_seconds <= 1.25 * bound.drained_seconds
        assert ours.billed_seconds <= 1.15 * bound.billed_seconds
        assert ours.surplus <= 0.02 * ours.started


def test_the_daily_cap_stops_the_starting():
    limits = limits_with(max_workers=100, max_vcpus=100, vcpu_hours_per_day=2)
    scaler = LauncherLoop(limits)
    run(Load("two bursts", [0.0] * 100 + [3600.0] * 100, [60] * 200), scaler, Setting(seed=1))
    halts = [decision for _, decision in scaler.decisions if decision.halted_by == "cap"]
    assert halts
    assert all(
        decision.start == 0
        for _, decision in scaler.decisions
        if decision.figures["vcpu_hours_last_day"] >= 2
    )


def test_a_cap_that_stops_holds_what_runs_too():
    limits = limits_with(max_workers=10, max_vcpus=10, vcpu_hours_per_day=1)
    load = Load("a burst", [0.0] * 100, [1800] * 100)

    def hours(cap):
        figures = run(load, LauncherLoop(replace(limits, cap=cap)))
        return figures.billed_seconds * limits.vcpus / 3600

    assert hours("stop") < 1.2
    assert hours("halt") > 10


def test_jobs_that_outlive_the_backlog_are_cancelled_and_cost_nothing():
    limits = limits_with(max_workers=100, max_vcpus=100)
    for seed in range(3):
        few_machines = Setting(capacity=10, seed=seed)
        figures = run(at_once(300, durations(60)), LauncherLoop(limits), few_machines)
        assert figures.cancelled > 40
        assert figures.surplus <= 10
        assert figures.never == 0


def test_the_controller_never_passes_its_limit():
    limits = limits_with(max_workers=7, max_vcpus=100)
    scaler = LauncherLoop(limits)
    run(at_once(500, durations(30)), scaler, Setting(capacity=100, seed=1))
    assert max(decision.desired for _, decision in scaler.decisions) == 7


def test_a_task_sends_others_when_it_is_done():
    load = tree(2, 3, durations(60))
    figures = run(load, StartsAt(1))
    assert figures.never == 0
    assert figures.drained_seconds == 100 + 7 * 60
    assert figures.waits == [0, 60, 60, 100, 120, 120, 180]
    bound = clairvoyant(load, EXACT)  # a second worker, for the last generation
    assert (bound.drained_seconds, bound.started) == (440, 2)


NIGHT_SECONDS = 24 * 3600.0


def test_what_tasks_take_is_known_on_the_second_night():
    """Forty tasks of 20 minutes a night, thought to take a minute."""
    arrivals = [0.0] * 40 + [NIGHT_SECONDS] * 40
    limits = limits_with(max_workers=100, max_vcpus=100)
    p95 = []
    for seed in range(5):
        setting = Setting(capacity=100, seed=seed)
        first, both = (
            run(Load("nights", arrivals[:n], [1200.0] * n), LauncherLoop(limits), setting).waits
            for n in (40, 80)
        )
        second = sorted((Counter(both) - Counter(first)).elements())
        assert len(second) == 40
        p95.append(percentile(second, 0.95))
    assert fmean(p95) <= 250


def test_the_mean_of_a_mix_is_not_that_of_its_short_tasks():
    rng = Random(1)
    long_share = 0.1
    seconds = [1200.0 if rng.random() < long_share else 2.0 for _ in range(500)]
    load = Load("mix", [60.0 * n for n in range(500)], seconds)
    scaler = LauncherLoop(limits_with(max_workers=100, max_vcpus=100))
    run(load, scaler, Setting(capacity=100, seed=1))
    learned = [
        d.figures["task_seconds"]
        for at, d in scaler.decisions
        if "task_seconds" in d.figures and at > 4 * 3600
    ]
    assert min(learned) > 60
    assert max(learned) < 300


def test_a_percentile_is_the_value_that_a_share_does_not_exceed():
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert math.isnan(percentile([], 0.5))


FOUR = replace(EXACT, processes=4)


def test_a_worker_runs_as_many_tasks_at_a_time_as_it_has_processes():
    figures = run(at_once(6, durations(60)), StartsAt(1), FOUR)
    assert figures.waits == [100, 100, 100, 100, 160, 160]
    assert figures.billed_seconds == 100 + 120 + 30  # one container, not four


def test_a_worker_lingers_from_the_end_of_the_last_of_its_tasks():
    figures = run(Load("two", [0, 0], [10, 60]), StartsAt(1), FOUR)
    assert figures.billed_seconds == 100 + 60 + 30


def test_a_worker_with_a_free_process_takes_what_comes():
    figures = run(Load("two", [0, 120], [60, 60]), StartsAt(1), FOUR)
    assert figures.waits == [0, 100]
    assert figures.billed_seconds == 100 + 20 + 60 + 30


def test_what_spot_takes_of_a_worker_with_several_processes_comes_back():
    setting = Setting(spot_per_hour=20, capacity=10, seed=3, processes=4)
    figures = run(at_once(80, durations(300)), StartsAt(5), setting)
    assert figures.taken > 0
    assert figures.never == 0


def test_the_controller_starts_a_quarter_of_the_workers_where_each_has_four_processes():
    limits = limits_with(processes=4)
    scaler = LauncherLoop(limits)
    figures = run(at_once(8, durations(3600)), scaler, replace(FOUR, seed=1))
    assert (figures.started, figures.surplus, figures.never) == (2, 0, 0)
    most = max(decision.figures["vcpu_hours_last_day"] for _, decision in scaler.decisions)
    assert most <= 2 * (3600 + 100 + 30) / 3600


def test_the_bound_fills_the_processes_of_a_worker_before_it_starts_another():
    bound = clairvoyant(at_once(8, durations(600)), FOUR)
    assert bound.started == 2
    assert bound.billed_seconds == 2 * (100 + 600)
    assert bound.waits == [100] * 8


def test_the_bound_lets_a_worker_go_when_all_its_processes_are_free():
    load = Load("three", [0, 0, 620, 2000], [10, 600, 10, 10])
    bound = clairvoyant(load, replace(FOUR, processes=2))
    assert bound.waits == [0, 100, 100, 100]  # the third finds the worker, the fourth does not
    assert bound.billed_seconds == (100 + 600) + (100 + 10)
