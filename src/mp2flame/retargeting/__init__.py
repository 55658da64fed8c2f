"""ARKit's 52 shapes on any head, by geometry alone, and the weights of these shapes for FLAME parameters."""

from mp2flame.retargeting.arkit import ArkitSolver, arkit_mapping, arkit_shapes
from mp2flame.retargeting.registration import Correspondence, correspond
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
