"""Mappings for any head, fitted to renders of that head alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.calibration.config import DEFAULT, CalibrationConfig
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import DatasetWriter
from mp2flame.evaluation.evaluate import Evaluation, evaluate, with_metrics
from mp2flame.files import check_outputs, check_writable, exclusive_lock, file_sha256, write_errors
from mp2flame.head import FlameHead, load_head
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.cache import cache_key, cached_landmarks, code_digest
from mp2flame.mapping import StoredMapping
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.regression.fit import fit
from mp2flame.retargeting import transfer_shapes
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.expressions import n_sampled_expression
from mp2flame.synthesis.render import check_detectable, measure_frontal_rotation, not_detectable
from mp2flame.synthesis.subjects import SubjectRenderer, SubjectSamples, load_samples, render_subjects

if TYPE_CHECKING:
    from mp2flame.data import FlameParams
    from mp2flame.regression.context import Kind

Input = Literal["scores", "landmarks"]
"""What a mapping reads: scores alone, or landmarks and scores."""

_RETARGETING: Final = "mp2flame.retargeting"
_KINDS: Final[dict[Input, Kind]] = {"scores": "ridge", "landmarks": "landmarks"}


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result of a calibration."""

    mappings: dict[str, StoredMapping]
    """By what they read: `scores` alone, or `landmarks` and scores."""
    evaluation: Evaluation
    """On subjects on which nothing was fitted."""


def calibrate(
    head_source: str | Path,
    landmarker: Path,
    outputs: Mapping[Input, Path],
    work: Path,
    *,
    config: CalibrationConfig = DEFAULT,
    seed: int = 0,
    workers: int = 2,
    date: str = "",
    keep_work: bool = False,
    on_subject: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Fit mappings for a head to renders of it, evaluate them on held-out subjects, and write them.

    The head is rendered as many subjects with the expressions that its 52 ARKit shapes and its coefficients make, and
    MediaPipe detects their faces. The same seed gives the same mappings, whatever the number of workers.

    Args:
        head_source: what `load_head` takes.
        landmarker: MediaPipe's face landmarker file.
        outputs: the `.safetensors` files to write, by what their mappings read.
        work: a folder in which each subject is kept, so that an interrupted calibration continues where it was when it
            is called again with the same head and settings. It is removed when the outputs are written.
        config: the number of images.
        seed: draws subjects, expressions and views.
        workers: processes that render.
        date: ISO 8601, for the metadata of the mappings.
        keep_work: do not remove the folder.
        on_subject: called after each of `config.subjects + config.held_out` subjects.
        log: called with sentences on the progress.

    Raises:
        InputError: the head has no expression components, an output is an input, or MediaPipe finds no face in images
            of the head (the error names an image).
        SinkError: an output or the folder cannot be written, or another calibration works in the folder.
        WorkerError: a process was killed; the other subjects are kept.
        MissingExtraError: PyVista, MediaPipe or PyArrow is not installed.
    """
    # Minutes of work follow: what cannot be written, and a head that cannot be sampled, are refused now.
    check_outputs(outputs.values(), [head_source, landmarker])
    for path in outputs.values():
        check_writable(path)
    head = load_head(head_source)
    n_sampled_expression(head)
    key = cache_key(head, landmarker, config.subjects, config.held_out, config.images, seed, code_digest(_RETARGETING))
    with _work_folder(work, key, keep=keep_work) as place:
        shapes, embedding = blendshapes_for(head, landmarker, log=log)
        colors = SubjectColors(head, embedding)
        check_detectable(head, landmarker, colors, work / f"missed-{head.hash[:12]}.png")
        frontal = measure_frontal_rotation(head, landmarker, colors)
        renderer = SubjectRenderer(str(head_source), landmarker, shapes, embedding, config.images, seed, place)
        numbers = range(config.subjects + config.held_out)
        render_subjects(renderer, numbers, workers=workers, on_subject=on_subject)
        data = _dataset(renderer, head, numbers[: config.subjects], place / "fitted")
        held_out = _dataset(renderer, head, numbers[config.subjects :], place / "held-out")
        log(f"fitting on {data.metadata['frames']} frames of {len(data.subjects)} subjects")
        network = config.network_for(head)
        fitted: dict[str, StoredMapping] = {}
        for name in outputs:
            mapping = fit(data, kind=_KINDS[name], head=head, seed=seed, network=network, log=log)
            fitted[name] = _with_metadata(mapping, head, renderer, frontal, date)
        evaluation = evaluate(fitted, held_out, head)
        mappings = {name: with_metrics(mapping, evaluation, name) for name, mapping in fitted.items()}
        for name, path in outputs.items():
            mappings[name].save(path)
    return Calibration(mappings, evaluation)


@contextmanager
def _work_folder(work: Path, key: str, *, keep: bool) -> Iterator[Path]:
    """A folder below `work` for one calibration, which no other process uses; it is removed if the block succeeds."""
    with write_errors(work, "nothing was calibrated"):
        (work / key).mkdir(parents=True, exist_ok=True)
    lock = work / "lock"
    busy = f"another calibration is running in {work}: wait for its end, or choose another folder with --work"
    with exclusive_lock(lock, busy):
        try:
            yield work / key
            if not keep:
                shutil.rmtree(work / key, ignore_errors=True)
        finally:
            with suppress(OSError):  # It stays where there is something in it.
                (work / key).rmdir()
            if {*work.iterdir()} == {lock}:
                lock.unlink()
                work.rmdir()


def blendshapes_for(
    head: FlameHead, landmarker: Path, *, log: Callable[[str], None]
) -> tuple[FlameParams, LandmarkEmbedding | None]:
    """ARKit's 52 shapes on a head, its own or carried over from the built-in head; and its landmarks, where needed.

    Raises:
        InputError: MediaPipe finds no face in images of the head.
    """
    own = head.arrays.blendshapes is not None
    if own and head.vertex_colors is not None:
        return head.blendshapes(), None
    log("finding MediaPipe's landmarks on the head (kept for next time)")
    embedding = cached_landmarks(head, landmarker, log=log)
    if own:
        return head.blendshapes(), embedding
    log("transferring the 52 shapes from the built-in head")
    transfer = transfer_shapes(head, embedding)
    if transfer.omitted:
        log(f"this head cannot make {', '.join(transfer.omitted)}: they are left out")
    return transfer.shapes, embedding


def frame_table(samples: SubjectSamples) -> FrameTable:
    """A subject's images as rows of a data set, the neutral one first; they are no video."""
    n, e = len(samples.parameters) + 1, samples.parameters.shape[1] - N_ROTATIONS
    truth = np.concatenate([np.zeros_like(samples.parameters[:1]), samples.parameters])
    columns = {**samples.detected, "expression": truth[:, :e], "jaw": truth[:, e : e + 3], "eyes": truth[:, e + 3 :]}
    # The camera moves; the head itself never turns.
    columns |= {name: np.zeros((n, 3), dtype=np.float32) for name in ("neck", "global")}
    return FrameTable(
        subject=f"{samples.number:05d}",
        sequence=np.full(n, "renders", dtype=object),
        frame=np.arange(n),
        time=np.zeros(n),
        found=np.ones(n, dtype=np.bool_),
        neutral=np.arange(n) == 0,
        columns=columns,
        image_size=(512, 512),
        video=False,
    )


def _dataset(renderer: SubjectRenderer, head: FlameHead, numbers: Iterable[int], path: Path) -> Dataset:
    subjects = [samples for number in numbers if (samples := load_samples(renderer.path(number))) is not None]
    found, rendered = sum(len(s.parameters) for s in subjects), sum(s.rendered for s in subjects)
    if 2 * found < rendered or not found:
        raise not_detectable(head, found, rendered)
    shutil.rmtree(path, ignore_errors=True)
    with DatasetWriter(path, head_version=head.version, head_hash=head.hash) as writer:
        for samples in subjects:
            if len(samples.parameters):
                writer.add(frame_table(samples))
        writer.finish({"sources": [f"renders of the {head.version} head"]})
    return Dataset(path)


def _with_metadata(
    mapping: StoredMapping, head: FlameHead, renderer: SubjectRenderer, frontal: NDArray[np.float64], date: str
) -> StoredMapping:
    """The mapping with licence, provenance, and the rotation that MediaPipe reports of its head from the front."""
    metadata = dict(mapping.metadata)
    metadata["licence"] = head.metadata.get("licence") or f"that of the head it is for ({head.version})"
    metadata["date"] = date
    metadata["provenance"] = (
        f"calibrated from renders of the {head.version} head alone (hash {head.hash}), as MediaPipe's face landmarker "
        f"(sha256 {file_sha256(renderer.landmarker)}) sees them: nothing else went in; "
        f"seed {renderer.seed}; {metadata.get('provenance', '')}"
    )
    metadata["straight"] = json.dumps([round(float(angle), 5) for angle in frontal])
    return replace(mapping, metadata=metadata)  # type: ignore[type-var]
