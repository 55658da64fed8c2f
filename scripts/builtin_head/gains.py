"""How far some shapes go at weight 1, as a factor on the source's own displacement, and what some take from others."""

from __future__ import annotations

__all__ = ["GAINS", "ROLLED_IN"]


def _pair(name: str, gain: float) -> dict[str, float]:
    return {name + "Left": gain, name + "Right": gain}


# Each was found by measuring with scripts/measure_rises.py: at the source's own size MediaPipe hardly saw the shape.
GAINS: dict[str, float] = {
    **_pair("browDown", 1.6),  # 7 mm at the inner end alone; the frown has to darken the gap above the lid
    **_pair("eyeLookUp", 2.2),  # 10 degrees in the source, half of what an eye does
    **_pair("eyeLookDown", 1.5),  # 11 degrees
    **_pair("eyeLookIn", 1.3),  # 15 degrees
    **_pair("eyeLookOut", 1.3),  # 14 degrees
    **_pair("eyeWide", 1.4),
    **_pair("mouthFrown", 1.3),
    **_pair("mouthLowerDown", 1.6),
    **_pair("mouthPress", 0.5),  # the rest of it is below
    "mouthFunnel": 1.35,  # smaller ones pass for mouthPucker
    "mouthLeft": 1.4,
    "mouthRight": 1.4,
    "mouthShrugLower": 1.3,
}

# The source's mouthPress draws the corners out like a closed smile, and MediaPipe takes it for one. Lips that are
# pressed together are also rolled in, so each side takes this much of its own half of the two rolls.
ROLLED_IN: dict[str, float] = {"mouthRollUpper": 0.9, "mouthRollLower": 1.05}
