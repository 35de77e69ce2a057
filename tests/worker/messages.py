"""Messages as Celery's producers send them, and 60 ways to spoil one."""

import base64
import copy
import json
import pickle
import uuid
import zlib

LEFT_OUT = object()
"""Instead of a value: the key is left out."""


def good(task="probe.add", **arguments):
    """A message that a worker of the probe pack can run."""
    task_id = str(uuid.uuid4())
    body = [[], arguments or {"left": 1, "right": 1}, embedded()]
    return {
        "body": json.dumps(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "gen1@host",
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "probe"},
            "priority": 0,
            "body_encoding": "utf-8",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def embedded(**changes):
    return {"callbacks": None, "errbacks": None, "chain": None, "chord": None, **changes}


def spoilt(path, value):
    """A good message with one value changed, as text; path is keys joined by dots."""
    return spoilt_in({path: value})


def spoilt_in(changed):
    """A good message with some values changed, as text: path -> value."""
    message = copy.deepcopy(good())
    for path, value in changed.items():
        *above, key = path.split(".")
        place = message
        for step in above:
            place = place[step]
        if value is LEFT_OUT:
            del place[key]
        else:
            place[key] = value
    return json.dumps(message)


def with_body(body):
    return spoilt("body", json.dumps(body))


def compressed(data, method="x-gzip"):
    """A message whose body says that it is compressed, as kombu sends it."""
    message = good()
    message["headers"]["compression"] = f"application/{method}"
    message["properties"]["body_encoding"] = "base64"
    message["body"] = base64.b64encode(data).decode()
    return json.dumps(message)


def nested(levels):
    """A list in a list in a list."""
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def base64_text(text):
    return base64.b64encode(text.encode()).decode()


PROTOCOL_1 = json.dumps(
    {**good(), "headers": {}, "body": json.dumps({"task": "probe.add", "args": [1, 1]})}
)
PICKLED = {
    **good(),
    "content-type": "application/x-python-serialize",
    "content-encoding": "binary",
    "body": base64.b64encode(pickle.dumps([[], {}, {}])).decode(),
}

POISON = {
    "a blank": (" ", "neither JSON nor base64"),
    "a sentence": ("Hello, is this the right address?", "neither JSON nor base64"),
    "bad base64": ("eyJib2R5Ijog!!!", "neither JSON nor base64"),
    "base64 of bytes that are no text": (
        base64.b64encode(b"\xff\xfe\x00").decode(),
        "neither JSON nor base64",
    ),
    "base64 of no JSON": (base64_text("{'a': 1}"), "not JSON"),
    "base64 of a number": (base64_text("42"), "a JSON object was expected, not int"),
    "a list": ("[1, 2]", "neither JSON nor base64"),
    "base64 of a list": (base64_text("[1, 2]"), "a JSON object was expected, not list"),
    "half a message": (json.dumps(good())[:200], "not JSON"),
    "a message and a half": (json.dumps(good()) + "{", "not JSON"),
    "nested without end": ('{"a":' + "[" * 100_000, "not JSON"),
    "an empty object": ("{}", "headers"),
    "no headers": (spoilt("headers", LEFT_OUT), "headers"),
    "null headers": (spoilt("headers", None), "headers"),
    "headers in a list": (spoilt("headers", [["task", "probe.add"]]), "headers"),
    "headers in a text": (spoilt("headers", "task=probe.add"), "headers"),
    "no properties": (spoilt("properties", LEFT_OUT), "properties"),
    "null properties": (spoilt("properties", None), "properties"),
    "properties in a list": (spoilt("properties", []), "properties"),
    "no delivery_info": (spoilt("properties.delivery_info", LEFT_OUT), "delivery_info"),
    "null delivery_info": (spoilt("properties.delivery_info", None), "delivery_info"),
    "delivery_info in a text": (spoilt("properties.delivery_info", "direct"), "delivery_info"),
    "no id": (spoilt("headers.id", LEFT_OUT), "'id'"),
    "null id": (spoilt("headers.id", None), "'id'"),
    "an empty id": (spoilt("headers.id", ""), "'id'"),
    "a number for an id": (spoilt("headers.id", 7), "'id'"),
    "no task": (spoilt("headers.task", LEFT_OUT), "'task'"),
    "null task": (spoilt("headers.task", None), "'task'"),
    "a list for a task": (spoilt("headers.task", ["probe.add"]), "'task'"),
    "an unknown task": (spoilt("headers.task", "probe.ad"), "there is no task 'probe.ad'"),
    "the polling of a chord": (
        spoilt("headers.task", "celery.chord_unlock"),
        "chords need a result backend that counts",
    ),
    "an older protocol without an id": (PROTOCOL_1, "'id'"),
    "no body in the envelope": (spoilt("body", LEFT_OUT), "body"),
    "null body in the envelope": (spoilt("body", None), "body"),
    "a compression that there is not": (
        spoilt("headers.compression", "application/x-secret"),
        "'compression' is 'application/x-secret'",
    ),
    "an object for a compression": (spoilt("headers.compression", {"a": 1}), "'compression'"),
    "a body that is not compressed as it says": (
        spoilt("headers.compression", "application/x-gzip"),
        "body is no base64 of a text in application/x-gzip",
    ),
    "a body of rubbish that is called bzip2": (
        compressed(b"rubbish", "x-bz2"),
        "body is no base64",
    ),
    "a body of rubbish that is called xz": (compressed(b"rubbish", "x-lzma"), "body is no base64"),
    "a compressed body that is cut off": (
        compressed(zlib.compress(b"[[1, 1], {}, {}]")[:-4]),
        "cut off",
    ),
    "a compressed body that fills the memory": (compressed(zlib.compress(bytes(2**28))), "cut off"),
    "a compressed body that is no text": (compressed(zlib.compress(b"\xff\xfe")), "body is no"),
    "an id as long as a page": (spoilt("headers.id", "x" * 3000), "has 3000 characters"),
    "an object for a body": (spoilt("body", {"args": []}), "body"),
    "a number for a body": (spoilt("body", 12), "body"),
    "an empty text for a body": (spoilt("body", ""), "body is not JSON"),
    "a body that is no JSON": (spoilt("body", "[[], {}, {}"), "body is not JSON"),
    "a body that is not base64 as it says": (
        spoilt("properties.body_encoding", "base64"),
        "body is neither JSON nor base64",
    ),
    "an unknown body_encoding": (spoilt("properties.body_encoding", "rot13"), "body_encoding"),
    "a list for a body_encoding": (spoilt("properties.body_encoding", ["utf-8"]), "body_encoding"),
    "a pickle": (json.dumps(PICKLED), "content-type"),
    "YAML": (spoilt("content-type", "application/x-yaml"), "content-type"),
    "no content type": (spoilt("content-type", LEFT_OUT), "content-type"),
    "an unknown content type": (spoilt("content-type", "text/x-nonsense"), "content-type"),
    "a content type that is none": (spoilt("content-type", {"a": 1}), "content-type"),
    "no content encoding": (spoilt("content-encoding", LEFT_OUT), "content-encoding"),
    "a binary content encoding": (spoilt("content-encoding", "binary"), "content-encoding"),
    "a content encoding that there is not": (
        spoilt("content-encoding", "utf-99"),
        "content-encoding",
    ),
    "a body of two parts": (with_body([[], {}]), "body"),
    "an object as the body's JSON": (with_body({"args": []}), "body"),
    "null as the body's JSON": (with_body(None), "body"),
    "arguments in a text": (with_body(["ab", {}, embedded()]), "arguments"),
    "keyword arguments in a list": (with_body([[], ["left"], embedded()]), "keyword arguments"),
    "null keyword arguments": (with_body([[], None, embedded()]), "keyword arguments"),
    "embedded in a text": (with_body([[], {}, "callbacks"]), "embedded"),
    "an eta that is no moment": (spoilt("headers.eta", "tomorrow"), "'eta'"),
    "a number for an eta": (spoilt("headers.eta", 1_700_000_000), "'eta'"),
    "an eta after the end of time": (spoilt("headers.eta", "9999-12-31T23:59:59"), "to start in"),
    "an eta that is no moment in UTC": (
        spoilt("headers.eta", "0001-01-01T00:00:00+23:59"),
        "'eta'",
    ),
    "expires when UTC has ended": (
        spoilt("headers.expires", "9999-12-31T23:59:59-23:59"),
        "'expires'",
    ),
    "arguments nested too deep to be handed over": (
        with_body([[], {"left": nested(600), "right": 1}, embedded()]),
        "deeper than 100 levels",
    ),
    "arguments nested a little too deep": (
        with_body([[], {"left": nested(99), "right": []}, embedded()]),
        "deeper than 100 levels",
    ),
    "headers nested too deep": (spoilt("headers.stamps", nested(600)), "deeper than 100 levels"),
    "expires, but when": (spoilt("headers.expires", "soon"), "'expires'"),
    "an object for expires": (spoilt("headers.expires", {"in": 5}), "'expires'"),
    "one time limit": (spoilt("headers.timelimit", [5]), "'timelimit'"),
    "time limits in texts": (spoilt("headers.timelimit", ["5", "4"]), "'timelimit'"),
    "a text for time limits": (spoilt("headers.timelimit", "5 s"), "'timelimit'"),
}
"""Kind -> the message's text, and words of the reason in the worker's log."""

ODD = {
    "retries in a text": spoilt("headers.retries", "many"),
    "null retries": spoilt("headers.retries", None),
    "a huge number of retries": spoilt("headers.retries", 10**30),
    "stamps in a number": spoilt("headers.stamps", 5),
    "stamped headers in a number": spoilt("headers.stamped_headers", 5),
    "stamped headers that are not there": spoilt("headers.stamped_headers", ["missing"]),
    "a number for a group": spoilt("headers.group", 5),
    "a text for a group's index": spoilt("headers.group_index", "first"),
    "a list for a root": spoilt("headers.root_id", [1]),
    "an object for a parent": spoilt("headers.parent_id", {}),
    "an object for a shadow": spoilt("headers.shadow", {"name": "x" * 3000}),
    "a shadow as long as a page": spoilt("headers.shadow", "x" * 3000),
    "a number for a shadow": spoilt("headers.shadow", 5),
    "a list for an origin": spoilt("headers.origin", []),
    "a text for ignore_result": spoilt("headers.ignore_result", "perhaps"),
    "a text for nesting": spoilt("headers.replaced_task_nesting", "deep"),
    "a number for argsrepr": spoilt("headers.argsrepr", 5),
    "another language": spoilt("headers.lang", "cobol"),
    "a number for a language": spoilt("headers.lang", 5),
    "an object for correlation_id": spoilt("properties.correlation_id", {"a": 1}),
    "no correlation_id": spoilt("properties.correlation_id", LEFT_OUT),
    "an object for reply_to": spoilt("properties.reply_to", {"a": 1}),
    "a text for a priority": spoilt("properties.priority", "high"),
    "an object for a delivery tag": spoilt("properties.delivery_tag", {"a": 1}),
    "an id that is half a letter": spoilt("headers.id", "\ud800"),
    "an id of a null character": spoilt("headers.id", "a\x00b"),
    "negative time limits": spoilt("headers.timelimit", [-1, -1]),
    "time limits of no number": spoilt("headers.timelimit", [float("nan"), float("nan")]),
    "endless time limits": spoilt("headers.timelimit", [float("inf"), 1e300]),
    "a huge time limit": spoilt("headers.timelimit", [10**400, None]),
    "an eta of a week": spoilt("headers.eta", "2020-W01"),
    "an eta of a day": spoilt("headers.eta", "20200101"),
    "expired long ago": spoilt("headers.expires", "0001-01-01T00:00:00+00:00"),
    "an unknown timezone": spoilt("headers.timezone", "Mars/Olympus"),
    "wrong arguments": with_body([[1, 2, 3], {"four": 4}, embedded()]),
    "arguments that cannot be added": with_body([[], {"left": {}, "right": []}, embedded()]),
    "nothing embedded": with_body([[], {"left": 1, "right": 1}, None]),
    "a number for callbacks": with_body([[1, 1], {}, embedded(callbacks=5)]),
    "callbacks of nothing": with_body([[1, 1], {}, embedded(callbacks=[{}])]),
    "callbacks of an unknown task": with_body(
        [[1, 1], {}, embedded(callbacks=[{"task": "probe.ad", "args": []}])]
    ),
    "a text for errbacks": with_body([[], {"left": 1}, embedded(errbacks="x")]),
    "a number for a chain": with_body([[1, 1], {}, embedded(chain=3)]),
    "a text for a chord": with_body([[1, 1], {}, embedded(chord="x")]),
    "unknown things embedded": with_body([[1, 1], {}, {"surprise": 1}]),
    "Celery's backend_cleanup": spoilt("headers.task", "celery.backend_cleanup"),
}
"""Kind -> a message that a check of form may let pass, and that is not good all the same."""
