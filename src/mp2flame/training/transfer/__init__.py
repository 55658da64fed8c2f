"""ARKit's 52 shapes on any head, by geometry alone: registration, deformation transfer, and a solve for parameters."""

from mp2flame.training.transfer.arkit import arkit_mapping
from mp2flame.training.transfer.carrying import Transfer, transfer_shapes
from mp2flame.training.transfer.correspondence import Correspondence, correspond

__all__ = ["Correspondence", "Transfer", "arkit_mapping", "correspond", "transfer_shapes"]
