# shellcheck shell=bash
# The names and the few helpers that bootstrap.sh and functions.sh share; sourced, never run.
# shellcheck disable=SC2034  # the names are used by the two scripts

# Topics; infra/bus/envelope.py speaks of the same ones (tests/test_cloudbuild.py compares).
RELEASES=model-releases
WAKEUPS=model-wakeups
STATUS=model-rollout-status
DEAD=model-releases-dead

# Subscriptions: who listens to what.
INTAKE_SUBSCRIPTION=model-releases-intake
TURN_SUBSCRIPTION=model-wakeups-turn
DEAD_SUBSCRIPTION=model-releases-dead-kept

# Cloud Run services, each with the identity of the same name.
INTAKE=slipway-intake
TURN=slipway-turn

# The custom role of the turn's identity; role names take no dashes.
TURN_ROLE=slipwayTurn

# The function's own limit, and what Pub/Sub waits for it: longer, or one slow turn would be started twice.
TIMEOUT_SECONDS=120
ACK_DEADLINE_SECONDS=135

PROJECT="${GOOGLE_CLOUD_PROJECT:-}"
REGION=us-central1
DRY_RUN=false

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# Shows a command and runs it, or only shows it with --dry-run.
run() {
  printf '%q ' "$@"
  echo
  if [ "$DRY_RUN" = false ]; then "$@"; fi
}

# Is it there already? With --dry-run nothing is asked and nothing is there, so that every command shows.
exists() {
  [ "$DRY_RUN" = false ] && "$@" >/dev/null 2>&1
}

# Takes --project, --region and --dry-run; what it does not know it leaves in REST, in order.
parse_common() {
  REST=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --project=*) PROJECT="${1#*=}" ;;
      --region=*) REGION="${1#*=}" ;;
      --project | --region)
        [ $# -ge 2 ] || fail "$1 needs a value"
        if [ "$1" = --project ]; then PROJECT="$2"; else REGION="$2"; fi
        shift
        ;;
      --dry-run) DRY_RUN=true ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) REST+=("$1") ;;
    esac
    shift
  done
  [ -n "$PROJECT" ] || fail "which project? --project=ID (or GOOGLE_CLOUD_PROJECT)"
}

identity() {
  echo "$1@$PROJECT.iam.gserviceaccount.com"
}
