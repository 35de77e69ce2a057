"""The external program: which one, its arguments, and its life."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taskpacks import BadInputError, TaskpacksError
from taskpacks.parent_death import tied_to_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from taskpacks.video_encoding.probe import Source

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 3
"""Between SIGTERM, at which ffmpeg ends its file, and SIGKILL. The worker's grace is longer."""
QUERY_SECONDS: Final = 30


class EncoderFailedError(TaskpacksError):
    """ffmpeg failed for no reason that lies in the task's input: trying again may help."""


@dataclass(frozen=True)
class Codec:
    """How a codec is encoded."""

    encoders: tuple[str, ...]
    """ffmpeg's names, the best first: not every build has all."""
    crf: Mapping[str, int]
    """Constant rate factor by quality; the scales differ between codecs."""
    containers: tuple[str, ...]
    """File name suffixes."""


CODECS: Final[Mapping[str, Codec]] = {
    "h264": Codec(("libx264",), {"high": 18, "medium": 23, "low": 28}, (".mp4", ".mkv")),
    "h265": Codec(("libx265",), {"high": 22, "medium": 27, "low": 32}, (".mp4", ".mkv")),
    "vp9": Codec(("libvpx-vp9",), {"high": 24, "medium": 31, "low": 38}, (".webm", ".mkv")),
    "av1": Codec(
        ("libsvtav1", "libaom-av1"),
        {"high": 24, "medium": 32, "low": 42},
        (".mp4", ".webm", ".mkv"),
    ),
}

_ENCODER_OPTIONS: Final[Mapping[str, str]] = {
    "libx264": "-preset medium",
    "libx265": "-preset medium -tag:v hvc1 -x265-params pools={threads}:log-level=error",
    "libvpx-vp9": "-b:v 0 -deadline good -cpu-used 3 -row-mt 1",
    "libsvtav1": "-preset 8 -svtav1-params lp={threads}",
    "libaom-av1": "-b:v 0 -cpu-used 6 -row-mt 1",
}
_MUXERS: Final[Mapping[str, str]] = {
    ".mp4": "-f mp4 -movflags +faststart",
    ".webm": "-f webm",
    ".mkv": "-f matroska",
}
_AUDIO: Final[Mapping[str, tuple[str, str]]] = {
    "aac": ("aac", "128k"),
    "opus": ("libopus", "96k"),
}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoding that was asked for, checked."""

    codec: str
    quality: str
    width: int | None
    height: int | None
    container: str
    audio: bool

    @property
    def audio_codec(self) -> str:
        """AAC where everything plays it, Opus where that is the custom."""
        if self.container == ".webm" or (self.container == ".mkv" and self.codec in ("vp9", "av1")):
            return "opus"
        return "aac"


def find() -> str:
    """Finds the program: on PATH, or else in the package imageio-ffmpeg.

    Raises:
        TaskpacksError: There is none.
    """
    if on_path := shutil.which("ffmpeg"):
        return on_path
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg  # noqa: PLC0415 - only on machines without an ffmpeg of their own

        with suppress(RuntimeError):  # its way to say that it has none
            return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise TaskpacksError(
        "There is no ffmpeg: none is on PATH and the package imageio-ffmpeg has none. Install "
        "it (apt-get install ffmpeg), or run `make setup`."
    )


def log_encoders() -> None:
    """Logs the program and what it can encode.

    Raises:
        TaskpacksError: There is no program, or it cannot be run.
    """
    program = find()
    found = encoders(program)
    usable = [name for name, codec in CODECS.items() if found.intersection(codec.encoders)]
    logger.info("%s encodes %s", program, ", ".join(usable) or "nothing that is asked for")


def encoders(program: str) -> set[str]:
    """Asks the program for the names of its encoders.

    Raises:
        TaskpacksError: It cannot be run.
    """
    try:
        listing = subprocess.run(
            [program, "-hide_banner", "-encoders"],
            capture_output=True,
            text=True,
            check=True,
            timeout=QUERY_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise TaskpacksError(f"{program} cannot be run: {error}. Install another.") from error
    return {words[1] for line in listing.splitlines() if len(words := line.split()) > 1}


def encoder_for(codec: str, available: set[str]) -> str:
    """Chooses an encoder.

    Raises:
        BadInputError: This program has none for the codec.
    """
    for name in CODECS[codec].encoders:
        if name in available:
            return name
    usable = [name for name, known in CODECS.items() if available.intersection(known.encoders)]
    raise BadInputError(
        f"codec '{codec}' cannot be encoded by this worker's ffmpeg; choose one of "
        f"{', '.join(usable)}, or give the image an ffmpeg with {CODECS[codec].encoders[0]}."
    )


def arguments(
    wanted: Encoding, source: Source, encoder: str, threads: int, formats: str
) -> tuple[list[str], list[str]]:
    """Decides ffmpeg's arguments before and after the input's name.

    Args:
        wanted: What is asked for.
        source: What is known of the input.
        encoder: From `encoder_for`.
        threads: For decoding, scaling and encoding, each.
        formats: The only containers that the input may be in.
    """
    before = [
        *("-hide_banner", "-nostdin", "-y", "-loglevel", "error", "-nostats"),
        *("-progress", "pipe:1", "-stats_period", "1"),
        # The input may not name other files or addresses.
        *("-protocol_whitelist", "file", "-format_whitelist", formats),
        *("-threads", str(threads)),
    ]
    # Capital V: the first real video stream, not a cover picture.
    after = ["-map", "0:V:0", "-sn", "-dn", "-vf", scaling(wanted.width, wanted.height)]
    after += ["-filter_threads", str(threads), "-pix_fmt", "yuv420p", "-c:v", encoder]
    after += ["-crf", str(CODECS[wanted.codec].crf[wanted.quality]), "-threads", str(threads)]
    after += _ENCODER_OPTIONS[encoder].format(threads=threads).split()
    after += _audio(wanted, source)
    after += _MUXERS[wanted.container].split()
    return before, after


def scaling(width: int | None, height: int | None) -> str:
    """Decides the filter: asked-for sizes have square pixels; `dar` is what is to be seen."""
    if width is None and height is None:
        return "scale=w=trunc(iw/2)*2:h=trunc(ih/2)*2"
    wide = width if width is not None else f"max(2\\,round({height}*dar/2)*2)"
    high = height if height is not None else f"max(2\\,round({width}/dar/2)*2)"
    return f"scale=w={wide}:h={high},setsar=1"


def run(
    before: Sequence[str],
    source: Path,
    after: Sequence[str],
    result: Path,
    on_seconds: Callable[[float], None],
) -> None:
    """Runs ffmpeg to its end. However this ends, no process of it is left.

    Args:
        before: Arguments before the input.
        source: The input.
        after: Arguments before the output.
        result: The output. What stderr says goes beside it.
        on_seconds: Told, about once a second, how much of the video is done.

    Raises:
        BadInputError: The source cannot be decoded.
        EncoderFailedError: ffmpeg failed otherwise, or was killed.
    """
    command = [find(), *before, "-i", f"file:{source}", *after, f"file:{result}"]
    errors = result.with_name("stderr.txt")
    with errors.open("wb") as stderr, _process(command, stderr.fileno()) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        for line in process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "out_time_us" and value.lstrip("-").isdigit():
                on_seconds(max(0, int(value)) / 1_000_000)
        code = process.wait()
    if code == 0:
        return
    said = tail(errors)
    if code > 0 and "Invalid data found when processing input" in said:
        raise BadInputError(f"The source cannot be decoded; check it. ffmpeg says: {said}")
    how = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"failed ({code})"
    raise EncoderFailedError(f"ffmpeg {how}. It said: {said or 'nothing'}")


def tail(path: Path, length: int = 1500) -> str:
    """Gives the end of a text file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - length))
        return file.read().decode(errors="replace").strip()


def _audio(wanted: Encoding, source: Source) -> list[str]:
    if not wanted.audio or source.audio_codec is None:
        return ["-an"]
    if source.audio_codec == wanted.audio_codec:
        return ["-map", "0:a:0", "-c:a", "copy"]
    encoder, bitrate = _AUDIO[wanted.audio_codec]
    # Opus takes few of the layouts that have more channels.
    channels = str(min(2, max(1, source.audio_channels)))
    return ["-map", "0:a:0", "-c:a", encoder, "-b:a", bitrate, "-ac", channels]


@contextmanager
def _process(command: Sequence[str], stderr: int) -> Generator[subprocess.Popen[str]]:
    """Starts the program in a session of its own, and ends all of that session."""
    process = subprocess.Popen(
        tied_to_this_process(*command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        try:
            if process.poll() is None:
                _signal(process, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
        finally:
            # Also where a second signal cut the wait short.
            _signal(process, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
