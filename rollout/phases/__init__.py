"""How each phase of a rollout ends: one module for each. Pure."""
