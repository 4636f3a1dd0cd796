"""What a release or command message may say: fields, types, rules, defaults, and validation. Pure.

To add a field: `model.py`, rules between fields in `rules.py`, then `make schema`.
"""
