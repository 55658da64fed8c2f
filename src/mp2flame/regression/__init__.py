"""Mappings fitted to data sets: pseudo-inverse, ridge regression, landmark networks."""
