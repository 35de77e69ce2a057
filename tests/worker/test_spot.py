"""Spot notices: whatever the metadata service answers meanwhile, the notice is seen."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from faults import PAGE

from taskpacks.contract import ExitCode
from worker.spot import MARGIN_SECONDS, SpotWatch, seconds_left

TOKEN = "a token"


class Metadata(BaseHTTPRequestHandler):
    """EC2's instance metadata service, second version, as far as Spot needs it.

    `faults` are done to the next requests, one each: a status, or a function of the answer.
    """

    notice = None
    token = TOKEN
    tokens = 0
    asked = 0
    faults: list  # of the service, not of one request

    def do_PUT(self):
        assert self.path == "/latest/api/token"
        assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        type(self).tokens += 1
        self.answer(200, self.token)

    def do_GET(self):
        if self.headers["X-aws-ec2-metadata-token"] != self.token:
            self.answer(401, "")
        elif self.path != "/latest/meta-data/spot/instance-action":
            self.answer(404, "")
        else:
            type(self).asked += 1
            self.answer(200, self.notice) if self.notice else self.answer(404, "")

    def answer(self, status, text):
        whole = answer = text.encode()
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            status = fault
        elif fault is not None:
            status, whole, answer = 200, *fault(answer)
        self.send_response(status)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Not in the tests' output."""


def truncated(answer):
    return answer or b"{}", answer[:-2]


def page(_):
    return PAGE, PAGE


def page_of_lines(_):
    return PAGE * 9, b"\r\n".join([PAGE] * 9)[: len(PAGE) * 9]


def bytes_of_no_text(_):
    return b"\xff\xfe", b"\xff\xfe"


def null(_):
    return b"null", b"null"


@pytest.fixture
def metadata():
    service = type("Service", (Metadata,), {"faults": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), service)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield service
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def noticed(metadata):
    """The seconds that a watch noticed, which looks every 10 ms."""
    told = []
    watch = SpotWatch(told.append, endpoint=metadata.url, look_seconds=0.01)
    watch.start()
    yield told
    watch.stop()


def notice_in(seconds):
    ends_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return json.dumps({"action": "terminate", "time": ends_at.strftime("%Y-%m-%dT%H:%M:%SZ")})


def test_a_spot_notice_ends_the_worker_in_time(site, metadata, journal, wait_until):
    metadata.faults += [page, None, truncated]  # a token, a token, a notice
    site.send("sleep", seconds=60, journal=str(journal), name="long")
    worker = site.start(TASKPACKS_SPOT_ENDPOINT=metadata.url, TASKPACKS_STOP_GRACE_SECONDS="50")
    wait_until(lambda: journal.lines("begin"))
    wait_until(lambda: metadata.asked > 1)
    assert worker.code is None
    ends_at = time.time() + 20
    metadata.notice = notice_in(20)
    assert worker.wait(20) == ExitCode.STOPPED
    assert time.time() < ends_at
    assert "spot notice" in worker.log
    assert journal.lines("cut")
    assert site.depth() == (1, 0)


@pytest.mark.parametrize(
    "fault", [truncated, page, page_of_lines, bytes_of_no_text, null, 401, 500, 503]
)
def test_a_notice_is_seen_whatever_was_answered_before(metadata, noticed, wait_until, fault):
    wait_until(lambda: metadata.asked)
    metadata.notice = notice_in(120)
    metadata.faults += [fault, fault]
    wait_until(lambda: noticed, 10)
    assert 100 - MARGIN_SECONDS < noticed[0] <= 120 - MARGIN_SECONDS


@pytest.mark.parametrize("fault", [truncated, page, page_of_lines, bytes_of_no_text, 403, 500])
def test_a_token_that_is_none_is_asked_for_again(metadata, wait_until, fault):
    metadata.faults += [fault]
    told = []
    watch = SpotWatch(told.append, endpoint=metadata.url, look_seconds=0.01)
    watch.start()
    wait_until(lambda: metadata.asked, 10)
    metadata.notice = notice_in(120)
    wait_until(lambda: told, 10)
    assert metadata.tokens == 2


def test_one_token_serves_until_it_is_refused(metadata, noticed, wait_until):
    wait_until(lambda: metadata.asked > 5)
    assert metadata.tokens == 1
    metadata.token = "another token"
    asked = metadata.asked
    wait_until(lambda: metadata.asked > asked + 5)
    assert metadata.tokens == 2
    assert noticed == []


def test_a_service_that_never_answers_well_fills_no_log(metadata, noticed, wait_until, caplog):
    metadata.faults += [page] * 200
    wait_until(lambda: len(metadata.faults) < 50)
    lines = [line for line in caplog.messages if "spot notice" in line]
    assert 5 <= len(lines) <= 9
    assert max(map(len, lines)) < 400
    assert noticed == []


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"time": 1}', '{"time": "soon"}', "<p>"])
def test_what_is_no_notice_is_refused(text):
    with pytest.raises(ValueError, match="not a notice"):
        seconds_left(text, 0)
