"""Where tasks read and write: `file://` and `s3://` URIs, streamed, whole or not at all.

A reader of a destination sees what was there before or the whole new object, never a part:
a file is written beside its destination and renamed, S3 shows an object once it is complete.
S3's endpoint and credentials come from the environment, as boto3 reads it; its region too, and
from AWS_REGION before all. Of files, only regular ones outside of the system's own folders are
read or replaced, whatever links say.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import unquote_to_bytes

from taskpacks.contract import Variable
from taskpacks.errors import BadInputError, listed, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

SCHEMES: Final = frozenset({"file", "s3"})
"""All that this module can; a worker's own choice is `WorkerContext.uri_schemes`."""

_CHUNK_BYTES: Final = 4 * 1024 * 1024
_DENIED: Final = frozenset({"403", "AccessDenied", "AllAccessDisabled"})
_SYSTEM_FOLDERS: Final = (Path("/dev"), Path("/proc"), Path("/sys"))
"""They hold the machine, its processes and their environment, and no data."""
_SPECIAL: Final = {
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
}
_UNUSABLE_NAMES: Final = frozenset({errno.ELOOP, errno.ENAMETOOLONG})
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchBucket"})


@dataclass(frozen=True)
class Location:
    """A URI that has been checked: a path on this machine, or a bucket and a key."""

    uri: str
    path: Path | None = None
    bucket: str = ""
    key: str = ""


def source_of(value: object) -> object:
    """Returns the URI in the result of a task that wrote a file, as "output" or "destination".

    So a task can follow another in a chain, which hands it that one's result as its source.

    Args:
        value: Such a result, or a URI, which is returned as it is.

    Raises:
        BadInputError: It is a result that names no file.
    """
    if not isinstance(value, dict):
        return value
    result = cast("dict[str, object]", value)
    named = [result[key] for key in ("output", "destination") if result.get(key)]
    if len(named) != 1:
        raise BadInputError(
            f"the source is a result with {listed(sorted(map(str, result)))}: it must "
            "name one file as 'output' or 'destination'; have the task before write to a URI."
        )
    return named[0]


def locate(uri: object, schemes: Collection[str]) -> Location:
    """Checks a URI, without looking at what it names.

    Args:
        uri: file:///absolute/path (percent-encoded) or s3://bucket/key (taken literally).
        schemes: Those allowed here.

    Raises:
        BadInputError: It is no URI of an object, or its scheme is not allowed.
    """
    allowed = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
    if not isinstance(uri, str) or ":" not in uri:
        raise BadInputError(f"{quoted(uri)} is not a URI: name the object in full, with {allowed}.")
    scheme, _, rest = uri.partition(":")
    if scheme.lower() not in schemes or scheme.lower() not in SCHEMES:
        raise BadInputError(
            f"{quoted(uri)}: the scheme {quoted(scheme)} is not allowed here; put the object where "
            f"it can be named with {allowed}."
        )
    if scheme.lower() == "file":
        return Location(uri, path=_file_path(uri, rest))
    bucket, _, key = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not bucket or not key:
        raise BadInputError(
            f"{quoted(uri)} lacks a bucket or a key: an object in S3 is named s3://bucket/key."
        )
    return Location(uri, bucket=bucket, key=key)


def check_source(uri: object, schemes: Collection[str]) -> int:
    """Checks that a source is there and can be read.

    Returns:
        Its size in bytes.

    Raises:
        BadInputError: It cannot be used; the message says why.
    """
    source = locate(uri, schemes)
    if source.path is None:
        with _s3_refusals(source):
            return int(_s3().head_object(Bucket=source.bucket, Key=source.key)["ContentLength"])
    with _file_refusals(source), _open_source(source, source.path) as file:
        return os.fstat(file.fileno()).st_size


def check_destination(
    uri: object, schemes: Collection[str], *, source: object | None = None
) -> None:
    """Checks what can be known of a destination before the work is done.

    Args:
        uri: Where the result is to go.
        schemes: Those allowed here.
        source: What must not be overwritten. A message can be delivered twice, and the
            second run would take the first one's result for its source.

    Raises:
        BadInputError: It is a folder, the source itself, or a file that is no data.
    """
    destination = locate(uri, schemes)
    if destination.path:
        _real_path(destination, destination.path)
    if destination.uri.endswith("/") or (destination.path and destination.path.is_dir()):
        raise BadInputError(
            f"{quoted(uri)} is a folder: name the object to write in it, as in "
            f"{quoted(destination.uri.rstrip('/') + '/result')}."
        )
    if source is not None and _same(destination, locate(source, schemes)):
        raise BadInputError(
            f"{quoted(uri)} is both source and destination: a task can run twice, and would then "
            "read its own result; choose another destination."
        )


def fetch(uri: object, path: Path, schemes: Collection[str]) -> None:
    """Copies a source to a local path. On any error nothing is left at that path.

    Raises:
        BadInputError: The source cannot be used; the message says why.
    """
    source = locate(uri, schemes)
    with _replacing(path) as file:
        if source.path is None:
            with _s3_refusals(source):
                _s3().download_fileobj(source.bucket, source.key, file)
        else:
            with _file_refusals(source), _open_source(source, source.path) as content:
                _copy(content, file)


def publish(path: Path, uri: object, schemes: Collection[str]) -> int:
    """Copies a local file to a destination; missing folders of a file:// URI are made.

    Args:
        path: The finished file.
        uri: The destination, which is replaced if it exists.
        schemes: Those allowed here.

    Returns:
        How many bytes were written.

    Raises:
        BadInputError: The destination cannot be used; the message says why.
    """
    check_destination(uri, schemes)
    destination = locate(uri, schemes)
    if destination.path is None:
        with _s3_refusals(destination):
            # By name: S3 takes 10 000 parts, and only a known size fits itself into them.
            _s3().upload_file(str(path), destination.bucket, destination.key)
    else:
        with path.open("rb") as content, _destination_file(destination, destination.path) as file:
            _copy(content, file)
    return path.stat().st_size


def publish_bytes(content: bytes, uri: object, schemes: Collection[str]) -> int:
    """Writes a small destination from memory; otherwise as `publish`."""
    check_destination(uri, schemes)
    destination = locate(uri, schemes)
    if destination.path is None:
        with _s3_refusals(destination):
            _s3().put_object(Bucket=destination.bucket, Key=destination.key, Body=content)
    else:
        with _destination_file(destination, destination.path) as file:
            file.write(content)
    return len(content)


def _file_path(uri: str, rest: str) -> Path:
    if rest.startswith("//"):
        host, slash, below = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise BadInputError(
                f"{quoted(uri)} names a host, {quoted(host)}: files are read from this machine "
                "only; write file:/// with three slashes and an absolute path."
            )
        rest = slash + below
    if "?" in rest or "#" in rest:
        raise BadInputError(
            f"{quoted(uri)} has a query or a fragment, which files do not have; write '?' as %3F "
            "and '#' as %23 in a name."
        )
    path = os.fsdecode(unquote_to_bytes(rest))
    if not path.startswith("/") or "\0" in path:
        raise BadInputError(f"{quoted(uri)} is no absolute path; write file:///folder/name.")
    return Path("/" + path.lstrip("/"))  # two slashes at the beginning would be kept


def _same(one: Location, other: Location) -> bool:
    if one.path and other.path:
        return os.path.realpath(one.path) == os.path.realpath(other.path)
    return (one.path, one.bucket, one.key) == (other.path, other.bucket, other.key)


def _real_path(location: Location, path: Path) -> Path:
    """The path without links, of a file that is there or not.

    Raises:
        BadInputError: It is the system's own, or a device, a FIFO or a socket, whose opening
            could wait for ever.
    """
    real = Path(os.path.realpath(path))
    # The path as it is written counts too: links in /proc lead into other processes' files.
    for each in (Path(os.path.normpath(path)), real):
        for folder in _SYSTEM_FOLDERS:
            if each.is_relative_to(folder):
                leads = "" if each == path else f" leads to {quoted(str(each))}, which"
                raise BadInputError(
                    f"{quoted(location.uri)}{leads} lies in {folder}: tasks neither read nor "
                    "replace the system's own files; name a file of data."
                )
    with _file_refusals(location), suppress(FileNotFoundError):
        if special := _SPECIAL.get(stat.S_IFMT(real.stat().st_mode)):
            raise BadInputError(
                f"{quoted(location.uri)} is a {special}: tasks read and replace regular files "
                "only; name a file of data."
            )
    return real


def _open_source(location: Location, path: Path) -> BinaryIO:
    real = _real_path(location, path)
    if real.is_dir():
        raise IsADirectoryError(real)
    return real.open("rb")


@contextmanager
def _destination_file(location: Location, path: Path) -> Generator[BinaryIO]:
    """Gives a file that takes the destination's place, in folders that are made if need be."""
    _real_path(location, path)
    with _file_refusals(location):
        folder = Path(os.path.realpath(path.parent))
        folder.mkdir(parents=True, exist_ok=True)
        with _replacing(folder / path.name) as file:
            yield file


def _copy(source: BinaryIO, destination: BinaryIO) -> None:
    while chunk := source.read(_CHUNK_BYTES):
        destination.write(chunk)


@contextmanager
def _replacing(path: Path) -> Generator[BinaryIO]:
    """Gives a file that takes the path's place when all went well, and else disappears."""
    # Not tempfile: the result's permissions follow the umask, as any other file's.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:  # whatever ends the task, its half-written file must go
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _file_refusals(location: Location) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BadInputError(
            f"{quoted(location.uri)}: there is no such file; check the name."
        ) from error
    except PermissionError as error:
        raise BadInputError(
            f"{quoted(location.uri)}: access is denied; give the worker's user access to it."
        ) from error
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise BadInputError(
            f"{quoted(location.uri)} is no regular file, or lies below something that is no "
            "folder; name a file."
        ) from error
    except OSError as error:
        if error.errno not in _UNUSABLE_NAMES:
            raise
        raise BadInputError(
            f"{quoted(location.uri)} names no file: {error.strerror}; check the name and its links."
        ) from error


@contextmanager
def _s3_refusals(location: Location) -> Generator[None]:
    """Tells what trying again would not help; throttling and outages pass as they are."""
    from boto3.exceptions import S3UploadFailedError  # noqa: PLC0415 - heavy, and only for s3://
    from botocore.exceptions import (  # noqa: PLC0415 - heavy, and only for s3://
        ClientError,
        ParamValidationError,
    )

    try:
        yield
    except ParamValidationError as error:
        raise BadInputError(f"{quoted(location.uri)} is refused by S3: {error}.") from error
    except (ClientError, S3UploadFailedError) as error:
        cause = error if isinstance(error, ClientError) else error.__context__
        details = cause.response.get("Error", {}) if isinstance(cause, ClientError) else {}
        code = details.get("Code", "")
        if code in _DENIED:
            raise BadInputError(
                f"{quoted(location.uri)}: access is denied, or there is no such object and the "
                "role may not list the bucket; check the name, and add the prefix to the "
                "deployment's permissions."
            ) from error
        if code in _MISSING:
            missing = "bucket" if code == "NoSuchBucket" else "object"
            raise BadInputError(
                f"{quoted(location.uri)}: there is no such {missing}; check the name and the "
                "region."
            ) from error
        raise


def _s3() -> Any:
    # A session of its own: boto3's default one is not safe to share with forked processes.
    from boto3.session import Session  # noqa: PLC0415 - heavy, and only for s3://

    # boto3 itself reads AWS_DEFAULT_REGION only; without a region it would ask us-east-1.
    return Session().client("s3", region_name=os.environ.get(Variable.REGION))
