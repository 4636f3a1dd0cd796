"""The pure parts of the data plane: messages, profiles, choices."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_emulator.traffic.headers import redirect_response
from compute_emulator.traffic.http import BadMessage, Reader, Request, Response
from compute_emulator.traffic.instance_choice import choose_by_weight, seconds, should_retry
from compute_emulator.traffic.response_profile import ResponseProfile, with_overrides
from compute_emulator.traffic.routing import apply_rewrite, route


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
def test_a_message_is_parsed_the_same_however_it_is_split(body: bytes, cuts: list[int]) -> None:
    sent = Request("POST", "/a?b", {"host": "h", "x-one": "1"}, body).encoded()
    reader = Reader()
    for cut in cuts:
        reader.feed(sent[:cut])
        sent = sent[cut:]
        assert not sent or reader.request() is None
    reader.feed(sent)
    if (found := reader.request()) is not None:
        assert (found.method, found.target, found.headers, found.body) == (
            "POST",
            "/a?b",
            {"host": "h", "x-one": "1"},
            body,
        )


def test_two_messages_in_one_chunk_are_two() -> None:
    reader = Reader()
    reader.feed(Response(200, {}, b"one").encoded() + Response(503, {}, b"two").encoded())
    first, second = reader.response(), reader.response()
    assert first is not None
    assert second is not None
    assert (first.body, second.status, reader.response()) == (b"one", 503, None)


def test_a_chunked_body_with_trailers_is_joined() -> None:
    reader = Reader()
    reader.feed(
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt:"
        b" 1\r\n"
    )
    assert reader.request() is None
    reader.feed(b"\r\n")
    found = reader.request()
    assert found is not None
    assert found.body == b"abcde"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_invalid_http_is_detected(sent: bytes) -> None:
    reader = Reader()
    reader.feed(sent)
    with pytest.raises(BadMessage):
        reader.request()


@pytest.mark.parametrize(
    ("version", "connection", "keeps", "returned"),
    [
        ("1.1", None, True, None),
        ("1.1", "close", False, "close"),
        ("1.1", "TE, Close", False, "close"),
        ("1.1", "keep-alive", True, "keep-alive"),
        ("1.0", None, False, "close"),
        ("1.0", "Keep-Alive", True, "keep-alive"),  # HTTP/1.0 ends a body by closing
    ],
)
def test_a_connection_is_kept_as_the_client_requests_and_says_so(
    version: str, connection: str | None, keeps: bool, returned: str | None
) -> None:
    reader = Reader()
    header = f"connection: {connection}" if connection else "a: b"
    reader.feed(f"GET / HTTP/{version}\r\n{header}\r\n\r\n".encode())
    found = reader.request()
    assert found is not None
    assert found.keeps_alive is keeps
    lines = Response(200, {}, b"x").encoded_for(found).lower().split(b"\r\n")
    assert [line for line in lines if line.startswith(b"connection")] == (
        [f"connection: {returned}".encode()] if returned else []
    )


@pytest.mark.parametrize(
    ("method", "status", "head", "body"),
    [
        ("GET", 200, b"content-length: 3", b"abc"),
        ("HEAD", 200, b"content-length: 0", b""),
        ("GET", 204, b"", b""),
        ("GET", 304, b"", b""),
    ],
)
def test_a_response_has_a_body_only_where_allowed(
    method: str, status: int, head: bytes, body: bytes
) -> None:
    sent = Response(status, {"via": "x"}, b"abc").encoded_for(Request(method, "/"))
    start, _, rest = sent.partition(b"\r\n\r\n")
    assert (start.split(b"\r\n")[2:], rest) == ([head] if head else [], body)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("http://one.example/a?b=c", "/a?b=c", "one.example"),
        ("HTTP://one.example:81", "/", "one.example:81"),
        ("/a://b", "/a://b", "two.example"),
        ("*", "*", "two.example"),
    ],
)
def test_a_target_can_be_a_full_url(target: str, path: str, host: str) -> None:
    reader = Reader()
    reader.feed(f"GET {target} HTTP/1.1\r\nhost: two.example\r\n\r\n".encode())
    found = reader.request()
    assert found is not None
    assert (found.target, found.headers["host"]) == (path, host)


def test_a_client_that_expects_100_continue_gets_it_once() -> None:
    reader = Reader()
    reader.feed(b"PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert reader.request() is None
    assert (reader.expects_continue, reader.expects_continue) == (True, False)


def test_the_first_matching_entry_with_a_member_sets_it() -> None:
    entries: list[dict[str, object]] = [
        {"template": "v2*", "latency_seconds": 0.4},
        {"zone": "*-a", "latency_seconds": 9, "concurrency": 2},
        {"queue": 1},
    ]
    found = with_overrides(ResponseProfile(), entries, {"template": "v2-b", "zone": "r-a"})
    assert (found.latency_seconds, found.concurrency, found.queue, found.error_rate) == (
        0.4,
        2,
        1,
        0.0,
    )


def fails(profile: ResponseProfile, now: float = 0.0, in_flight: int = 1, **headers: str) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return profile.fails(named, in_flight, now, Random(1))


def test_errors_can_be_limited_to_load_to_bursts_and_to_one_header() -> None:
    assert fails(ResponseProfile(error_rate=1.0))
    loaded = ResponseProfile(error_rate=1.0, error_above_in_flight=4)
    assert [fails(loaded, in_flight=count) for count in (4, 5)] == [False, True]
    bursts = ResponseProfile(error_rate=1.0, error_for_seconds=2, error_every_seconds=10)
    assert [fails(bursts, now) for now in (1.9, 2.1, 11.9)] == [True, False, True]
    by_value = ResponseProfile(error_rate=1.0, error_header="X-Tenant: acme")
    assert [fails(by_value, x_tenant=each) for each in ("acme", "other")] == [True, False]
    assert not fails(by_value)
    assert fails(ResponseProfile(error_rate=1.0, error_header="x-tenant"), x_tenant="other")


def test_a_weight_of_zero_gets_no_requests() -> None:
    chance = Random(1)
    assert {choose_by_weight((("a", 0), ("b", 5), ("c", 0)), chance) for _ in range(200)} == {1}


@pytest.mark.parametrize(
    ("conditions", "status", "failure", "again"),
    [
        (["gateway-error"], 503, "", True),
        (["gateway-error"], 500, "", False),
        (["5xx"], 500, "", True),
        (["5xx"], 0, "reset", True),
        (["connect-failure"], 503, "connect", True),
        (["connect-failure"], 502, "reset", False),
        (["retriable-4xx"], 409, "", True),
        ([], 503, "", False),
    ],
)
def test_only_the_conditions_in_the_policy_are_retried(
    conditions: list[str], status: int, failure: str, again: bool
) -> None:
    assert should_retry({"retryConditions": conditions}, status, failure) is again


def test_a_duration_has_seconds_and_nanoseconds() -> None:
    assert seconds({"seconds": "2", "nanos": 500_000_000}, 9) == 2.5
    assert seconds(None, 9) == 9


RULES = {
    "defaultService": "default",
    "hostRules": [{"hosts": ["*"], "pathMatcher": "pm"}],
    "pathMatchers": [
        {
            "name": "pm",
            "defaultService": "default",
            "routeRules": [
                {
                    "priority": 1,
                    "matchRules": [{"pathTemplateMatch": "/models/{model=*}/{rest=**}"}],
                    "service": "models",
                    "routeAction": {"urlRewrite": {"pathTemplateRewrite": "/{rest}/of/{model}"}},
                },
                {
                    "priority": 2,
                    "matchRules": [
                        {
                            "prefixMatch": "/",
                            "queryParameterMatches": [{"name": "beta", "exactMatch": "1"}],
                        },
                        {
                            "prefixMatch": "/",
                            "queryParameterMatches": [{"name": "try", "regexMatch": "y.*"}],
                        },
                    ],
                    "service": "beta",
                },
            ],
        }
    ],
}


@pytest.mark.parametrize(
    ("target", "service", "onward"),
    [
        ("/models/llama/v1/chat?x=1", "models", "/v1/chat/of/llama?x=1"),
        ("/?beta=1", "beta", "/?beta=1"),
        ("/?beta=2", "default", "/?beta=2"),
        ("/?try=yes", "beta", "/?try=yes"),
        ("/models", "default", "/models"),
    ],
)
def test_templates_and_query_parameters_select_too(target: str, service: str, onward: str) -> None:
    found = route(RULES, "h", target)
    assert (found.service, apply_rewrite(found, target, "h")[0]) == (service, onward)


@pytest.mark.parametrize(
    ("path", "onward"), [("/v1/chat", "/x/chat"), ("/v1/", "/x/"), ("/other", "/other")]
)
def test_a_path_rule_rewrites_the_part_it_matched(path: str, onward: str) -> None:
    rewrite = {"urlRewrite": {"pathPrefixRewrite": "/x/"}}
    matcher = {
        "name": "pm",
        "defaultService": "d",
        "pathRules": [{"paths": ["/v1/*"], "service": "s", "routeAction": rewrite}],
    }
    url_map = {
        "defaultService": "d",
        "hostRules": [{"hosts": ["*"], "pathMatcher": "pm"}],
        "pathMatchers": [matcher],
    }
    assert apply_rewrite(route(url_map, "h", path), path, "h") == (onward, "h")


def test_a_redirect_can_change_host_prefix_and_query() -> None:
    answer = redirect_response(
        {"hostRedirect": "b.example", "prefixRedirect": "/new/", "stripQuery": True},
        "/old/",
        "a",
        "/old/x?y",
    )
    assert (answer.status, answer.headers["location"]) == (301, "http://b.example/new/x")
