"""The stores behind `infra/store/port.py`, one file each. Import the one in use, no other: that
keeps cold starts short.
"""
