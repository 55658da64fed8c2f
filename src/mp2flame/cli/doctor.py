"""`mp2flame doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from rich.table import Table
from rich.text import Text

from mp2flame import __version__
from mp2flame.cli.console import out
from mp2flame.errors import Mp2FlameError

APT_LINE: Final = "apt-get install -y libegl1 libgles2 libgl1 libglib2.0-0 libsm6 libxext6"
"""What a bare Debian or Ubuntu lacks for MediaPipe, OpenCV and off-screen rendering."""

_EXTRAS: Final = (
    ("track", "mediapipe", "mediapipe", "detect faces"),
    ("track", "av", "av", "read and write video"),
    ("track", "cv2", "opencv-contrib-python", "read cameras and images"),
    ("render", "pyvista", "pyvista", "render heads"),
    ("viewer", "viser", "viser", "show heads in a browser"),
    ("stream", "websockets", "websockets", "send and receive WebSocket streams"),
    ("stream", "pythonosc", "python-osc", "send and receive VMC streams"),
    ("train", "pyarrow", "pyarrow", "read and write data sets"),
    ("train", "matplotlib", "matplotlib", "plot data sets"),
)

# Each runs in a process of its own: a missing system library may end the process instead of raising.
_RENDER = "from mp2flame.render import MeshRenderer as M; M([[0,1,2]]).render([[0,0,0],[1,0,0],[0,1,0]])"


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def _failure(code: str) -> str:
    """The last line that `code` prints when it fails in a fresh interpreter; empty if it runs."""
    try:
        process = subprocess.run(  # noqa: S603 - our own interpreter, our own words
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer within two minutes"
    if process.returncode == 0:
        return ""
    return (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]


def check_extra(extra: str, module: str, package: str, purpose: str) -> Check:
    """Whether an optional package can be imported, and if not, whether it or a system library is missing."""
    failure = _failure(f"import {module}")
    if failure:
        remedy = APT_LINE if ".so" in failure else f'pip install "mp2flame[{extra}]"'
        return Check(module, ok=False, found=failure, remedy=f"needed to {purpose}: {remedy}")
    try:
        return Check(module, ok=True, found=metadata.version(package))
    except metadata.PackageNotFoundError:
        return Check(module, ok=True, found="installed")


def _landmarker() -> Check:
    from mp2flame.downloads import find_landmarker

    remedy = "mp2flame fetch landmarker (or name a local file by --landmarker or MP2FLAME_LANDMARKER)"
    try:
        path = find_landmarker()
    except Mp2FlameError as error:
        return Check("face landmarker", ok=False, found=str(error), remedy="correct MP2FLAME_LANDMARKER")
    return Check("face landmarker", ok=path is not None, found=str(path or "not downloaded yet"), remedy=remedy)


def _assets() -> Check:
    from mp2flame.head import load_head
    from mp2flame.mapping import check_compatible, load_mapping

    name = "built-in head and mapping"
    try:
        head = load_head("builtin")
        check_compatible(load_mapping("builtin"), head)
    except Mp2FlameError as error:
        return Check(name, ok=False, found=str(error), remedy="reinstall mp2flame")
    return Check(name, ok=True, found=f"{head.n_vertices} vertices, hash {head.hash[:12]}")


def checks() -> list[Check]:
    """Every check, in the order in which a user needs them."""
    rows = [
        Check("mp2flame", ok=True, found=__version__),
        Check("Python", ok=sys.version_info >= (3, 10), found=platform.python_version(), remedy="use 3.10 or newer"),
        *(check_extra(*row) for row in _EXTRAS),
    ]
    if any(row.ok for row in rows if row.name == "pyvista"):
        failure = _failure(_RENDER)
        rows.append(Check("off-screen rendering", ok=not failure, found=failure or "works", remedy=APT_LINE))
    return [*rows, _landmarker(), _assets()]


@dataclass(frozen=True)
class Doctor:
    """Check what is installed, and how to get what is missing."""

    def run(self) -> int:
        """Print a table; the exit code is 1 if anything is missing."""
        table = Table(box=None)
        for column in ("", "what", "found", "remedy"):
            table.add_column(column, overflow="fold")
        rows = checks()
        for row in rows:
            mark = Text("ok", "green") if row.ok else Text("missing", "red")
            table.add_row(mark, row.name, row.found, "" if row.ok else row.remedy)
        out.print(table)
        return 0 if all(row.ok for row in rows) else 1
