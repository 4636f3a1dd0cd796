"""The buses behind `infra/bus/envelope.py`, one file each. Import the one in use, no other: that
keeps cold starts short."""
