"""Mappings from data: data sets, fits, evaluation. Loaded name by name, for the extras that they need are heavy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mp2flame.training.building import build
    from mp2flame.training.calibration.calibrating import calibrate
    from mp2flame.training.dataset import Dataset
    from mp2flame.training.evaluation import evaluate
    from mp2flame.training.fitting import fit
    from mp2flame.training.tracking.tracking import track

__all__ = ["Dataset", "build", "calibrate", "evaluate", "fit", "track"]

_HOMES = {
    "Dataset": "dataset",
    "build": "building",
    "calibrate": "calibration.calibrating",
    "evaluate": "evaluation",
    "fit": "fitting",
    "track": "tracking.tracking",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
