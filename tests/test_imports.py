"""Packages import each other only in the direction of the design, and each outside package has one home."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mp2flame

_PACKAGE = Path(mp2flame.__file__).parent

_BASE = {"errors", "blendshapes", "rotations", "validation", "files", "data", "downloads", "parallel"}
_RUN_TIME = _BASE | {"head", "mapping", "filters", "sources", "sinks", "streams", "formats", "render", "demo_animation"}
_OFFLINE = _RUN_TIME | {"geometry"}
_DATA_SETS = _OFFLINE | {"synthesis", "landmark_model"}

# Each module or package of mp2flame, and what it may import of mp2flame.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "parallel": {"errors"},
    "validation": {"errors"},
    "files": {"errors", "validation"},
    "blendshapes": {"errors", "validation"},
    "rotations": {"errors"},
    "data": {"errors", "blendshapes", "validation", "files", "rotations"},
    "downloads": {"errors", "files"},
    "render": _BASE,
    "demo_animation": _BASE,
    "head": _BASE,
    "filters": _BASE,
    "mapping": _BASE,
    "sources": _BASE,
    "sinks": _BASE | {"render"},
    "streams": _BASE | {"sources", "sinks"},
    "formats": _BASE | {"sources", "sinks"},
    "pipeline": _RUN_TIME,
    "live": _RUN_TIME | {"pipeline"},
    "geometry": _RUN_TIME,
    "synthesis": _OFFLINE,
    "landmark_model": _OFFLINE | {"synthesis"},
    "dataset": _DATA_SETS,
    "regression": _DATA_SETS | {"dataset"},
    "evaluation": _DATA_SETS | {"dataset", "regression", "pipeline"},
    "retargeting": _DATA_SETS,
    "calibration": _DATA_SETS | {"dataset", "regression", "evaluation", "retargeting"},
    "tracking": _DATA_SETS,
}

# Outside packages: the only modules that may import them.
HOMES: dict[str, set[str]] = {
    "mediapipe": {"sources/detector.py"},
    "pyvista": {"render.py"},
    "viser": {"live"},
    "platformdirs": {"live"},
    "pooch": {"downloads.py"},
    "tyro": {"cli"},
    "rich": {"cli"},
    "pythonosc": {"streams"},
    "websockets": {"streams"},
    "pyarrow": {"dataset"},
    "matplotlib": {"dataset", "landmark_model", "evaluation"},
    "ray": {"dataset"},
    "jinja2": {"evaluation"},
}

_EXTRAS = sorted({*HOMES, "av", "cv2", "vtk", "PIL", "torch", "scipy"} - {"pooch"})


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too, and what it names by `from package import module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            inside = _PACKAGE.parent.joinpath(*module.split("."))
            for alias in node.names:
                is_module = (inside / f"{alias.name}.py").exists() or (inside / alias.name).is_dir()
                yield f"{module}.{alias.name}" if is_module else module


def _modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        yield relative, relative.parts[0].removesuffix(".py")


def _violations() -> Iterator[str]:
    for relative, package in _modules():
        if package in ("__init__", "__main__", "cli"):
            continue
        assert package in ALLOWED, f"{relative} is in no package of the design"
        for name in _imports(_PACKAGE / relative):
            parts = name.split(".")
            if parts[0] == "mp2flame" and len(parts) > 1 and parts[1] not in {package, *ALLOWED[package]}:
                yield f"{relative} imports {name}"


def test_packages_import_in_one_direction() -> None:
    assert list(_violations()) == []


def test_the_design_itself_has_no_cycle() -> None:
    list(TopologicalSorter(ALLOWED).static_order())


def test_no_two_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for relative, _ in _modules():
        module = ".".join(("mp2flame", *relative.with_suffix("").parts)).removesuffix(".__init__")
        # A package's `__init__` hands on the names of its files: an edge from a file to its own package is no cycle.
        packages = {module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)}
        graph[module] = {name for name in _imports(_PACKAGE / relative) if name.startswith("mp2flame")} - packages
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"files import each other in a circle: {' -> '.join(error.args[1])}")


def test_outside_packages_have_one_home() -> None:
    strays = [
        f"{relative} imports {name}"
        for relative, package in _modules()
        for name in _imports(_PACKAGE / relative)
        if (homes := HOMES.get(name.split(".")[0])) is not None and not {package, relative.as_posix()} & homes
    ]
    assert strays == []


def _fresh(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return process.stdout.strip()


def test_bare_import_loads_no_extra() -> None:
    loaded = _fresh(f"import sys, mp2flame; print([name for name in {_EXTRAS!r} if name in sys.modules])")
    assert loaded == "[]"


PUBLIC = [
    "BlendshapeMapping",
    "FetchError",
    "Filter",
    "FlameHead",
    "FlameParams",
    "FormatError",
    "Frame",
    "HeadLike",
    "HeadMismatchError",
    "InputError",
    "LandmarkEmbedding",
    "MissingExtraError",
    "MissingFileError",
    "Mp2FlameError",
    "Observation",
    "Person",
    "Pipeline",
    "Report",
    "Sink",
    "SinkError",
    "Source",
    "SourceError",
    "UnsafePickleError",
    "WorkerError",
    "__version__",
    "concatenate",
    "default_filters",
    "drive",
    "load_embedding",
    "load_head",
    "load_mapping",
    "load_params",
    "load_person",
    "open_sink",
    "open_source",
    "track",
]


def test_the_public_names_are_these_and_in_this_order() -> None:
    assert mp2flame.__all__ == PUBLIC
    assert dir(mp2flame) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_resolve(name: str) -> None:
    assert getattr(mp2flame, name) is getattr(mp2flame, name)


def test_type_checkers_see_the_same_public_names() -> None:
    """What `__init__` imports for type checkers is what it imports at run time, and all of it is public."""
    tree = ast.parse(Path(mp2flame.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("mp2flame")
        for alias in node.names
    }
    assert {*imported, "__version__"} == set(PUBLIC)
    for name, module in imported.items():
        assert getattr(mp2flame, name) is getattr(importlib.import_module(module), name)


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_haed'"):
        _ = mp2flame.load_haed  # type: ignore[attr-defined]
