"""The pack's task: fetch, look, encode, look again, publish."""

from __future__ import annotations

import logging
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from celery.exceptions import SoftTimeLimitExceeded

from taskpacks import BadInputError, storage
from taskpacks.errors import nearest, quoted
from taskpacks.video_encoding import ffmpeg, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery, Task

    from taskpacks import WorkerContext

logger = logging.getLogger(__name__)

CodecName = Literal["h264", "h265", "vp9", "av1"]
Quality = Literal["high", "medium", "low"]
Audio = Literal["keep", "drop"]

SIDE_MIN, SIDE_MAX = 16, 8192
"""Pixels."""
PROGRESS_SECONDS: Final = 1.0
COMPLETE_SHARE: Final = 0.9
"""A result shorter than this part of its source (and by more than a second) was cut."""


SCRATCH_PER_BYTE: Final = 2
"""The source, and a result that is rarely larger."""


def encode(
    context: WorkerContext,
    source: str,
    destination: str,
    codec: CodecName = "h264",
    *,
    quality: Quality = "medium",
    width: int | None = None,
    height: int | None = None,
    audio: Audio = "keep",
    on_percent: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:
    """Encodes a video.

    Args:
        context: Where the task runs.
        source: URI of a file with at least one video stream; the first is taken.
        destination: URI of the result, whose suffix chooses the container.
        codec: The video codec.
        quality: How much is kept; a constant rate factor that differs by codec.
        width: Even, in pixels. None follows from the height, or keeps the source's.
        height: As width. With both, the picture is stretched if it must be.
        audio: The first audio stream: kept (as AAC or Opus), or dropped.
        on_percent: Told at most once a second how much is done, 0 to 100.

    Returns:
        "destination", "codec", "width", "height", "seconds", "frames" and "bytes" of the
        finished file.

    Raises:
        BadInputError: An argument or the source cannot be used.
        EncoderFailedError: ffmpeg failed for another reason.
    """
    wanted = _checked(
        storage.locate(destination, context.uri_schemes),
        codec=codec,
        quality=quality,
        width=width,
        height=height,
        audio=audio,
    )
    storage.check_destination(destination, context.uri_schemes, source=source)
    encoder = ffmpeg.encoder_for(codec, ffmpeg.encoders(ffmpeg.find()))
    size = storage.check_source(source, context.uri_schemes)
    with context.scratch_folder(needs_bytes=SCRATCH_PER_BYTE * size) as folder:
        fetched, result = folder / "source", folder / f"result{wanted.container}"
        storage.fetch(source, fetched, context.uri_schemes)
        known = probe.source(fetched, source)
        before, after = ffmpeg.arguments(
            wanted, known, encoder, context.thread_budget, probe.FORMATS
        )
        ffmpeg.run(before, fetched, after, result, _percent(known.seconds, on_percent))
        found = probe.result(result)
        _check_complete(source, known.seconds, found.seconds)
        size = storage.publish(result, destination, context.uri_schemes)
    return {
        "destination": destination,
        "codec": codec,
        "width": found.width,
        "height": found.height,
        "seconds": found.seconds,
        "frames": found.frames,
        "bytes": size,
    }


def register(app: Celery, context: WorkerContext) -> None:
    """Registers the pack's Celery task, which reports its progress as state PROGRESS."""

    @app.task(name="video_encoding.encode", bind=True, shared=False)
    def encode_(
        task: Task[Any, Any],
        source: str,
        destination: str,
        codec: CodecName = "h264",
        *,
        quality: Quality = "medium",
        width: int | None = None,
        height: int | None = None,
        audio: Audio = "keep",
    ) -> dict[str, Any]:
        def report(percent: float) -> None:
            try:
                task.update_state(state="PROGRESS", meta={"percent": percent})
            except SoftTimeLimitExceeded:
                raise
            except Exception as error:  # noqa: BLE001 - whatever ails the result backend, encoding goes on
                logger.warning("progress could not be stored: %s", error)

        return encode(
            context,
            source,
            destination,
            codec,
            quality=quality,
            width=width,
            height=height,
            audio=audio,
            on_percent=report,
        )

    del encode_  # the app keeps it


def _checked(
    destination: storage.Location,
    *,
    codec: object,
    quality: object,
    width: object,
    height: object,
    audio: object,
) -> ffmpeg.Encoding:
    container = PurePosixPath(destination.path or destination.key).suffix.lower()
    codec = _one_of("codec", codec, get_args(CodecName))
    containers = ffmpeg.CODECS[codec].containers
    if container not in containers:
        raise BadInputError(
            f"{quoted(destination.uri)} cannot hold {codec}: its name must end in "
            f"{' or '.join(containers)}; rename it or choose another codec."
        )
    return ffmpeg.Encoding(
        codec=codec,
        quality=_one_of("quality", quality, get_args(Quality)),
        width=_side("width", width),
        height=_side("height", height),
        container=container,
        audio=_one_of("audio", audio, get_args(Audio)) == "keep",
    )


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise BadInputError(
            f"{name} is {quoted(value)}, which is unknown.{nearest(str(value), known)}"
        )
    return value


def _side(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInputError(
            f"{name} is {quoted(value)}: it must be a whole number of pixels, or null."
        )
    if not SIDE_MIN <= value <= SIDE_MAX or value % 2:
        raise BadInputError(
            f"{name} is {quoted(value)}: it must be even and {SIDE_MIN} to {SIDE_MAX} pixels."
        )
    return value


def _percent(seconds: float | None, on_percent: Callable[[float], None]) -> Callable[[float], None]:
    """Makes percent of seconds, and drops what comes too soon after the last report."""
    last = 0.0

    def report(done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if seconds and now - last >= PROGRESS_SECONDS:
            last = now
            on_percent(round(min(100.0, 100 * done / seconds), 1))

    return report


def _check_complete(source: str, expected: float | None, found: float) -> None:
    # ffmpeg calls it success when a file that was cut off gives half of its pictures.
    if expected is not None and found < COMPLETE_SHARE * expected - 1:
        raise BadInputError(
            f"{quoted(source)} should last {expected:.1f} s, and only {found:.1f} s of it can be "
            "decoded: it seems to be cut off or damaged; copy it again."
        )
