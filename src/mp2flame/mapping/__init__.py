"""Observations to FLAME parameters."""

from mp2flame.mapping.base import METADATA_KEYS, BlendshapeMapping, MappingInfo, StoredMapping
from mp2flame.mapping.file import check_compatible, load_mapping, read_mapping, read_mapping_file
from mp2flame.mapping.landmark_mlp import LandmarkMapping
from mp2flame.mapping.linear import FEATURES, LinearMapping, expand_features
from mp2flame.mapping.neutral import (
    NEUTRAL_SECONDS,
    find_neutral_frames,
    median_scores,
    neutral_candidates,
    select_neutral,
)
from mp2flame.mapping.npy_folder import load_npy_folder, save_npy_folder
from mp2flame.mapping.person import Person, is_person_file, load_person
from mp2flame.mapping.wrappers import (
    ConstantPose,
    HeadPoseTarget,
    LandmarksOrScores,
    MappingWrapper,
    WithGains,
    WithHeadPose,
    companion_path,
    estimate_frontal_rotation,
    with_zero_neutral,
)

__all__ = [
    "FEATURES",
    "METADATA_KEYS",
    "NEUTRAL_SECONDS",
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
    "estimate_frontal_rotation",
    "expand_features",
    "find_neutral_frames",
    "is_person_file",
    "load_mapping",
    "load_npy_folder",
    "load_person",
    "median_scores",
    "neutral_candidates",
    "read_mapping",
    "read_mapping_file",
    "save_npy_folder",
    "select_neutral",
    "with_zero_neutral",
]
