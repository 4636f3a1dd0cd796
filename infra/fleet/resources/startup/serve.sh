#!/bin/bash
# Starts the container that this machine's metadata names. Docker keeps it running.
#
# Read from the metadata server: slipway-image, slipway-port, and optionally
#   slipway-args     one argument per line after a `=`, so that an empty argument is a line too
#   slipway-env      one NAME=value per line
#   slipway-secrets  one NAME=secret[@version] per line; the secret is read from Secret Manager with
#                    the machine's service account
#   slipway-gpu      present if the machine has GPUs
# Values reach Docker as single arguments or through a file. No value is run as code, and no secret
# is in metadata or printed.
set -euo pipefail
umask 077

readonly metadata=http://metadata.google.internal/computeMetadata/v1
readonly secret_manager=https://secretmanager.googleapis.com/v1
readonly run=/run/slipway
readonly container=slipway-model

say() {
  printf 'slipway: %s\n' "$1"
}

fail() {
  say "$1" >&2
  exit 1
}

ask_metadata() {
  curl --silent --show-error --fail --retry 8 --retry-connrefused \
    --header 'Metadata-Flavor: Google' "$metadata/$1"
}

has() {
  grep --quiet --line-regexp --fixed-strings -- "$1" "$run/attributes"
}

# Prints an attribute, or nothing if the machine does not have it.
attribute() {
  if has "$1"; then
    ask_metadata "instance/attributes/$1"
  fi
}

# Prints the first JSON string field of that name. Good enough for Google's short answers; this
# system has no JSON parser.
json_text() {
  tr -d '\n' | sed -n "s/.*\"$1\" *: *\"\\([^\"]*\\)\".*/\\1/p"
}

# Prints a secret of this machine's project. $1: `name` for the latest version, or `name@3`.
read_secret() {
  local project token version=latest secret=${1%%@*}
  if [[ $1 == *@* ]]; then
    version=${1#*@}
  fi
  project=$(ask_metadata project/project-id)
  token=$(ask_metadata instance/service-accounts/default/token | json_text access_token)
  # The token is passed on standard input, so that no process list shows it.
  printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --silent --show-error --fail --retry 8 --config - \
      "$secret_manager/projects/$project/secrets/$secret/versions/$version:access" |
    json_text data | base64 --decode
}

# Container-Optimized OS has the driver in /var/lib/nvidia, which is mounted noexec: remount it.
prepare_gpus() {
  say 'installing the GPU driver'
  cos-extensions install gpu
  mount --bind /var/lib/nvidia /var/lib/nvidia
  mount --options remount,exec /var/lib/nvidia
  options+=(--ipc host)
  options+=(--volume /var/lib/nvidia/lib64:/usr/local/nvidia/lib64:ro)
  options+=(--volume /var/lib/nvidia/bin:/usr/local/nvidia/bin:ro)
  local device
  for device in /dev/nvidia* /dev/nvidia-caps/*; do
    if [[ -c $device ]]; then
      options+=(--device "$device:$device")
    fi
  done
}

# CUDA base images look in /usr/local/nvidia already; other images need LD_LIBRARY_PATH.
point_to_driver() {
  if grep --quiet '^LD_LIBRARY_PATH=' "$run/env"; then
    return
  fi
  if docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$image" |
    grep --quiet '^LD_LIBRARY_PATH='; then
    return
  fi
  options+=(--env LD_LIBRARY_PATH=/usr/local/nvidia/lib64)
}

pull() {
  local registry=${image%%/*}
  case $registry in
    *.pkg.dev | gcr.io | *.gcr.io)
      docker-credential-gcr configure-docker --registries="$registry"
      ;;
    *) ;;
  esac
  docker pull --quiet "$image"
}

mkdir -p "$run" "$HOME"
ask_metadata instance/attributes/ >"$run/attributes"

image=$(attribute slipway-image)
port=$(attribute slipway-port)
[[ -n $image && $image != -* ]] || fail 'the metadata names no image'
[[ $port =~ ^[0-9]+$ ]] || fail 'the metadata names no port'

# Lists are read completely before they are used: a failure in a loop's input would go unnoticed and
# start the container with half of them.
attribute slipway-args >"$run/args"
attribute slipway-env >"$run/env"
attribute slipway-secrets >"$run/secrets"
options=(--detach --restart always --name "$container")
options+=(--publish "$port:$port" --env-file "$run/env")
arguments=()
while IFS= read -r line || [[ -n $line ]]; do
  arguments+=("${line#=}")
done <"$run/args"

if has slipway-gpu; then
  prepare_gpus
fi
say "pulling $image"
pull
if has slipway-gpu; then
  point_to_driver
fi
docker rm --force "$container" >/dev/null 2>&1 || true

# A secret may contain line breaks, which an env file cannot, so Docker takes it from this process's
# environment. That comes last, so that no other process gets it.
docker=$(command -v docker)
secrets=()
while IFS= read -r line || [[ -n $line ]]; do
  value=$(read_secret "${line#*=}") || fail "secret ${line#*=} cannot be read"
  options+=(--env "${line%%=*}")
  secrets+=("${line%%=*}=$value")
done <"$run/secrets"
for pair in "${secrets[@]}"; do
  export "${pair?}"
done
"$docker" run "${options[@]}" "$image" "${arguments[@]}"
say 'the container runs'
