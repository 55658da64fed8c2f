"""ARKit's 52 shapes on any head, by geometry alone, and the way back from parameters to their weights."""

from mp2flame.retargeting.arkit import arkit_mapping
from mp2flame.retargeting.correspondence import Correspondence, correspond
from mp2flame.retargeting.to_arkit import ArkitSolver, arkit_shapes
from mp2flame.retargeting.transfer import Transfer, transfer_shapes

__all__ = [
    "ArkitSolver",
    "Correspondence",
    "Transfer",
    "arkit_mapping",
    "arkit_shapes",
    "correspond",
    "transfer_shapes",
]
