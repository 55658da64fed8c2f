"""Mappings from renders of a head alone."""
