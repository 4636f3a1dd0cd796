"""What importing the Compute client costs and leaves behind. Each test has a process of its own:
imports cannot be taken back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = "google.cloud.compute_v1"


def told(code: str) -> Any:
    """What a fresh process prints as JSON in its last line."""
    script = f"import json, logging, sys\nlogging.basicConfig(stream=sys.stderr)\n{code}"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=100
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


LEAN = """
from infra.compute.loader import Library
library = Library(["region_autoscalers", "region_operations", "url_maps"])
service = library.service("region_autoscalers")
from google.auth.credentials import AnonymousCredentials
client = service.RegionAutoscalersClient(credentials=AnonymousCredentials())
compute = type(client).get.__globals__["compute"]
"""


def test_only_the_named_services_and_the_messages_they_speak_of_are_there() -> None:
    found = told(
        LEAN
        + "print(json.dumps([sorted(library._modules), [hasattr(compute, n) for n in ('Autoscaler',"
        " 'UrlMap')]]))"
    )
    modules, messages = found
    services = {name.split(".")[4] for name in modules if name.startswith(f"{PACKAGE}.services.")}
    # a regional service brings its operations with it; one that was named and never asked for is
    # not imported
    assert services == {"region_autoscalers", "region_operations"}
    assert messages == [True, True]


def test_messages_of_no_named_service_are_not_built() -> None:
    assert told(
        LEAN + "print(json.dumps([compute.Instance is None, compute.Autoscaler is None]))"
    ) == [True, False]


def test_a_lean_client_speaks() -> None:
    asked = told(
        LEAN
        + """
import requests
class Answers(requests.adapters.BaseAdapter):
    def send(self, request, **_):
        self.url = request.url
        response = requests.Response()
        response.status_code, response._content = 200, b'{"name": "a", "autoscalingPolicy": {"minNumReplicas": 0}}'
        return response
    def close(self): pass
answers = Answers()
client.transport._session.mount("https://", answers)
got = client.get(project="p", region="r", autoscaler="a")
print(json.dumps([answers.url, got.name, "min_num_replicas" in got.autoscaling_policy]))
"""
    )
    assert asked == [
        "https://compute.googleapis.com/compute/v1/projects/p/regions/r/autoscalers/a",
        "a",
        True,
    ]


def test_a_later_plain_import_in_the_same_process_works_beside_it() -> None:
    assert told(
        LEAN
        + f"""
before = sorted(name for name in sys.modules if name.startswith("{PACKAGE}"))
from google.cloud import compute_v1
plain = compute_v1.Instance(name="i")
lean = compute.Autoscaler(name="a")
print(json.dumps([before, plain.name, lean.name, compute_v1.RegionAutoscalersClient is service.RegionAutoscalersClient]))
"""
    ) == [[], "i", "a", False]


def test_after_a_plain_import_that_one_is_used() -> None:
    assert told("""
from google.cloud import compute_v1
from infra.compute.loader import Library
service = Library(["url_maps"]).service("url_maps")
print(json.dumps(service.UrlMapsClient is compute_v1.UrlMapsClient))
""")


def test_a_layout_that_is_not_as_expected_falls_back_to_the_plain_import() -> None:
    """Four ways in which another version of the client could differ."""
    for change in (
        "loader.SERVICE_FILES = ('no_such_file.py',)",
        "loader._closure = lambda code, roots: frozenset()",
        "loader._closure = lambda code, roots: frozenset({'Autoscaler'})",  # its policy is missing
        "loader._stubs = lambda: {}",
    ):
        found = told(f"""
from infra.compute import loader
{change}
service = loader.Library(["region_autoscalers"]).service("region_autoscalers")
from google.cloud import compute_v1
print(json.dumps(service.RegionAutoscalersClient is compute_v1.RegionAutoscalersClient))
""")
        assert found is True, change


def test_two_libraries_live_beside_each_other() -> None:
    assert told("""
from infra.compute.loader import Library
one = Library(["region_autoscalers"]).service("region_autoscalers")
other = Library(["autoscalers"]).service("autoscalers")
messages = [each.AutoscalersClient.get.__globals__["compute"] for each in (other,)]
messages += [one.RegionAutoscalersClient.get.__globals__["compute"]]
print(json.dumps([each.Autoscaler(name="a").name for each in messages] + [messages[0] is messages[1]]))
""") == ["a", "a", False]
