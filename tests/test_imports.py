"""The rooms import each other only in the direction of the design, and each outside package has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mp2flame

_PACKAGE = Path(mp2flame.__file__).parent
_CORE = {"errors", "atomic", "wording"}
_NOUNS = _CORE | {"blendshapes", "signals"}

# Room: the rooms that it may import.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "wording": set(),
    "atomic": _CORE,
    "blendshapes": _CORE,
    "rotations": _CORE,
    "signals": _CORE | {"blendshapes"},
    "fetch": _CORE,
    "render": _CORE,
    "formats": _NOUNS | {"rotations"},
    "wire": _NOUNS | {"rotations"},
    "sources": _NOUNS | {"rotations", "formats", "wire", "fetch"},
    "mapping": _NOUNS | {"rotations", "fetch"},
    "filters": _CORE | {"signals", "rotations"},
    "head": _NOUNS | {"rotations"},
    "sinks": _NOUNS | {"rotations", "formats", "wire", "render"},
    "performance": _NOUNS,
    "pipeline": _NOUNS | {"sources.base", "mapping.base", "mapping", "filters.base", "head", "sinks.base"},
    "viewer": _NOUNS | {"sinks.base"},
    "live": _NOUNS | {"rotations", "sources", "mapping", "filters", "head", "sinks", "formats", "pipeline", "viewer"},
    "training": _NOUNS
    | {"rotations", "mapping", "head", "sources", "formats", "render", "performance", "fetch", "sinks"},
}

# Outside packages: the only modules that may import them.
HOMES: dict[str, set[str]] = {
    "mediapipe": {"sources/detector.py"},
    "pyvista": {"render.py"},
    "viser": {"viewer"},
    "platformdirs": {"live"},
    "pooch": {"fetch.py"},
    "tyro": {"cli"},
    "rich": {"cli"},
    "pythonosc": {"wire", "sources", "sinks"},
    "websockets": {"sources", "sinks", "wire"},
    "sklearn": {"training"},
    "pyarrow": {"training"},
    "matplotlib": {"training"},
    "ray": {"training"},
}

_EXTRAS = sorted({*HOMES, "av", "cv2", "vtk", "PIL", "torch", "scipy"} - {"pooch"})


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def _modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        yield relative, relative.parts[0].removesuffix(".py")


def _violations() -> Iterator[str]:
    for relative, room in _modules():
        if room in ("__init__", "cli"):
            continue
        assert room in ALLOWED, f"{relative} is in no room of the design"
        for name in _imports(_PACKAGE / relative):
            parts = name.split(".")
            if parts[0] != "mp2flame" or len(parts) < 2 or parts[1] == room:
                continue
            if parts[1] not in ALLOWED[room] and ".".join(parts[1:3]) not in ALLOWED[room]:
                yield f"{relative} imports {name}"


def test_rooms_import_in_one_direction() -> None:
    assert list(_violations()) == []


def test_outside_packages_have_one_home() -> None:
    strays = [
        f"{relative} imports {name}"
        for relative, room in _modules()
        for name in _imports(_PACKAGE / relative)
        if (homes := HOMES.get(name.split(".")[0])) is not None and not {room, relative.as_posix()} & homes
    ]
    assert strays == []


def test_modules_stay_small() -> None:
    roots = [
        _PACKAGE,
        _PACKAGE.parents[1] / "scripts",
        _PACKAGE.parents[1] / "tests",
        _PACKAGE.parents[1] / "benchmarks",
    ]
    long = {
        path.name: lines
        for root in roots
        for path in root.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert long == {}


def _fresh(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_bare_import_loads_no_extra() -> None:
    loaded = _fresh(f"import sys, mp2flame; print([name for name in {_EXTRAS!r} if name in sys.modules])")
    assert loaded == "[]"


@pytest.mark.parametrize("name", ["load_head", "load_mapping", "open_source", "drive", "load_params", "Observation"])
def test_public_names_resolve(name: str) -> None:
    assert callable(getattr(mp2flame, name))
    assert name in mp2flame.__all__


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_haed'"):
        _ = mp2flame.load_haed
