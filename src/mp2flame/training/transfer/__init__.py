"""ARKit's 52 shapes on any head, by geometry alone: registration, deformation transfer, and a solve for parameters."""

from mp2flame.training.transfer.carrying import Transfer, transfer_shapes

__all__ = ["Transfer", "transfer_shapes"]
