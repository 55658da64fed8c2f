"""Files before the work: no command writes over what it reads, and what cannot be written is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mp2flame import FlameParams, load_head, load_mapping
from tests.cli.conftest import Run

# Every command that writes: {x} is the file that is read and, by the last option, written.
_OVERWRITES = {
    "drive: source": ("drive {jsonl} -o {jsonl}", "jsonl"),
    "drive: head": ("drive {jsonl} --head {head} --allow-head-mismatch -o {head}", "head"),
    "drive: mapping": ("drive {jsonl} --mapping {mapping} -o {mapping}", "mapping"),
    "drive: companion": ("drive {jsonl} --mapping {mapping} -o {companion}", "companion"),
    "drive: neutral": ("drive {jsonl} --neutral {other} -o {other}", "other"),
    "drive: identity": ("drive {jsonl} --identity {npz} -o {npz}", "npz"),
    "drive: landmarker": ("drive {jsonl} --landmarker {npz} -o {npz}", "npz"),
    "enroll": ("enroll {mapping} -o {mapping}", "mapping"),
    "track: video": ("track {video} -o {video}", "video"),
    "track: head": ("track {video} --head {npz} -o {npz}", "npz"),
    "track: folder": ("track {folder} -o {folder}", "video"),
    "calibrate": ("calibrate --head {head} -o {head}", "head"),
    "calibrate: report": ("calibrate --head {html} -o {new} --report {html}", "html"),
    "transfer": ("transfer --head {head} -o {head}", "head"),
    "transfer: sheet": ("transfer --head {png} -o {new} --sheet {png}", "png"),
    "to-arkit": ("to-arkit {jsonl} -o {jsonl}", "jsonl"),
    "to-arkit: head": ("to-arkit {npz} --head {jsonl} -o {jsonl}", "jsonl"),
    "fit": ("fit {folder} --head {head} -o {head}", "head"),
    "fit: data": ("fit {folder} -o {inside}", "inside"),
    "fit: folder": ("fit {folder} --kind pinv -o {folder}", "video"),
    "evaluate": ("evaluate {html} --data {folder} --head builtin -o {html}", "html"),
    "head convert": ("head convert {head} -o {head}", "head"),
    "dataset build": ("dataset build {folder} -o {folder}", "video"),
}


@pytest.fixture
def files(tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    folder = tmp_path / "folder"
    folder.mkdir()
    paths = {
        "jsonl": recording,
        "other": tmp_path / "other.jsonl",
        "head": tmp_path / "head.safetensors",
        "mapping": tmp_path / "mine.safetensors",
        "companion": tmp_path / "mine-landmarks.safetensors",
        "npz": tmp_path / "identity.npz",
        "folder": folder,
        "video": folder / "video.mp4",
        "inside": folder / "part.safetensors",
        "html": tmp_path / "page.html",
        "png": tmp_path / "image.png",
    }
    monkeypatch.chdir(tmp_path)
    paths["other"].write_bytes(recording.read_bytes())
    load_head("builtin").save(paths["head"])
    load_mapping("builtin").save(paths["mapping"])
    FlameParams(time=[0.0], found=[True], expression=np.zeros((1, 5)), shape=np.zeros(3)).save(paths["npz"])
    for name in ("video", "inside", "html", "png"):
        paths[name].write_bytes(b"content")
    return paths | {"new": tmp_path / "new.safetensors"}


@pytest.mark.parametrize("spelling", ["same", "relative", "dots", "symbolic link", "hard link"])
@pytest.mark.parametrize("case", _OVERWRITES)
def test_no_command_writes_over_what_it_reads(
    case: str, spelling: str, files: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    template, name = _OVERWRITES[case]
    before = files[name].read_bytes()
    *words, last = template.split()
    target = files[last.strip("{}")]
    if spelling == "relative":
        target = Path(os.path.relpath(target, tmp_path))
    elif spelling == "dots":
        target = target.parent / ".." / target.parent.name / target.name
    elif spelling != "same":
        link = tmp_path / f"link{target.suffix}"
        if spelling == "symbolic link":
            link.symlink_to(target)
        elif target.is_dir():
            pytest.skip("a folder has no hard links")
        else:
            os.link(target, link)
        target = link
    code, text = run(*(word.format(**files) for word in words), target)
    assert code == 1, text
    assert "choose a name other than what is read" in text
    assert files[name].read_bytes() == before


# Every command that writes, with inputs that do not exist: the output is refused before they are looked for.
_WRITES = [
    "drive absent.jsonl -o {0}.npz",
    "drive absent.jsonl -o {0}.jsonl",
    "enroll absent.jsonl -o {0}.safetensors",
    "calibrate --head absent.npz -o {0}.safetensors",
    "calibrate --head absent.npz -o good.safetensors --report {0}.html",
    "transfer --head absent.npz -o {0}.safetensors",
    "transfer --head absent.npz -o good.safetensors --sheet {0}.png",
    "to-arkit absent.npz -o {0}.csv",
    "fit absent -o {0}.safetensors",
    "fit absent --kind pinv -o {0}",
    "evaluate builtin --data absent --head builtin -o {0}.html",
    "head convert absent.pkl -o {0}.safetensors",
    "dataset build absent -o {0}",
    "demo --landmarker absent -o {0}",
    "live absent.jsonl --data {0}",
]


@pytest.mark.parametrize("template", _WRITES)
@pytest.mark.parametrize("name", ["nowhere/out", "x" * 300])
def test_a_target_that_cannot_be_written_is_refused_before_the_work(
    template: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run(*template.format(name).split())
    assert code == 1
    assert "error:" in text
    assert "nowhere" in text or "too long" in text
    assert "absent" not in text
    assert not list(tmp_path.iterdir())


def test_track_refuses_targets_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()
    for name in ("nowhere/x.npz", "nowhere/x", "x" * 300):
        code, text = run("track", "a.mp4", "--head", "absent.npz", "-o", name)
        assert code == 1
        assert "nowhere" in text or "too long" in text
        assert "absent" not in text
