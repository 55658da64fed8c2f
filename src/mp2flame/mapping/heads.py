"""Whether a mapping and a head belong together."""

from __future__ import annotations

from mp2flame.errors import HeadMismatchError
from mp2flame.mapping.base import Mapping

__all__ = ["check_head"]


def check_head(
    mapping: Mapping, *, head_hash: str | None, head_version: str, n_expression: int, any_head: bool = False
) -> None:
    """Refuse a mapping that was made for another head; coefficients of one head mean nothing to another.

    A mapping that knows its head's hash fits that head only. One that knows just the version, as published folders do,
    fits heads of that version. One that knows neither fits none, unless the user vouches for it.

    Args:
        mapping: the mapping.
        head_hash: `head.hash`, None where it is not known.
        head_version: `head.version`.
        n_expression: `head.n_expression`; a mapping with fewer is fine, the head takes the rest as zero.
        any_head: the user says that it fits (`--any-head`).

    Raises:
        HeadMismatchError: with what to do about it.
    """
    if mapping.n_expression > n_expression:
        raise HeadMismatchError(
            f"the mapping gives {mapping.n_expression} expression coefficients, the head ({head_version}) has only "
            f"{n_expression}: use a mapping made for this head, or load the head with all its components"
        )
    if any_head:
        return
    remedy = (
        "use a mapping made for this head, the head that the mapping was made for, or --any-head if you know that they "
        "fit; a head file of unknown version is named by mp2flame head convert --version"
    )
    this = f"this head is {head_version}"
    made_for = f"the mapping was made for {mapping.head_version or 'a head of unknown version'}"
    if mapping.head_hash is not None:
        if mapping.head_hash != head_hash:
            hashes = f"hash {mapping.head_hash[:12]} against {(head_hash or 'unknown')[:12]}"
            raise HeadMismatchError(f"{made_for}, {this} ({hashes}): {remedy}")
    elif mapping.head_version is None:
        raise HeadMismatchError(f"the mapping does not say which head it was made for, {this}: {remedy}")
    elif head_version.casefold() != mapping.head_version.casefold():
        raise HeadMismatchError(f"{made_for}, {this}: {remedy}")
