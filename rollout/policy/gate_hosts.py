"""The hosts that may judge a release: the policy's `gate_hosts`. Pure.

A gate's URL comes from a release, and the reconciler connects to it, so a host counts only if the
policy lists it. Unlike most lists of the policy an empty one allows none. Checked when a release is
accepted, by every pass of its rollout, and again before a connection is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from rollout.policy.violation import Violation
from rollout.spec.gates import Gate
from rollout.spec.images import is_listed
from rollout.spec.problems import SpecProblem


def unlisted_host(url: str, hosts: tuple[str, ...]) -> str:
    """Why the URL's host may not be asked; empty if it may. A port is part of the name."""
    try:
        host = urlsplit(url).netloc
    except ValueError:
        host = ""
    if host and is_listed(host, hosts):
        return ""
    listed = ", ".join(hosts) or "no host"
    return f"policy allows gates on {listed}; got {host or url}"


def unlisted_gates(gates: Mapping[str, Gate], hosts: tuple[str, ...]) -> tuple[Violation, ...]:
    """The violations of the gates with a URL, by name."""
    fix = "add the host to gate_hosts of settings/policy"
    urls = ((name, gate.url) for name, gate in gates.items() if gate.url)
    found = ((name, url, unlisted_host(url, hosts)) for name, url in urls)
    return tuple(
        Violation(f"rollout.gates.{name}.url: {why}; {fix}", f"gate_hosts={url.split('/')[2]}")
        for name, url, why in found
        if why
    )


def unasked_gates(gates: Mapping[str, Gate]) -> tuple[SpecProblem, ...]:
    """The gates whose jobs nobody can ask: there is no secret by which they could be signed."""
    return tuple(
        SpecProblem(
            f"rollout.gates.{name}.url",
            "must be left out: no secret for evaluation jobs is configured; set"
            " SLIPWAY_GATE_SECRET for the intake and the reconciler",
            gate.url,
        )
        for name, gate in gates.items()
        if gate.url
    )
