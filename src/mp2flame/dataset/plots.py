"""The distributions of a data set's scores, expression, jaw and eyes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import PARAMETERS
from mp2flame.errors import InputError, MissingExtraError
from mp2flame.files import AtomicFile, check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS: Final = ("scores.png", "expression.png", "jaw.png", "eyes.png")

_SAMPLE = 50_000
"""Frames, about; more do not change a distribution that a page can show."""
_COLORS: Final = ("#2b6cb0", "#c05621", "#2f855a")
_STYLE: Final = {
    "font.size": 9,
    "figure.dpi": 200,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#333333",
    "axes.labelcolor": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 7,
}
_AXES: Final = {
    "jaw": ("x (+ opens)", "y (+ to the subject's left)", "z (roll)"),
    "eye": ("x (+ looks down)", "y (+ to the subject's left)", "z (roll)"),
}
"""The direction of each axis of a joint, by the last word of its name."""


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
    names = ["scores", *PARAMETERS]
    tables = [rows[rows.usable].sampled(share) for rows in data.batches(names, neutral=None)]
    scores, expression, jaw, eyes = (np.concatenate([table.columns[name] for table in tables]) for name in names)
    if not len(scores):
        raise InputError(f"{data.path} holds no frame with a face and all numbers")
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(_STYLE):
        figures = (
            _boxes(scores, MEDIAPIPE, "score"),
            _boxes(expression, [str(i) for i in range(expression.shape[1])], "value", "expression coefficient"),
            _histograms(np.degrees(jaw), ["jaw"]),
            _histograms(np.degrees(eyes), ["left eye", "right eye"]),
        )
        for name, figure in zip(PLOTS, figures, strict=True):
            with AtomicFile(folder / name) as temporary:
                # No date nor version inside: the same data gives the same bytes.
                figure.savefig(temporary, format="png", metadata={"Software": None})
    return [folder / name for name in PLOTS]


def _figure(width: float, height: float, panels: int) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, panels, sharey=True))


def _boxes(values: NDArray[np.float32], names: Sequence[str], label: str, below: str = "") -> Figure:
    """A box for each column: median, quartiles, and whiskers over 98 of 100 frames."""
    figure, (ax,) = _figure(max(7.0, 0.17 * len(names)), 3.4, 1)
    line = {"color": _COLORS[0], "linewidth": 0.8}
    ax.boxplot(
        values,
        whis=(1, 99),
        showfliers=False,
        patch_artist=True,
        widths=0.65,
        boxprops={"facecolor": _COLORS[0], "edgecolor": _COLORS[0], "linewidth": 0.8},
        medianprops={"color": "white", "linewidth": 1.2},
        whiskerprops=line,
        capprops=line,
    )
    every = 1 if len(names) <= 60 else 5
    rotation = 90 if max(map(len, names)) > 3 else 0
    ax.set_xticks(range(1, len(names) + 1, every), names[::every], rotation=rotation, fontsize=7)
    ax.set(ylabel=label, xlabel=below, xlim=(0, len(names) + 1))
    legend = f"line: median; box: middle half; whiskers: 1st to 99th percentile; {len(values)} frames"
    ax.set_title(legend, fontsize=7, loc="right")
    return figure


def _histograms(degrees: NDArray[np.float32], joints: Sequence[str]) -> Figure:
    """A panel for each joint, with a line for each axis of its rotation."""
    figure, axes = _figure(3.6 * len(joints) + 0.6, 2.8, len(joints))
    limit = max(1.0, float(np.quantile(np.abs(degrees), 0.999)))
    edges = np.linspace(-limit, limit, 81)
    for panel, (ax, joint) in enumerate(zip(axes, joints, strict=True)):
        for axis, label in enumerate(_AXES[joint.split()[-1]]):
            column = degrees[:, 3 * panel + axis]
            if np.ptp(column) > 1e-3:
                ax.hist(column, edges, histtype="step", linewidth=1.4, color=_COLORS[axis], label=label)
        ax.set(yscale="log", xlabel="degrees", title=f"{joint}, {len(degrees)} frames")
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
    axes[0].set_ylabel("frames")
    return figure
