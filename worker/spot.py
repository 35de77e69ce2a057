"""Watches for the notice that an EC2 Spot instance will be taken, two minutes before it is.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5
"""AWS recommends to look every five seconds."""
MARGIN_SECONDS: Final = 15
"""Between the end of the running task's grace and the machine's end."""
_TOKEN_SECONDS: Final = 21_600
"""The longest that the service lets a token live."""
_TOKEN_MARGIN_SECONDS: Final = 60
_ANSWER_SECONDS: Final = 2
_ANSWER_BYTES: Final = 65_536
_QUOTED: Final = 200
_NO_NOTICE: Final = 404


def seconds_left(notice: str, now: float) -> float:
    """How long the machine lives on.

    Args:
        notice: The metadata service's answer, such as
            {"action": "terminate", "time": "2017-09-18T08:22:00Z"}.
        now: Seconds since the epoch.

    Raises:
        ValueError: It is no such notice.
    """
    try:
        moment = datetime.fromisoformat(json.loads(notice)["time"])
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"not a notice: {notice[:_QUOTED]!r}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


class SpotWatch:
    """Asks the instance's metadata service until a notice comes, in a thread of its own."""

    def __init__(
        self,
        on_notice: Callable[[float], None],
        *,
        endpoint: str,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Prepares it.

        Args:
            on_notice: Called once, with the seconds that the running task may go on.
            endpoint: The metadata service, without a slash at the end.
            look_seconds: Between two questions.
        """
        self._on_notice = on_notice
        self._endpoint = endpoint
        self._look_seconds = look_seconds
        self._token = ""
        self._token_ends_at = 0.0
        self._failures = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spot-watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stops looking."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._look_seconds):
            try:
                left = self._seconds_left()
            except Exception as error:  # noqa: BLE001 -- whatever comes, a notice may come after it
                self._failed(error)
                continue
            self._failures = 0
            if left is not None:
                logger.warning("this spot instance will be taken in %.0f s", left)
                self._on_notice(max(0, left - MARGIN_SECONDS))
                return

    def _failed(self, error: Exception) -> None:
        """Logs the first failure in a row, the second, the fourth, the eighth and so on."""
        self._token_ends_at = 0  # it may be what is wrong: expired, or no token but a page
        self._failures += 1
        if self._failures.bit_count() == 1:
            logger.warning(
                "the spot notice cannot be read (%d in a row), asking again every %g s: %s: %.200s",
                self._failures,
                self._look_seconds,
                type(error).__name__,
                error,
            )

    def _seconds_left(self) -> float | None:
        """How long the machine lives on; None when there is no notice."""
        try:
            notice = self._ask(
                "GET",
                "/latest/meta-data/spot/instance-action",
                {"X-aws-ec2-metadata-token": self._valid_token()},
            )
        except urllib.error.HTTPError as error:
            if error.code == _NO_NOTICE:
                return None
            raise
        return seconds_left(notice, time.time())

    def _valid_token(self) -> str:
        now = time.monotonic()
        if now >= self._token_ends_at:
            self._token = self._ask(
                "PUT",
                "/latest/api/token",
                {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)},
            )
            self._token_ends_at = now + _TOKEN_SECONDS - _TOKEN_MARGIN_SECONDS
        return self._token

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(  # noqa: S310 -- a constant http URL: the service has no other
            f"{self._endpoint}{path}", headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 -- as above
            return answer.read(_ANSWER_BYTES).decode()
