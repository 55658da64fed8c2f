"""A real local Ray with two workers: the same sums and the same scores, also when a worker is killed in the middle."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="clusters need the extra cluster")
pytest.importorskip("pyarrow", reason="data sets need the extra train")

import ray

from mp2flame.dataset.cluster import cluster, run_on_cluster
from mp2flame.dataset.store import Dataset
from mp2flame.errors import FormatError, InputError
from mp2flame.head import FlameHead, load_head
from mp2flame.mapping import LinearMapping, read_mapping
from mp2flame.regression.context import pass_over
from mp2flame.regression.fit import fit
from tests.helpers.faces import person, write_people
from tests.helpers.jobs import KilledOnce

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own: sockets and processes that it leaves to the collector

_FEATURES = ("scores", "square")


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, head: FlameHead) -> Dataset:
    folder = tmp_path_factory.mktemp("cluster") / "data"
    rows = [person(head, f"p{i:02d}", 60, seed=1, landmarks=False) for i in range(12)]
    return Dataset(write_people(folder, rows, head))


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def _same(data: Dataset) -> None:
    alone = pass_over(data, _FEATURES, "ridge")
    spread = pass_over(data, _FEATURES, "ridge", cluster=True)
    for mine, theirs in zip(alone.folds, spread.folds, strict=True):
        assert mine.count == theirs.count
        np.testing.assert_array_equal(mine.products, theirs.products)
    for one, other in zip(alone.samples, spread.samples, strict=True):
        np.testing.assert_array_equal(one.columns["scores"], other.columns["scores"])


def test_a_pass_on_two_workers_is_the_pass(people: Dataset, two_workers: None) -> None:
    _same(people)


def test_a_fit_on_the_cluster_is_deterministic(people: Dataset, head: FlameHead, two_workers: None) -> None:
    first, second = (fit(people, kind="ridge", head=head, cluster=True).encoded() for _ in range(2))
    assert first == second


def test_a_killed_worker_costs_nothing(two_workers: None, tmp_path: Path) -> None:
    work = KilledOnce(tmp_path, 3)
    assert sorted(run_on_cluster(work, range(8))) == [(number, number) for number in range(8)]
    # The job that the dead worker had was done again by another.
    assert (tmp_path / "killed").exists()


def test_errors_of_a_task_are_ours(people: Dataset, two_workers: None, tmp_path: Path, head: FlameHead) -> None:
    broken = Dataset(write_people(tmp_path / "broken", [person(head, "a", 20, seed=1, landmarks=False)], head))
    for file in (tmp_path / "broken").rglob("part-*.parquet"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FormatError, match="truncated, damaged or no Parquet"):
        pass_over(broken, _FEATURES, "ridge", cluster=True)


def test_extraction_on_the_cluster(shared_data: Path, landmarker: Path, two_workers: None, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="pictures need the extra track")
    from PIL import Image

    from mp2flame.data import FlameParams
    from mp2flame.dataset.extract import Extraction
    from mp2flame.dataset.readers.base import TrackedSequence
    from mp2flame.sources.video import VideoReader

    paths = []
    for i, (_, picture) in enumerate(VideoReader(shared_data / "video" / "performance_a.mp4")):
        if i == 80:
            break
        assert picture is not None
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(picture[::2, ::2]).save(paths[-1])
    params = FlameParams.neutral(len(paths), n_expression=1)
    sequence = TrackedSequence(
        subject="a", name="a", source="a", params=params, frame=np.arange(len(paths)), images=paths
    )
    progress: list[int] = []
    spread = Extraction(tmp_path / "spread", landmarker, cluster=True)
    alone = Extraction(tmp_path / "alone", landmarker)
    spread.run([sequence], lambda done, _: progress.append(done))
    alone.run([sequence], lambda *_: None)
    assert sorted(progress) == progress
    assert (progress[0], progress[-1], len(progress)) == (0, 80, 3)
    for name, column in alone.result(sequence).columns.items():
        np.testing.assert_array_equal(spread.result(sequence).columns[name], column)


@pytest.mark.parametrize("address", ["{free}", "ray://{free}"])
def test_an_address_where_nothing_listens_is_an_error_at_once(address: str) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else gets the port, and a connection to it is refused.
        taken.bind(("127.0.0.1", 0))
        place = address.format(free=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(InputError, match="nothing listens there"), cluster(place):
            pass


@pytest.mark.parametrize("address", ["nowhere", "host:port", ":6379", "host:99999"])
def test_an_address_without_host_or_port_is_reported(address: str) -> None:
    with pytest.raises(InputError, match="host:port"), cluster(address):
        pass


def test_the_command_line_fits_on_a_running_cluster(people: Dataset, two_workers: None, tmp_path: Path) -> None:
    # A process of its own, as a user's is: this one holds the connection that the other tests use.
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", "from mp2flame.cli.main import main; raise SystemExit(main())"]
    command += ["fit", str(people.path), "--kind", "pinv", "-o", str(tmp_path / "m.safetensors")]
    done = subprocess.run([*command, "--cluster", address], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 subjects" in done.stdout
    spread, alone = read_mapping(tmp_path / "m.safetensors"), fit(people, kind="pinv")
    assert isinstance(spread, LinearMapping)
    assert isinstance(alone, LinearMapping)
    np.testing.assert_allclose(spread.matrix, alone.matrix, rtol=1e-4, atol=1e-4)


def test_the_command_line_builds_on_a_running_cluster(
    shared_data: Path, landmarker: Path, two_workers: None, tmp_path: Path
) -> None:
    pytest.importorskip("mediapipe", reason="pictures need the extra track")
    from PIL import Image

    from mp2flame.sources.video import VideoReader

    n, tracked = 70, tmp_path / "quinn"
    (tracked / "image").mkdir(parents=True)
    frames = []
    for i, (_, picture) in zip(range(n), VideoReader(shared_data / "video" / "performance_a.mp4"), strict=False):
        assert picture is not None
        Image.fromarray(picture[::2, ::2]).save(tracked / "image" / f"{i + 1}.png")
        frames.append({"file_path": f"./image/{i + 1}", "expression": [i / n] * 50, "pose": [0.0] * 15})
    (tracked / "flame_params.json").write_text(json.dumps({"frames": frames, "shape_params": [0.0] * 100}))
    command = [sys.executable, "-c", "from mp2flame.cli.main import main; raise SystemExit(main())"]
    command += ["dataset", "build", str(tracked), "--landmarker", str(landmarker), "-o"]
    address = ray.get_runtime_context().gcs_address
    for name, more in (("spread", ["--cluster", address]), ("alone", ["--processes", "1"])):
        done = subprocess.run([*command, str(tmp_path / name), *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{n} frames of 1 subject," in done.stdout
    columns = ["scores", "landmarks", "head_transform", "expression"]
    (spread,), (alone,) = (Dataset(tmp_path / name).batches(columns) for name in ("spread", "alone"))
    assert spread.found.all()
    for column in columns:
        np.testing.assert_array_equal(spread.columns[column], alone.columns[column])
    # What was seen is kept beside the data set only until that is written.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "quinn", "spread"]
