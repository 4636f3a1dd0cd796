"""The hash of a plan is that of equal policies, however they were read."""

from __future__ import annotations

from rollout.model import Rollout
from rollout.plan_hash import changed_documents, plan_hash
from rollout.policy.policy import Policy
from tests.rollout.build import release

ONE, TWO = release("1"), release("2")


def test_the_order_of_a_map_changes_nothing() -> None:
    """Firestore keeps none."""
    settled = Rollout(stable=ONE, serving_group="blue")
    planned = Policy(max_instances=9, approvers={"ann": "key 1", "bob": "key 2"})
    read = Policy(max_instances=9, approvers={"bob": "key 2", "ann": "key 1"})
    other = Policy(max_instances=9, approvers={"ann": "key 2", "bob": "key 1"})
    found = plan_hash(settled, TWO, ONE, planned, ["insert instanceTemplates"])
    assert changed_documents(found, settled, TWO, ONE, read) == ""
    why = "the policy changed after it was planned; plan it again"
    assert changed_documents(found, settled, TWO, ONE, other) == why
