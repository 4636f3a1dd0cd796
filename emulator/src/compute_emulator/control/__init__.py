"""How tests and people control the emulator: behaviours, faults, outages, load and time."""
