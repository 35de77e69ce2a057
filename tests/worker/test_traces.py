"""A message's W3C trace context reaches its task, and all that the task sends."""

import logging
import uuid

import pytest
from celery import signature
from celery.app.task import Context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from taskpacks.contract import ExitCode
from worker import traces

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "vendor=00f067aa0ba902b7"
HEADERS = {"traceparent": PARENT, "tracestate": STATE}
PACK = """
import json, os, signal

from taskpacks import PackSpec, hookimpl

JOURNAL = os.environ["JOURNAL"]
try:
    from opentelemetry import trace
except ImportError:
    trace = None


@hookimpl
def taskpack_spec():
    return PackSpec()


def note(request, name):
    line = {
        "event": "begin",
        "name": name,
        "headers": {key: request.get(key) for key in ("traceparent", "tracestate")},
        "span": trace and format(trace.get_current_span().get_span_context().span_id, "016x"),
    }
    with open(JOURNAL, "a") as file:
        file.write(json.dumps(line) + "\\n")


@hookimpl
def taskpack_register_tasks(app):
    @app.task(name="traced.show", bind=True)
    def show(self, *_, name):
        note(self.request, name)

    @app.task(name="traced.again", bind=True)
    def again(self):
        note(self.request, f"again {self.request.retries}")
        if not self.request.retries:
            raise self.retry(countdown=0)

    @app.task(name="traced.send", bind=True)
    def send(self):
        show.delay(name="sent")

    @app.task(name="traced.send_in_span")
    def send_in_span():
        outer = trace.get_current_span().get_span_context()
        inner = trace.SpanContext(outer.trace_id, 0x2A, False, outer.trace_flags)
        with trace.use_span(trace.NonRecordingSpan(inner)):
            show.delay(name="sent in a span")

    @app.task(name="traced.fail")
    def fail():
        raise ValueError("broken on purpose")

    @app.task(name="traced.kill")
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def traced(site, journal):
    """The site, with a pack whose tasks say what they know of a trace."""
    folder = site.folder / "site"
    info = folder / "traced-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: traced\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskpacks]\ntraced = traced_pack\n")
    (folder / "traced_pack.py").write_text(PACK)
    site.environment |= {
        "TASKPACKS_PACK": "traced",
        "JOURNAL": str(journal),
        "TASKPACKS_MAX_ATTEMPTS": "1",
        "TASKPACKS_IDLE_SECONDS": "2",
    }
    return site


def without_opentelemetry(site):
    folder = site.folder / "site" / "opentelemetry"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('not installed')\n")


@pytest.mark.parametrize("installed", [True, False])
def test_a_task_and_all_that_follows_it_have_the_trace_of_its_message(traced, journal, installed):
    def named(name):
        return signature("traced.show", kwargs={"name": name}, app=traced.producer)

    def send(task, headers=HEADERS, **options):
        traced.producer.send_task(f"traced.{task}", headers=headers, **options)

    if not installed:
        without_opentelemetry(traced)
    send("show", kwargs={"name": "first"}, link=named("callback"))
    send("again", chain=[named("next in the chain").set(task_id=str(uuid.uuid4()))])
    send("send")
    send("fail", link_error=named("errback"))
    send("kill", link_error=named("errback of a killed task"))
    send("show", headers=None, kwargs={"name": "untraced"}, link=named("callback of that"))
    worker = traced.start()
    assert worker.wait() == ExitCode.DRAINED
    found = {line["name"]: (line["headers"], line["span"]) for line in journal.lines()}
    span = PARENT.split("-")[2] if installed else None
    nothing = dict.fromkeys(HEADERS), "0" * 16 if installed else None
    assert found.pop("untraced") == found.pop("callback of that") == nothing
    assert found == dict.fromkeys(
        (
            "first",
            "callback",
            "again 0",
            "again 1",
            "next in the chain",
            "sent",
            "errback",
            "errback of a killed task",
        ),
        (HEADERS, span),
    )


def test_what_is_sent_within_a_span_of_the_packs_own_is_its_child(traced, journal):
    traced.producer.send_task("traced.send_in_span", headers=HEADERS)
    assert traced.start().wait() == ExitCode.DRAINED
    (sent,) = journal.lines()
    assert sent["headers"]["traceparent"] == PARENT.replace("00f067aa0ba902b7", f"{0x2A:016x}")
    assert sent["span"] == f"{0x2A:016x}"


MALFORMED = [
    "nonsense",
    "",
    17,
    [],
    {"a": "b"},
    PARENT.upper(),
    PARENT[:-1],
    f"{PARENT}-more",
    f"ff{PARENT[2:]}",
    f"00-{'0' * 32}-00f067aa0ba902b7-01",
    f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    f"cc{PARENT[2:]}-{'x' * 500}",
]


def test_a_malformed_header_fails_no_task_and_goes_no_further(traced, journal):
    for number, parent in enumerate(MALFORMED):
        traced.producer.send_task(
            "traced.show",
            headers={"traceparent": parent, "tracestate": 7},
            kwargs={"name": f"task {number}"},
            link=signature("traced.show", kwargs={"name": f"after {number}"}, app=traced.producer),
        )
    worker = traced.start()
    assert worker.wait() == ExitCode.DRAINED
    outcomes = [report["Outcome"] for report in worker.reports if "Outcome" in report]
    assert outcomes == ["done"] * 2 * len(MALFORMED)
    lines = {line["name"]: line for line in journal.lines()}
    assert {line["span"] for line in lines.values()} == {"0" * 16}
    for number, parent in enumerate(MALFORMED):
        assert lines[f"task {number}"]["headers"]["traceparent"] == parent
        assert lines[f"after {number}"]["headers"] == dict.fromkeys(HEADERS)


@pytest.mark.parametrize("parent", MALFORMED)
def test_a_malformed_header_costs_one_line_of_debugging(caplog, parent):
    caplog.set_level(logging.DEBUG)
    with traces.attached(Context(traceparent=parent)):
        assert not trace.get_current_span().get_span_context().is_valid
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("worker.traces", logging.DEBUG)
    assert len(record.getMessage()) < 300


@pytest.mark.parametrize("parent", [PARENT, f"cc{PARENT[2:]}", f"cc{PARENT[2:]}-more"])
@pytest.mark.parametrize("state", [STATE, None, 7, "x" * 513])
def test_well_formed_headers_are_read_and_a_state_that_is_none_is_left_out(parent, state):
    expected = {"traceparent": parent, "tracestate": STATE}
    if state != STATE:
        del expected["tracestate"]
    request = Context(traceparent=parent, tracestate=state)
    assert traces.headers_of(request) == expected
    with traces.attached(request):
        assert trace.get_current_span().get_span_context().span_id == 0xF067AA0BA902B7
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_span_that_an_instrumentation_has_begun_stays_the_current_one():
    begun = NonRecordingSpan(SpanContext(1, 2, is_remote=False))
    with trace.use_span(begun), traces.attached(Context(HEADERS)):
        assert trace.get_current_span() is begun
