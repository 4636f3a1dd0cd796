"""The program that cold starts are compared with: a function's usual imports, and one request to
Compute Engine.

Prints its CPU time when its imports were done and when its clients were created. The server records
it when the request arrives. Contains no Slipway code. Used by `bench/cold_start.py`.
"""

from __future__ import annotations

import os
import sys
import time

import functions_framework  # noqa: F401 - imported for its cost
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1, firestore, pubsub_v1

imported = time.process_time()
project = os.environ["GOOGLE_CLOUD_PROJECT"]
documents = firestore.Client(project=project)
publisher = pubsub_v1.PublisherClient()
groups = compute_v1.RegionInstanceGroupManagersClient(
    credentials=AnonymousCredentials(), client_options={"api_endpoint": sys.argv[1]}
)
print(imported, time.process_time(), flush=True)
groups.get(project=project, region="us-central1", instance_group_manager="fleet", retry=None)
