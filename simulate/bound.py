"""The clairvoyant: what the same load could have had, with everything known beforehand."""

from __future__ import annotations

import math
from heapq import heappop, heappush, heapreplace
from random import Random
from typing import TYPE_CHECKING

from simulate.setting import Figures

if TYPE_CHECKING:
    from simulate.loads import Load
    from simulate.setting import Setting


def clairvoyant(load: Load, setting: Setting) -> Figures:
    """Serves the load in its order, knowing how long each start and each task will take.

    It hears of a message the moment that it comes, starts a worker exactly when the message
    would begin sooner with it than with any that is there, and lets a worker go the moment when
    it will not be needed within idle_seconds. No worker starts before its message has come: not
    even a clairvoyant's bill may rest on messages that do not exist.

    Args:
        load: What comes.
        setting: The limits and the start latencies; interruptions do not happen to it.

    Returns:
        Its figures. No policy drains equal tasks sooner; a slower one may well bill less.
    """
    latencies = Random(f"{setting.seed} start")  # noqa: S311 -- a simulation's, not a secret

    def latency() -> float:
        return setting.startup_seconds * math.exp(latencies.gauss(0, 1) * setting.startup_spread)

    free: list[tuple[float, int]] = []  # when each process is free, and its worker
    ends: dict[int, float] = {}  # until when each worker that is there has work
    leaving: list[tuple[float, int]] = []  # the same in order, with what is outdated
    waits: list[float] = []
    figures = Figures()
    upcoming, last = latency(), 0.0
    coming = [(load.arrivals[n], n) for n in range(load.comes_by_itself)]
    while coming:
        arrived, message = heappop(coming)
        seconds = load.task_seconds[message]
        while leaving and leaving[0][0] < arrived - setting.idle_seconds:
            end, worker = heappop(leaving)
            if ends.get(worker) == end:
                del ends[worker]
        while free and free[0][1] not in ends:
            heappop(free)
        if len(ends) < setting.capacity and (not free or free[0][0] > arrived + upcoming):
            worker = figures.started
            begun = ends[worker] = arrived + upcoming
            figures.started += 1
            figures.billed_seconds += upcoming
            for _ in range(setting.processes):
                heappush(free, (begun, worker))
            upcoming = latency()
        else:
            worker = free[0][1]
            begun = max(arrived, free[0][0])
        heapreplace(free, (begun + seconds, worker))
        figures.billed_seconds += max(0.0, begun + seconds - ends[worker])
        ends[worker] = max(ends[worker], begun + seconds)
        heappush(leaving, (ends[worker], worker))
        waits.append(begun - arrived)
        for sent in load.sends.get(message, ()):
            heappush(coming, (begun + seconds, sent))
        last = max(last, begun + seconds)
    figures.waits = sorted(waits)
    by_itself = load.comes_by_itself
    figures.drained_seconds = last - load.arrivals[by_itself - 1] if by_itself else 0.0
    return figures
