"""FLAME parameters and recordings, to and from files.

Recordings are in `mp2flame.formats.recording` and `mp2flame.formats.recording_writer`.
"""

from mp2flame.formats.files import load_params, open_writer, save_params

__all__ = ["load_params", "open_writer", "save_params"]
