"""`mp2flame fetch`: downloads, which no other command makes without being asked."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.prompt import Confirm

from mp2flame.cli.console import err, hint, say
from mp2flame.cli.options import Flag, option
from mp2flame.errors import InputError

Name = Literal["peizhiyan-2025-flame2020", "peizhiyan-2024-flame2020"]


@dataclass(frozen=True)
class Landmarker:
    """Download MediaPipe's face landmarker (3.8 MB, Apache-2.0)."""

    def run(self) -> int:
        """Download and print the path."""
        from mp2flame.downloads import fetch_landmarker

        say(str(fetch_landmarker()))
        return 0


@dataclass(frozen=True)
class Mapping:
    """Download a published mapping for FLAME 2020.

    Its licence is shown first and has to be accepted.
    """

    name: Annotated[tyro.conf.Positional[Name], option("NAME")]
    """peizhiyan-2025-flame2020 (100 expression coefficients) or peizhiyan-2024-flame2020 (50)."""
    accept_licence: Flag = False
    """Accept the licence without being asked."""

    def run(self) -> int:
        """Show the licence, ask, download, print the folder."""
        from mp2flame.downloads import PUBLISHED, fetch_mapping

        hint(PUBLISHED[self.name].licence_text)
        accepted = self.accept_licence
        if not accepted:
            if not sys.stdin.isatty():
                raise InputError("expected the licence to be accepted; in a script add --accept-licence")
            accepted = Confirm.ask("Do you accept this licence?", console=err, default=False)
        if not accepted:
            raise InputError("the licence was not accepted: nothing was downloaded")
        folder = fetch_mapping(self.name, accept_licence=True)
        say(f"{folder}\nuse it with: --mapping {self.name}")
        return 0
