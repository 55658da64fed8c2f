"""Makes the mappings that ship for the built-in head, from pictures of that head alone.

    python -m scripts.make_builtin_mapping --landmarker face_landmarker.task

The head is photographed as many people in faces drawn at random (a rest frame of each person first), MediaPipe looks
at the pictures, and mappings are fitted from what it said back to what the head did. Nothing else goes in. With
`--pictures` the pictures' figures are kept in an `.npz` and used again if it is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import StoredMapping
from mp2flame.training.calibration.photograph import Session, photograph, to_arrays
from mp2flame.training.calibration.straight import measure_straight
from mp2flame.training.dataset import Dataset
from mp2flame.training.fitting import fit
from mp2flame.training.readers.named import read_named_npz
from mp2flame.training.writer import DatasetWriter

_ASSETS = Path(__file__).resolve().parent.parent / "src" / "mp2flame" / "mapping" / "assets"
_KINDS = {"ridge": "builtin.safetensors", "landmarks": "builtin-landmarks.safetensors"}
_PROVENANCE = "made from renders of the built-in head alone, as MediaPipe's face landmarker sees them; "


def pictures(head: FlameHead, landmarker: Path, *, subjects: int, frames: int, workers: int) -> dict[str, Any]:
    """What MediaPipe sees of the head as many people, and what the head really did."""
    session = Session("builtin", landmarker, frames, seed=0)
    people = photograph(session, subjects, workers=workers)
    arrays = to_arrays(list(track(people, total=subjects, description="photographing")))
    return arrays | {"head_hash": np.array(head.hash), "straight": measure_straight(head, landmarker)}


def data_set(arrays: dict[str, NDArray[Any]], head: FlameHead, folder: Path) -> Dataset:
    """The pictures' figures as a data set on disk."""
    source = folder / "pictures.npz"
    figures: dict[str, Any] = {name: array for name, array in arrays.items() if name not in ("head_hash", "straight")}
    np.savez(source, **figures)
    with DatasetWriter(folder / "data", head_version=head.version, head_hash=head.hash) as writer:
        for sequence in read_named_npz(source):
            writer.add(sequence.rows())
        writer.finish({"sources": ["renders of the built-in head"]})
    return Dataset(folder / "data")


def described(mapping: StoredMapping, date: str, straight: NDArray[np.float64]) -> StoredMapping:
    """The mapping with its licence, where it came from, and what its head calls straight ahead."""
    assert dataclasses.is_dataclass(mapping)
    metadata = dict(mapping.metadata)
    metadata |= {"licence": "CC0-1.0", "date": date, "provenance": _PROVENANCE + metadata.get("provenance", "")}
    metadata["straight"] = json.dumps([round(float(angle), 5) for angle in straight])
    changed: StoredMapping = dataclasses.replace(mapping, metadata=metadata)
    return changed


def main() -> None:
    """Photograph, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landmarker", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--subjects", type=int, default=80)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--date", required=True, help="ISO 8601; part of the files, which are otherwise the same")
    options = parser.parse_args()
    head = load_head("builtin")
    if options.pictures and options.pictures.exists():
        arrays: dict[str, Any] = dict(np.load(options.pictures))
        if str(arrays["head_hash"]) != head.hash:
            raise SystemExit(f"{options.pictures} shows another head: remove it to photograph this one")
    else:
        arrays = pictures(
            head, options.landmarker, subjects=options.subjects, frames=options.frames, workers=options.workers
        )
        if options.pictures:
            np.savez(options.pictures, **arrays)
    _ASSETS.mkdir(exist_ok=True)
    straight = measure_straight(head, options.landmarker)
    with tempfile.TemporaryDirectory() as name:
        data = data_set(arrays, head, Path(name))
        for kind, file in _KINDS.items():
            mapping = fit(data, kind=kind, head=head, seed=0, say=print)  # type: ignore[arg-type]
            described(mapping, options.date, straight).save(_ASSETS / file)
            print(f"wrote {_ASSETS / file}: {mapping.metadata.get('metrics', '')}")


if __name__ == "__main__":
    main()
