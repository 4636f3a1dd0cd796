"""What the policy's signers have to vouch for: which image runs, as which model, until when. Pure.

Called where caps are checked: when a release arrives, in every pass of its rollout, and before a
rollback to a named version. A signature is of one line,

    run MODEL IMAGE[ version VERSION][ until TIME]

so it is worth nothing for another model or image; with a version, for no other release either. The
release carries it as `BASE64[ until TIME]`. Its end concerns publishing alone: a release that was
accepted in time may finish, and may be returned to (ADR 0008).
"""

from __future__ import annotations

from datetime import datetime

from rollout.policy.policy import Policy
from rollout.spec.model import Artifact

UNTIL = " until "

Whys = tuple[str, ...]


def unsigned(policy: Policy, model: str, version: str, artifact: Artifact) -> Whys:
    """Why none of the signers vouches for this release of the model; empty if one does."""
    if not policy.signers:
        return ()
    if artifact.image is None:
        return (
            "artifact.startup_script: policy requires a signed image; a start-up script cannot be"
            " signed",
        )
    if "@sha256:" not in artifact.image:
        return (
            "artifact.image: policy requires a signed image, named by its digest; got"
            f" {artifact.image}",
        )
    if artifact.signature is None:
        return ("artifact.signature: policy requires a signed image; got no signature",)
    signature, until, end = artifact.signature.partition(UNTIL)
    line = f"run {model} {artifact.image}"
    for text in (line, f"{line} version {version}"):
        if policy.is_signed(f"{text}{until}{end}", signature, policy.signers):
            return ()
    return (
        f"artifact.signature: policy requires a signature of {line + until + end!r}, or of the"
        f" same with ' version {version}' after the image, by one of its {len(policy.signers)}"
        " signers; got another",
    )


def expired(policy: Policy, artifact: Artifact, now: datetime) -> Whys:
    """Why the signature came too late for a release that arrives now; empty if it did not."""
    _, _, end = (artifact.signature or "").partition(UNTIL)
    if not policy.signers or not end or now <= datetime.fromisoformat(end):
        return ()
    return (
        f"artifact.signature: policy requires a signature that is still valid; got one until {end}:"
        " have the image signed again",
    )
