"""Meshes, face regions, symmetry, skinned points and cameras."""
