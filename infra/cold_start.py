"""What makes the imports of a function's instance fast.

Called by `main.py` around them, and by `infra/compute/loader.py`. Garbage collection is off
meanwhile: imports create what stays, and each collection would look at all of it again. What they
have created is then left out of every later collection. The modules in `_DEFERRED` are imported at
their first use: Google's client libraries import them for keys of service accounts, and a function
gets its tokens from the metadata server.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from infra.lean_import import lean_import

_DEFERRED = ("google.auth.crypt", "google.auth.iam", "google.auth.jwt")


@contextmanager
def fast_imports() -> Iterator[None]:
    with without_collection():
        lean_import(_DEFERRED)
        yield
        gc.freeze()


@contextmanager
def without_collection() -> Iterator[None]:
    """For imports, and for what makes many objects without cycles. It may be nested, and in several
    threads.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
