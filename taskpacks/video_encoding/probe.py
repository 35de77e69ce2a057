"""Describes a video file, with PyAV: from its headers and packets, without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import av
from av.error import FFmpegError

from taskpacks import BadInputError
from taskpacks.errors import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer

FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,mxf,ivf,nut,"
    "dv,rm,gif,h264,hevc,obu,yuv4mpegpipe"
)
"""Containers that hold their video themselves. Playlists and scripts, which name other files
(hls, dash, concat, image2, …), are not among them."""

_ATTACHED_PICTURE: Final = "attached_pic"


@dataclass(frozen=True)
class Source:
    """The facts that encoding needs."""

    seconds: float | None
    """The length of the video stream; None where the container does not say."""
    audio_codec: str | None
    audio_channels: int


@dataclass(frozen=True)
class Result:
    """The streams of a finished file."""

    codec: str
    width: int
    height: int
    seconds: float
    frames: int


def source(path: Path, uri: str) -> Source:
    """Looks into a task's source.

    Args:
        path: Where it was fetched to.
        uri: Its name for the error.

    Raises:
        BadInputError: It is no video.
    """
    try:
        with _opened(path) as container:
            video = [
                stream
                for stream in container.streams.video
                if _ATTACHED_PICTURE not in (stream.disposition.name or "")
            ]
            if not video:
                raise BadInputError(
                    f"{quoted(uri)} is no video: it has no video stream, only sound or a cover "
                    "picture."
                )
            seconds = None
            if video[0].duration is not None and video[0].time_base is not None:
                seconds = float(video[0].duration * video[0].time_base)
            elif container.duration is not None and not container.streams.audio:
                seconds = container.duration / av.time_base
            audio = next(iter(container.streams.audio), None)
            return Source(
                seconds=seconds or None,
                audio_codec=audio.codec_context.codec.canonical_name if audio else None,
                audio_channels=audio.codec_context.channels if audio else 0,
            )
    except (FFmpegError, ValueError) as error:
        raise BadInputError(
            f"{quoted(uri)} is no video: it is in none of the containers that are read (MP4, MOV, "
            f"Matroska, WebM, AVI, MPEG and others), or is cut off at the start; check it."
        ) from error


def result(path: Path) -> Result:
    """Looks into a file that an encoder has finished, and counts its frames."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frames = sum(1 for packet in container.demux(stream) if packet.size)
        return Result(
            codec=context.codec.canonical_name,
            width=context.width,
            height=context.height,
            seconds=round((container.duration or 0) / av.time_base, 3),
            frames=frames,
        )


def _opened(path: Path) -> InputContainer:
    return av.open(
        f"file:{path}", options={"protocol_whitelist": "file", "format_whitelist": FORMATS}
    )
