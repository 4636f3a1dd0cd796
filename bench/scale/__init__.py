"""Many models at once, in virtual time, with the deployed functions' slots, queues and quotas."""
