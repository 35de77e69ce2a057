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
"""The points of a curve: more cannot be seen."""
HOURS_FROM_SECONDS: Final = 3 * 3600
"""A longer run is drawn in hours, a shorter one in minutes."""


def png(run: Run, title: str, limits: Limits) -> bytes:
    """Draws a run.

    Args:
        run: What was simulated.
        title: Above the plot.
        limits: For vCPUs per worker and the limit of workers.

    Returns:
        A PNG file.
    """
    samples = _thinned(run.figures.timeline)
    end = samples[-1].time if samples else 0
    unit, name = (3600, "hours") if end > HOURS_FROM_SECONDS else (60, "minutes")
    times = [sample.time / unit for sample in samples]
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    depth, workers, cost = figure.subplots(3, 1, sharex=True)

    def draw(axes: Any, value: Callable[[Sample], float], label: str, style: str = "-") -> None:
        axes.step(
            times, [value(each) for each in samples], style, where="post", label=label, color="C0"
        )

    draw(depth, lambda sample: sample.visible, "")
    draw(depth, lambda sample: sample.in_flight, "", ":")
    draw(workers, lambda sample: sample.running, run.policy)
    draw(workers, lambda sample: sample.starting, "", ":")
    draw(cost, lambda sample: sample.billed_seconds * limits.vcpus / 3600, "")
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
    # One for all three.
    figure.legend(*workers.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle(title, fontsize="medium")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    step = -(-len(samples) // POINTS_MAX)
    return samples[:: max(1, step)]
