"""Live Link's CSV and the JSON of BEAT and LAM: names, times, faces that are not there, and files that are broken."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, ORDERS
from mp2flame.data import Observation, concatenate
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.sources import open_source
from mp2flame.sources.tables import BlendshapeCsvSource, BlendshapeJsonSource, exact_frame_rate
from mp2flame.streams.livelink import ANGLES

_RNG = np.random.default_rng(0)
_VALUES = _RNG.uniform(0, 1, (12, 52)).round(6)
_PASCAL = [name[0].upper() + name[1:] for name in ORDERS["livelink-csv"]]


def _timecodes(n: int, fps: float, start: int = 0) -> list[str]:
    """Frames as the app counts them: at 29.97 a second is still 30 frames long."""
    nominal = round(fps)
    codes = []
    for number in range(start, start + n):
        seconds, frame = divmod(number, nominal)
        codes.append(f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}.250")
    return codes


def _table(
    path: Path,
    *,
    fps: float = 60,
    start: int = 0,
    names: Sequence[str] = _PASCAL,
    count: str = "BlendshapeCount",
    values: np.ndarray = _VALUES,
    angles: Sequence[float] = (0.0,) * 9,
) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", count, *names, *ANGLES])
        for code, row in zip(_timecodes(len(values), fps, start), values.tolist(), strict=True):
            writer.writerow([code, 61, *row, *angles])
    return path


def _all(source: BlendshapeCsvSource | BlendshapeJsonSource) -> Observation:
    return concatenate([frame for frame in source if frame.found[0]])


def _expected(order: Sequence[str], values: np.ndarray = _VALUES) -> np.ndarray:
    return np.stack([values[:, list(order).index(name)] for name in MEDIAPIPE[1:]], axis=1)


def test_csv_by_name(tmp_path: Path) -> None:
    source = BlendshapeCsvSource(_table(tmp_path / "take.csv"))
    assert (source.live, source.n_frames) == (False, 12)
    read = _all(source)
    np.testing.assert_allclose(read.scores[:, 1:], _expected(ORDERS["livelink-csv"]), atol=1e-6)
    assert read.tongue_out is not None
    np.testing.assert_allclose(read.tongue_out, _VALUES[:, 51], atol=1e-6)
    # Again the same.
    np.testing.assert_array_equal(_all(source).scores, read.scores)
    assert source.warnings == ()


@pytest.mark.parametrize("count", ["BlendshapeCount", "BlendShapeCount"])
def test_csv_in_another_order_and_casing(tmp_path: Path, count: str) -> None:
    names = sorted(ARKIT, reverse=True)
    read = _all(BlendshapeCsvSource(_table(tmp_path / "take.csv", names=names, count=count)))
    np.testing.assert_allclose(read.scores[:, 1:], _expected(names), atol=1e-6)


@pytest.mark.parametrize("fps", [60.0, 59.94, 30.0, 29.97, 24.0])
@pytest.mark.parametrize("before_midnight", [None, 7])
def test_csv_times(tmp_path: Path, fps: float, before_midnight: int | None) -> None:
    rate = float(exact_frame_rate(fps))
    start = 1000 if before_midnight is None else 24 * 3600 * round(fps) - before_midnight
    source = BlendshapeCsvSource(_table(tmp_path / "take.csv", fps=fps, start=start), fps=fps)
    np.testing.assert_allclose(_all(source).time, np.arange(12) / rate, atol=1e-6)
    assert source.fps == pytest.approx(rate)


def test_csv_rate_from_the_frame_numbers(tmp_path: Path) -> None:
    values = np.tile(_VALUES, (6, 1))
    assert BlendshapeCsvSource(_table(tmp_path / "a.csv", fps=60, values=values)).fps == 60
    assert BlendshapeCsvSource(_table(tmp_path / "b.csv", fps=30, values=values)).fps == 30


@pytest.mark.parametrize(("unit", "scale"), [("radians", 1.0), ("degrees", 180 / np.pi), ("half-turns", 1 / np.pi)])
def test_csv_head(tmp_path: Path, unit: str, scale: float) -> None:
    path = _table(tmp_path / "take.csv", angles=[0.3 * scale, 0.0, 0.0, *[0.0] * 6])
    head = _all(BlendshapeCsvSource(path, angles=unit)).head_transform
    assert head is not None
    np.testing.assert_allclose(head[0, :3, 2], [np.sin(0.3), 0, np.cos(0.3)], atol=1e-6)


def test_csv_rows_without_a_face(tmp_path: Path) -> None:
    path = _table(tmp_path / "take.csv")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].split(",")[0] + ",0"
    lines[4] = lines[4].split(",")[0] + ",0" + ",0" * 61
    path.write_text("\n".join(lines) + "\n\n")
    found = [bool(frame.found[0]) for frame in BlendshapeCsvSource(path)]
    assert found == [True, True, False, False, *[True] * 8]


def test_csv_without_usable_times(tmp_path: Path) -> None:
    path = _table(tmp_path / "take.csv")
    path.write_text(path.read_text().replace("00:00:00:05.250", "yesterday"))
    source = BlendshapeCsvSource(path, fps=25)
    np.testing.assert_allclose(_all(source).time, np.arange(12) / 25)
    assert "25 per second" in source.warnings[0]


def test_tables_of_seconds(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("time,found,jawOpen,eyeBlinkLeft,eyeBlinkRight\n5.0,1,.5,0,0\n5.1,0,,,\n5.4,1,.25,0,0\n")
    frames = list(BlendshapeCsvSource(path))
    assert [float(frame.time[0]) for frame in frames] == pytest.approx([0.0, 0.1, 0.4])
    assert [bool(frame.found[0]) for frame in frames] == [True, False, True]
    assert frames[2].scores[0, MEDIAPIPE.index("jawOpen")] == 0.25
    assert frames[2].head_transform is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a,b,c\n1,2,3\n", "names blendshapes"),
        ("jawOpen,JawOpen,eyeBlinkLeft,eyeBlinkRight\n", "two columns"),
        ("jawOpen,eyeBlinkLeft,eyeBlinkRight\n1,2\n", "line 2: expected 3 columns; got 2"),
        ("jawOpen,eyeBlinkLeft,eyeBlinkRight\n0,0,0\n0,x,0\n", "line 3"),
        ("jawOpen,eyeBlinkLeft,eyeBlinkRight\n0,nan,0\n", "about 0..1"),
        ("jawOpen,eyeBlinkLeft,eyeBlinkRight\n0,55,0\n", "about 0..1"),
        ("jawOpen,eyeBlinkLeft,eyeBlinkRight,HeadYaw,HeadPitch,HeadRoll\n0,0,0,inf,0,0\n", "head angles"),
        ("jawOpen,eyeBlinkLeft,eyeBlinkRight\n0,0,0" + "0" * 200_000 + "\n", "no table"),
    ],
)
def test_csv_that_is_broken(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "take.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=says):
        list(BlendshapeCsvSource(path))


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "take.csv"
    path.write_bytes(b"\xff\xfe\x00\x80" * 100)
    with pytest.raises(FormatError, match="UTF-8"):
        BlendshapeCsvSource(path)


def test_csv_settings(tmp_path: Path) -> None:
    path = _table(tmp_path / "take.csv")
    with pytest.raises(InputError, match="radians, degrees"):
        BlendshapeCsvSource(path, angles="turns")
    with pytest.raises(InputError, match="frame rate"):
        BlendshapeCsvSource(path, fps=0)
    with pytest.raises(MissingFileError):
        BlendshapeCsvSource(tmp_path / "none.csv")


def test_closing_in_the_middle(tmp_path: Path) -> None:
    with BlendshapeCsvSource(_table(tmp_path / "take.csv")) as source:
        frames = iter(source)
        next(frames)
        source.close()
        assert list(frames) == []


def _beat(**changes: Any) -> dict[str, Any]:
    frames = [
        {"weights": row, "time": index / 60, "rotation": []} for index, row in enumerate(_VALUES[:, :51].tolist())
    ]
    return {"names": list(ORDERS["beat"]), "frames": frames} | changes


def _json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_beat(tmp_path: Path) -> None:
    source = BlendshapeJsonSource(_json(tmp_path / "beat.json", _beat()))
    assert source.n_frames == 12
    read = _all(source)
    np.testing.assert_allclose(read.scores[:, 1:], _VALUES[:, :51], atol=1e-6)
    np.testing.assert_allclose(read.time, np.arange(12) / 60)
    assert read.tongue_out is None


def test_lam(tmp_path: Path) -> None:
    frames = [{"weights": row, "time": 0.0, "rotation": [0.1, 0.0, 0.0]} for row in _VALUES.tolist()]
    names = list(ORDERS["lam"])
    content = {
        "names": names,
        "metadata": {"fps": 30.0, "frame_count": 12, "blendshape_names": names},
        "frames": frames,
    }
    read = _all(BlendshapeJsonSource(_json(tmp_path / "bsData.json", content)))
    np.testing.assert_allclose(read.scores[:, 1:], _VALUES[:, :51], atol=1e-6)
    np.testing.assert_allclose(read.time, np.arange(12) / 30)
    assert read.tongue_out is not None
    np.testing.assert_allclose(read.tongue_out, _VALUES[:, 51], atol=1e-6)
    del content["names"]
    assert len(_all(BlendshapeJsonSource(_json(tmp_path / "two.json", content)))) == 12


def test_names_in_another_order_decide(tmp_path: Path) -> None:
    content = _beat(names=list(ORDERS["arkit"][:51]))
    read = _all(BlendshapeJsonSource(_json(tmp_path / "beat.json", content), order="beat"))
    np.testing.assert_allclose(read.scores[:, 1:], _expected(ORDERS["arkit"][:51]), atol=1e-6)


def test_an_order_that_nobody_states_is_not_guessed(tmp_path: Path) -> None:
    path = _json(tmp_path / "beat.json", _beat(names=None))
    with pytest.raises(InputError, match="state their order"):
        BlendshapeJsonSource(path)
    for order in ("beat", "arkit"):
        read = _all(BlendshapeJsonSource(path, order=order))
        np.testing.assert_allclose(read.scores[:, 1:], _expected(ORDERS[order][:51]), atol=1e-6)
    with pytest.raises(InputError, match="52 blendshapes"):
        BlendshapeJsonSource(path, order="lam")


def test_json_times(tmp_path: Path) -> None:
    content = _beat()
    assert _all(BlendshapeJsonSource(_json(tmp_path / "a.json", content), fps=25)).time[1] == 1 / 25
    for frame in content["frames"]:
        del frame["time"]
    path = _json(tmp_path / "b.json", content)
    with pytest.raises(InputError, match="fps=60"):
        BlendshapeJsonSource(path)
    assert _all(BlendshapeJsonSource(path, fps=60)).time[1] == 1 / 60


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "expected an object"),
        ({"points": []}, "frames"),
        ({"frames": []}, "frames"),
        ({"frames": [1]}, "frames"),
        (_beat(frames=[{"time": 0.0}]), "weights"),
        (_beat(frames=[{"weights": ["x"] * 51}]), "weights"),
        (_beat(names=["smile"] * 51), "distinct ARKit names"),
        (_beat(names=[1] * 51), "list of blendshape names"),
        (_beat(frames=[{"weights": [0.0] * 50, "time": 0.0}]), "expected 51 weights; got 50"),
        (_beat(frames=[{"weights": [99.0] * 51, "time": 0.0}]), "about 0..1"),
        (_beat(frames=[{"weights": [float("nan")] * 51, "time": 0.0}]), "about 0..1"),
        (_beat(metadata={"fps": "many"}), "frame rate"),
    ],
)
def test_json_that_is_something_else(tmp_path: Path, content: object, says: str) -> None:
    path = _json(tmp_path / "x.json", content)
    with pytest.raises(FormatError, match=says):
        list(BlendshapeJsonSource(path))


@pytest.mark.parametrize("text", ["", "{", '{"frames": [{"weights": [0.1,', "[" * 100_000])
def test_json_that_is_cut_off(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(FormatError, match="cut off"):
        BlendshapeJsonSource(path)
    with pytest.raises(MissingFileError):
        BlendshapeJsonSource(tmp_path / "none.json")


def test_by_their_suffix(tmp_path: Path) -> None:
    assert isinstance(open_source(_table(tmp_path / "take.csv"), fps=60.0), BlendshapeCsvSource)
    json_path = _json(tmp_path / "beat.json", _beat(names=None))
    assert isinstance(open_source(json_path, order="beat"), BlendshapeJsonSource)
    with pytest.raises(InputError, match="mirror"):
        open_source(json_path, mirror=True)
