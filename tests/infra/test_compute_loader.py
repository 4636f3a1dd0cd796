"""What importing the Compute client loads and leaves behind. Each test runs in a new process,
because imports cannot be undone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = "google.cloud.compute_v1"


def run(code: str) -> Any:
    """The last line that a new process prints, as JSON."""
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


def test_only_the_named_services_and_their_messages_are_loaded() -> None:
    found = run(
        LEAN
        + "print(json.dumps([sorted(library._modules), [hasattr(compute, n) for n in ('Autoscaler',"
        " 'UrlMap')]]))"
    )
    modules, messages = found
    services = {name.split(".")[4] for name in modules if name.startswith(f"{PACKAGE}.services.")}
    # a regional service imports its operations service; a named but unused one is not imported
    assert services == {"region_autoscalers", "region_operations"}
    assert messages == [True, True]


def test_messages_of_other_services_are_not_built() -> None:
    assert run(
        LEAN + "print(json.dumps([compute.Instance is None, compute.Autoscaler is None]))"
    ) == [True, False]


def test_a_lean_client_makes_calls() -> None:
    found = run(
        LEAN
        + """
import requests
class Answers(requests.adapters.BaseAdapter):
    def send(self, request, **_):
        self.url = request.url
        response = requests.Response()
        response.status_code = 200
        response._content = b'{"name": "a", "autoscalingPolicy": {"minNumReplicas": 0}}'
        return response
    def close(self): pass
answers = Answers()
client.transport._session.mount("https://", answers)
got = client.get(project="p", region="r", autoscaler="a")
print(json.dumps([answers.url, type(got).__name__, str(got)]))
"""
    )
    assert found == [
        "https://compute.googleapis.com/compute/v1/projects/p/regions/r/autoscalers/a",
        "Autoscaler",
        "",
    ]


def test_a_later_plain_import_in_the_same_process_works() -> None:
    assert run(
        LEAN
        + f"""
before = sorted(name for name in sys.modules if name.startswith("{PACKAGE}"))
from google.cloud import compute_v1
plain = compute_v1.Instance(name="i")
lean = compute.GetRegionAutoscalerRequest(autoscaler="a")
same = compute_v1.RegionAutoscalersClient is service.RegionAutoscalersClient
print(json.dumps([before, plain.name, lean.autoscaler, same]))
"""
    ) == [[], "i", "a", False]


def test_after_a_plain_import_the_plain_modules_are_used() -> None:
    assert run("""
from google.cloud import compute_v1
from infra.compute.loader import Library
service = Library(["url_maps"]).service("url_maps")
print(json.dumps(service.UrlMapsClient is compute_v1.UrlMapsClient))
""")


def test_an_unexpected_layout_falls_back_to_the_plain_import() -> None:
    """Four ways in which the layout of another version could differ."""
    for change in (
        "loader.SERVICE_FILES = ('no_such_file.py',)",
        "loader._find_messages = lambda code, roots: frozenset()",
        # its autoscaler is missing
        "loader._find_messages = lambda code, roots: frozenset({'InsertRegionAutoscalerRequest'})",
        "loader._make_stubs = lambda: {}",
    ):
        found = run(f"""
from infra.compute import loader
{change}
service = loader.Library(["region_autoscalers"]).service("region_autoscalers")
from google.cloud import compute_v1
print(json.dumps(service.RegionAutoscalersClient is compute_v1.RegionAutoscalersClient))
""")
        assert found is True, change


def test_two_libraries_can_coexist() -> None:
    assert run("""
from infra.compute.loader import Library
one = Library(["region_autoscalers"]).service("region_autoscalers")
other = Library(["autoscalers"]).service("autoscalers")
messages = [each.AutoscalersClient.get.__globals__["compute"] for each in (other,)]
messages += [one.RegionAutoscalersClient.get.__globals__["compute"]]
made = [messages[0].GetAutoscalerRequest, messages[1].GetRegionAutoscalerRequest]
names = [request(autoscaler="a").autoscaler for request in made]
print(json.dumps([*names, messages[0] is messages[1]]))
""") == ["a", "a", False]


def test_an_import_in_another_thread_disturbs_nothing() -> None:
    """A name in `sys.modules` whose comparison adds a module stands for that thread."""
    assert (
        run("""
class Name(str):
    __hash__ = str.__hash__
    def startswith(self, prefix):
        sys.modules[f"other_{len(sys.modules)}"] = sys
        return super().startswith(prefix)
sys.modules[Name("name")] = sys
from infra.compute.loader import Library
for services in (["region_autoscalers"], ["instances"]):
    module = Library(services).service(services[0])
print(json.dumps([name for name in sys.modules if "compute_v1" in name]))
""")
        == []
    )
