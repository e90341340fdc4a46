"""Merges told by a CRM are followed: the customers become one here as well (identities.merge; staff can split them)."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from crm_integration.adapters.base import Merged
from segmentation import identities
from segmentation.normal import Rejection

log = structlog.get_logger(__name__)


def follow(merges: Iterable[tuple[int, Merged]], *, namespace: str) -> tuple[set[int], list[Rejection]]:
    """Merge who became one there; returns whom it changed, and what could not be followed by item. In a transaction.

    The record that is kept may be a new one that nothing was ever told about: then it is made here. Told again, it
    changes nothing.
    """
    changed: set[int] = set()
    rejected = []
    for item, merge in merges:
        others = [key for key in merge.gone if key != merge.kept and identities.resolve(namespace, key)]
        if not others:
            continue
        identities.find_or_create_many(namespace, [merge.kept])
        for key in others:
            # Whoever is merged already stands for somebody else: ask anew each time.
            survivor, other = (identities.resolve(namespace, name) for name in (merge.kept, key))
            if survivor is None or other is None or survivor.pk == other.pk:
                continue
            try:
                identities.merge(survivor, other)
            except identities.MergeError as error:
                rejected.append(Rejection(item, str(error)))
                continue
            log.info("customers.merged_by_crm", survivor=survivor.pk, other=other.pk)
            changed.add(survivor.pk)
    return changed, rejected
