"""Hostile and unlucky input, as one program: damaged files, killed processes, foreign packets, a long live session.

    python benchmarks/hostile.py VIDEO --landmarker face_landmarker.task [--seed 0] [--only files kills packets soak]

Everything is drawn by the seed and bounded by `--files`, `--kills`, `--packets` and `--soak`; all traffic stays on
127.0.0.1. A table says for each part what was tried and what did not hold; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import viser
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Origin, Subprotocol

from mp2flame import FlameParams, Observation, load_head, load_mapping, load_params, open_sink, open_source
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Frame
from mp2flame.errors import Mp2FlameError
from mp2flame.mapping import Person, load_person
from mp2flame.parallel import run_jobs
from mp2flame.streams import messages

_BATCH = 25
_SLOW = 10.0
"""Seconds; no damaged file may take longer."""
_MEMORY_MB = 1500
"""No process that reads small files may need more."""
_GROWTH_MB = 40
"""So much may a source or a session grow after its start."""
_STOP_SECONDS = 3.0


@dataclass
class Part:
    """One row of the table: what was tried, what came of it, and what did not hold."""

    name: str
    tries: int = 0
    note: str = ""
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, fault: str) -> None:
        """Count one try, and keep the sentence if it did not hold."""
        self.tries += 1
        if not holds:
            self.faults.append(fault)


def make_frames(n: int) -> Iterator[Frame]:
    """A face that opens its jaw, with random scores and parameters."""
    rng = np.random.default_rng(0)
    for index in range(n):
        moment, found = np.array([index / 30]), np.ones(1, dtype=np.bool_)
        scores = rng.uniform(0, 1, (1, len(MEDIAPIPE))).astype(np.float32)
        head = np.eye(4, dtype=np.float32)[None]
        params = FlameParams(time=moment, found=found, expression=rng.normal(size=(1, 100)), jaw_pose=[[0.2, 0, 0]])
        yield Frame(Observation(time=moment, found=found, scores=scores, head_transform=head), params)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """`data` with some bytes changed, cut off, repeated, moved or replaced by noise."""
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 64, 1000))
        piece, number = data[at : at + length], rng.choice((b"\xff" * 8, b"\0" * 8, b"1e999", b"NaN", b"-99999999"))
        middle, rest = rng.choice(
            ((b"", 0), (b"", length), (piece * 2, length), (rng.randbytes(length), length), (number, len(number)))
        )
        data = data[:at] + middle + (data[at + rest :] if middle or rest else b"")
    return data


# --- files -----------------------------------------------------------------------------------------------------------


def _read_source(path: Path) -> None:
    with open_source(path) as source:
        for _ in source:
            pass


READERS: dict[str, Callable[[Path], object]] = {
    ".npz": load_params,
    ".csv": load_params,
    ".jsonl": _read_source,
    ".json": load_params,
    ".mapping.safetensors": load_mapping,
    ".person.safetensors": load_person,
    ".head.npz": load_head,
    ".pkl": load_head,
}


def make_samples(folder: Path) -> None:
    """One whole file of each kind."""
    import pickle

    head, frames = load_head("builtin"), list(make_frames(20))
    for suffix in (".npz", ".csv", ".jsonl"):
        with open_sink(folder / f"whole{suffix}", head=head) as sink:
            for frame in frames:
                sink.write(frame)
    load_mapping("builtin-scores").save(folder / "whole.mapping.safetensors")
    Person(neutral=frames[0].observation).save(folder / "whole.person.safetensors")
    entry = {"file_path": "./image/1", "expression": [0.0] * 50, "pose": [0.0] * 15}
    (folder / "whole.json").write_text(json.dumps({"frames": [entry], "shape_params": [0.0] * 100}))
    arrays = {"v_template": np.zeros((8, 3)), "f": np.zeros((4, 3), np.uint32), "shapedirs": np.zeros((8, 3, 400))}
    arrays |= {"posedirs": np.zeros((8, 3, 36)), "J_regressor": np.zeros((5, 8)), "weights": np.full((8, 5), 0.2)}
    arrays["kintree_table"] = np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]])
    np.savez_compressed(folder / "whole.head.npz", **arrays)  # type: ignore[arg-type]
    (folder / "whole.pkl").write_bytes(pickle.dumps(arrays, protocol=2))


def try_batch(folder: Path, seed: int, batch: tuple[str, int]) -> tuple[int, list[str]]:
    """Read `_BATCH` mutations of one kind: how many were refused, and what did not hold."""
    suffix, number = batch
    rng, data = random.Random(f"{seed} {suffix} {number}"), (folder / f"whole{suffix}").read_bytes()
    refused, faults = 0, []
    path = folder / f"{number}{suffix}"
    for index in range(_BATCH):
        path.write_bytes(mutate(data, rng))
        started = time.monotonic()
        try:
            READERS[suffix](path)
        except Mp2FlameError:
            refused += 1
        except Exception as error:  # noqa: BLE001 - what is looked for
            faults.append(f"{suffix}, batch {number}, file {index}: {type(error).__name__}: {error!s:.100}")
        if time.monotonic() - started > _SLOW:
            faults.append(f"{suffix}, batch {number}, file {index}: took {time.monotonic() - started:.0f} s")
    path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if peak > _MEMORY_MB:
        faults.append(f"{suffix}, batch {number}: {peak:.0f} MB of memory")
    return refused, faults


def try_files(args: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """Damaged files of every kind: read, or refused with an error of mp2flame; no crash, no wait, no memory."""
    make_samples(folder)
    batches = [(suffix, number) for suffix in READERS for number in range(-(-args.files // _BATCH))]
    parts = {suffix: Part(f"damaged {suffix}") for suffix in READERS}
    refusals = dict.fromkeys(READERS, 0)
    for suffix, read in READERS.items():
        read(folder / f"whole{suffix}")  # Otherwise the tries would prove nothing.
    work = partial(try_batch, folder, args.seed)
    jobs = run_jobs(work, batches, processes=2, on_death=lambda batch, error: (0, [f"{batch}: {error}"]))
    for (suffix, _), (refused, faults) in jobs:
        parts[suffix].tries += _BATCH
        parts[suffix].faults += faults
        refusals[suffix] += refused
    for suffix, part in parts.items():
        part.note = f"{refusals[suffix]} refused, {part.tries - refusals[suffix] - len(part.faults)} read"
        yield part


# --- kills -----------------------------------------------------------------------------------------------------------


def start(*words: object) -> subprocess.Popen[str]:
    """A command of mp2flame in a process of its own, for which Ctrl-C counts."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from mp2flame.__main__ import main; sys.exit(main())"
    )
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True, **options)


def end(process: subprocess.Popen[str], seconds: float) -> tuple[str, float]:
    """What a process that should end printed, and how long it took; it is killed after `seconds`."""
    started = time.monotonic()
    try:
        text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
    return text, time.monotonic() - started


def is_whole(path: Path) -> bool:
    """Whether a parameter file can be read."""
    try:
        return len(load_params(path)) > 0
    except Mp2FlameError:
        return False


def try_kills(args: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """SIGKILL and Ctrl-C at random moments of `drive`, and a killed process of `dataset build`."""
    rng = random.Random(args.seed)
    outputs = [folder / f"out{suffix}" for suffix in (".npz", ".csv", ".jsonl")]
    words = ("drive", args.video, "--landmarker", args.landmarker, *(w for path in outputs for w in ("-o", path)))
    process = start(*words)
    text, whole = end(process, 300)
    if process.returncode != 0:
        raise SystemExit(text)
    # Older outputs stay whole until new ones take their place, but for a recording, which grows from its first frame.
    for name, number in (("SIGKILL", signal.SIGKILL), ("SIGINT", signal.SIGINT)):
        part = Part(f"{name} of drive")
        for _ in range(args.kills):
            process = start(*words)
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, whole))
            process.send_signal(number)
            text, seconds = end(process, 60)
            part.expect("Traceback" not in text, f"a traceback: {text[-200:]}")
            if number == signal.SIGINT:
                part.expect(process.returncode in (130, 0, -number), f"exit code {process.returncode}")
                part.expect(seconds < _STOP_SECONDS * args.patience, f"ended after {seconds:.1f} s")
            for path in outputs:
                part.expect(is_whole(path), f"{path.name} cannot be read")
        part.note = f"at random moments of {whole:.0f} s"
        yield part
    yield try_worker(args, folder, outputs[0])


def try_worker(args: argparse.Namespace, folder: Path, params: Path) -> Part:
    """One of two processes of `dataset build` is killed: a sentence, and the command goes on when called again."""
    part = Part("SIGKILL of a process of dataset build")
    inputs = []
    for name in "ab":
        copy = folder / f"{name}.npz"
        copy.write_bytes(params.read_bytes())
        inputs.append(f"{copy}={args.video}")
    words = ("dataset", "build", *inputs, "-o", folder / "data", "--landmarker", args.landmarker, "--processes", "2")
    process, watched = start(*words), None
    deadline = time.monotonic() + 60
    while watched is None and process.poll() is None and time.monotonic() < deadline:
        workers = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        watched = workers[-1] if len(workers) > 1 else None
        time.sleep(0.05)
    part.expect(watched is not None, "no second process was started")
    if watched is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(random.Random(args.seed).uniform(0.5, 2.0))
        watched.kill()
    text, _ = end(process, 300)
    part.expect(process.returncode == 1 and "was killed" in text and "Traceback" not in text, f"said: {text[-200:]}")
    process = start(*words)
    text, _ = end(process, 300)
    part.expect(process.returncode == 0, f"the second call failed: {text[-200:]}")
    return part


# --- packets ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A free UDP port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def genuine_packet(scheme: str) -> bytes:
    """A packet of the protocol, as its sink sends it."""
    if scheme == "ifacialmocap":
        return b"mouthSmile_L-50|jawOpen-30|eyeBlink_R-10|=head#1.0,2.0,3.0,0.1,0.2,0.3|"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        with open_sink(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", head=load_head("builtin")) as sink:
            sink.write(next(make_frames(1)))
            return listener.recv(65536)


def try_stream(part: Part, url: str, foreign: Callable[[], object], genuine: Callable[[], object]) -> Part:
    """A source that is read while `foreign` sends, and that must go on with what `genuine` sends."""
    frames: list[bool] = []
    errors: list[Exception] = []
    source = open_source(url)

    def read() -> None:
        try:
            frames.extend(bool(np.isfinite(o.scores).all()) or not o.found[0] for o in source)
        except Exception as error:  # noqa: BLE001 - what is looked for
            errors.append(error)

    def goes_on() -> bool:
        before, deadline = len(frames), time.monotonic() + 20
        while len(frames) == before and time.monotonic() < deadline and not errors:
            genuine()
            time.sleep(0.02)
        return len(frames) > before

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    part.expect(goes_on(), "no frame of the genuine stream")
    memory = psutil.Process().memory_info().rss / 2**20
    foreign()
    part.expect(goes_on(), "no frame of the genuine stream after foreign packets")
    grown = psutil.Process().memory_info().rss / 2**20 - memory
    source.close()
    thread.join(10)
    part.expect(not thread.is_alive(), "closing did not end the iteration")
    part.expect(not errors, f"the source ended: {errors!r:.200}")
    part.expect(all(frames), "scores that are not finite")
    part.expect(grown < _GROWTH_MB, f"grew by {grown:.0f} MB")
    part.note = f"{len(frames)} frames, {grown:+.0f} MB"
    return part


def try_datagrams(args: argparse.Namespace, scheme: str) -> Part:
    """Random and mutated packets from the sender of a genuine stream."""
    rng, packet, port = random.Random(args.seed), genuine_packet(scheme), free_port()
    tail = f"{free_port()}?listen={port}" if scheme == "ifacialmocap" else str(port)
    part = Part(f"packets to {scheme}", tries=args.packets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def foreign() -> None:
            for _ in range(args.packets):
                data = mutate(packet, rng) if rng.random() < 0.7 else rng.randbytes(rng.choice((0, 1, 20, 300, 9000)))
                sender.sendto(data[:65000], ("127.0.0.1", port))

        genuine = partial(sender.sendto, packet, ("127.0.0.1", port))
        return try_stream(part, f"{scheme}://127.0.0.1:{tail}", foreign, genuine)


def try_messages(args: argparse.Namespace) -> Part:
    """Random and mutated messages of a WebSocket server, among frames that are right."""
    rng, part, wanted = random.Random(args.seed), Part("messages to ws", tries=args.packets), threading.Event()
    frame = {"type": "frame", "version": 1, "found": True, "scores": {"jawOpen": 0.5}, "head_transform": None}
    hello = {"type": "hello", "format": messages.FORMAT, "version": 1, "encoding": "json", "names": ["jawOpen"]}
    sent = threading.Event()

    def answer(client: ServerConnection) -> None:
        with suppress(WebSocketException):
            client.send(json.dumps(hello))
            while True:
                text = json.dumps(frame | {"time": time.time()})
                client.send(text)
                time.sleep(0.02)
                for _ in range(args.packets if wanted.is_set() and not sent.is_set() else 0):
                    noise = mutate(text.encode(), rng)
                    client.send(noise if rng.random() < 0.5 else noise.decode("utf-8", "replace"))
                if wanted.is_set():
                    sent.set()

    def foreign() -> None:
        wanted.set()
        part.expect(sent.wait(120), "the messages were not read")

    with serve(answer, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try_stream(part, f"ws://127.0.0.1:{server.socket.getsockname()[1]}", foreign, lambda: None)
        server.shutdown()
    return part


def try_packets(args: argparse.Namespace, _: Path) -> Iterator[Part]:
    """Foreign packets to every protocol that listens."""
    yield from (try_datagrams(args, scheme) for scheme in ("livelink", "vmc", "ifacialmocap"))
    yield try_messages(args)


# --- soak ------------------------------------------------------------------------------------------------------------


def try_soak(args: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """A live session that loops a video, sends it, and is visited by a browser and by strangers."""
    part, rng = Part(f"live for {args.soak:.0f} s"), random.Random(args.seed)
    words = ("live", args.video, "--landmarker", args.landmarker, "--data", folder / "user", "--port", 0)
    process = start(*words, "--send", f"udp://127.0.0.1:{free_port()}")
    assert process.stdout is not None
    line = process.stdout.readline()
    while line and "open http" not in line:
        line = process.stdout.readline()
    port = int(line.split("open http://127.0.0.1:")[1].split()[0]) if line else 0
    browser = partial(connect, f"ws://127.0.0.1:{port}", subprotocols=[Subprotocol(f"viser-v{viser.__version__}")])
    curve: list[float] = []
    deadline, child = time.monotonic() + args.soak, psutil.Process(process.pid)
    with browser(max_size=None, compression=None) as client:
        while time.monotonic() < deadline and process.poll() is None:
            received, until = 0, time.monotonic() + 1.0
            while time.monotonic() < until:
                with suppress(TimeoutError):
                    received += len(client.recv(timeout=0.2))
            curve.append(child.memory_info().rss / 2**20)
            part.expect(received > 0, f"second {len(curve)}: nothing came to the browser")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as stranger:
                stranger.sendall(rng.randbytes(rng.choice((1, 40, 4000))))
            try:
                browser(origin=Origin("http://evil.example")).close()
                part.expect(False, "a page of another origin was let in")
            except (WebSocketException, OSError):
                part.tries += 1
    part.expect(process.poll() is None, "the session ended by itself")
    # Neither a tab that sleeps nor a connection that says nothing may hold up the end.
    asleep = browser(max_queue=1, compression=None, close_timeout=0.1)
    with asleep, socket.create_connection(("127.0.0.1", port)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
        process.send_signal(signal.SIGINT)
        text, seconds = end(process, 60)
    part.expect(process.returncode == 130, f"exit code {process.returncode}: {text[-200:]}")
    part.expect(seconds < _STOP_SECONDS * args.patience, f"ended {seconds:.1f} s after Ctrl-C")
    part.expect("Traceback" not in text, f"a traceback: {text[-300:]}")
    third = max(len(curve) // 3, 1)
    growth = median(curve[-third:]) - median(curve[third : 2 * third] or curve)
    part.expect(growth < _GROWTH_MB, f"grew by {growth:.0f} MB in the last third")
    step = max(len(curve) // 8, 1)
    part.note = "MB: " + " ".join(f"{value:.0f}" for value in curve[::step])
    yield part


PARTS = {"files": try_files, "kills": try_kills, "packets": try_packets, "soak": try_soak}


def main() -> int:
    """Run the parts, print the table; 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, help="a video of a face, some seconds long")
    parser.add_argument("--landmarker", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=200, help="damaged files of each kind")
    parser.add_argument("--kills", type=int, default=6, help="processes killed by each signal")
    parser.add_argument("--packets", type=int, default=5000, help="packets to each protocol")
    parser.add_argument("--soak", type=float, default=60.0, help="seconds of the live session")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of the 3 s to stop, for a busy machine")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    faults = 0
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            for part in PARTS[name](args, Path(folder)):
                faults += len(part.faults)
                print(f"{part.name:<40}{part.tries:>8} tries  {len(part.faults):>3} faults  {part.note}", flush=True)
                for fault in part.faults[:10]:
                    print(f"    {fault}")
    print("everything held" if not faults else f"{faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
