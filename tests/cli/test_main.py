"""The entry point: what it prints, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mp2flame import load_params
from mp2flame.cli import console
from mp2flame.cli.main import COMMANDS, main
from mp2flame.errors import InputError
from mp2flame.pipeline import Report
from tests.cli.conftest import Run

# Tests may run where Ctrl-C is ignored, as in the background.
_LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
_CODE = _LISTEN + "from mp2flame.cli import main; raise SystemExit(main())"
# Read as markup, as emoji, and by the terminal, these would become something else.
_NAMES = ["a[final].csv", "[/x].csv", "[red]b[/red].csv", ":smile:.csv", "back\\[slash].csv", "a\\.csv"]


def _process(*words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | environment,
    )


def test_ctrl_c_while_the_commands_are_imported_ends_the_program_as_at_any_other_time() -> None:
    code = (
        "import signal, sys, mp2flame\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Interrupting(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'tyro':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "import mp2flame.__main__\n"
        "sys.exit(mp2flame.__main__.main())"
    )
    result = subprocess.run([sys.executable, "-c", _LISTEN + code], capture_output=True, text=True, check=False)
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr


def test_the_package_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mp2flame", "--version"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert re.fullmatch(r"mp2flame \d+\.\d+\.\d+\n", result.stdout)


def test_version(run: Run) -> None:
    code, text = run("--version")
    assert code == 0
    assert re.fullmatch(r"mp2flame \d+\.\d+\.\d+", text)


@pytest.mark.parametrize("name", _NAMES)
def test_names_are_printed_as_they_are(
    name: str, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    code, text = run("drive", recording, "-o", name)
    assert code == 0, text
    assert f"wrote {name}" in text
    code, text = run("drive", name + ".jsonl", "-o", "out.csv")
    assert code == 1
    assert f"{name}.jsonl" in text


@pytest.mark.parametrize(
    "text", [*_NAMES, 'pip install "mp2flame[track]"', "C:\\x\\[track]", "[bold]", "[/]", "[link=x]"]
)
@pytest.mark.parametrize("to", [console.say, console.hint, console.warn, console.fail])
def test_no_text_is_read_as_markup(to: Callable[[str], None], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    to(f"<{text}>")
    captured = capsys.readouterr()
    assert f"<{text}>" in captured.out + captured.err


def test_no_cell_of_a_table_is_read_as_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    console.out.print(console.facts((name, name) for name in _NAMES))
    printed = capsys.readouterr().out
    assert all(printed.count(name) == 2 for name in _NAMES[:-1])


def test_a_report_prints_foreign_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(
        frames=1,
        frames_without_face=0,
        seconds=1.0,
        dropped={"udp://[::1]:9": 3},
        timings={},
        warnings=("unknown message '/[/x]'", "\x1b[2J\x1b]0;title\x07"),
    )
    assert console.finish(report, ["out[x].npz"]) == 0
    captured = capsys.readouterr()
    assert "1 frame in 1.0 s" in captured.out
    assert "wrote out[x].npz" in captured.out
    assert "warning: 3 frames dropped at udp://[::1]:9" in captured.err
    assert "unknown message '/[/x]'" in captured.err
    assert "\x1b" not in captured.err + captured.out
    assert "\x07" not in captured.err


def test_control_characters_of_names_do_not_reach_the_terminal(run: Run) -> None:
    code, text = run("drive", "a\x1b[2J\x9b31m.mp4", "-o", "b.npz")
    assert code == 1
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "[2J" in text


def test_names_that_the_output_cannot_encode_are_replaced(recording: Path, tmp_path: Path) -> None:
    target = tmp_path / "Gr\u00fc\u00dfe.csv"
    process = _process("drive", recording, "-o", target, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "wrote" in out
    assert "Gr" in out
    assert len(load_params(target)) == 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("words", [["head", "info"], ["--help"], ["drive", "--help"], ["--version"]])
def test_a_full_standard_output_is_one_sentence(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-c", _CODE, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert process.returncode == 1
    assert "cannot write to standard output: No space left on device" in process.stderr
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr


def test_a_closed_standard_output_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        process = subprocess.run(
            [sys.executable, "-c", _CODE, "head", "info"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert process.returncode == 1
    assert process.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("wrong [/x] value"), 1, "error: wrong [/x] value"),
        (OSError(28, "No space left on device", "/some/[/x]file"), 1, "error: /some/[/x]file: No space left on device"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_errors_are_one_sentence_and_a_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    @dataclass(frozen=True)
    class Failing:
        """Fail."""

        def run(self) -> int:
            raise error

    monkeypatch.setitem(COMMANDS, "doctor", Failing)
    assert run("doctor") == (code, message)


@dataclass(frozen=True)
class _Waiting:
    """Wait for a signal."""

    def run(self) -> int:
        for _ in range(500):
            time.sleep(0.01)
        return 0


@pytest.mark.usefixtures("listens_to_ctrl_c")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_as_ctrl_c_does(name: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)

    class Signalled(_Waiting):
        """Get a signal."""

        def run(self) -> int:
            signal.raise_signal(number)
            return super().run()

    monkeypatch.setitem(COMMANDS, "doctor", Signalled)
    started = time.monotonic()
    assert run("doctor") == (130, "stopped")
    assert time.monotonic() - started < 3
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    class Signalled(_Waiting):
        """Get a signal that nohup ignores."""

        def run(self) -> int:
            signal.raise_signal(signal.SIGHUP)
            return 0

    monkeypatch.setitem(COMMANDS, "doctor", Signalled)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("doctor") == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _send_until(receives: Callable[[], bool], port: int, packet: bytes, *, seconds: float = 60.0) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        deadline = time.monotonic() + seconds
        while not receives():
            assert time.monotonic() < deadline
            sender.sendto(packet, ("127.0.0.1", port))
            time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_live_drive_is_stopped_with_its_files_whole_whatever_strangers_sent(
    name: str, recording: Path, tmp_path: Path
) -> None:
    port, target = _free_port(), tmp_path / "out.jsonl"
    process = _process("drive", f"vmc://127.0.0.1:{port}", "-o", target, "-o", tmp_path / "out.npz")
    try:
        bound = psutil.Process(process.pid)
        _send_until(lambda: any(c.laddr.port == port for c in bound.net_connections("udp4")), port, b"")
        frames = (
            b"/VMC/Ext/Blend/Val\0\0,sf\0jawOpen\0\x3f\0\0\0",
            b"/VMC/Ext/Blend/Apply\0\0\0\0,\0\0\0",
            b"/[/x]\0\0\0",
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            deadline = time.monotonic() + 30
            while not (target.exists() and target.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
                for frame in frames:
                    sender.sendto(frame, ("127.0.0.1", port))
                time.sleep(0.03)
        process.send_signal(getattr(signal, name))
        started = time.monotonic()
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - started < 3
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped" in err
    assert len(load_params(target)) == len(load_params(tmp_path / "out.npz")) > 0


def test_main_runs_outside_the_main_thread(run: Run) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]
