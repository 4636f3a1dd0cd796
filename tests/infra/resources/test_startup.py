"""The startup script, run with fakes of curl (the metadata server), Docker and the GPU
installer.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.fleet.resources.instance_template import metadata
from tests.infra.build import spec

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
if [[ $1 == run ]]; then
  env --null >"$WORLD/environment"
  cp "$RUN/env" "$WORLD/env-file"
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

    def boot(self) -> subprocess.CompletedProcess[str]:
        script = self.at / "serve.sh"
        script.write_text(SCRIPT.read_text().replace("/run/slipway", str(self.run)))
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


def test_a_secret_reaches_the_container_and_nothing_else(tmp_path: Path) -> None:
    secrets = {
        "projects/my-project/secrets/hf/versions/3:access": "s3cret$(id)\nsecond line",
        "projects/my-project/secrets/key/versions/latest:access": "k3y",
    }
    machine = Machine(tmp_path, metadata_of({"secrets": {"TOKEN": "hf@3", "KEY": "key"}}), secrets)
    result = machine.boot()
    assert result.returncode == 0, result.stderr
    environment = dict(pair.split("=", 1) for pair in machine.read("environment"))
    assert environment["TOKEN"] == "s3cret$(id)\nsecond line"
    assert environment["KEY"] == "k3y"
    run = machine.read("docker-run")
    assert [run[place + 1] for place, word in enumerate(run) if word == "--env"] == ["KEY", "TOKEN"]
    for text in (
        result.stdout,
        result.stderr,
        *run,
        *((file.read_text()) for file in machine.run.iterdir()),
    ):
        assert "s3cret" not in text
        assert base64.b64encode(b"k3y").decode() not in text


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


def test_gpu_drivers_are_installed_before_the_container_starts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}, {"accelerator": {"type": "nvidia-l4"}}))
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
    assert run[run.index("--ipc") + 1] == "host"


def test_a_machine_without_gpus_installs_no_drivers(tmp_path: Path) -> None:
    machine = Machine(tmp_path, metadata_of({}))
    assert machine.boot().returncode == 0
    assert "cos-extensions" not in (tmp_path / "calls").read_text()
