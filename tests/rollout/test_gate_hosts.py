"""Which hosts may judge a release, by the policy's `gate_hosts`."""

from __future__ import annotations

import pytest

from rollout.policy.gate_hosts import unlisted_gates, unlisted_host
from rollout.policy.policy import Policy
from rollout.spec.gates import Gate

FIX = "add the host to gate_hosts of settings/policy"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://evals.example.com/gate", ("evals.example.com",)),
        ("https://evals.example.com/gate", ("example.org", "example.com")),
        ("https://EVALS.example.com", ("evals.Example.com",)),
        ("https://evals.example.com:8443/gate", ("evals.example.com:8443",)),
    ],
)
def test_a_listed_host_or_one_of_a_listed_domain_may_be_asked(
    url: str, hosts: tuple[str, ...]
) -> None:
    assert unlisted_host(url, hosts) == ""


def test_without_a_list_no_host_may_be_asked_and_the_reason_names_field_and_fix() -> None:
    gates = {
        "errors": Gate(query="up", max=1),
        "quality": Gate(url="https://evals.example.com/gate"),
        "tone": Gate(url="https://tone.example.org"),
    }
    found = unlisted_gates(gates, Policy().gate_hosts)
    assert [each.allow for each in found] == [
        "gate_hosts=evals.example.com",
        "gate_hosts=tone.example.org",
    ]
    assert tuple(each.why for each in found) == (
        f"rollout.gates.quality.url: policy allows gates on no host; got evals.example.com; {FIX}",
        f"rollout.gates.tone.url: policy allows gates on no host; got tone.example.org; {FIX}",
    )
    assert tuple(each.why for each in unlisted_gates(gates, ("example.com",))) == (
        f"rollout.gates.tone.url: policy allows gates on example.com; got tone.example.org; {FIX}",
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://evals.example.com.evil.org/gate",
        "https://evilexample.com/gate",
        "https://evil.org/evals.example.com",
        "https://evil.org#evals.example.com",
        "https://evals.example.com:8443/gate",
        "https://[",
        "evals.example.com",
        "",
    ],
)
def test_no_other_host_passes_for_a_listed_one(url: str) -> None:
    assert unlisted_host(url, ("example.com",)) != ""
