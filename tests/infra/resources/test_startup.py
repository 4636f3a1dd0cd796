"""The startup script, run with fakes of curl (the metadata server), Docker and the GPU
installer.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.fleet.resources.instance_template import metadata
from tests.infra.build import spec
from tests.tools import require_program

SCRIPT = Path(__file__).parents[3] / "infra" / "fleet" / "resources" / "startup" / "serve.sh"

# Answers from files: one per metadata attribute and one per secret.
CURL = """#!/bin/bash
for url; do :; done
case $url in
  */instance/attributes/) ls "$WORLD/attributes" ;;
  */instance/attributes/*) cat "$WORLD/attributes/${url##*/}" ;;
  */project/project-id) printf my-project ;;
  */token) printf '{"access_token":"t0ken","expires_in":3599,"token_type":"Bearer"}' ;;
  https://secretmanager.googleapis.com/*)
    grep --quiet 'Authorization: Bearer t0ken' || exit 22
    name=${url#*/v1/}
    file=$WORLD/secrets/${name//\\//_}
    [[ -e $file ]] || exit 22
    printf '{\\n  "name": "x",\\n  "payload": {\\n    "data": "%s"\\n  }\\n}\\n' \\
      "$(base64 --wrap 0 "$file")" ;;
  *) exit 6 ;;
esac
"""
DOCKER = """#!/bin/bash
printf '%s\\0' "$@" >"$WORLD/docker-$1"
if [[ $1 == image && -e $WORLD/image-env ]]; then cat "$WORLD/image-env"; fi
if [[ $1 == pull && -e $WORLD/no-registry ]]; then exit 1; fi
if [[ $1 == run ]]; then
  env --null >"$WORLD/environment"
  cp "$RUN/env" "$WORLD/env-file"
  while (($#)); do
    if [[ $1 == --env-file ]]; then cat "$2" >"$WORLD/env-files"; fi  # the last one has secrets
    shift
  done
fi
"""
NOTHING = """#!/bin/bash
printf '%s ' "$(basename "$0")" "$@" >>"$WORLD/calls"
"""


class Machine:
    """A directory in place of the machine: its metadata, its secrets, and the commands that the
    script calls.
    """

    def __init__(
        self, at: Path, items: Mapping[str, str], secrets: Mapping[str, str] | None = None
    ) -> None:
        self.at, self.run = at, at / "run"
        commands = {"curl": CURL, "docker": DOCKER} | dict.fromkeys(
            ("cos-extensions", "mount", "docker-credential-gcr"), NOTHING
        )
        for folder in ("attributes", "secrets", "bin"):
            (at / folder).mkdir()
        for command, text in commands.items():
            (at / "bin" / command).write_text(text)
            (at / "bin" / command).chmod(0o755)
        for name, value in items.items():
            (at / "attributes" / name).write_text(value, newline="")
        for name, value in (secrets or {}).items():
            (at / "secrets" / name.replace("/", "_")).write_text(value, newline="")

    def boot(self, server: str = "") -> subprocess.CompletedProcess[str]:
        """`server`: an HTTP server in place of Google's, for the real curl."""
        script, text = self.at / "serve.sh", SCRIPT.read_text()
        if server:
            (self.at / "bin" / "curl").unlink()
            text = text.replace("http://metadata.google.internal", server)
            text = text.replace("https://secretmanager.googleapis.com", server)
        script.write_text(text.replace("/run/slipway", str(self.run)))
        world = {"WORLD": str(self.at), "RUN": str(self.run), "HOME": str(self.at / "home")}
        path = f"{self.at / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["/bin/bash", str(script)],
            env=world | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def read(self, file: str) -> list[str]:
        return (self.at / file).read_text().split("\0")[:-1] if (self.at / file).exists() else []


def metadata_of(
    artifact: Mapping[str, object], machine: Mapping[str, object] | None = None
) -> dict[str, str]:
    return metadata(
        spec(artifact={"image": "eu-docker.pkg.dev/p/r/app:1", **artifact}, machine=machine or {})
    )


def test_hostile_values_reach_the_container_unchanged_and_run_nothing(tmp_path: Path) -> None:
    args = [
        "$(touch pwned)",
        "`touch pwned`",
        "",
        "a b  c",
        '"; touch pwned; "',
        "--rm",
        "*",
        "\\n",
        "=",
        "'",
    ]
    env = {"A": "$(touch pwned)", "B": "`x` $HOME * 'q\" #", "EMPTY": "", "C": " spaced "}
    machine = Machine(tmp_path, metadata_of({"args": args, "env": env}))
    assert machine.boot().returncode == 0
    run = machine.read("docker-run")
    assert run[run.index("eu-docker.pkg.dev/p/r/app:1") + 1 :] == args
    assert set((tmp_path / "env-file").read_text().split("\n")) == {
        f"{key}={value}" for key, value in env.items()
    } | {"PORT=8080"}
    assert not list(tmp_path.rglob("pwned"))


def test_an_empty_last_argument_is_kept(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({"args": ["a", ""]}))
    assert machine.boot().returncode == 0
    assert machine.read("docker-run")[-2:] == ["a", ""]


def test_the_container_is_restarted_and_published_on_its_port(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}))
    assert machine.boot().returncode == 0
    run = machine.read("docker-run")
    assert run[run.index("--restart") + 1] == "always"
    assert run[run.index("--publish") + 1] == "8080:8080"
    assert run[-1] == "eu-docker.pkg.dev/p/r/app:1"
    assert "--registries=eu-docker.pkg.dev" in (tmp_path / "calls").read_text()


def test_the_real_curl_reads_attributes_and_secrets_over_http(tmp_path: Path) -> None:
    require_program("curl")
    items = metadata_of({"args": ["a", ""], "env": {"A": "$(id)"}, "secrets": {"docker": "hf"}})
    machine = Machine(tmp_path, items)
    secret = {"payload": {"dataCrc32c": "1", "data": base64.b64encode(b"s3cret").decode()}}
    root = "/computeMetadata/v1"
    answers = {
        f"{root}/instance/attributes/": "\n".join(items),
        f"{root}/project/project-id": "my-project",
        f"{root}/instance/service-accounts/default/token": '{"access_token": "t0ken"}',
        f"/v1/{in_project('hf')}": json.dumps(secret, indent=2),
        **{f"{root}/instance/attributes/{name}": value for name, value in items.items()},
    }

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_secret = self.path.startswith("/v1/")
            given = self.headers["Authorization" if is_secret else "Metadata-Flavor"]
            is_allowed = given == ("Bearer t0ken" if is_secret else "Google")
            self.send_response(200 if is_allowed and self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, "").encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = machine.boot(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert result.returncode == 0, result.stderr
    assert machine.read("docker-run")[-2:] == ["a", ""]
    assert (tmp_path / "env-files").read_text() == "docker=s3cret\n"


def in_project(secret: str) -> str:
    return f"projects/my-project/secrets/{secret}/versions/latest:access"


# Variables of the script, of bash, of the loader and of Docker's client.
NAMES = (
    *("image", "docker", "options", "arguments", "value", "line", "run", "metadata", "secret"),
    *("PATH", "IFS", "HOME", "UID", "BASH_ENV", "SHELLOPTS", "PS4", "LD_PRELOAD", "DOCKER_HOST"),
)


def test_secrets_of_any_name_reach_the_container_and_nothing_else(tmp_path: Path) -> None:
    values = {name: f"s3cret-{name} $(touch pwned) # '\"" for name in NAMES}
    machine = Machine(
        tmp_path,
        metadata_of({"secrets": {name: name for name in NAMES} | {"TOKEN": "hf@3"}}),
        {in_project(name): value for name, value in values.items()}
        | {"projects/my-project/secrets/hf/versions/3:access": "s3cret$(id)\nsecond line"},
    )
    result = machine.boot()
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "env-files").read_text().split("\n")
    assert dict(line.split("=", 1) for line in lines if line) == values
    environment = dict(pair.split("=", 1) for pair in machine.read("environment"))
    run = machine.read("docker-run")
    assert [run[place + 1] for place, word in enumerate(run) if word == "--env"] == ["TOKEN"]
    assert environment.pop("TOKEN") == "s3cret$(id)\nsecond line"
    assert run[-1] == "eu-docker.pkg.dev/p/r/app:1"
    for text in (
        result.stdout,
        result.stderr,
        *run,
        *environment.values(),
        *((file.read_text()) for file in machine.run.iterdir()),
    ):
        assert "s3cret" not in text
        assert base64.b64encode(b"s3cret").decode()[:8] not in text
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("name", ["image", "LD_PRELOAD", "DOCKER_HOST", "UID", "PATH"])
def test_a_secret_with_line_breaks_is_refused_under_a_name_that_acts(
    tmp_path: Path, name: str
) -> None:
    secrets = {in_project("key"): "s3cret\nsecond line"}
    machine = Machine(tmp_path, metadata_of({"secrets": {name: "key"}}), secrets)
    result = machine.boot()
    assert result.returncode != 0
    assert "secret key has line breaks" in result.stderr
    assert "s3cret" not in result.stdout + result.stderr
    assert machine.read("docker-run") == []


def test_a_secret_that_cannot_be_read_starts_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({"secrets": {"TOKEN": "missing"}}))
    result = machine.boot()
    assert result.returncode != 0
    assert "secret missing cannot be read" in result.stderr
    assert machine.read("docker-run") == []


def test_metadata_that_cannot_be_read_starts_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}))
    (tmp_path / "attributes" / "slipway-image").unlink()
    assert machine.boot().returncode != 0
    assert machine.read("docker-run") == []


GPU = {"accelerator": {"type": "nvidia-l4"}}


def test_gpu_drivers_are_installed_before_the_container_starts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}, GPU))
    result = machine.boot()
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text()
    assert (
        calls.index("cos-extensions install gpu")
        < calls.index("mount --options remount,exec")
        < calls.index("docker-credential-gcr")
    )
    run = machine.read("docker-run")
    assert "/var/lib/nvidia/lib64:/usr/local/nvidia/lib64:ro" in run
    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib64" in run


def test_retries_bind_the_driver_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}, GPU))
    (tmp_path / "no-registry").touch()
    assert [machine.boot().returncode != 0 for _ in range(3)] == [True] * 3
    (tmp_path / "no-registry").unlink()
    assert machine.boot().returncode == 0
    assert (tmp_path / "calls").read_text().count("mount --bind") == 1


@pytest.mark.parametrize(
    ("of_image", "of_release", "expected"),
    [
        ("/opt/lib:/usr/local/nvidia/lib64", None, "{driver}:/opt/lib:/usr/local/nvidia/lib64"),
        ("/opt/lib", "/compat", "/compat:{driver}"),
        ("/opt/lib", "/compat:/usr/local/nvidia/lib64", None),
    ],
)
def test_the_drivers_libraries_are_found_beside_those_of_the_image(
    tmp_path: Path, of_image: str, of_release: str | None, expected: str | None
) -> None:
    env = {"LD_LIBRARY_PATH": of_release} if of_release else {}
    machine = Machine(tmp_path, metadata_of({"env": env}, GPU))
    (tmp_path / "image-env").write_text(f"PATH=/bin\nLD_LIBRARY_PATH={of_image}\n")
    assert machine.boot().returncode == 0
    run = machine.read("docker-run")
    given = [run[place + 1] for place, word in enumerate(run) if word == "--env"]
    path = (expected or "").format(driver="/usr/local/nvidia/lib64")
    assert given == ([f"LD_LIBRARY_PATH={path}"] if expected else [])


def test_shared_memory_and_limits_are_generous_and_can_be_set(tmp_path: Path) -> None:
    for number, (fields, shm, limits) in enumerate(
        (
            ({}, None, ["memlock=-1", "nofile=65536", "stack=67108864"]),
            (
                {"shm_size_mb": 512, "ulimits": {"nofile": 1024}},
                "512m",
                ["memlock=-1", "nofile=1024", "stack=67108864"],
            ),
        )
    ):
        at = tmp_path / str(number)
        at.mkdir()
        machine = Machine(at, metadata_of(fields))
        assert machine.boot().returncode == 0
        run = machine.read("docker-run")
        assert [run[place + 1] for place, word in enumerate(run) if word == "--ulimit"] == limits
        size = run[run.index("--shm-size") + 1]
        assert size == shm if shm else int(size.removesuffix("k")) > 65536


@pytest.mark.parametrize(("metrics_port", "ports"), [(None, 1), (8080, 1), (8002, 2)])
def test_the_port_of_metrics_is_opened_beside_the_serving_port(
    tmp_path: Path, metrics_port: int | None, ports: int
) -> None:
    serving = {"port": 8080, "metrics_port": metrics_port}
    image = "eu-docker.pkg.dev/p/r/app:1"
    machine = Machine(tmp_path, metadata(spec(artifact={"image": image}, serving=serving)))
    assert machine.boot().returncode == 0
    run = machine.read("docker-run")
    opened = [run[place + 1] for place, word in enumerate(run) if word == "--publish"]
    assert opened == ["8080:8080", "8002:8002"][:ports]


def test_a_machine_without_gpus_installs_no_drivers(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}))
    assert machine.boot().returncode == 0
    assert "cos-extensions" not in (tmp_path / "calls").read_text()
