"""Sinks and formats of other packages, found by their entry points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mp2flame
from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.sinks import open_sink
from tests.helpers.heads import small_head
from tests.helpers.params import assert_same, frame

_PLUGIN = '''
from pathlib import Path
import numpy as np
from mp2flame.data import FlameParams
from mp2flame.formats import ParamsSink
from mp2flame.sinks import Sink

class Lines(ParamsSink):
    """One number a line: the first coefficient."""

    def __init__(self, path, *, head=None):
        super().__init__(path)
        self.lines = []

    def _append(self, params, scores):
        self.lines += [repr(float(x)) for x in params.expression[:, 0]]

    def _publish(self):
        self.path.write_text("\\n".join(self.lines))

    def _discard(self):
        self.lines.clear()

    @staticmethod
    def read(path, *, frame_rate):
        x = np.array([float(line) for line in path.read_text().split()], dtype=np.float32)
        time = np.arange(len(x)) / frame_rate
        return FlameParams(time=time, found=np.ones(len(x), dtype=bool), expression=x[:, None])

class Shouting(Sink):
    def __init__(self, url, head, loud=False):
        self.name, self.head, self.loud, self.heard = url, head, loud, []

    @classmethod
    def from_url(cls, url, *, head, **options):
        return cls(url, head, **options)

    def write(self, frame):
        self.heard.append(frame)

    def close(self):
        pass
'''


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with entry points, as pip would install it."""
    site = tmp_path / "site"
    info = site / "mp2flame_lines-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mp2flame_lines.py").write_text(_PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mp2flame-lines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[mp2flame.formats]\n.lines = mp2flame_lines:Lines\n[mp2flame.sinks]\nshout = mp2flame_lines:Shouting\n"
    )
    monkeypatch.syspath_prepend(str(site))


def test_a_format_is_written_and_read(tmp_path: Path) -> None:
    params = FlameParams(time=np.arange(3) / 25, found=[True] * 3, expression=[[0.1], [0.2], [0.3]])
    params.save(tmp_path / "motion.lines")
    assert_same(mp2flame.load_params(tmp_path / "motion.lines", frame_rate=25), params)
    with open_sink(tmp_path / "driven.lines", head=small_head()) as sink:
        sink.write(mp2flame.Frame(*frame(0)))
    assert len(mp2flame.load_params(tmp_path / "driven.lines")) == 1


def test_an_address_reaches_its_sink() -> None:
    sink = open_sink("shout://everybody", head=small_head(version="three corners"), loud=True)
    sink.write(mp2flame.Frame(*frame(0)))
    assert (sink.name, vars(sink)["loud"], len(vars(sink)["heard"])) == ("shout://everybody", True, 1)
    assert vars(sink)["head"].version == "three corners"


def test_other_names_are_still_unknown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an address"):
        open_sink("whisper://nobody", head=small_head())
    with pytest.raises(InputError, match="expected a parameter file"):
        FlameParams.neutral(n_expression=3).save(tmp_path / "motion.line")
