"""What Compute Engine does: the project, time, operations, groups, instances and autoscalers."""
