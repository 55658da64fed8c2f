"""Observations to FLAME parameters."""

from mp2flame.mapping.base import Mapping
from mp2flame.mapping.file import DESCRIPTION, StoredMapping, read_mapping_file
from mp2flame.mapping.folder import load_folder, save_folder
from mp2flame.mapping.head_pose import HeadPose, straight_of
from mp2flame.mapping.heads import check_head
from mp2flame.mapping.linear import FEATURES, LinearMapping, expand_features
from mp2flame.mapping.loading import load_mapping
from mp2flame.mapping.person import Person, Refined, is_person_file, load_person
from mp2flame.mapping.preferred import Preferred, default_mapping, landmarks_beside, load_preferred
from mp2flame.mapping.rest import robust_rest

__all__ = [
    "DESCRIPTION",
    "FEATURES",
    "HeadPose",
    "LinearMapping",
    "Mapping",
    "Person",
    "Preferred",
    "Refined",
    "StoredMapping",
    "check_head",
    "default_mapping",
    "expand_features",
    "is_person_file",
    "landmarks_beside",
    "load_folder",
    "load_mapping",
    "load_person",
    "load_preferred",
    "read_mapping_file",
    "robust_rest",
    "save_folder",
    "straight_of",
]
