"""Gate `approval`: a person approves the release before the step ends.

A step that asks for no approval passes. The other gates judge the candidate all the while.
"""

from __future__ import annotations

from rollout.gates.base import Failed, GateContext, Inconclusive, Passed, Query, Verdict, Waiting


class ApprovalGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        approval = context.approval
        if approval is None:
            return Passed("")
        if approval.given_by:
            return Passed(f"approved by {approval.given_by}")
        until = f"{approval.until:%Y-%m-%dT%H:%M:%SZ}"
        if context.now < approval.until:
            return Waiting(f"approval by {approval.by} is awaited until {until}")
        why = f"approval by {approval.by} was awaited until {until}"
        return Failed("timeout", why) if approval.on_timeout == "rollback" else Inconclusive(why)
