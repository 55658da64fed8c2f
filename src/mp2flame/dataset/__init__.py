"""Data sets of frames with MediaPipe scores and FLAME parameters, and readers of other tools."""
