"""Many models at once, in virtual time: the deployed functions with their slots, queues and quotas."""
