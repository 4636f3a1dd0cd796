"""From a target and a snapshot to a plan of actions. Pure.

To add a resource: a module in `resources/`, its name in `naming`, and its key in `reads`
(CONTRIBUTING.md, "How to add a resource").
"""
