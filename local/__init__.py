"""Slipway on one machine: the demo (`make demo`) and the stack it runs on.

`stack.py` starts emulators, functions and the tick; `demo.py` publishes the releases of `story.py`,
watches them (`watch.py`), shows them (`screen.py`) and reports (`report.py`, `picture.py`).
To add a release to the demo, add it and its promise to a scenario in `story.py`; to add a part to
the stack, start and stop it in `Stack._start`.
"""
