"""Observations to FLAME parameters."""

from mp2flame.mapping.base import BlendshapeMapping, MappingInfo, StoredMapping
from mp2flame.mapping.file import check_compatible, load_mapping, read_mapping
from mp2flame.mapping.landmark_mlp import LandmarkMapping
from mp2flame.mapping.linear import LinearMapping
from mp2flame.mapping.npy_folder import save_npy_folder
from mp2flame.mapping.person import Person, load_person
from mp2flame.mapping.wrappers import (
    ConstantPose,
    HeadPoseTarget,
    LandmarksOrScores,
    MappingWrapper,
    WithGains,
    WithHeadPose,
    companion_path,
    with_zero_neutral,
)

__all__ = [
    "BlendshapeMapping",
    "ConstantPose",
    "HeadPoseTarget",
    "LandmarkMapping",
    "LandmarksOrScores",
    "LinearMapping",
    "MappingInfo",
    "MappingWrapper",
    "Person",
    "StoredMapping",
    "WithGains",
    "WithHeadPose",
    "check_compatible",
    "companion_path",
    "load_mapping",
    "load_person",
    "read_mapping",
    "save_npy_folder",
    "with_zero_neutral",
]
