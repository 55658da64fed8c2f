"""The entry point `mp2flame`: picks the command, runs it, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from mp2flame import __version__
from mp2flame.cli.arkit import Arkit
from mp2flame.cli.calibrate import Calibrate
from mp2flame.cli.console import err, out
from mp2flame.cli.dataset import Dataset
from mp2flame.cli.demo import Demo
from mp2flame.cli.doctor import Doctor
from mp2flame.cli.drive import Drive
from mp2flame.cli.enroll import Enroll
from mp2flame.cli.evaluate import Evaluate
from mp2flame.cli.fetch import Fetch
from mp2flame.cli.fit import Fit
from mp2flame.cli.head import Head
from mp2flame.cli.live import Live
from mp2flame.cli.track import Track
from mp2flame.cli.transfer import Transfer
from mp2flame.errors import Mp2FlameError

__all__ = ["main"]

Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Drive, tyro.conf.subcommand("drive")]
    | Annotated[Live, tyro.conf.subcommand("live")]
    | Annotated[Enroll, tyro.conf.subcommand("enroll")]
    | Annotated[Track, tyro.conf.subcommand("track")]
    | Annotated[Dataset, tyro.conf.subcommand("dataset")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
    | Annotated[Transfer, tyro.conf.subcommand("transfer")]
    | Annotated[Arkit, tyro.conf.subcommand("arkit")]
    | Annotated[Head, tyro.conf.subcommand("head")]
    | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)

_DESCRIPTION = "Any face, any camera, any FLAME head: MediaPipe's blendshapes to FLAME's expression, jaw and eyes."


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the words after `mp2flame`; None takes them from the process.

    Returns:
        The exit code: 0 done, 1 an error that was explained, 130 stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words in (["--version"], ["-V"]):
        out.print(f"mp2flame {__version__}")
        return 0
    command: Any = tyro.cli(
        Command,
        prog="mp2flame",
        description=_DESCRIPTION,
        args=words,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    try:
        return int(command.run())
    except Mp2FlameError as error:
        err.print(f"[bold red]error:[/] {_plain(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        err.print("stopped")
        return 130


def _plain(text: str) -> str:
    """`text` with rich's markup taken literally: messages name extras such as mp2flame[track]."""
    return text.replace("[", "\\[")
