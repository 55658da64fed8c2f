"""The entry point `mp2flame`: picks the command, runs it, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import difflib
import errno
import inspect
import os
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import tyro

from mp2flame import __version__
from mp2flame.cli import dataset, fetch, head
from mp2flame.cli.calibrate import Calibrate
from mp2flame.cli.console import fail, hint, out, say
from mp2flame.cli.demo import Demo
from mp2flame.cli.doctor import Doctor
from mp2flame.cli.drive import Drive
from mp2flame.cli.enroll import Enroll
from mp2flame.cli.evaluate import Evaluate
from mp2flame.cli.fit import Fit
from mp2flame.cli.live import Live
from mp2flame.cli.to_arkit import ToArkit
from mp2flame.cli.track import Track
from mp2flame.cli.transfer import Transfer
from mp2flame.errors import Mp2FlameError


class Command(Protocol):
    """A dataclass of options that runs."""

    def run(self) -> int:
        """Do the work and return the exit code."""


COMMANDS: Final[dict[str, type[Command]]] = {
    "demo": Demo,
    "drive": Drive,
    "live": Live,
    "enroll": Enroll,
    "track": Track,
    "calibrate": Calibrate,
    "transfer": Transfer,
    "to-arkit": ToArkit,
    "dataset build": dataset.Build,
    "dataset info": dataset.Info,
    "dataset plot": dataset.Plot,
    "fit": Fit,
    "evaluate": Evaluate,
    "head info": head.Info,
    "head convert": head.Convert,
    "fetch landmarker": fetch.Landmarker,
    "fetch mapping": fetch.Mapping,
    "doctor": Doctor,
}
"""Every command by its name; the first line of its docstring is its line in `mp2flame --help`."""

INTERRUPTED: Final = 130
"""Exit code of a command that was stopped by Ctrl-C, SIGTERM or SIGHUP."""

_WRONG_USAGE: Final = 2


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the words after `mp2flame`; None takes them from the process.

    Returns:
        The exit code: 0 done, 1 an error that was explained, 2 wrong usage, 130 interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    # A name that the terminal's encoding does not have is printed with question marks.
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        with _signals_interrupt():
            code = _run(words)
            sys.stdout.flush()
    except Mp2FlameError as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        hint("stopped")
        return INTERRUPTED
    except OSError as error:
        return _system_error(error)
    return code


def _run(words: list[str]) -> int:
    if words in (["--version"], ["-V"]):
        say(f"mp2flame {__version__}")
        return 0
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else " ".join(words[:1])
    if name in COMMANDS:
        command, options = COMMANDS[name], words[name.count(" ") + 1 :]
        if {"-h", "--help"} & set(options):
            say(_paragraphs(inspect.getdoc(command) or "") + "\n")
        config = (tyro.conf.FlagCreatePairsOff,)
        return tyro.cli(command, prog=f"mp2flame {name}", description="", args=options, config=config).run()
    group = [other for other in COMMANDS if other.startswith(f"{name} ")]
    known, others = (group, words[1:]) if group else (list(COMMANDS), words)
    if others in ([], ["--help"], ["-h"]):
        (say if others else hint)(_overview(known))
        return 0 if others else _WRONG_USAGE
    unknown = f"{name} {others[0]}" if group else name
    guess = "".join(f"did you mean {near}? " for near in difflib.get_close_matches(unknown, known, n=1))
    fail(f"there is no command {unknown}; {guess}mp2flame --help lists the commands")
    return _WRONG_USAGE


def _overview(names: list[str]) -> str:
    """Usage, and one line for each of these commands: the first line of its docstring."""
    lines = [f"  {name:<18}{(inspect.getdoc(COMMANDS[name]) or '').partition(chr(10))[0]}" for name in names]
    return "\n".join(
        ["usage: mp2flame COMMAND [OPTIONS]", "", *lines, "", "mp2flame COMMAND --help explains a command."]
    )


def _paragraphs(text: str) -> str:
    """`text` with the lines of each paragraph filled to the terminal's width."""
    width = max(min(out.width, 100), 40)
    return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does; a signal that is ignored (nohup) stays so."""
    changed = []
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        with suppress(ValueError):  # In a thread, signals are not ours.
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _system_error(error: OSError) -> int:
    """Explain an error of the operating system, such as a full disk or a closed pipe behind standard output."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EPIPE, errno.EIO):
        # What is left cannot be written when the interpreter ends either.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            fail(f"cannot write to standard output: {error.strerror}")
    else:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 1
