"""Files that a program hands over: assets and archives, as pulumi's protocol marks them.

On the wire one is an object with a signature, a path or a text, and, once the engine has looked
at it, the hash of its content. So it stays in the state, where the hash alone says whether it
is the same. The real engine hashes by itself, and leaves the content out of old values. https://github.com/pulumi/pulumi/blob/master/sdk/go/common/resource/asset
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pulumi.runtime import rpc

from local.engine.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# pulumi keeps its signatures private; local/engine is pinned to one version of it.
SIGNATURE: Final = rpc._special_sig_key  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
_ASSET: Final = rpc._special_asset_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
_ARCHIVE: Final = rpc._special_archive_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as above
_HASH: Final = "hash"
_FILE_MODE: Final = 0o100644 << 16
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can tell: with one time for all, equal files make equal zips."""


def is_asset(value: Any) -> bool:
    """Whether a value is an asset or an archive."""
    return isinstance(value, dict) and cast("Mapping[str, Any]", value).get(SIGNATURE) in (
        _ASSET,
        _ARCHIVE,
    )


def holds_asset(value: Any) -> bool:
    """Whether a value is an asset or an archive, or has one anywhere inside."""
    if is_asset(value):
        return True
    if isinstance(value, dict):
        return any(holds_asset(item) for item in cast("Mapping[str, Any]", value).values())
    return isinstance(value, list) and any(map(holds_asset, cast("list[Any]", value)))


def with_hash(value: Mapping[str, Any], subject: str) -> dict[str, Any]:
    """Returns an asset or archive with a hash: the one that it came with, else its content's.

    Args:
        value: As it came over the wire; a relative path counts from the current folder.
        subject: Whose it is, for the error message.

    Raises:
        UnsupportedError: It is remote or of an unknown format, or its file cannot be read.
    """
    if value.get(_HASH):
        return dict(value)
    digest = hashlib.sha256()
    for name, content in sorted(_files(value, subject)):
        digest.update(f"{len(name)} {len(content)} {name}".encode() + content)
    return {**value, _HASH: digest.hexdigest()}


def content_hash(value: Any) -> Any:
    """Returns the hash that two archives are compared by: where the files are does not count."""
    return value.get(_HASH) if is_asset(value) else value


def zip_of(value: Mapping[str, Any], subject: str) -> bytes:
    """The content as a zip file; the same files always make the same bytes.

    Raises:
        UnsupportedError: As `with_hash` says.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(_files(value, subject)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _FILE_MODE
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def _files(value: Mapping[str, Any], subject: str, prefix: str = "") -> list[tuple[str, bytes]]:
    """Names within the archive, and contents; an asset alone has the name that it is put under."""
    if "uri" in value:
        raise UnsupportedError(
            f"{subject}: the remote asset {value['uri']} cannot be fetched here; give a file."
        )
    if "text" in value:
        return [(prefix, str(value["text"]).encode())]
    if "assets" in value:
        return [
            file
            for name, inner in value["assets"].items()
            for file in _files(inner, subject, f"{prefix}/{name}".lstrip("/"))
        ]
    if "path" not in value:
        raise UnsupportedError(
            f"{subject}: an asset or archive came with neither content nor a hash; give a path, a "
            "text or assets."
        )
    path = Path(str(value["path"]))
    try:
        if value.get(SIGNATURE) == _ASSET:
            return [(prefix, path.read_bytes())]
        if path.is_dir():
            found = (each for each in path.rglob("*") if each.is_file())
            return _under(
                prefix, ((each.relative_to(path).as_posix(), each.read_bytes()) for each in found)
            )
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            return _under(prefix, [(name, archive.read(name)) for name in names])
    except zipfile.BadZipFile as error:
        raise UnsupportedError(
            f"{subject}: {path} is neither a folder nor a zip file; other archives are not "
            "unpacked here."
        ) from error
    except OSError as error:
        raise UnsupportedError(f"{subject}: {path} cannot be read: {error}") from error


def _under(prefix: str, files: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(f"{prefix}/{name}".lstrip("/"), content) for name, content in files]
