"""What Compute Engine does: the project, its time, its operations and its acting resources."""
