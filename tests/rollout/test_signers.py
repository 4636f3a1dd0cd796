"""What a signature vouches for: an image, a model, maybe a version, maybe until a time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.signatures import is_signed
from rollout.policy.policy import Policy
from rollout.policy.signers import expired, unsigned
from rollout.spec.model import Artifact
from tests.rollout.build import release
from tests.signing import Signer

IMAGE = f"us-docker.pkg.dev/p/r/tiny:1@sha256:{'1' * 64}"
MOVED = IMAGE.replace("1" * 64, "2" * 64)  # the tag names another digest now
OLD, NEW, OTHER = Signer(), Signer(), Signer()
POLICY = Policy(signers=(OLD.public_key, NEW.public_key), is_signed=is_signed)
END = "2027-01-01T00:00:00Z"
UNTIL = f" until {END}"


def artifact(text: str, image: str = IMAGE, signer: Signer = OLD, until: str = "") -> Artifact:
    given = {"image": image, "signature": signer.signature(text) + until}
    return release("1", artifact=given).spec.artifact


def allowed(signed: Artifact, model: str = "tiny", version: str = "1") -> bool:
    return not unsigned(POLICY, model, version, signed)


@pytest.mark.parametrize("signer", [OLD, NEW], ids=["old key", "new key"])
@pytest.mark.parametrize("until", ["", UNTIL])
def test_either_of_two_keys_vouches_for_any_version_of_one_model(
    signer: Signer, until: str
) -> None:
    signed = artifact(f"run tiny {IMAGE}{until}", signer=signer, until=until)
    assert allowed(signed)
    assert allowed(signed, version="2")
    assert not allowed(signed, model="huge")
    assert not unsigned(Policy(), "tiny", "1", signed)
    without = Policy(signers=(OTHER.public_key,), is_signed=is_signed)
    assert unsigned(without, "tiny", "1", signed)
    assert unsigned(Policy(signers=POLICY.signers), "tiny", "1", signed), "nothing verifies it"


@pytest.mark.parametrize("until", ["", UNTIL])
def test_with_a_version_it_vouches_for_no_other(until: str) -> None:
    signed = artifact(f"run tiny {IMAGE} version 1{until}", until=until)
    assert allowed(signed)
    assert not allowed(signed, version="2")


@pytest.mark.parametrize(
    "signed",
    [
        pytest.param(artifact(f"run tiny {IMAGE}", MOVED), id="a tag that moved"),
        pytest.param(artifact(f"run tiny {IMAGE}", signer=OTHER), id="by somebody else"),
        pytest.param(artifact(IMAGE), id="of the image alone, as in earlier versions"),
        pytest.param(artifact(f"run tiny {IMAGE}{UNTIL}"), id="without its end"),
        pytest.param(artifact(f"run tiny {IMAGE}", until=UNTIL), id="with an end"),
        pytest.param(
            artifact(f"run tiny {IMAGE}{UNTIL}", until=UNTIL.replace("7", "8")), id="a later end"
        ),
        pytest.param(artifact(f"run tiny {IMAGE}\n"), id="of more"),
        pytest.param(artifact(f"approve tiny {IMAGE}"), id="of an approval"),
    ],
)
def test_a_signature_of_something_else_is_none(signed: Artifact) -> None:
    (why,) = unsigned(POLICY, "tiny", "1", signed)
    assert why.startswith(
        f"artifact.signature: policy requires a signature of 'run tiny {IMAGE[:20]}"
    )


def test_what_cannot_be_signed_is_refused() -> None:
    plain = release("1").spec.artifact
    script = release("1", artifact={"startup_script": "true"}).spec.artifact
    nothing = release("1", artifact={"image": IMAGE}).spec.artifact
    assert [
        unsigned(POLICY, "tiny", "1", each)[0].partition(";")[0]
        for each in (plain, script, nothing)
    ] == [
        "artifact.image: policy requires a signed image, named by its digest",
        "artifact.startup_script: policy requires a signed image",
        "artifact.signature: policy requires a signed image",
    ]


def test_a_signature_ends_for_what_arrives_later() -> None:
    signed = artifact(f"run tiny {IMAGE}{UNTIL}", until=UNTIL)
    last, late = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert expired(POLICY, signed, last) == ()
    assert expired(POLICY, signed, late) == (
        f"artifact.signature: policy requires a signature that is still valid; got one until {END}:"
        " have the image signed again",
    )
    assert expired(POLICY, artifact(f"run tiny {IMAGE}"), late) == ()
    assert expired(Policy(), signed, late) == ()


@pytest.mark.parametrize("end", ["2027-02-30T00:00:00Z", "2027-01-01", "2027-01-01T00:00:00+01:00"])
def test_an_end_that_is_no_time_is_refused(end: str) -> None:
    with pytest.raises(ValueError, match="signature"):
        artifact("", until=f" until {end}")
