"""A list filter for the resources of the models between two names, so that a page of models costs a
page of each list. Pure.

Called by `handlers/reconcile/compare.py`. Compute Engine's filters have no order of names, but
regular expressions of RE2, which must match the whole name (Compute API reference, `filter`). The
resources of models from `gpt-2` to `gpt-5` are

    name eq "slipway-(?:gpt-2.*|gpt-[34].*|gpt-5-(?:(?:blue|green)(?:-lb|-live)?|[0-9a-f]{10}))"

It may match more than the range, and never less: who lists by it picks what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from infra.fleet.naming import COLOURS, PREFIX

MAX_DEPTH = 6
"""How many characters after the common beginning are compared. More make the filter longer, fewer
let it match more."""
ENDING = f"-(?:(?:{'|'.join(COLOURS)})(?:-lb|-live)?|[0-9a-f]{{10}})"
"""What follows a model's name in the names of its resources."""
_ALPHABET = "-0123456789abcdefghijklmnopqrstuvwxyz"
_RUNS = ("-", "0123456789", "abcdefghijklmnopqrstuvwxyz")


def name_filter(models: Sequence[str]) -> str:
    """The filter for the resources of these models, in the order of their names."""
    first, last = models[0], models[-1]
    # A model whose name begins another's: slipway-a-green is after all of slipway-a-b.
    whole = (*(each for each in models if last.startswith(f"{each}-")), last)
    parts = (*_between(first, last), *(f"{each}{ENDING}" for each in whole))
    return f'name eq "{PREFIX}(?:{"|".join(dict.fromkeys(parts))})"'


def _between(first: str, last: str) -> tuple[str, ...]:
    """Expressions for what is not before `first`, and before `last`."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = len(list(pairs))
    shared, low, high = first[:common], first[common:], last[common:]
    if not low:
        return tuple(shared + each for each in _before(high))
    middle = _one_of(low[0], high[0])
    return (
        *(shared + low[0] + each for each in _from(low[1:])),
        *((f"{shared}{middle}.*",) if middle else ()),
        *(shared + high[0] + each for each in _before(high[1:])),
    )


def _from(low: str) -> tuple[str, ...]:
    """Expressions for what is not before `low`."""
    low = low[:MAX_DEPTH]
    after = ((low[:at], _one_of(sign, None)) for at, sign in enumerate(low))
    return (f"{low}.*", *(f"{start}{signs}.*" for start, signs in after if signs))


def _before(high: str) -> tuple[str, ...]:
    """Expressions for what is before `high`."""
    cut = high[:MAX_DEPTH]
    before = ((cut[:at], _one_of(None, sign)) for at, sign in enumerate(cut))
    rest = () if cut == high else (f"{cut}.*",)
    return (*(f"{start}{signs}.*" for start, signs in before if signs), *rest)


def _one_of(after: str | None, before: str | None) -> str:
    """A class of the characters between two others; empty if there are none."""
    start = _ALPHABET.index(after) + 1 if after else 0
    end = _ALPHABET.index(before) if before else len(_ALPHABET)
    signs = _ALPHABET[start:end]
    runs = ("".join(sign for sign in run if sign in signs) for run in _RUNS)
    short = (run if len(run) < 3 else f"{run[0]}-{run[-1]}" for run in runs)
    found = "".join(short)
    return f"[{found}]" if len(signs) > 1 else found
