"""Whether this version understands what is stored: asked before it takes over from another one."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings import POLICY, load_project_policy
from infra.store.documents import from_document
from infra.store.port import MODELS, Store

SAMPLE = 100
NAMED = 3


def find_unreadable(store: Store, project: str) -> Iterator[str]:
    """The policy, and the first models, that cannot be understood. Raises what the store raises."""
    try:
        load_project_policy(store, store.get_many([POLICY]), project)
    except ValueError as error:
        yield str(error)
    unreadable = []
    models = store.list(MODELS, SAMPLE)
    for document in models:
        try:
            from_document(document.data)
        except Exception as error:
            unreadable.append(f"{document.path}: {error}")
    if unreadable:
        yield f"{len(unreadable)} of {len(models)} models are unreadable: " + "; ".join(
            unreadable[:NAMED]
        )
