"""What an instance of a function leaves out of its imports, and of its first pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rollout.spec.model import digest, dump
from tests.rollout.build import release

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import gc, json, sys
import main
from rollout.spec.model import load

document, digest = json.loads(sys.argv[1])
spec = load(document, digest)
print("cryptography" in sys.modules)
print("pydantic" in sys.modules)
print(gc.isenabled(), gc.get_freeze_count() > 10_000, spec.artifact.image)
from google.auth import crypt, jwt
print(crypt.RSASigner.__name__, jwt.Credentials.__name__, "cryptography" in sys.modules)
"""


def test_a_pass_reads_a_release_without_cryptography_and_without_pydantic() -> None:
    spec = release("1", rollout={"gates": {"vllm_errors": {}}}).spec
    environment = {
        "FUNCTION_TARGET": "on_wakeup",
        "GOOGLE_CLOUD_PROJECT": "demo",
        "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
        "SLIPWAY_COMPUTE_ENDPOINT": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([dump(spec), digest(spec)])],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "False",
        "False",
        f"True True {spec.artifact.image}",
        "RSASigner Credentials True",
    ], done.stderr
