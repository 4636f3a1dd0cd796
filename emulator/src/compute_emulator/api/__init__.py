"""The Compute v1 REST API: requests in, responses out, over HTTP or in process."""
