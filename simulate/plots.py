"""The plot of a simulation: queue depth, workers and vCPU-hours over time.

Imported only where a plot is asked for: matplotlib takes its time.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.policy import Limits
    from simulate.report import Run
    from simulate.setting import Sample

SIZE_INCHES: Final = (10, 9)
DOTS_PER_INCH: Final = 110
POINTS_MAX: Final = 4000
"""Of a curve: more cannot be seen."""
HOURS_FROM_SECONDS: Final = 3 * 3600
"""A longer run is drawn in hours, a shorter one in minutes."""


def png(runs: Sequence[Run], title: str, limits: Limits) -> bytes:
    """Draws the runs above each other.

    Args:
        runs: At least one.
        title: Above the plot.
        limits: For vCPUs per worker and the limit of workers.

    Returns:
        A PNG file.
    """
    end = max((run.figures.timeline[-1].time for run in runs if run.figures.timeline), default=0)
    unit, name = (3600, "hours") if end > HOURS_FROM_SECONDS else (60, "minutes")
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    depth, workers, cost = figure.subplots(3, 1, sharex=True)
    for number, run in enumerate(runs):
        samples = _thinned(run.figures.timeline)
        times = [sample.time / unit for sample in samples]
        colour = f"C{number}"

        def draw(
            axes: Any,
            value: Callable[[Sample], float],
            label: str,
            style: str = "-",
            *,
            samples: Sequence[Sample] = samples,
            times: Sequence[float] = times,
            colour: str = colour,
        ) -> None:
            axes.step(
                times,
                [value(sample) for sample in samples],
                style,
                where="post",
                label=label,
                color=colour,
            )

        draw(depth, lambda sample: sample.visible, run.policy)
        draw(depth, lambda sample: sample.in_flight, "", ":")
        draw(workers, lambda sample: sample.running, run.policy)
        draw(workers, lambda sample: sample.starting, "", ":")
        draw(cost, lambda sample: sample.billed_seconds * limits.vcpus / 3600, run.policy)
    workers.axhline(limits.workers, color="grey", linewidth=0.8, linestyle="--", label="limit")
    for axes, label in (
        (depth, "messages: visible,\nin flight (dotted)"),
        (workers, "workers: running,\nstarting (dotted)"),
        (cost, "vCPU-hours"),
    ):
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.3)
        axes.set_ylim(bottom=0)
    cost.set_xlabel(name)
    # One for all: a colour is a policy.
    figure.legend(*workers.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(title, fontsize="medium")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    step = -(-len(samples) // POINTS_MAX)
    return samples[:: max(1, step)]
