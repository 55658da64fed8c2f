"""Tracked data of many tools, read as sequences of one kind."""
