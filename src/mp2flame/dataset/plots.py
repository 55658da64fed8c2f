"""The distributions of a data set's scores, expression, jaw and eyes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import PARAMETERS
from mp2flame.errors import InputError, MissingExtraError
from mp2flame.files import AtomicFile, check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = ("scores.png", "expression.png", "jaw.png", "eyes.png")

_SAMPLE = 50_000
"""Frames, about; more do not change a distribution that a page can show."""
_COLORS = ("#2b6cb0", "#c05621", "#2f855a")
_INK = "#333333"
_TURNS = {
    "jaw": ("x (+ opens)", "y (+ to the subject's left)", "z (roll)"),
    "eye": ("x (+ looks down)", "y (+ to the subject's left)", "z (roll)"),
}
"""What the axes of a joint do, by the last word of its name."""


def plot(data: Dataset, folder: Path) -> list[Path]:
    """Write four PNG files into a folder, which is made if it does not exist.

    Returns:
        The files.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MissingFileError: the folder around `folder` does not exist.
        InputError: there is no usable frame.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", "plot data sets") from error
    check_writable(folder, folder=True)
    share = _SAMPLE / max(1, data.count_rows())
    tables = [rows[rows.usable].sampled(share) for rows in data.batches(["scores", *PARAMETERS], neutral=None)]
    columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in ("scores", *PARAMETERS)}
    if not len(columns["scores"]):
        raise InputError(f"{data.path} holds no frame with a face and all numbers")
    folder.mkdir(exist_ok=True)
    with mpl.rc_context({"font.size": 9, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "figure.dpi": 200}):
        drawn = {
            "scores.png": _boxes(columns["scores"], MEDIAPIPE, "score"),
            "expression.png": _boxes(
                columns["expression"],
                [str(i) for i in range(columns["expression"].shape[1])],
                "value",
                "expression coefficient",
            ),
            "jaw.png": _histograms(np.degrees(columns["jaw"]), ["jaw"]),
            "eyes.png": _histograms(np.degrees(columns["eyes"]), ["left eye", "right eye"]),
        }
        return [_save(figure, folder / name) for name, figure in drawn.items()]


def _figure(width: float, height: float, panels: int) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(1, panels, sharey=True))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def _boxes(values: NDArray[np.float32], names: tuple[str, ...] | list[str], label: str, below: str = "") -> Figure:
    """A box for each column: median, quartiles, and whiskers over 98 of 100 frames."""
    figure, axes = _figure(max(7.0, 0.17 * len(names)), 3.4, 1)
    ax = axes[0]
    boxes = ax.boxplot(
        values,
        whis=(1, 99),
        showfliers=False,
        patch_artist=True,
        widths=0.65,
        medianprops={"color": "white", "linewidth": 1.2},
        whiskerprops={"color": _COLORS[0], "linewidth": 0.8},
        capprops={"color": _COLORS[0], "linewidth": 0.8},
    )
    for box in boxes["boxes"]:
        box.set(facecolor=_COLORS[0], edgecolor=_COLORS[0], linewidth=0.8)
    every = 1 if len(names) <= 60 else 5
    turned = len(max(names, key=len)) > 3
    ax.set_xticks(range(1, len(names) + 1, every), names[::every], rotation=90 if turned else 0, fontsize=7)
    ax.set_ylabel(label)
    ax.set_xlabel(below)
    ax.set_xlim(0, len(names) + 1)
    legend = f"line: median; box: middle half; whiskers: 1st to 99th percentile; {len(values)} frames"
    ax.set_title(legend, fontsize=7, loc="right", color=_INK)
    return figure


def _histograms(degrees: NDArray[np.float32], names: list[str]) -> Figure:
    """A panel for each joint, with a line for each axis of its rotation."""
    figure, axes = _figure(3.6 * len(names) + 0.6, 2.8, len(names))
    limit = max(1.0, float(np.quantile(np.abs(degrees), 0.999)))
    edges = np.linspace(-limit, limit, 81)
    for panel, (ax, name) in enumerate(zip(axes, names, strict=True)):
        turns = _TURNS[name.split()[-1]]
        for axis in range(3):
            column = degrees[:, 3 * panel + axis]
            if np.ptp(column) > 1e-3:
                ax.hist(column, edges, histtype="step", linewidth=1.4, color=_COLORS[axis], label=turns[axis])
        ax.set_yscale("log")
        ax.set_title(f"{name}, {len(degrees)} frames", fontsize=9)
        ax.set_xlabel("degrees")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("frames")
    return figure


def _save(figure: Figure, path: Path) -> Path:
    with AtomicFile(path) as temporary:
        # No date nor version inside: the same data gives the same bytes.
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path
