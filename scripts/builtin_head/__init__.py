"""Builds the head that ships with mp2flame from the public-domain (CC0 1.0) MakeHuman data of one pinned wheel."""
