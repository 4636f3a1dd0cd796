#!/bin/bash
# Starts the container that this machine's metadata names. Docker keeps it running.
#
# Read from the metadata server: slipway-image, slipway-port, and optionally
#   slipway-args     one argument per line after a `=`, so that an empty argument is a line too
#   slipway-env      one NAME=value per line
#   slipway-secrets  one NAME=secret[@version] per line; the secret is read from Secret Manager with
#                    the machine's service account
#   slipway-shm-mb   the size of /dev/shm in MiB; without it, half of the machine's memory
#   slipway-ulimits  one name=limit per line
#   slipway-metrics-port  a second port to open, for the server's own metrics
#   slipway-gpu      present if the machine has GPUs
# Values reach Docker as single arguments or through a file. No value is run as code, no secret is
# in metadata or printed, and no variable of this script gets its name from one.
# Runs again, after longer and longer pauses (slipway.service), until it succeeds.
set -euo pipefail
umask 077
export LC_ALL=C

readonly metadata=http://metadata.google.internal/computeMetadata/v1
readonly secret_manager=https://secretmanager.googleapis.com/v1
readonly run=/run/slipway
readonly container=slipway-model
readonly driver=/usr/local/nvidia

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

# Container-Optimized OS has the driver in /var/lib/nvidia, which is mounted noexec: remount it. Each
# bind mount onto itself would double the mounts below it, so there is one in the life of a boot, as
# long as the file that records it.
prepare_gpus() {
  say 'installing the GPU driver'
  cos-extensions install gpu
  if [[ ! -e $run/driver-is-mounted ]]; then
    mount --bind /var/lib/nvidia /var/lib/nvidia
    touch "$run/driver-is-mounted"
  fi
  mount --options remount,exec /var/lib/nvidia
  options+=(--volume "/var/lib/nvidia/lib64:$driver/lib64:ro")
  options+=(--volume "/var/lib/nvidia/bin:$driver/bin:ro")
  local device
  for device in /dev/nvidia* /dev/nvidia-caps/*; do
    if [[ -c $device ]]; then
      options+=(--device "$device:$device")
    fi
  done
}

# Prints the value of LD_LIBRARY_PATH in a list of variables, one per line.
library_path() {
  sed -n '/^LD_LIBRARY_PATH=/ { s///p; q }' "$1"
}

# The driver's libraries must match its kernel module, so they come before those of the image. What
# the release itself sets keeps its order, for example for CUDA's forward compatibility.
point_to_driver() {
  local path
  if grep --quiet '^LD_LIBRARY_PATH=' "$run/secrets"; then
    return
  fi
  if grep --quiet '^LD_LIBRARY_PATH=' "$run/env"; then
    path=$(library_path "$run/env")
    if [[ :$path: == *":$driver/lib64:"* ]]; then
      return
    fi
    path=${path:+$path:}$driver/lib64
  else
    docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$image" \
      >"$run/image-env"
    path=$(library_path "$run/image-env")
    path=$driver/lib64${path:+:$path}
  fi
  options+=(--env "LD_LIBRARY_PATH=$path")
}

# The size of /dev/shm for Docker. It limits memory and reserves none. Docker's own 64 MiB are too
# little for programs of several processes that share tensors.
shared_memory() {
  local size
  size=$(attribute slipway-shm-mb)
  if [[ -n $size ]]; then
    [[ $size =~ ^[0-9]+$ ]] || fail 'slipway-shm-mb is not a number'
    printf '%sm' "$size"
  else
    size=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
    printf '%sk' "$((size / 2))"
  fi
}

# Whether a value is one line of an env file as Docker reads it: printable, and not too long.
fits_in_file() {
  [[ $1 != *[!$'\t'\ -~]* && ${#1} -le 60000 ]]
}

# Whether a variable may be in the environment of Docker's client: nothing on the way to it, which
# is this shell, the loader and the client, acts on its name.
is_inert() {
  [[ $1 =~ ^[A-Z][A-Z0-9_]*$ && ! -v $1 && $1 != @(BASH|DOCKER|GLIBC|GO|LD_)* ]]
}

# Runs a command with more variables in its environment: `launch NAME=value ... -- command ...`. A
# subshell without variables of its own.
launch() (
  while [[ $1 != -- ]]; do
    export "${1?}"
    shift
  done
  shift
  exec "$@"
)

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
[[ $image =~ ^[A-Za-z0-9][A-Za-z0-9./:@_-]*$ ]] || fail 'the metadata names no image'
[[ $port =~ ^[0-9]+$ ]] || fail 'the metadata names no port'

# Lists are read completely before they are used: a failure in a loop's input would go unnoticed and
# start the container with half of them.
attribute slipway-args >"$run/args"
attribute slipway-env >"$run/env"
attribute slipway-secrets >"$run/secrets"
attribute slipway-ulimits >"$run/ulimits"
metrics_port=$(attribute slipway-metrics-port)
shm=$(shared_memory)
options=(--detach --restart always --name "$container")
options+=(--publish "$port:$port")
if [[ -n $metrics_port ]]; then
  [[ $metrics_port =~ ^[0-9]+$ ]] || fail 'slipway-metrics-port is not a port'
  options+=(--publish "$metrics_port:$metrics_port")
fi
options+=(--env-file "$run/env" --shm-size "$shm")
while IFS= read -r line || [[ -n $line ]]; do
  [[ $line =~ ^[a-z]+=-?[0-9]+$ ]] || fail 'slipway-ulimits has a line that is no limit'
  options+=(--ulimit "$line")
done <"$run/ulimits"
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

# Secrets reach Docker's client through a pipe in the form of an env file. What such a file cannot
# contain, like the line breaks of a key, is in the environment of the client alone.
in_file=()
in_environment=()
while IFS= read -r line || [[ -n $line ]]; do
  name=${line%%=*}
  secret=${line#*=}
  [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || fail 'slipway-secrets has a line without a name'
  [[ $secret =~ ^[A-Za-z0-9_-]+(@[A-Za-z0-9]+)?$ ]] || fail "$name names no secret"
  value=$(read_secret "$secret") || fail "secret $secret cannot be read"
  if fits_in_file "$value"; then
    in_file+=("$name=$value")
  elif is_inert "$name"; then
    in_environment+=("$name=$value")
    options+=(--env "$name")
  else
    fail "secret $secret has line breaks, characters outside of ASCII or more than 60000 bytes, \
which Docker cannot pass in a variable named $name; choose a name in capitals that no program knows"
  fi
done <"$run/secrets"

docker rm --force "$container" >/dev/null 2>&1 || true
docker=$(command -v docker)
launch "${in_environment[@]}" -- "$docker" run "${options[@]}" \
  --env-file <(printf '%s\n' "${in_file[@]}") "$image" "${arguments[@]}"
say 'the container runs'
