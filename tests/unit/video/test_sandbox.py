import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import write_video
from headhunt_svc.errors import VideoDecodeError, VideoError, VideoLimitError, VideoOpenError
from headhunt_svc.params import SegmentationParams
from headhunt_svc.video.container import VideoLimits
from headhunt_svc.video.reader import VideoReader
from headhunt_svc.video.sandbox import ProcessLimits, SandboxedReader, reader, seccomp, start, wire

S = SegmentationParams(length_s=1.6, frames_per_segment=4)


def read(source: VideoReader | SandboxedReader, params: SegmentationParams = S) -> object:
    with source as video:
        pieces = [(p.segment, p.start_s, p.stop_s, p.pictures.tobytes()) for p in video.segments(params)]
        return pieces, video.fps, video.n_frames, video.duration_s, video.gaps, video.repaired_times


def outcome(source: VideoReader | SandboxedReader, params: SegmentationParams) -> object:
    """What was read, or the error's class and words."""
    try:
        return read(source, params)
    except VideoError as exc:
        return type(exc), str(exc)


def children() -> list[int]:
    """Processes that the starter has forked."""
    mother = reader._starter._process.pid
    return [int(p) for p in Path(f"/proc/{mother}/task/{mother}/children").read_text().split()]


def files(pid: int) -> list[str]:
    """What a process has open, without numbers of sockets; nothing if it has ended."""
    names = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for f in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                names.append(str(f.readlink()).partition(":")[0])
    return sorted(names)


def decoders() -> list[int]:
    """Those that have a video."""
    return [pid for pid in children() if any(Path(f).is_file() for f in files(pid))]


def waiting() -> int:
    """The one that waits for the next video, once it has put away what it inherited."""
    for _ in range(200):
        for pid in children():
            if files(pid) == ["/dev/null"] * 3 + ["socket"]:
                return pid
        time.sleep(0.05)
    raise AssertionError(f"none waits: {[files(pid) for pid in children()]}")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 90),
    fps=st.integers(2, 30),
    size=st.sampled_from([(64, 48), (34, 18), (160, 120)]),
    kind=st.sampled_from(
        [("mp4", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4"), ("gif", "gif"), ("ts", "mpeg2video")]
    ),
    length_s=st.floats(0.2, 4),
    frames=st.integers(1, 9),
    kept=st.floats(0.3, 1),
)  # fmt: skip
def test_the_same_as_without_it_to_the_bit(tmp_path, n, fps, size, kind, length_s, frames, kept) -> None:
    suffix, codec = kind
    if codec == "mpeg2video":
        fps = 25  # it knows only broadcast rates
    path = write_video(tmp_path / f"a.{suffix}", n, fps, size, codec)
    path.write_bytes(path.read_bytes()[: max(int(path.stat().st_size * kept), 1)])
    params = SegmentationParams(length_s=length_s, frames_per_segment=frames)
    assert outcome(SandboxedReader(path), params) == outcome(VideoReader(path), params)


@pytest.mark.external_data
def test_real_clips_are_the_same_to_the_bit(clips: Path) -> None:
    for path in sorted((clips / "containers").iterdir()):
        assert read(SandboxedReader(path)) == read(VideoReader(path))


def test_several_at_once(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", n) for n in (20, 40, 60)]
    readers = [SandboxedReader(p).__enter__() for p in paths]
    streams = [r.segments(S) for r in readers]
    counts = [sum(len(p.segment.span) for p in stream) for stream in reversed(streams)]
    for r in readers:
        r.__exit__(None, None, None)
    assert counts == [60, 40, 20]


def big_video(path: Path, n: int = 60) -> Path:
    return write_video(path, n, size=(1280, 720), codec="mpeg4")


def test_too_little_memory_is_a_named_limit(tmp_path: Path) -> None:
    path = big_video(tmp_path / "a.avi")
    with pytest.raises(VideoLimitError, match=r"more than 16 MiB.*raise decode_memory_mib"):
        read(SandboxedReader(path, process=ProcessLimits(memory_mib=16)))


def test_processor_time_is_a_named_limit(tmp_path: Path) -> None:
    head = b"GIF89a" + (1500).to_bytes(2, "little") * 2 + b"\x80\0\0" + bytes(6)
    picture = b"!\xf9\x04\0\x01\0\0\0" + b"," + bytes(4) + b"\x01\0\x01\0" + b"\0\x02\x02D\x01\0"
    path = tmp_path / "a.gif"
    path.write_bytes(head + picture * 20_000 + b";")
    with pytest.raises(VideoLimitError, match=r"more than 1 s of processor time.*raise decode_cpu_s"):
        read(SandboxedReader(path, process=ProcessLimits(cpu_s=1)))


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (signal.SIGSEGV, VideoDecodeError, "crashed .by signal SIGSEGV"),
        (signal.SIGSTOP, VideoLimitError, "no new pictures within 1 s.*raise decode_stall_s"),
    ],
)
def test_a_decoder_that_dies_or_hangs_is_an_error_of_its_video_only(tmp_path, number, error, says) -> None:
    path, other = big_video(tmp_path / "a.avi"), write_video(tmp_path / "b.mp4", 20)
    start()
    before = set(decoders())
    with SandboxedReader(path) as video, SandboxedReader(other) as beside:
        (pid, _) = sorted(set(decoders()) - before)
        pieces = video.segments(S)
        next(pieces)
        video.process = ProcessLimits(stall_s=1)  # not before: on a busy machine the first pictures may take longer
        video._data.settimeout(1)
        os.kill(pid, number)
        with pytest.raises(error, match=says):
            list(pieces)
        assert sum(len(p.segment.span) for p in beside.segments(S)) == 20


def gone(pid: int) -> bool:
    """Within some seconds."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_reader_that_is_left_leaves_no_process(tmp_path: Path) -> None:
    start()
    before = set(decoders())
    with SandboxedReader(big_video(tmp_path / "a.avi")) as video:
        next(video.segments(S))
        (pid,) = set(decoders()) - before
    assert gone(pid)


def test_no_process_outlives_a_killed_server(tmp_path: Path) -> None:
    path = big_video(tmp_path / "a.avi")
    code = f"""
from pathlib import Path
from headhunt_svc.video.sandbox import SandboxedReader, reader
from headhunt_svc.params import SegmentationParams
import time
other, video = (SandboxedReader(Path({str(path)!r})).__enter__() for _ in range(2))
pieces = video.segments(SegmentationParams(length_s=1.6, frames_per_segment=4))
next(pieces)
mother = reader._starter._process.pid
children = Path(f"/proc/{{mother}}/task/{{mother}}/children")
first = children.read_text().split()[0]
other.__exit__(None, None, None)
while first in children.read_text().split() or len(children.read_text().split()) < 2:
    time.sleep(0.01)
print(mother, children.read_text(), flush=True)
time.sleep(60)
"""
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with server:
        pids = [int(p) for p in server.stdout.readline().split()]
        server.kill()
    assert len(pids) == 3  # the starter, the decoder, and the process that waits for the next video
    assert all(gone(pid) for pid in pids)


def test_the_starter_is_started_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20)
    start()
    reader._starter._process.kill()
    reader._starter._process.wait()
    assert read(SandboxedReader(path)) == read(VideoReader(path))


def test_each_process_decodes_one_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20)
    start()
    used, held = [], set()
    for _ in range(4):
        used.append(waiting())
        held.add(len(files(reader._starter._process.pid)))
        with SandboxedReader(path):
            assert used[-1] in decoders()
    assert len(set(used)) == len(used)
    assert max(held) <= min(held) + 1  # just after forking, the starter holds the other end of a socket, too
    assert all(gone(pid) for pid in used)


def memory(pid: int) -> bytes:
    """All that a process can write to."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as content:
        parts = []
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                begin, stop = (int(n, 16) for n in span.split("-"))
                content.seek(begin)
                parts.append(content.read(stop - begin))
    return b"".join(parts)


def test_the_process_that_waits_holds_nothing_of_earlier_videos(tmp_path: Path) -> None:
    path = write_video(tmp_path / "yard_of_a_stranger.mp4", 20)
    start()
    waiting()
    with SandboxedReader(path) as one, SandboxedReader(path) as other:  # one waited, the other was forked for it
        assert len(decoders()) == 2
        for video in (one, other):
            assert sum(len(p.segment.span) for p in video.segments(S)) == 20
    pid = waiting()
    content = memory(pid)
    names = [name for name in ("headhunt_svc.video.sandbox", "yard_of_a_stranger") if name.encode() in content]
    assert names == ["headhunt_svc.video.sandbox"]
    assert not Path(f"/proc/{pid}/environ").read_bytes().count(b"HOME=")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_process_that_waits_ends_with_the_one_that_forked_it(tmp_path: Path, how: str) -> None:
    start()
    pid, mother = waiting(), reader._starter._process
    if how == "killed":
        mother.kill()
        mother.wait()
    else:
        reader._starter.stop()
    assert mother.returncode == (-signal.SIGKILL if how == "killed" else 0)
    assert gone(pid)


def test_a_process_that_waits_and_dies_is_replaced(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20)
    start()
    mother, pid = reader._starter._process.pid, waiting()
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert read(SandboxedReader(path)) == read(VideoReader(path))
    assert reader._starter._process.pid == mother
    assert waiting() != pid
    assert not Path(f"/proc/{pid}").exists()


def test_the_decoder_holds_nothing_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADHUNT_API_KEYS", "secret")
    with SandboxedReader(big_video(tmp_path / "a.avi")) as video:
        next(video.segments(S))
        (pid,) = decoders()
        assert "secret" not in Path(f"/proc/{pid}/environ").read_text()
        # the video, FFmpeg's duplicate of it, the answers, and nothing three times
        assert files(pid) == sorted(["/dev/null"] * 3 + [str(tmp_path / "a.avi")] * 2 + ["socket"])
        about = Path(f"/proc/{pid}/limits").read_text()
        assert [line.split()[-3] for line in about.splitlines() if "file size" in line or "core" in line] == ["0", "0"]


@pytest.mark.skipif(not seccomp.available(), reason="the filter is for Linux on x86-64")
def test_a_confined_process_can_open_connect_start_and_kill_nothing(tmp_path: Path) -> None:
    tries = {
        "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "write": lambda: os.open(tmp_path / "new", os.O_CREAT | os.O_WRONLY),
        "socket": lambda: socket.socket(),
        "fork": lambda: os.fork() or os._exit(0),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "kill": lambda: os.kill(os.getppid(), 0),
        "remove": lambda: Path(__file__).unlink(),
    }
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        seccomp.confine()
        refused = []
        for name, attempt in tries.items():
            try:
                attempt()
            except PermissionError:
                refused.append(name)
        os.write(theirs, " ".join(refused).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(ours, 1000).decode().split() == list(tries)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"\x80\x04.",
        b'{"kind":"opened","fps":-1}',
        b'{"kind":"opened","fps":NaN}',
        b'{"kind":"failed","error":"SystemExit","message":""}',
        b'{"kind":"end","progress":{"n_frames":-1,"repaired_times":0,"duration_s":0,"gaps_from":0,"gaps":[]}}',
    ],
)
def test_what_a_taken_over_decoder_says_is_checked(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(len(answer).to_bytes(4, "big") + answer)
        with pytest.raises(ValueError):
            wire.receive(ours)
        theirs.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ValueError, match="bytes"):
            wire.receive(ours)


@pytest.mark.parametrize("kind", [VideoReader, SandboxedReader])
@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (VideoLimits(max_duration_s=2.5), "longer than 2.5 s.*max_duration_s"),
        (VideoLimits(max_pixels=64 * 47), "64 x 48 is more than 3008 pixels.*max_pixels"),
        (VideoLimits(max_frames=29), "more than 29 pictures.*max_frames"),
        (VideoLimits(codecs=frozenset({"vp9"})), "codec h264 is not allowed"),
    ],
)
def test_limits_name_themselves(tmp_path: Path, kind, limits: VideoLimits, says: str) -> None:
    path = write_video(tmp_path / "a.mp4", 30)
    with pytest.raises(VideoLimitError, match=says):
        read(kind(path, limits))
    with pytest.raises(VideoOpenError, match="not a video that can be read, in one of avi"):
        read(kind(path, VideoLimits(formats=frozenset({"avi"}))))


def test_pictures_that_change_size_are_a_gap(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{w}.ts", 10, 25, (w, 48), "mpeg2video").read_bytes() for w in (64, 96)]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(parts))
    with VideoReader(path) as video:
        pieces = list(video.segments(S))
    assert {p.pictures.shape[1:3] for p in pieces} == {(48, 64)}
    assert [g.stop_s for g in video.gaps] == [None]
    assert video.gaps[0].packets == 20 - video.n_frames >= 10


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mov", "mpeg4"),
        ("flv", "flv"),
        ("wmv", "wmv2"),
        ("mpg", "mpeg2video"),
        ("m2ts", "mpeg2video"),
        ("3gp", "mpeg4"),
    ],
)
def test_containers_of_old_are_read_as_before(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", 30, 25, codec=codec)
    with VideoReader(path) as video:
        assert sum(len(p.segment.span) for p in video.segments(S)) == 30
        assert video.gaps == []
    with av.open(str(path)) as bare:
        first = next(bare.decode(video=0)).to_ndarray(format="rgb24")
    with SandboxedReader(path) as video:
        np.testing.assert_array_equal(next(video.segments(S)).pictures[0], first)


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_a_name_of_any_bytes_is_read_and_told_alike(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / os.fsdecode(b"k\xfc\x1b[31m%20.mp4")
    write_video(tmp_path / "a.mp4", 30).rename(path)
    if content is not None:
        path.write_bytes(content)
    both = [outcome(VideoReader(path), S), outcome(SandboxedReader(path), S)]
    assert both[0] == both[1]
    assert "k%FC%1B[31m%" in str(both[0])
