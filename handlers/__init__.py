"""What each kind of event does: one module per kind, and `reconcile/` for the passes over a model.

To add an event source: a module with `handle(world, event)`, and an entry point in `main.py`
(CONTRIBUTING.md, "How to add an event source").
"""
