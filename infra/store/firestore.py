"""The store on Firestore, through its low-level client: one commit request carries all writes and
their preconditions.

The comfortable client cannot say what a `Replace` means: its `set` takes no update time, and its
`update` merges field by field. Here every write is a whole document under a precondition. Retries
of the client are off; a call that fails or takes too long raises `Unavailable`, because whether a
commit happened is then not known. Messages are plain protobuf ones: a turn reads and writes whole
documents, and wrapping each value once more would cost more than all the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions

from infra.errors import Unavailable
from infra.lean_import import lean_import
from infra.store.limits import check_path, check_writes
from infra.store.port import (
    MODELS,
    REQUEUE_AT,
    Conflict,
    Create,
    Delete,
    Document,
    Put,
    Replace,
    StoreError,
    Write,
)

_V1 = "google.cloud.firestore_v1"
_DEFERRED = (_V1, f"{_V1}.services.firestore")
_TYPES = (f"{_V1}.types.{name}" for name in ("common", "document", "firestore", "query", "write"))
client, common, document, firestore, query, write = lean_import(
    _DEFERRED, f"{_V1}.services.firestore.client", *_TYPES
)

_Document, _Value, _Write = document.Document.pb(), document.Value.pb(), write.Write.pb()
_Precondition, _Query = common.Precondition.pb(), query.StructuredQuery.pb()
_NO_DATABASE = re.compile(r"database .*does not exist|datastore mode", re.IGNORECASE | re.DOTALL)
_VERSION = re.compile(
    r"([0-9]{1,12})\.([0-9]{6}000)"
)  # seconds and microseconds of the last change
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED = (
    exceptions.InvalidArgument,
    exceptions.PermissionDenied,
    exceptions.Unauthenticated,
    exceptions.NotFound,
    exceptions.AlreadyExists,
    exceptions.FailedPrecondition,
    exceptions.MethodNotImplemented,
)


class FirestoreStore:
    """`emulator` is `host:port` of Google's emulator; without it the client finds Google's service
    and its credentials itself."""

    def __init__(
        self,
        project: str,
        database: str = "(default)",
        *,
        emulator: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._database = f"projects/{project}/databases/{database}"
        self._root = f"{self._database}/documents/"
        self._client = _emulator_client(emulator) if emulator else client.FirestoreClient()
        metadata = [("google-cloud-resource-prefix", self._database)]
        if emulator:
            metadata.append(("authorization", "Bearer owner"))  # past the emulator's security rules
        self._how = {"retry": None, "timeout": timeout_seconds, "metadata": metadata}

    def get(self, path: str) -> Document | None:
        return self.get_many([path]).get(path)

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        names = []
        for path in dict.fromkeys(paths):
            check_path(path)
            names.append(self._root + path)
        if not names:
            return {}
        request = firestore.BatchGetDocumentsRequest(database=self._database, documents=names)
        with _plain_errors():
            answers = [
                type(answer).pb(answer)
                for answer in self._client.batch_get_documents(request, **self._how)
            ]
        found = [
            self._document(answer.found)
            for answer in answers
            if answer.WhichOneof("result") == "found"
        ]
        return {each.path: each for each in found}

    def commit(self, *writes: Write) -> dict[str, str]:
        fit = check_writes(writes)
        if not fit:
            return {}
        request = firestore.CommitRequest.pb()(
            database=self._database, writes=[self._write(each) for each in fit]
        )
        guarded = [each.path for each in fit if isinstance(each, Create | Replace)]
        with _plain_errors(guarded):
            answer = firestore.CommitResponse.pb(
                self._client.commit(firestore.CommitRequest.wrap(request), **self._how)
            )
        results = zip(fit, answer.write_results, strict=True)
        return {
            each.path: _version(result.update_time)
            for each, result in results
            if not isinstance(each, Delete)
        }

    def list_due(self, now: datetime, limit: int) -> tuple[str, ...]:
        requeue_at = _Query.FieldReference(field_path=REQUEUE_AT)
        until = _Query.FieldFilter(
            field=requeue_at, op=_Query.FieldFilter.LESS_THAN_OR_EQUAL, value=_encoded(now)
        )
        asked = _Query(
            select=_Query.Projection(fields=[_by_name().field]),
            where=_Query.Filter(field_filter=until),
            order_by=[_Query.Order(field=requeue_at, direction=_Query.ASCENDING), _by_name()],
        )
        return tuple(each.path.rpartition("/")[2] for each in self._query(MODELS, asked, limit))

    def list(
        self, collection_path: str, limit: int, after: str | None = None
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        asked = _Query(order_by=[_by_name()])
        if after is not None:
            last = _Value(reference_value=f"{self._root}{collection_path}/{after}")
            asked.start_at.CopyFrom(query.Cursor.pb()(values=[last], before=False))
        return self._query(collection_path, asked, limit)

    def _query(self, collection_path: str, asked: Any, limit: int) -> tuple[Document, ...]:
        above, _, collection = collection_path.rpartition("/")
        asked.from_.add(collection_id=collection)
        asked.limit.value = limit
        request = firestore.RunQueryRequest.pb()(
            parent=(self._root + above).rstrip("/"), structured_query=asked
        )
        with _plain_errors():
            answers = self._client.run_query(firestore.RunQueryRequest.wrap(request), **self._how)
            found = [type(answer).pb(answer) for answer in answers]
        return tuple(
            self._document(answer.document) for answer in found if answer.HasField("document")
        )

    def _write(self, asked: Write) -> Any:
        name = self._root + asked.path
        match asked:
            case Delete():
                return _Write(delete=name)
            case Create():
                return _Write(
                    update=_body(name, asked.data), current_document=_Precondition(exists=False)
                )
            case Replace():
                return _Write(
                    update=_body(name, asked.data),
                    current_document=_at_version(asked.path, asked.version),
                )
            case Put():
                return _Write(update=_body(name, asked.data))

    def _document(self, found: Any) -> Document:
        return Document(
            found.name.removeprefix(self._root),
            _decoded_fields(found.fields),
            _version(found.update_time),
        )


def _emulator_client(address: str) -> Any:
    import grpc

    return client.FirestoreClient(
        transport=client.FirestoreGrpcTransport(channel=grpc.insecure_channel(address))
    )


@contextmanager
def _plain_errors(guarded: Iterable[str] = ()) -> Iterator[None]:
    """Turn the client's errors into the store's. `guarded` are the paths that the call wrote under
    a precondition."""
    try:
        yield
    except _REFUSED as error:
        if _is_conflict(error) and (paths := ", ".join(guarded)):
            raise Conflict(
                paths, f"the document was changed by somebody else: {error.message}"
            ) from error
        raise StoreError(f"Firestore: {error.message}") from error
    except exceptions.GoogleAPICallError as error:
        raise Unavailable(
            f"Firestore did not answer well ({type(error).__name__}): {error.message}"
        ) from error


def _is_conflict(error: exceptions.GoogleAPICallError) -> bool:
    stale = exceptions.AlreadyExists | exceptions.FailedPrecondition | exceptions.NotFound
    return isinstance(error, stale) and not _NO_DATABASE.search(error.message)


def _by_name() -> Any:
    return _Query.Order(
        field=_Query.FieldReference(field_path="__name__"), direction=_Query.ASCENDING
    )


def _body(name: str, data: Mapping[str, Any]) -> Any:
    return _Document(name=name, fields={field: _encoded(value) for field, value in data.items()})


def _version(update_time: Any) -> str:
    return f"{update_time.seconds}.{update_time.nanos:09d}"


def _at_version(path: str, version: str) -> Any:
    given = _VERSION.fullmatch(version)
    if not given:
        raise Conflict(path, f"{version!r} is no version that Firestore gave")
    precondition = _Precondition()
    precondition.update_time.seconds, precondition.update_time.nanos = int(given[1]), int(given[2])
    return precondition


def _encoded(value: Any) -> Any:
    match value:
        case None:
            return _Value(null_value=0)
        case bool():
            return _Value(boolean_value=value)
        case int():
            return _Value(integer_value=value)
        case float():
            return _Value(double_value=value)
        case str():
            return _Value(string_value=value)
        case datetime():
            return _instant(value)
        case Mapping():
            return _Value(
                map_value={"fields": {name: _encoded(item) for name, item in value.items()}}
            )
    return _Value(array_value={"values": [_encoded(item) for item in value]})


def _instant(at: datetime) -> Any:
    passed = at - _EPOCH
    value = _Value()
    value.timestamp_value.seconds = passed // timedelta(seconds=1)
    value.timestamp_value.nanos = passed % timedelta(seconds=1) // timedelta(microseconds=1) * 1000
    return value


def _decoded(value: Any) -> Any:
    match value.WhichOneof("value_type"):
        case "null_value":
            return None
        case "timestamp_value":
            at = value.timestamp_value
            return _EPOCH + timedelta(seconds=at.seconds, microseconds=at.nanos // 1000)
        case "map_value":
            return _decoded_fields(value.map_value.fields)
        case "array_value":
            return [_decoded(item) for item in value.array_value.values]
        case str(kind):
            return getattr(value, kind)
    return None


def _decoded_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decoded(fields[name]) for name in sorted(fields)}  # the wire keeps no order
