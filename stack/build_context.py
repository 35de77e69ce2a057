"""The context of an image's build: which files, their digest, and the folder that holds them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskpacks.errors import RefusedSettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = "build/images"
"""Where contexts are written, relative to the project's folder. Git leaves it out."""
# https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
PINNED: Final = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")
"""An image that is named by its digest: it never becomes another one."""

_PATTERNS: Final = (
    "Dockerfile",
    "pyproject.toml",
    "requirements.lock",
    "taskpacks/*.py",
    "taskpacks/{pack}/**/*",
    "worker/**/*",
)
"""All that the Dockerfile may copy. .dockerignore lets the same through, but for other packs."""
_LEFT_OUT: Final = re.compile(r"(^|/)(__pycache__|tests|\.[^/]*)(/|$)")


@dataclass(frozen=True)
class BuildFile:
    """One file of a build's context.

    Attributes:
        path: Relative to the context, with "/".
        executable: Whether its owner may execute it. The checkout's other permissions depend
            on the umask of whoever made it, and so do not go into an image.
        content: Its bytes.
    """

    path: str
    executable: bool
    content: bytes


def build_files(pack: str, root: Path = ROOT) -> tuple[BuildFile, ...]:
    """Lists all that goes into a pack's image: the one list, which tag and context are made from.

    Args:
        pack: A pack whose folder is in this checkout.
        root: The checkout.

    Raises:
        RefusedSettingsError: The pack's image cannot be built: its folder is not here, or there
            is a symbolic link among the files.
    """
    if not (root / "taskpacks" / pack).is_dir():
        raise RefusedSettingsError(
            f"taskpacks:build_images: the pack '{pack}' is installed and not a folder of this "
            "checkout, so its image cannot be built here; build it where the pack lives and "
            "give each of its deployments image: {uri: ...}."
        )
    found = {
        path.relative_to(root).as_posix(): path
        for pattern in _PATTERNS
        for path in root.glob(pattern.format(pack=pack))
    }
    kept = {name: path for name, path in found.items() if not _LEFT_OUT.search(name)}
    for name, path in kept.items():
        if path.is_symlink():
            raise RefusedSettingsError(
                f"taskpacks:build_images: {name} is a symbolic link: the image of the pack "
                f"'{pack}' would hold the link, and not the file that it leads to. Put the file "
                "itself there."
            )
    return _read(kept)


def _read(paths: Mapping[str, Path]) -> tuple[BuildFile, ...]:
    return tuple(
        BuildFile(name, bool(path.stat().st_mode & 0o100), path.read_bytes())
        # By name: paths have another order where `a.py` is beside `a/`.
        for name, path in sorted(paths.items())
        if path.is_file()
    )


def content_digest(files: tuple[BuildFile, ...], arguments: Mapping[str, str]) -> str:
    """Returns twelve hex digits that change with every file, its mode, and every build argument.

    The Dockerfile is one of the files, so that the digest of its base image is in it too; a base
    that a pack declares is an argument.
    """
    listed = [
        [each.path, each.executable, hashlib.sha256(each.content).hexdigest()] for each in files
    ]
    described = json.dumps([listed, dict(arguments)], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def write_context(files: tuple[BuildFile, ...], folder: Path) -> None:
    """Makes a folder hold these files and nothing else, with the same modes on every machine."""
    was_there = folder.exists()  # before its files are read: another program may write it now
    if _read_folder(folder) == files:
        return
    if was_there:  # somebody changed what the stack had written
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "context"
        made.mkdir()
        for each in files:
            path = made / each.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.content)
            path.chmod(0o755 if each.executable else 0o644)
        for path in (made, *made.rglob("*")):
            if path.is_dir():  # an image's worker is not its root: it has to read what root owns
                path.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:  # another program was faster: what it wrote is as good
            if _read_folder(folder) != files:
                raise


def _read_folder(folder: Path) -> tuple[BuildFile, ...]:
    return _read({path.relative_to(folder).as_posix(): path for path in folder.rglob("*")})
