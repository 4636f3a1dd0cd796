# shellcheck shell=bash
# Names and helpers that bootstrap.sh and functions.sh share. Sourced, never run.
# shellcheck disable=SC2034  # the names are used by the two scripts

# Topics. The code uses the same names (tests/test_deploy.py compares them).
RELEASES=model-releases
APPROVALS=model-approvals
ALERTS=model-alerts
ARTIFACTS=model-artifacts
# Google names these two: Artifact Registry and Cloud Build publish on them.
IMAGES=gcr
BUILDS=cloud-builds
WAKEUPS=model-wakeups
STATUS=model-rollout-status
DEAD=model-releases-dead

# Subscriptions.
INTAKE_SUBSCRIPTION=model-releases-intake
APPROVER_SUBSCRIPTION=model-approvals-approver
ALERT_SUBSCRIPTION=model-alerts-intake
ARTIFACT_SUBSCRIPTION=model-artifacts-intake
IMAGE_SUBSCRIPTION=gcr-slipway
BUILD_SUBSCRIPTION=cloud-builds-slipway
NOTIFIER_SUBSCRIPTION=model-rollout-status-notifier
RECONCILER_SUBSCRIPTION=model-wakeups-reconciler
DEAD_SUBSCRIPTION=model-releases-dead-kept

# The Cloud Tasks queue of scheduled wake-ups, and the account as which its tasks publish them.
QUEUE=slipway-wakeups
WAKER=slipway-waker

# Cloud Run services, each with a service account of the same name.
INTAKE=slipway-intake
APPROVER=slipway-approver
ALERT_INTAKE=slipway-alert-intake
ARTIFACT_INTAKE=slipway-artifact-intake
NOTIFIER=slipway-notifier
RECONCILER=slipway-reconciler

# The reconciler's custom role. Role names cannot contain dashes.
RECONCILER_ROLE=slipwayReconciler

# The function's timeout, and how long Pub/Sub waits for it: longer, or Pub/Sub would deliver a
# message again while a slow pass still runs.
TIMEOUT_SECONDS=120
ACK_DEADLINE_SECONDS=135

PROJECT="${GOOGLE_CLOUD_PROJECT:-}"
REGION=us-central1
DRY_RUN=false

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# Prints a command and runs it; with --dry-run only prints it.
run() {
  printf '%q ' "$@"
  echo
  if [ "$DRY_RUN" = false ]; then "$@"; fi
}

# Whether a resource exists. With --dry-run nothing exists, so that every command is printed.
exists() {
  [ "$DRY_RUN" = false ] && "$@" >/dev/null 2>&1
}

# Parses --project, --region and --dry-run; leaves other arguments in REST, in order.
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
  [ -n "$PROJECT" ] || fail "no project given: pass --project=ID or set GOOGLE_CLOUD_PROJECT"
}

identity() {
  echo "$1@$PROJECT.iam.gserviceaccount.com"
}
