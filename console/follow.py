"""Reads the log of a model page after page, and follows a message until what it asked for ended.

Only documents are read: that needs no rights beyond those of `slipway status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile

from console.answers import Answer, Ending, Goal, ReleaseEnds, answer_in, ending_of, refused
from console.connect import Connection, Failure
from console.views import EntryView, OverviewView, entry_view, overview_view, unreadable_view
from infra.store import repository
from infra.store.documents import SUMMARY_FIELDS, UnknownSchema, from_document, read_summary
from infra.store.port import MODELS, Document, Store
from rollout.spec.message import CommandGiven, ReleaseRequested
from rollout.state import ModelState

PAGE, PAGE_OF_FIELDS = 200, 2000
POLL_SECONDS = 1.0
FIRST_POLL_SECONDS = 0.25
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Sent:
    """A published message. `after`: the place in the model's log before it was published."""

    message_id: str
    event_id: str
    after: str


@dataclass(frozen=True)
class Progress:
    """What has happened since the last poll."""

    state: ModelState
    entries: tuple[EntryView, ...]
    ending: Ending | None


def state_of(document: Document) -> ModelState:
    """The state in a model's document. Raises `UnknownSchema` also for a damaged one."""
    with _damage_named(document):
        return from_document(document.data)


@contextmanager
def _damage_named(document: Document) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownSchema(f"{document.path}: the document is damaged: {error!r}") from error


def documents(
    store: Store, collection: str, after: str | None = None, fields: Sequence[str] = ()
) -> Iterator[Document]:
    """All documents of a collection, in the order of their ids."""
    most = PAGE_OF_FIELDS if fields else PAGE
    while True:
        page = store.list(collection, most, after, fields)
        yield from page
        if len(page) < most:
            return
        after = page[-1].path.rpartition("/")[2]


def overviews(store: Store) -> Iterator[OverviewView]:
    """A line for each model. No document is read as a whole."""
    for document in documents(store, MODELS, fields=SUMMARY_FIELDS):
        try:
            yield overview_of(document)
        except UnknownSchema as error:
            yield unreadable_view(document.path.rpartition("/")[2], str(error))


def overview_of(document: Document) -> OverviewView:
    """Raises `UnknownSchema` also for a damaged document."""
    with _damage_named(document):
        return overview_view(read_summary(document.data))


def entries(store: Store, model: str, after: str | None = None) -> Iterator[EntryView]:
    """The entries of a model's log."""
    for document in documents(store, f"models/{model}/log", after):
        yield entry_view(document.path.rpartition("/")[2], document.data)


def last_entries(store: Store, model: str, before: str, most: int) -> list[EntryView]:
    """The last `most` entries of a model's log before a place: an entry's id, or `place_after`. Not
    every revision has one, so that further and further ones are read.
    """
    revision, back = int(before[:8]), most
    while True:
        later = entries(store, model, place_before(revision - back))
        found = [*takewhile(lambda each: each.id < before, later)]
        if len(found) >= most or back > revision:
            return found[-most:]
        back *= 4


def end_of_log(store: Store, model: str) -> str:
    """The place in the model's log after what is written already."""
    document = store.get(repository.model_path(model))
    return place_after(document.data.get("revision", 0)) if document else ""


def place_before(revision: int) -> str:
    """The place before the entries of a revision: their ids begin with it and a hyphen."""
    return f"{max(0, revision):08d}"


def place_after(revision: int) -> str:
    return f"{revision:08d}~"


def load(store: Store, model: str) -> ModelState:
    document = store.get(repository.model_path(model))
    if document is None:
        raise Failure(f"MODEL: there is no model {model}; slipway models lists all")
    return state_of(document)


def wait_for_answer(
    connection: Connection, sent: Sent, request: ReleaseRequested | CommandGiven
) -> Answer:
    """What the intake made of the message."""
    model_path = repository.model_path(request.model)
    quarantine_path = f"quarantine/{sent.message_id}"
    left, pause = ANSWER_SECONDS, FIRST_POLL_SECONDS
    while True:
        found = connection.store.get_many([model_path, quarantine_path])
        if quarantine_path in found:
            return refused(found[quarantine_path].data)
        document = found.get(model_path)
        if document and sent.event_id in document.data.get("recent_events", ()):
            written = entries(connection.store, request.model, sent.after or None)
            return answer_in(written, request, sent.event_id)
        if left <= 0:
            raise Failure(
                f"message {sent.message_id} was published, and nothing has answered it for"
                f" {ANSWER_SECONDS:.0f} s. It is not lost: slipway doctor says whether functions"
                " run; look also into the logs of on_release"
            )
        connection.sleep(pause)
        left, pause = left - pause, min(POLL_SECONDS, 2 * pause)


def follow(connection: Connection, model: str, goal: Goal, after: str) -> Iterator[Progress]:
    """One value for each poll, the last one with the ending."""
    model_path = repository.model_path(model)
    release_path = ""
    if isinstance(goal, ReleaseEnds):
        release_path = repository.release_path(model, goal.version)
    while True:
        found = connection.store.get_many([path for path in (model_path, release_path) if path])
        if model_path not in found:
            raise Failure(f"the document of model {model} is gone")
        state, record = state_of(found[model_path]), found.get(release_path)
        ending = ending_of(goal, state, record.data if record else None)
        new = tuple(entries(connection.store, model, after or None))
        after = new[-1].id if new else after
        yield Progress(state, new, ending)
        if ending:
            return
        connection.sleep(POLL_SECONDS)
