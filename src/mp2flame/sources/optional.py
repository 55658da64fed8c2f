"""Errors for packages of the extra `track` that are absent or cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mp2flame.errors import MissingExtraError, SourceError


@contextmanager
def require(package: str, purpose: str) -> Iterator[None]:
    """Translate the errors of an import.

    Args:
        package: name as imported.
        purpose: what it is needed for, as the end of "... is needed to".

    Raises:
        MissingExtraError: the package, or one that it needs, is not installed.
        SourceError: it is installed, but a library of the system is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, "track", purpose) from error
    except (ImportError, OSError) as error:
        raise SourceError(
            f"{package} is installed but cannot be loaded ({error}); `mp2flame doctor` names the missing library"
        ) from error
