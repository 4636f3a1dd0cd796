"""What the demo prints at its end: the results, the outputs, and how to continue by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from local.report import Report, count_changes
from local.story import FLOOR, IMAGE, MODEL

LAST, LONG = 4, 300
OUTPUTS = {
    "instance_group_url": "instance group",
    "backend_service_url": "backend service",
    "address": "address",
}


def summary(report: Report, failure: str, logs: Sequence[Path] = ()) -> str:
    """The result of each promise, the model's outputs, and, after a failure, the ends of the
    functions' logs.
    """
    lines = [""]
    for promise in report.promises:
        lines.append(f"  {'✗' if promise.differs else '✓'} {promise.text}")
        if promise.differs:
            lines.append(f"      but {promise.differs}")
    lines.append("")
    width = max(map(len, OUTPUTS.values()))
    lines += [
        f"  {label:{width}}  {report.outputs[name]}"
        for name, label in OUTPUTS.items()
        if name in report.outputs
    ]
    on = "Google's emulators" if report.backend == "emulators" else "the embedded store and bus"
    changes = count_changes(report.calls)
    calls = f"{sum(report.calls.values())} calls to Compute Engine, {changes} of them changes"
    lines += ["", f"  {report.real_seconds:.0f} s on {on}, {calls}"]
    if failure:
        lines.append(f"  {failure}")
    for log in logs:
        ending = (
            [line[:LONG] for line in log.read_text(errors="replace").splitlines()[-LAST:]]
            if log.exists()
            else []
        )
        lines += ["", f"  the end of {log}", *(f"    {line}" for line in ending)]
    return "\n".join(lines)


def by_hand(
    environment: Mapping[str, str], pubsub: str, python: str, logs: Sequence[Path], pid: int
) -> str:
    """Commands for a stack that keeps running. `pubsub` is the address of Pub/Sub's REST API, of
    the emulator or of the embedded bus.
    """
    project = environment["GOOGLE_CLOUD_PROJECT"]
    event = f'{{"model":"{MODEL}","version":"4","artifact":{{"image":"{IMAGE}:4"}}}}'
    pause = f'{{"model":"{MODEL}","command":"pause"}}'
    second = (
        f'{{"model":"second","version":"1","artifact":{{"image":"{IMAGE}:1"}},'
        f'"scaling":{{"min":{FLOOR}}}}}'
    )
    kill = f'{{"effect": "kill", "group": "slipway-{MODEL}-blue", "most": 1}}'
    compute = environment["SLIPWAY_COMPUTE_ENDPOINT"]
    return f"""
The stack keeps running. To stop it: Ctrl-C here, or kill {pid}

In another terminal, slipway uses this stack by itself
  {Path(python).parent}/slipway status {MODEL}
  {Path(python).parent}/slipway why {MODEL} 3
  {Path(python).parent}/slipway --help

Publish an event with gcloud
  export CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=http://{pubsub}/ CLOUDSDK_CORE_PROJECT={project} \\
         CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_DISABLE_PROMPTS=1
  gcloud pubsub topics publish model-releases --message='{event}'
  gcloud pubsub topics publish model-releases --message='{pause}'
  gcloud pubsub topics publish model-releases --message='{second}'

or in Python
  {_python(environment, pubsub, python, event)}

Read the model's document and its log of decisions
{_documents(environment, python, logs[0].parent)}

Inspect Compute Engine with gcloud, or through the emulator's control API
  export CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE={compute}/compute/v1/
  gcloud compute instance-groups managed list
  curl -s {compute}/control/instances
  curl -s -X POST {compute}/control/instances -d '{kill}'
  curl -s {compute}/control

Logs of the functions
{chr(10).join(f"  tail -f {path}" for path in logs)}
"""


def _python(environment: Mapping[str, str], pubsub: str, python: str, event: str) -> str:
    """The client library needs the emulator; the embedded bus has only the REST API."""
    topic = f"projects/{environment['GOOGLE_CLOUD_PROJECT']}/topics/model-releases"
    if "PUBSUB_EMULATOR_HOST" in environment:
        code = (
            "from google.cloud import pubsub_v1;"
            f" print(pubsub_v1.PublisherClient().publish('{topic}', b'''{event}''').result())"
        )
        return f'PUBSUB_EMULATOR_HOST={pubsub} {python} -c "{_quote(code)}"'
    code = (
        "import base64, requests;"
        f" print(requests.post('http://{pubsub}/v1/{topic}:publish',"
        f" json={{'messages': [{{'data': base64.b64encode(b'''{event}''').decode()}}]}}).text)"
    )
    return f'{python} -c "{_quote(code)}"'


def _documents(environment: Mapping[str, str], python: str, folder: Path) -> str:
    if "FIRESTORE_EMULATOR_HOST" in environment:
        host, project = environment["FIRESTORE_EMULATOR_HOST"], environment["GOOGLE_CLOUD_PROJECT"]
        documents = f"http://{host}/v1/projects/{project}/databases/(default)/documents"
        return "\n".join(
            f"  curl -s -H 'Authorization: Bearer owner' '{documents}/{path}'"
            for path in (f"models/{MODEL}", f"models/{MODEL}/log")
        )
    code = (
        "import json, sqlite3, sys; print(*(json.dumps([p, json.loads(d)], indent=1) for p, d in"
        " sqlite3.connect(sys.argv[1]).execute('SELECT path, data FROM documents WHERE path LIKE"
        " ?', [sys.argv[2]])), sep='\\n')"
    )
    return "\n".join(
        f"  {python} -c \"{code}\" {folder}/slipway.sqlite '{path}'"
        for path in (f"models/{MODEL}", f"models/{MODEL}/log/%")
    )


def _quote(code: str) -> str:
    return code.replace('"', '\\"')
