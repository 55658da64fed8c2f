"""Which face is followed: the largest, steadily."""

from __future__ import annotations

import pytest

from mp2flame.sources.face_selection import Box, FaceSelector


def box(x: float, size: float, y: float = 100.0) -> Box:
    """A square face centered at (x, y)."""
    return Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def play(choice: FaceSelector, seconds: float, *faces: Box, start: float = 0.0, fps: float = 30.0) -> Box | None:
    """Show these faces to a tracker that does as it is told; the face that is followed at the end."""
    followed: Box | None = None
    for frame in range(round(seconds * fps)):
        time = start + frame / fps
        held = min(faces, key=lambda face: face.size) if followed is None and faces else followed
        tracked = next((face for face in faces if held is not None and face.is_same_face(held)), None)
        if choice.needs_search(tracked, time):
            tracked = choice.select(faces, time)
        choice.follow(tracked, time)
        followed = tracked
    return followed


def test_boxes() -> None:
    assert box(50, 20).size == 20
    assert box(50, 20).expanded(0.5) == box(50, 40)
    assert Box(10, 10, 5, 5).size == 0
    assert box(50, 20).is_same_face(box(55, 24))
    assert not box(50, 20).is_same_face(box(65, 20))
    assert not box(50, 20).is_same_face(box(50, 41))


def test_the_largest_is_taken_at_once() -> None:
    choice = FaceSelector()
    assert play(choice, 1 / 30, box(100, 50), box(300, 80), box(500, 60)) == box(300, 80)


def test_a_face_is_kept_while_another_is_a_little_larger() -> None:
    choice = FaceSelector()
    assert play(choice, 2.0, box(100, 80), box(300, 70)) == box(100, 80)
    assert play(choice, 10.0, box(100, 80), box(300, 95), start=2.0) == box(100, 80)


def test_a_clearly_larger_face_takes_over_after_a_while() -> None:
    choice = FaceSelector()
    assert play(choice, 1.5, box(100, 80), box(300, 70)) == box(100, 80)
    assert play(choice, 0.9, box(100, 80), box(300, 120), start=1.5) == box(100, 80)
    assert play(choice, 1.5, box(100, 80), box(300, 120), start=2.4) == box(300, 120)


def test_a_face_larger_for_one_look_only_does_not() -> None:
    choice = FaceSelector()
    play(choice, 1.5, box(100, 80), box(300, 70))
    for round_ in range(3):
        start = 1.5 + 4 * round_
        assert play(choice, 1.0, box(100, 80), box(300, 120), start=start) == box(100, 80)
        assert play(choice, 3.0, box(100, 80), box(300, 70), start=start + 1) == box(100, 80)


def test_among_several_a_face_may_vanish_for_a_moment() -> None:
    choice = FaceSelector()
    play(choice, 1.5, box(100, 80), box(300, 70))
    assert play(choice, 0.3, box(300, 70), start=1.5) is None
    assert play(choice, 0.1, box(100, 80), box(300, 70), start=1.8) == box(100, 80)


def test_among_several_another_takes_over_when_the_face_stays_away() -> None:
    choice = FaceSelector()
    play(choice, 1.5, box(100, 80), box(300, 70))
    assert play(choice, 0.7, box(300, 70), start=1.5) == box(300, 70)
    assert play(choice, 3.0, box(100, 80), box(300, 70), start=2.2) == box(300, 70)


def test_alone_a_face_may_appear_anywhere_at_once() -> None:
    choice = FaceSelector()
    assert play(choice, 1.5, box(100, 80)) == box(100, 80)
    assert play(choice, 1 / 30, box(400, 60), start=1.5) == box(400, 60)
    assert play(choice, 0.1, start=1.6) is None
    assert play(choice, 1 / 30, box(100, 80), start=1.8) == box(100, 80)


@pytest.mark.parametrize("seconds", [3.0, 10.0])
def test_looks_are_rare_while_nothing_happens(seconds: float) -> None:
    choice = FaceSelector()
    looks = 0
    for frame in range(round(seconds * 30)):
        if choice.needs_search(box(100, 80), frame / 30):
            looks += 1
            assert choice.select([box(100, 80)], frame / 30) == box(100, 80)
        choice.follow(box(100, 80), frame / 30)
    assert looks <= seconds + 1


def test_looks_are_rare_while_there_is_no_face() -> None:
    choice = FaceSelector()
    looks = 0
    for frame in range(300):
        if choice.needs_search(None, frame / 30):
            looks += 1
            assert choice.select([], frame / 30) is None
        choice.follow(None, frame / 30)
    assert looks <= 11
