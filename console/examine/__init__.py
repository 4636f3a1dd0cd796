"""What `slipway doctor` does: reads what there is, and judges each part in one line.

`command.py` reads, with `topics.py` and `cloud.py`; the other modules judge and are pure.
"""
