"""FLAME's pickles load without chumpy; a pickle that wants to run something runs nothing."""

from __future__ import annotations

import builtins
import copyreg
import io
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

from mp2flame.errors import FormatError, UnsafePickleError
from mp2flame.head import load_head
from mp2flame.head.safe_pickle import arrays, read_pickle
from tests.helpers.heads import random_arrays


def array(value: Any, name: str) -> NDArray[Any]:
    return arrays({name: value}, name)[name]


@pytest.mark.parametrize("name", ["flame_like_chumpy", "flame_like_chumpy_derived"])
def test_pickles_as_the_official_ones(shared_data: Path, name: str) -> None:
    folder = shared_data / "flame_pickles"
    content = read_pickle((folder / f"{name}.pkl").read_bytes(), name)
    with np.load(folder / "flame_like_expected.npz") as expected:
        for key in expected.files:
            got = array(content[key], key)
            assert got.dtype == expected[key].dtype
            np.testing.assert_array_equal(got, expected[key])
    assert load_head(folder / f"{name}.pkl").hash == load_head(folder / "flame_like_expected.npz").hash
    assert "chumpy" not in sys.modules


def _like_official() -> dict[str, Any]:
    arrays: dict[str, Any] = {name: value.copy() for name, value in random_arrays(width=400).items()}
    arrays["J_regressor"] = scipy.sparse.csc_matrix(np.where(arrays["J_regressor"] > 0.01, arrays["J_regressor"], 0))
    return arrays | {"bs_style": "lbs", "weights_prior": None, "vert_sym_idxs": np.arange(60)}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    arrays = _like_official()
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    head = load_head(path)
    np.testing.assert_array_equal(head.arrays.regressor, arrays["J_regressor"].toarray())
    np.testing.assert_array_equal(head.arrays.shapedirs, arrays["shapedirs"])
    np.testing.assert_array_equal(head.faces, arrays["f"])


@pytest.mark.parametrize("make", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix])
def test_sparse_matrices_as_scipy_reads_them(make: Any) -> None:
    matrix = make((np.array([1.0, 2.0, 4.0]), (np.array([0, 1, 1]), np.array([3, 0, 2]))), shape=(2, 4))
    got = array(read_pickle(pickle.dumps(matrix, protocol=2), "m"), "m")
    np.testing.assert_array_equal(got, matrix.toarray())


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.array([True, False]),
        [1.0, 2.0],
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_as_numpy_reads_them(value: Any, protocol: int) -> None:
    got = array(read_pickle(pickle.dumps(value, protocol=protocol), "a"), "a")
    np.testing.assert_array_equal(got, value)
    assert got.dtype == np.asarray(value).dtype


@contextmanager
def _chumpy(*names: str) -> Iterator[dict[str, type]]:
    """Stand-ins that pickle under chumpy's names, as the real classes do."""
    made: dict[str, type] = {}
    sys.modules["chumpy"] = types.ModuleType("chumpy")
    for name in names:
        module, _, short = f"chumpy.{name}".rpartition(".")
        made[short] = type(short, (), {"__module__": module})
        sys.modules.setdefault(module, types.ModuleType(module))
        setattr(sys.modules[module], short, made[short])
    try:
        yield made
    finally:
        for module in [module for module in sys.modules if module.split(".")[0] == "chumpy"]:
            del sys.modules[module]


def _node(kind: type, **state: Any) -> Any:
    node = kind()
    node.__dict__.update(state, _dirty_vars={"x"}, _itr=None)
    return node


def _evaluated(node: Any) -> NDArray[Any]:
    return array(read_pickle(pickle.dumps(node, protocol=2), "node"), "node")


def test_chumpy_expressions() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.full((2, 3), 2.0)
    names = ("ch.Ch", "reordering.Select", "reordering.transpose", "reordering.Reshape", "reordering.Concatenate")
    with _chumpy(*names, "ch_ops.add", "ch_ops.subtract", "ch_ops.multiply", "ch_ops.divide") as kinds:
        a, b = _node(kinds["Ch"], x=x), _node(kinds["Ch"], x=y)
        cases = [
            (a, x),
            (_node(kinds["Select"], a=a, idxs=np.array([5, 0])), x.ravel()[[5, 0]]),
            (_node(kinds["Select"], a=a, idxs=np.array([5, 0]), preferred_shape=(2, 1)), [[5.0], [0.0]]),
            (_node(kinds["transpose"], a=a), x.T),
            (_node(kinds["transpose"], a=a, axes=None), x.T),
            (_node(kinds["transpose"], a=a, axes=(1, 0)), x.T),
            (_node(kinds["Reshape"], a=a, newshape=(3, -1)), x.reshape(3, 2)),
            (_node(kinds["Concatenate"], m0=a, m1=b, dterms=["m0", "m1"], axis=1), np.hstack([x, y])),
            (_node(kinds["add"], a=a, b=b), x + y),
            (_node(kinds["subtract"], a=a, b=b), x - y),
            (_node(kinds["multiply"], a=_node(kinds["add"], a=a, b=a), b=b), 2 * x * y),
            (_node(kinds["divide"], a=a, b=3.0), x / 3),
        ]
        for node, expected in cases:
            np.testing.assert_array_equal(_evaluated(node), expected)


def test_chumpy_expressions_cannot_grow_without_end() -> None:
    with _chumpy("ch.Ch", "ch_ops.add", "reordering.Concatenate") as kinds:
        column = _node(kinds["Ch"], x=np.zeros((50_000, 1)))
        row = _node(kinds["Ch"], x=np.zeros((1, 50_000)))
        with pytest.raises(FormatError, match="at most 512 MB"):
            _evaluated(_node(kinds["add"], a=column, b=row))
        for _ in range(30):
            column = _node(kinds["Concatenate"], m0=column, m1=column, dterms=["m0", "m1"], axis=0)
        with pytest.raises(FormatError, match="at most 512 MB"):
            _evaluated(column)
        endless = _node(kinds["Ch"])
        endless.x = endless
        with pytest.raises(FormatError, match="damaged"):
            _evaluated(endless)


def _huge_sparse() -> bytes:
    matrix = scipy.sparse.csc_matrix((5, 60))
    matrix._shape = (2**30, 2**30)
    return pickle.dumps(matrix, protocol=2)


def test_a_sparse_matrix_cannot_claim_more_than_a_head_has() -> None:
    with pytest.raises(FormatError, match="at most 512 MB"):
        array(read_pickle(_huge_sparse(), "m"), "m")


class _Runs:
    """Pickles as a call of `function` on `args`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def _trace(folder: Path) -> Path:
    return folder / "trace"


def _malicious(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Name to a pickle that would leave a trace if it ran, and the global that its refusal must name."""
    trace = _trace(folder)
    system = _Runs(os.system, f"touch {trace}")
    evaluate = _Runs(builtins.eval, f"open({str(trace)!r}, 'w').close()")
    with _chumpy("ch.Ch") as kinds:
        nested = pickle.dumps({"v_template": _node(kinds["Ch"], x=system)}, protocol=2)
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n(csubprocess\nPopen\n(I0\ntS'b'\ntR."
    inherited = b"ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR."
    posix = f"{os.system.__module__}.system"
    return {
        "system": (pickle.dumps(system, protocol=2), posix),
        "system, protocol 0": (pickle.dumps(system, protocol=0), posix),
        "system, protocol 4": (pickle.dumps({"v_template": system}, protocol=4), posix),
        "eval": (pickle.dumps(evaluate, protocol=2), "__builtin__.eval"),
        "eval, protocol 5": (pickle.dumps(evaluate, protocol=5), "builtins.eval"),
        "getattr": (pickle.dumps(_Runs(getattr, np.ndarray, "tofile"), protocol=2), "__builtin__.getattr"),
        "inside chumpy": (nested, posix),
        "as an array": (reconstruct, "subprocess.Popen"),
        "as an object": (inherited, "subprocess.Popen"),
        "through a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.sys\x93.", "numpy.f2py.os.sys"),
        "another reconstructor": (pickle.dumps(_Runs(copyreg.__newobj__, object), protocol=0), "copy_reg.__newobj__"),  # type: ignore[attr-defined]
        "a file": (pickle.dumps(_Runs(io.open, str(trace), "w"), protocol=2), "open"),
        "numpy.load": (pickle.dumps(_Runs(np.load, "x"), protocol=2), "numpy.load"),
    }


_ATTACKS = list(_malicious(Path()))


@pytest.mark.parametrize("attack", _ATTACKS)
def test_what_a_pickle_wants_to_run_is_refused_by_name(tmp_path: Path, attack: str) -> None:
    data, name = _malicious(tmp_path)[attack]
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(data)
    with pytest.raises(UnsafePickleError, match=rf"flame2023\.pkl: .*{name}.*nothing of it was run"):
        load_head(path)
    assert not _trace(tmp_path).exists()


def test_the_attacks_would_have_worked(tmp_path: Path) -> None:
    """Plain pickle runs two of them, so that a harmless attack cannot pass for a refused one."""
    for attack in ("system", "eval"):
        data, _ = _malicious(tmp_path)[attack]
        pickle._loads(data)  # type: ignore[attr-defined]
        assert _trace(tmp_path).exists()
        _trace(tmp_path).unlink()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02Pos.system\n.", "PERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"(ios\nsystem\n.", "INST"),
        (b"\x80\x02}2.", "DUP"),
        (b"\x80\x02}NN\x86Ns.", "a tuple as a key"),
        (b"\x80\x02" + b"]" * 30_000 + b".", "over 20000"),
        (b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.", "change a function or a class"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nobject\nK\x00tR.", "as something else"),
        (b"\x80\x02ccopy_reg\n_reconstructor\n(cnumpy\ndtype\nc__builtin__\nobject\nNtR.", "as something else"),
    ],
)
def test_tricks_without_a_foreign_name_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnsafePickleError, match=message):
        read_pickle(data, "trick")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02cnumpy\nndarray\n)\x81K\x01b}s.",
        b"\x80\x02N\x85(K\x01",
        b"\x80\x02X\xff\xff\xff\x7fab.",
    ],
)
def test_inconsistent_pickles_are_format_errors(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"inconsistent|truncated"):
        read_pickle(data, "broken")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([object, object]), "builtins.object|Python objects|type"),
        (np.zeros(2, dtype=[("a", "f4")]), "dtype"),
        ("text", "expected an array; got str"),
        (None, "expected an array; got NoneType"),
    ],
)
def test_what_is_no_array_of_numbers(value: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        array(read_pickle(pickle.dumps(value, protocol=2), "value"), "value")


def test_a_short_array_is_refused() -> None:
    data = pickle.dumps(np.arange(100.0), protocol=4).replace(b"Kd\x85", b"K\xff\x85")
    with pytest.raises(FormatError, match="damaged"):
        array(read_pickle(data, "short"), "short")


def test_a_memo_of_any_number_reserves_nothing() -> None:
    assert read_pickle(b"\x80\x02}r\xff\xff\xff\x7f.", "memo") == {}


def _dict_of(key: bytes, value: bytes) -> bytes:
    return b"\x80\x02}X" + len(key).to_bytes(4, "little") + key + value + b"s."


def _sparse_with_a_long_index() -> bytes:
    matrix = scipy.sparse.csc_matrix((5, 10))
    matrix.indptr, matrix.indices, matrix.data = np.array([0, 10**9]), np.array([0]), np.array([1.0])
    return pickle.dumps({"J_regressor": matrix}, protocol=2)


def _many_sums() -> bytes:
    with _chumpy("ch_ops.add", "reordering.Concatenate") as kinds:
        zeros = np.zeros(1 << 19)
        sums = [_node(kinds["add"], a=zeros, b=float(n)) for n in range(200)]
        terms = {f"m{n}": node for n, node in enumerate(sums)}
        return pickle.dumps(
            {"v_template": _node(kinds["Concatenate"], **terms, dterms=list(terms), axis=0)}, protocol=2
        )


def _sum_of_texts() -> bytes:
    with _chumpy("ch_ops.add") as kinds:
        text = np.array(["x" * 99_999] * 3)
        return pickle.dumps({"v_template": _node(kinds["add"], a=text, b=text)}, protocol=2)


_NESTED = b"I1\n" + b"2\x86" * 28
_ALIASED = b"I1\n" + b"".join(
    b"r" + n.to_bytes(4, "little") + b"j" + n.to_bytes(4, "little") + b"\x86" for n in range(64)
)

HOSTILE = {
    "a key whose hash takes 2^64 steps": b"\x80\x02}N" + b"2\x86" * 64 + b"I1\ns.",
    "the same key by the memo": b"\x80\x02}" + _ALIASED + b"I1\ns.",
    "nested pairs of 2^28 numbers": _dict_of(b"v_template", _NESTED),
    "nested pairs of 2^64 numbers by the memo": _dict_of(b"v_template", _ALIASED),
    "a set of nested pairs": b"\x80\x04\x8f(" + _ALIASED + b"\x90.",
    "a frozen set of nested pairs": b"\x80\x04(" + _ALIASED + b"\x91.",
    "nested pairs as a shape": (
        b"\x80\x02}X\n\0\0\0v_templatecnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0X\x01\0\0\0btR(K\x01"
        + _ALIASED
        + b"cnumpy\ndtype\nX\x02\0\0\0f8\x85R\x89X\0\0\0\0tbs."
    ),
    "nested pairs as a dtype": b"\x80\x02}X\n\0\0\0v_templatecnumpy\ndtype\n" + _ALIASED + b"\x85Rs.",
    "a sparse matrix whose index claims 10^9 entries": _sparse_with_a_long_index(),
    "200 sums of 4 MB": _many_sums(),
    "a sum of texts": _sum_of_texts(),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_takes_neither_time_nor_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / "head.pkl").write_bytes(HOSTILE[name])
    code = f"""
import resource, time
from mp2flame.errors import FormatError
from mp2flame.head import load_head
limit = 1 << 32
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
started = time.process_time()
try:
    load_head({str(tmp_path / "head.pkl")!r})
except FormatError as error:
    assert len(str(error)) < 600, len(str(error))
    print("refused", time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    word, seconds, kilobytes = process.stdout.split()
    assert word == "refused"
    assert float(seconds) < 5
    assert int(kilobytes) < 1_200_000
