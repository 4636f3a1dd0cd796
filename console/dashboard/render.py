"""Pages as HTML. Text of others is escaped, cut, and has no character that cannot be seen.

Style and script are in the page and in its Content-Security-Policy by their hashes, so that nothing
else can run or be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from console import text

MAX_BYTES = 80_000


@dataclass(frozen=True)
class Limits:
    """How much of what is stored a page has: rows of a list, and characters of a text."""

    rows: int
    characters: int


LIMITS = (Limits(100, 2000), Limits(40, 1000), Limits(20, 400), Limits(8, 200), Limits(3, 100))
"""Tried in order, until the page has at most `MAX_BYTES`."""


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    """What `{{ }}` writes, before it is escaped for HTML."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    limit = context["limits"].characters
    return text.escape(value if len(value) <= limit else f"{value[:limit]}…")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("console.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "moment": text.moment,
        "clock": text.clock,
        "span": text.span,
        "counted": text.count_text,
        "pretty": _pretty,
        "seconds": lambda each: "-" if each is None else text.span(timedelta(seconds=each)),
        "peak": lambda plan: text.usage_text(plan.peak, plan.currency),
    }
    return environment


def _pretty(message: str) -> str:
    """A JSON message indented, anything else as it is."""
    try:
        return json.dumps(json.loads(message), indent=2, ensure_ascii=False)
    except ValueError:
        return message


_ENVIRONMENT = _environment()
_LOADER = _ENVIRONMENT.loader
assert _LOADER
STYLE = _LOADER.get_source(_ENVIRONMENT, "style.css")[0].strip()
SCRIPT = _LOADER.get_source(_ENVIRONMENT, "script.js")[0].strip()


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


# Now, so that the first page does not wait until they are compiled.
_TEMPLATES = {
    name: _ENVIRONMENT.get_template(name) for name in _LOADER.list_templates() if "html" in name
}


def render(template: str, limits: Limits, **values: Any) -> bytes:
    """The page; no more of it than its beginning if that is longer than a page may be."""
    # Both are files of this package, and their hashes are those of the policy.
    own = {"style": Markup(STYLE), "script": Markup(SCRIPT), "limits": limits}
    parts, size = [], 0
    for part in _TEMPLATES[template].generate(values | own):
        parts.append(part.encode())
        size += len(parts[-1])
        if size > MAX_BYTES:
            break
    return b"".join(parts)
