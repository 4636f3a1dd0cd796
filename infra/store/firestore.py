"""The store in Firestore, through its low-level client: one commit request carries all writes and
their preconditions.

The high-level client cannot express a `Replace`: its `set` takes no update time, and its `update`
merges field by field. Here every write is a whole document with a precondition. The client does not
retry; a call that fails or takes too long raises `Unavailable`, because it is then unknown whether
a commit happened. Messages are plain protobuf ones: a pass reads and writes whole documents, and
wrapping each value in proto-plus would cost more than everything else.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from google.api_core import exceptions

from infra.errors import Unavailable
from infra.lean_import import lean_import
from infra.store.limits import check_path, check_writes
from infra.store.port import (
    IS_ROUTINE,
    MODELS,
    REQUEUE_AT,
    WAKEUPS,
    Conflict,
    Create,
    Delete,
    Document,
    Due,
    Place,
    Put,
    Replace,
    StoreError,
    Write,
    value_at,
    with_fields,
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
_VERSION = re.compile(r"([0-9]{1,12})\.([0-9]{6}000)")  # the update time, to the microsecond
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

DATABASE = "slipway"
"""The database unless `SLIPWAY_DATABASE` names another one, such as "(default)"."""


class FirestoreStore:
    """`emulator` is the `host:port` of Google's emulator. Without it, the client connects to the
    service with application default credentials.
    """

    def __init__(
        self,
        project: str,
        database: str = DATABASE,
        *,
        emulator: str | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._project = project
        self._client = _emulator_client(emulator) if emulator else client.FirestoreClient()
        # The token bypasses the emulator's security rules.
        self._owner = [("authorization", "Bearer owner")] if emulator else []
        self._timeout_seconds = timeout_seconds
        self._use(database)

    def _use(self, database: str) -> None:
        self._database = f"projects/{self._project}/databases/{database}"
        self._root = f"{self._database}/documents/"
        metadata = [("google-cloud-resource-prefix", self._database), *self._owner]
        self._options = {"retry": None, "timeout": self._timeout_seconds, "metadata": metadata}

    def beside(self, database: str) -> FirestoreStore:
        """Another database of the project, over the same connection: a second one would make a
        cold start slower.
        """
        other = copy.copy(self)
        other._use(database)
        return other

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
        with _translate_errors():
            answers = [
                type(answer).pb(answer)
                for answer in self._client.batch_get_documents(request, **self._options)
            ]
        found = [
            self._decode_document(answer.found)
            for answer in answers
            if answer.WhichOneof("result") == "found"
        ]
        return {each.path: each for each in found}

    def commit(self, *writes: Write) -> dict[str, str]:
        checked = check_writes(writes)
        if not checked:
            return {}
        request = firestore.CommitRequest.pb()(
            database=self._database, writes=[self._encode_write(each) for each in checked]
        )
        guarded = [each.path for each in checked if _is_guarded(each)]
        with _translate_errors(guarded):
            answer = firestore.CommitResponse.pb(
                self._client.commit(firestore.CommitRequest.wrap(request), **self._options)
            )
        results = zip(checked, answer.write_results, strict=True)
        return {
            each.path: _format_version(result.update_time)
            for each, result in results
            if not isinstance(each, Delete)
        }

    def list_due(self, now: datetime, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        returned = (REQUEUE_AT, WAKEUPS, IS_ROUTINE)
        requeue_at, *others = (_Query.FieldReference(field_path=each) for each in returned)
        structured_query = _Query(
            select=_Query.Projection(fields=[requeue_at, *others]),
            where=_due_until(now),
            order_by=[_Query.Order(field=requeue_at, direction=_Query.ASCENDING), _order_by_name()],
        )
        if after is not None:
            name = _Value(reference_value=f"{self._root}{MODELS}/{after.model}")
            structured_query.start_at.CopyFrom(
                query.Cursor.pb()(values=[_encode(after.requeue_at), name], before=False)
            )
        return tuple(
            Due(
                each.data[REQUEUE_AT],
                each.path.rpartition("/")[2],
                each.data.get(WAKEUPS, 0),
                each.data.get(IS_ROUTINE, False),
            )
            for each in self._query(MODELS, structured_query, limit)
        )

    def count_due(self, until: datetime) -> int:
        counted = query.StructuredAggregationQuery.pb()(
            structured_query=_Query(where=_due_until(until)),
            aggregations=[{"alias": "due", "count": {}}],
        )
        counted.structured_query.from_.add(collection_id=MODELS)
        request = firestore.RunAggregationQueryRequest.pb()(
            parent=self._root.rstrip("/"), structured_aggregation_query=counted
        )
        with _translate_errors():
            answers = self._client.run_aggregation_query(
                firestore.RunAggregationQueryRequest.wrap(request), **self._options
            )
            found = [type(answer).pb(answer).result.aggregate_fields for answer in answers]
        return sum(each["due"].integer_value for each in found)

    def list(
        self,
        collection_path: str,
        limit: int,
        after: str | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        structured_query = _Query(order_by=[_order_by_name()])
        if after is not None:
            last = _Value(reference_value=f"{self._root}{collection_path}/{after}")
            structured_query.start_at.CopyFrom(query.Cursor.pb()(values=[last], before=False))
        return self._query(collection_path, structured_query, limit, fields)

    def list_newest(
        self,
        collection_path: str,
        by: str,
        limit: int,
        before: Place | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        field = _Query.FieldReference(field_path=by)
        order = _Query.Order(field=field, direction=_Query.DESCENDING)
        structured_query = _Query(order_by=[order, _order_by_name(_Query.DESCENDING)])
        if before is not None:
            name = _Value(reference_value=f"{self._root}{collection_path}/{before.id}")
            structured_query.start_at.CopyFrom(
                query.Cursor.pb()(values=[_encode(before.value), name], before=False)
            )
        return self._query(collection_path, structured_query, limit, fields)

    def _query(
        self, collection_path: str, structured_query: Any, limit: int, fields: Sequence[str] = ()
    ) -> tuple[Document, ...]:
        above, _, collection = collection_path.rpartition("/")
        for each in fields:
            structured_query.select.fields.add(field_path=each)
        structured_query.from_.add(collection_id=collection)
        structured_query.limit.value = limit
        request = firestore.RunQueryRequest.pb()(
            parent=(self._root + above).rstrip("/"), structured_query=structured_query
        )
        with _translate_errors():
            answers = self._client.run_query(
                firestore.RunQueryRequest.wrap(request), **self._options
            )
            found = [type(answer).pb(answer) for answer in answers]
        documents = (
            self._decode_document(answer.document)
            for answer in found
            if answer.HasField("document")
        )
        if not fields:
            return tuple(documents)
        return tuple(
            replace(each, data=with_fields((name, value_at(each.data, name)) for name in fields))
            for each in documents
        )

    def _encode_write(self, write: Write) -> Any:
        name = self._root + write.path
        match write:
            case Delete(version=None):
                return _Write(delete=name)
            case Delete(version=str(version)):
                return _Write(
                    delete=name, current_document=_version_precondition(write.path, version)
                )
            case Create():
                return _Write(
                    update=_encode_document(name, write.data),
                    current_document=_Precondition(exists=False),
                )
            case Replace():
                return _Write(
                    update=_encode_document(name, write.data),
                    current_document=_version_precondition(write.path, write.version),
                )
            case Put():
                return _Write(update=_encode_document(name, write.data))

    def _decode_document(self, found: Any) -> Document:
        return Document(
            found.name.removeprefix(self._root),
            _decode_fields(found.fields),
            _format_version(found.update_time),
        )


def _emulator_client(address: str) -> Any:
    import grpc

    return client.FirestoreClient(
        transport=client.FirestoreGrpcTransport(channel=grpc.insecure_channel(address))
    )


@contextmanager
def _translate_errors(guarded: Iterable[str] = ()) -> Iterator[None]:
    """Translate the client's errors into the store's. `guarded` lists the paths that the call
    writes with a precondition.
    """
    try:
        yield
    except _REFUSED as error:
        if _is_conflict(error) and (paths := ", ".join(guarded)):
            raise Conflict(
                paths, f"the document was changed by another writer: {error.message}"
            ) from error
        raise StoreError(f"Firestore: {error.message}") from error
    except exceptions.GoogleAPICallError as error:
        raise Unavailable(f"Firestore failed ({type(error).__name__}): {error.message}") from error


def _is_conflict(error: exceptions.GoogleAPICallError) -> bool:
    stale = exceptions.AlreadyExists | exceptions.FailedPrecondition | exceptions.NotFound
    return isinstance(error, stale) and not _NO_DATABASE.search(error.message)


def _is_guarded(write: Write) -> bool:
    is_fenced_delete = isinstance(write, Delete) and write.version is not None
    return isinstance(write, Create | Replace) or is_fenced_delete


def _due_until(time: datetime) -> Any:
    """Selects the models that are due until then."""
    requeue_at = _Query.FieldReference(field_path=REQUEUE_AT)
    at_most = _Query.FieldFilter.LESS_THAN_OR_EQUAL
    until = _Query.FieldFilter(field=requeue_at, op=at_most, value=_encode(time))
    return _Query.Filter(field_filter=until)


def _order_by_name(direction: Any = _Query.ASCENDING) -> Any:
    return _Query.Order(field=_Query.FieldReference(field_path="__name__"), direction=direction)


def _encode_document(name: str, data: Mapping[str, Any]) -> Any:
    return _Document(name=name, fields={field: _encode(value) for field, value in data.items()})


def _format_version(update_time: Any) -> str:
    return f"{update_time.seconds}.{update_time.nanos:09d}"


def _version_precondition(path: str, version: str) -> Any:
    given = _VERSION.fullmatch(version)
    if not given:
        raise Conflict(path, f"{version!r} is not a version from Firestore")
    precondition = _Precondition()
    precondition.update_time.seconds, precondition.update_time.nanos = int(given[1]), int(given[2])
    return precondition


def _encode(value: Any) -> Any:
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
            return _encode_datetime(value)
        case Mapping():
            return _Value(
                map_value={"fields": {name: _encode(item) for name, item in value.items()}}
            )
    return _Value(array_value={"values": [_encode(item) for item in value]})


def _encode_datetime(at: datetime) -> Any:
    passed = at - _EPOCH
    value = _Value()
    value.timestamp_value.seconds = passed // timedelta(seconds=1)
    value.timestamp_value.nanos = passed % timedelta(seconds=1) // timedelta(microseconds=1) * 1000
    return value


def _decode_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """In the order of their names: protobuf maps have none, and are slow to list with values."""
    return {
        name: _DECODERS[(value := fields[name]).WhichOneof("value_type")](value)
        for name in sorted(fields)
    }


def _decode_datetime(value: Any) -> datetime:
    at = value.timestamp_value
    return _EPOCH + timedelta(seconds=at.seconds, microseconds=at.nanos // 1000)


def _decode_items(value: Any) -> list[Any]:
    return [_DECODERS[item.WhichOneof("value_type")](item) for item in value.array_value.values]


_DECODERS: Mapping[str | None, Callable[[Any], Any]] = {
    None: lambda value: None,
    "null_value": lambda value: None,
    "boolean_value": attrgetter("boolean_value"),
    "integer_value": attrgetter("integer_value"),
    "double_value": attrgetter("double_value"),
    "string_value": attrgetter("string_value"),
    "bytes_value": attrgetter("bytes_value"),
    "reference_value": attrgetter("reference_value"),
    "geo_point_value": attrgetter("geo_point_value"),
    "timestamp_value": _decode_datetime,
    "map_value": lambda value: _decode_fields(value.map_value.fields),
    "array_value": _decode_items,
}
"""How to read each kind of value, also those that Slipway does not write."""
