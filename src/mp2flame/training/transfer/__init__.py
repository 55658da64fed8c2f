"""ARKit's 52 shapes on any head, by geometry alone, and the way back from parameters to their weights."""

from mp2flame.training.transfer.arkit import arkit_mapping
from mp2flame.training.transfer.back import ArkitSolver, arkit_shapes
from mp2flame.training.transfer.carrying import Transfer, transfer_shapes
from mp2flame.training.transfer.correspondence import Correspondence, correspond

__all__ = [
    "ArkitSolver",
    "Correspondence",
    "Transfer",
    "arkit_mapping",
    "arkit_shapes",
    "correspond",
    "transfer_shapes",
]
