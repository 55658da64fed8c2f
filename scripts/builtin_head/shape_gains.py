"""How far some shapes go at weight 1, as a factor on the source's own displacement, and what some take from others."""

from __future__ import annotations

from mp2flame.demo_animation import both_sides

# Found with scripts/measure_response.py: at the source's own size MediaPipe hardly scored these shapes.
GAINS: dict[str, float] = both_sides(
    browDown=1.6,  # 7 mm at the inner end alone; the frown has to darken the gap above the lid
    eyeLookUp=2.2,  # 10 degrees in the source, half of what an eye does
    eyeLookDown=1.5,  # 11 degrees
    eyeLookIn=1.3,  # 15 degrees
    eyeLookOut=1.3,  # 14 degrees
    eyeWide=1.4,
    mouthFrown=1.3,
    mouthLowerDown=1.6,
    mouthPress=0.5,  # the rest of it is below
    mouthFunnel=1.35,  # smaller ones pass for mouthPucker
    mouthLeft=1.4,
    mouthRight=1.4,
    mouthShrugLower=1.3,
)

# The source's mouthPress draws the corners out like a closed smile, and MediaPipe takes it for one. Lips that are
# pressed together are also rolled in, so each side takes this much of its own half of the two rolls.
ROLLED_IN: dict[str, float] = {"mouthRollUpper": 0.9, "mouthRollLower": 1.05}
