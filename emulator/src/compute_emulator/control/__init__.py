"""How a test or a person steers the emulator: behaviours, faults, outages and load."""
