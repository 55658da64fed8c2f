"""`mp2flame fetch`: downloads that are never made behind the user's back."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.prompt import Confirm

from mp2flame.cli.console import err, out
from mp2flame.errors import InputError

__all__ = ["Fetch"]


@dataclass(frozen=True)
class Landmarker:
    """Fetch MediaPipe's face landmarker (3.8 MB, Apache-2.0) into the cache."""

    def run(self) -> int:
        """Fetch and print the path."""
        from mp2flame.downloads import fetch_landmarker

        out.print(str(fetch_landmarker()), soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Mapping:
    """Fetch a published mapping for FLAME 2020, after showing its licence."""

    name: tyro.conf.Positional[Literal["peizhiyan-2025-flame2020", "peizhiyan-2024-flame2020"]]
    """2025 has 100 expression coefficients, 2024 has 50."""
    accept_licence: bool = False
    """Do not ask: the licence was read and is accepted."""

    def run(self) -> int:
        """Show the licence, ask, fetch, print the folder."""
        from mp2flame.downloads import PUBLISHED, fetch_mapping

        err.print(PUBLISHED[self.name].licence_text, soft_wrap=True)
        accepted = self.accept_licence
        if not accepted:
            if not sys.stdin.isatty():
                raise InputError("expected the licence to be accepted; in a script add --accept-licence")
            accepted = Confirm.ask("Do you accept this licence?", console=err, default=False)
        if not accepted:
            raise InputError("the licence was not accepted: nothing was fetched")
        folder = fetch_mapping(self.name, accept_licence=True)
        out.print(f"{folder}\nuse it with: --mapping {self.name}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Fetch:
    """Fetch MediaPipe's landmarker or a published mapping."""

    what: (
        Annotated[Landmarker, tyro.conf.subcommand("landmarker")] | Annotated[Mapping, tyro.conf.subcommand("mapping")]
    )

    def run(self) -> int:
        """Run the chosen download."""
        return self.what.run()
