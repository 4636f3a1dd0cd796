#!/usr/bin/env bash
# Deploys the functions and points their subscriptions at them. Run bootstrap.sh once before.
# cloudbuild.yaml runs it with --deploy-only, one service per step: the deployer may not change
# subscriptions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh

usage() {
  cat <<TEXT
Usage: deploy/functions.sh [intake] [approver] [alert-intake] [artifact-intake]
                           [notifier] [reconciler] --project=ID [--region=REGION]
                           [--database=NAME] [--change-database] [--deploy-only] [--dry-run]

Deploys on_release (intake), on_approval (approver), on_alert (alert-intake), on_artifact
(artifact-intake), on_status (notifier) and on_wakeup (reconciler) as Cloud Run functions, all by
default, and makes Pub/Sub push to them with a signed token.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION   where the functions run (default: us-central1)
  --database=NAME   the Firestore database, as at bootstrap (default: slipway)
  --change-database the documents have been moved there from the database of the deployed functions
  --deploy-only     leave the subscriptions as they are, and name those that are not connected
  --dry-run         print every command and run none; needs neither gcloud nor a login

SLIPWAY_METRICS (cloud-monitoring) and PROMETHEUS_URL with SLIPWAY_REQUESTS_COUNTER,
SLIPWAY_ERRORS_COUNTER and SLIPWAY_LATENCY_HISTOGRAM name the source of metrics for the intake and
the reconciler; see docs/operations.md. SLIPWAY_GATE_SECRET names the
secret in Secret Manager by which the reconciler and evaluation jobs sign; see docs/gates.md.
SLIPWAY_NOTIFICATION_SECRETS names the secret that has the secrets of notifications; see
docs/notifications.md.
TEXT
}

parse_common "$@"
PARTS=()
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --deploy-only) CHECK_ONLY=true ;;
    --change-database) CHANGE_DATABASE=true ;;
    *) PARTS+=("$argument") ;;
  esac
done

# A source of metrics, if there is one: the intake must know of it, and the reconciler reads it.
# A selector of series may have commas and bars, so then another character separates the variables.
METRICS="" COMMA="," DELIMITER=""
SELECTORS=(SLIPWAY_REQUESTS_COUNTER SLIPWAY_ERRORS_COUNTER SLIPWAY_LATENCY_HISTOGRAM)
for name in "${SELECTORS[@]}"; do
  if [ -n "${!name:-}" ]; then COMMA=";" DELIMITER="^;^"; fi
done
for name in SLIPWAY_METRICS PROMETHEUS_URL "${SELECTORS[@]}"; do
  if [ -n "${!name:-}" ]; then METRICS="$METRICS$COMMA$name=${!name}"; fi
done

# Gates with a url: the intake must know that there is a secret, and only the reconciler reads it.
GATES="" SECRET=()
if [ -n "${SLIPWAY_GATE_SECRET:-}" ]; then
  GATES="${COMMA}SLIPWAY_HTTP_GATES=signed"
  SECRET=(--set-secrets="SLIPWAY_GATE_SECRET=$SLIPWAY_GATE_SECRET:latest")
fi

# Concurrency: the reconciler mostly waits for Compute Engine and the intake for Firestore, so one
# warm instance can serve a few requests at once.
deploy() { # service, function, concurrency, max instances, [more environment variables, [flags]]
  same_database "$1"
  run gcloud run deploy "$1" --function="$2" --source=.. --base-image=python313 \
    --automatic-updates \
    --region="$REGION" --project="$PROJECT" --service-account="$(identity "$1")" \
    --build-service-account="projects/$PROJECT/serviceAccounts/$(identity slipway-deployer)" \
    --no-allow-unauthenticated --ingress=internal --timeout="$TIMEOUT_SECONDS" --concurrency="$3" \
    --max-instances="$4" --cpu=1 --memory=512Mi --cpu-boost \
    --set-env-vars="${DELIMITER}GOOGLE_CLOUD_PROJECT=$PROJECT${COMMA}SLIPWAY_DATABASE=$DATABASE${5:-}" \
    --labels=app=slipway --quiet "${@:6}"
  connect "$1"
}

if [ ${#PARTS[@]} = 0 ]; then PARTS=(intake approver alert-intake artifact-intake notifier reconciler); fi
for part in "${PARTS[@]}"; do
  case "$part" in
    intake)
      deploy "$INTAKE" on_release 8 5 "$METRICS$GATES"
      ;;
    approver)
      deploy "$APPROVER" on_approval 8 2
      ;;
    alert-intake)
      deploy "$ALERT_INTAKE" on_alert 8 2
      ;;
    artifact-intake)
      deploy "$ARTIFACT_INTAKE" on_artifact 8 2
      ;;
    notifier)
      secrets=()
      if [ -n "${SLIPWAY_NOTIFICATION_SECRETS:-}" ]; then
        secrets=(--set-secrets="SLIPWAY_NOTIFICATION_SECRETS=$SLIPWAY_NOTIFICATION_SECRETS:latest")
      fi
      deploy "$NOTIFIER" on_status 8 2 "" ${secrets[@]+"${secrets[@]}"}
      ;;
    reconciler)
      queue="${COMMA}SLIPWAY_QUEUE=projects/$PROJECT/locations/$REGION/queues/$QUEUE"
      waker="${COMMA}SLIPWAY_QUEUE_ACCOUNT=$(identity "$WAKER")"
      deploy "$RECONCILER" on_wakeup 4 10 "$queue$waker$METRICS$GATES" \
        ${SECRET[@]+"${SECRET[@]}"}
      ;;
    *) fail "unknown argument $part; see --help" ;;
  esac
done
