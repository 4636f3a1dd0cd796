"""A project with any number of settled models, copied from one that was really rolled out.

Their documents and resources differ from it in their name alone, which has the same length. They
are made when they are read, as the bytes that Firestore and Compute Engine send, so that a project
of 10,000 models takes little memory; `Sent.apart_seconds` is the CPU time that this takes. Nothing
in it changes, but for documents that are no model of it.
"""

from __future__ import annotations

import json
import re
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import BaseAdapter

from infra.store.firestore import FirestoreStore, _Document, _encode_document, firestore
from infra.store.port import value_at, with_fields
from rollout.spec.model import Spec, digest
from rollout.spec.stored import decode

COPIED = "m-00000"
"""The model that the others are copied from."""
PROJECT = "demo"
DATABASE = f"projects/{PROJECT}/databases/slipway"
LIST_SECONDS = 0.5
BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def name_of(number: int) -> str:
    return f"m-{number:05d}"


@dataclass(frozen=True)
class Copied:
    """The document of the model, as Firestore has it, the other documents by path, and the bodies
    of the model and of the gateway by the collection's name in URLs.
    """

    model: bytes
    others: Mapping[str, bytes]
    bodies: Mapping[str, Sequence[Any]]


class PassingClock:
    """Time passes with each call to Compute Engine."""

    def __init__(self) -> None:
        self._now = BEGIN

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def begin_tick(self, number: int) -> None:
        self._now = BEGIN + timedelta(minutes=number)


@dataclass
class Sent:
    """What was read from the project, and how many documents were written."""

    calls: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    written: int = 0
    apart_seconds: float = 0.0

    @contextmanager
    def apart(self) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.apart_seconds += time.process_time() - began

    def per(self, count: int) -> dict[str, float]:
        """What each of so many has read and written."""
        calls = {kind: round(calls / count, 2) for kind, calls in self.calls.items()}
        return calls | {
            "documents read": round(self.documents / count, 2),
            "documents written": round(self.written / count, 2),
        }


class _Copies:
    """The document of each model. Its release has the digest of its own spec, in which the model's
    name is: Slipway takes a document with another digest for a message of somebody else.
    """

    def __init__(self, document: bytes) -> None:
        whole = _Document.FromString(document)
        stable = (
            FirestoreStore(PROJECT, emulator="127.0.0.1:1")._decode_document(whole).data["stable"]
        )
        self._spec, self._digest = json.dumps(stable["spec"]), stable["digest"].encode()

    def of(self, document: bytes, number: int) -> bytes:
        copy = document.replace(COPIED.encode(), name_of(number).encode())
        return copy.replace(self._digest, self._digest_of(number))

    @cache  # noqa: B019, as many as there are models, in a process that ends
    def _digest_of(self, number: int) -> bytes:
        return digest(
            decode(Spec, json.loads(self._spec.replace(COPIED, name_of(number))))
        ).encode()


class Firestore:
    """The part of Google's Firestore client that the store uses."""

    def __init__(self, count: int, copied: Copied, sent: Sent) -> None:
        self._count, self._document, self._sent = count, copied.model, sent
        self.others = dict(copied.others)
        self._selected: dict[tuple[str, ...], bytes] = {(): copied.model}
        self._copies = _Copies(copied.model)

    def batch_get_documents(self, request: Any, **options: Any) -> list[Any]:
        self._sent.calls["get documents"] += 1
        answers = []
        for name in request.documents:
            answer = firestore.BatchGetDocumentsResponse.pb()()
            found = self._find(name.partition("/documents/")[2])
            if found is None:
                answer.missing = name
            else:
                self._sent.documents += 1
                answer.found.ParseFromString(found)
            answers.append(firestore.BatchGetDocumentsResponse.wrap(answer))
        return answers

    def _find(self, path: str) -> bytes | None:
        copy = re.fullmatch(r"models/m-(\d{5})", path)
        if path not in self.others and copy and int(copy[1]) < self._count:
            with self._sent.apart():
                return self._copies.of(self._document, int(copy[1]))
        return self.others.get(path)

    def run_query(self, request: Any, **options: Any) -> list[Any]:
        self._sent.calls["list documents"] += 1
        query = request._pb.structured_query
        if query.from_[0].collection_id != "models" or "/models" in request.parent:
            return []
        after = query.start_at.values[0].reference_value if query.HasField("start_at") else ""
        start = int(after[-5:]) + 1 if after else 0
        fields = tuple(each.field_path for each in query.select.fields)
        with self._sent.apart():
            document = self._select(fields)
            numbers = range(start, min(self._count, start + query.limit.value))
            found = [self._copies.of(document, each) for each in numbers]
        self._sent.documents += len(found)
        answers = []
        for content in found:
            answer = firestore.RunQueryResponse.pb()()
            answer.document.ParseFromString(content)
            answers.append(firestore.RunQueryResponse.wrap(answer))
        return answers

    def _select(self, fields: tuple[str, ...]) -> bytes:
        """The document with these fields alone."""
        if fields not in self._selected:
            store = FirestoreStore(PROJECT, emulator="127.0.0.1:1")
            whole = _Document.FromString(self._document)
            data = store._decode_document(whole).data
            chosen = with_fields((each, value_at(data, each)) for each in fields)
            self._selected[fields] = encode_document(whole.name, chosen)
        return self._selected[fields]

    def commit(self, request: Any, **options: Any) -> Any:
        self._sent.calls["commit"] += 1
        answer = firestore.CommitResponse.pb()()
        for write in request._pb.writes:
            self._sent.written += 1
            answer.write_results.add().update_time.seconds = 1
            path = (write.update.name or write.delete).partition("/documents/")[2]
            if write.delete:
                self.others.pop(path, None)
            else:
                write.update.update_time.seconds = 1
                self.others[path] = write.update.SerializeToString()
        return firestore.CommitResponse.wrap(answer)


def encode_document(name: str, data: Mapping[str, Any]) -> bytes:
    document = _encode_document(name, data)
    document.update_time.seconds = 1
    content: bytes = document.SerializeToString()
    return content


def document_name(path: str) -> str:
    return f"{DATABASE}/documents/{path}"


class ComputeEngine(BaseAdapter):
    """Compute Engine's lists and the gateway's parts, as a transport adapter."""

    def __init__(
        self, count: int, bodies: Mapping[str, Sequence[Any]], sent: Sent, clock: PassingClock
    ) -> None:
        super().__init__()
        self._sent, self._clock = sent, clock
        self._bodies: dict[str, dict[str, bytes]] = {}
        self._lists: dict[str, list[tuple[str, bytes, str]]] = {}
        for collection, found in bodies.items():
            for body in found:
                text = json.dumps(body).encode()
                if collection == "urlMaps":
                    text = _for_all_models(body, count)
                self._bodies.setdefault(collection, {})[body["name"]] = text
                numbers = range(count if COPIED in body["name"] else 1)
                self._lists.setdefault(collection, []).extend(
                    (body["name"].replace(COPIED, name_of(number)), text, name_of(number))
                    for number in numbers
                )
        for each in self._lists.values():
            each.sort(key=lambda item: item[0])

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self._clock.sleep(LIST_SECONDS)
        url = urlsplit(str(request.url))
        scope, collection, *name = url.path.partition(f"/projects/{PROJECT}/")[2].split("/")
        self._sent.calls[f"{'get' if name else 'list'} {collection}"] += 1
        response = requests.Response()
        response.request, response.url = request, str(request.url)
        response.headers["Content-Type"] = "application/json"
        with self._sent.apart():
            if name:
                content = self._bodies.get(collection, {}).get(name[0])
            else:
                query = {each: values[0] for each, values in parse_qs(url.query).items()}
                content = self._page(scope, collection, query)
        response.status_code = 200 if content else 404
        response._content = content or b'{"error": {"code": 404, "message": "not found"}}'
        return response

    def _page(self, scope: str, collection: str, query: Mapping[str, str]) -> bytes:
        items = self._lists.get(collection, [])
        if "filter" in query:
            matches = re.compile(query["filter"].split('"')[1]).fullmatch
            items = [item for item in items if matches(item[0])]
        start = bisect_right(items, query.get("pageToken", ""), key=lambda item: item[0])
        page = items[start : start + int(query["maxResults"])]
        old, select = COPIED.encode(), _selector(query.get("fields", ""))
        joined = b", ".join(select(text).replace(old, model.encode()) for _, text, model in page)
        is_last = start + len(page) == len(items)
        token = b"" if is_last else b', "nextPageToken": "%s"' % page[-1][0].encode()
        if scope == "aggregated":
            region = b'{"regions/us-central1": {"%s": [' % collection.encode()
            return b'{"items": ' + region + joined + b"]}}" + token + b"}"
        return b'{"items": [' + joined + b"]" + token + b"}"


def _selector(fields: str) -> Callable[[bytes], bytes]:
    """Leaves of a body what `items(name,id)` selects."""
    found = re.match(r"items\((.*?)\)", fields)
    if found is None:
        return lambda text: text
    members = found[1].split(",")

    @cache
    def select(text: bytes) -> bytes:
        body = json.loads(text)
        return json.dumps({name: body[name] for name in members if name in body}).encode()

    return select


def _for_all_models(url_map: Mapping[str, Any], count: int) -> bytes:
    """The URL map with the rules of each model."""
    matchers = []
    for matcher in url_map["pathMatchers"]:
        text = json.dumps(matcher["pathRules"])
        names = map(name_of, range(count))
        rules = [rule for name in names for rule in json.loads(text.replace(COPIED, name))]
        matchers.append({**matcher, "pathRules": rules})
    return json.dumps({**url_map, "pathMatchers": matchers}).encode()
