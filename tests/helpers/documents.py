"""The documents' code blocks, the commands in them, and files that stand in for those that the documents name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mp2flame import load_head
from mp2flame.demo_animation import KeyPose, animate, both_sides
from mp2flame.render import MeshRenderer
from tests.helpers.video import write_film

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = (README, *sorted((ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FPS = 12
_SCRIPT = (
    KeyPose(0.0, {}),
    KeyPose(1.1, {}),
    KeyPose(1.4, both_sides(mouthSmile=0.8, jawOpen=0.5), (0.0, 8.0, 0.0)),
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    path: Path
    language: str
    text: str
    line: int
    """Of its first line of code."""

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def code_blocks(path: Path, language: str) -> list[Block]:
    """The blocks of a document that are in this language."""
    text = path.read_text(encoding="utf-8")
    found = [match for match in _BLOCK.finditer(text) if match[1] == language]
    return [Block(path, language, match[2], text.count("\n", 0, match.start()) + 2) for match in found]


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command in a block of shell, without comments; both sides of && are commands."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield words
                words = []


def write_stand_ins(folder: Path, *videos: str) -> None:
    """Write what the documents call `flame.pkl`, a FLAME file, and short videos of a person under these names.

    The head is the built-in one: what kind of file a head is, its content tells.
    """
    head = load_head("builtin")
    head.save(folder / "flame.safetensors")
    (folder / "flame.safetensors").rename(folder / "flame.pkl")
    params, _ = animate(head.blendshapes(), fps=_FPS, script=_SCRIPT)
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=(320, 240), view_angle=30.0) as renderer:
        renderer.set_camera(head.joints()[3:5].mean(axis=0) - [0, 0.03, 0], distance=0.6)
        images = [renderer.render(head(frame)[0]) for frame in params]
    for video in videos:
        write_film(folder / video, images, ticks=[round(30 * time) for time in params.time])
