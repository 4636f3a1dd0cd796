#!/usr/bin/env bash
# Deploys the functions and points their subscriptions at them. Run bootstrap.sh once before.
# cloudbuild.yaml runs it with --deploy-only, one service per step: the deployer may not change
# subscriptions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh
# shellcheck source-path=SCRIPTDIR source=rollout.sh
source ./rollout.sh

usage() {
  cat <<TEXT
Usage: deploy/functions.sh [intake] [approver] [alert-intake] [artifact-intake]
                           [notifier] [reconciler] --project=ID [--region=REGION]
                           [--database=NAME] [--change-database] [--deploy-only] [--unchecked]
                           [--stage | --take-over | --back] [--dry-run]

Deploys on_release (intake), on_approval (approver), on_alert (alert-intake), on_artifact
(artifact-intake), on_status (notifier) and on_wakeup (reconciler) as Cloud Run functions, all by
default, and makes Pub/Sub push to them with a signed token.

New revisions of functions that serve already get no messages until all of them have answered a
self-check; until then, and if one fails, those before serve on. --back returns to those.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION   where the functions run (default: us-central1)
  --database=NAME   the Firestore database, as at bootstrap (default: slipway)
  --change-database the documents have been moved there from the database of the deployed functions
  --deploy-only     leave the subscriptions as they are, and name those that are not connected
  --unchecked       let new revisions take over without a self-check
  --stage           deploy new revisions, and leave them without messages
  --take-over       deploy nothing: let the newest revisions take over, also after --back
  --back            deploy nothing: return to the revisions that served before
  --dry-run         print every command and run none; needs neither gcloud nor a login

SLIPWAY_METRICS (cloud-monitoring) and PROMETHEUS_URL with SLIPWAY_REQUESTS_COUNTER,
SLIPWAY_ERRORS_COUNTER and SLIPWAY_LATENCY_HISTOGRAM name the source of metrics for the intake and
the reconciler; see docs/operations.md. SLIPWAY_GATE_SECRET names the
secret in Secret Manager by which the reconciler and evaluation jobs sign; see docs/gates.md.
SLIPWAY_NOTIFICATION_SECRETS names the secret that has the secrets of notifications; see
docs/notifications.md. SLIPWAY_READS_PER_MINUTE is the project's quota of reads of Compute Engine, if
it is not 1500; see docs/scale.md.
TEXT
}

parse_common "$@"
PARTS=() SERVICES=() DEPLOYS=true
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --deploy-only) CHECK_ONLY=true ;;
    --change-database) CHANGE_DATABASE=true ;;
    --unchecked) UNCHECKED=true ;;
    --stage) STAGED=true ;;
    --take-over) DEPLOYS=false ;;
    --back) BACK=true DEPLOYS=false ;;
    *) PARTS+=("$argument") ;;
  esac
done

CODE="$(code_digest main.py handlers infra rollout requirements.txt)"

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

# Asks the revision with the tag "next" whether it can take over, and waits for its answer in the log.
check() { # service, revision, the one that serves
  local question query answer="" attempt
  question="$(date +%s)-$RANDOM"
  run gcloud pubsub topics publish "$CHECKS" --project="$PROJECT" --message='{}' \
    --attribute="service=$1,check=$question"
  query="resource.labels.revision_name=\"$2\" AND jsonPayload.message=\"self-check answered\""
  query="$query AND jsonPayload.check=\"$question\""
  for attempt in {1..30}; do
    answer="$(value gcloud logging read "$query" --project="$PROJECT" --freshness=15m --limit=1 \
      --format='value(jsonPayload.answer)')"
    if [ -n "$answer" ]; then break; fi
    sleep 4
  done
  if [ "$answer" = right ]; then return 0; fi
  fail "$1: revision $2 does not take over, and $3 serves on:" \
    "${answer:-no answer to its self-check within two minutes ($attempt tries);" \
    "see its log, and whether bootstrap.sh has run since the last upgrade}"
}

# Concurrency: the reconciler mostly waits for Compute Engine and the intake for Firestore, so one
# warm instance can serve a few requests at once.
deploy() { # service, function, concurrency, max instances, [more environment variables, [flags]]
  SERVICES+=("$1")
  if [ "$DEPLOYS" = false ]; then return; fi
  same_database "$1"
  stage "$1" "$CODE" gcloud run deploy "$1" --function="$2" --source=.. --base-image=python313 \
    --automatic-updates \
    --region="$REGION" --project="$PROJECT" --service-account="$(identity "$1")" \
    --build-service-account="projects/$PROJECT/serviceAccounts/$(identity slipway-deployer)" \
    --no-allow-unauthenticated --ingress=internal --timeout="$TIMEOUT_SECONDS" --concurrency="$3" \
    --max-instances="$4" --cpu=1 --memory=512Mi --cpu-boost \
    --set-env-vars="${DELIMITER}GOOGLE_CLOUD_PROJECT=$PROJECT${COMMA}SLIPWAY_DATABASE=$DATABASE${5:-}" \
    --quiet "${@:6}"
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
      reads="${SLIPWAY_READS_PER_MINUTE:+${COMMA}SLIPWAY_READS_PER_MINUTE=$SLIPWAY_READS_PER_MINUTE}"
      deploy "$RECONCILER" on_wakeup 4 10 "$queue$waker$reads$METRICS$GATES" \
        ${SECRET[@]+"${SECRET[@]}"}
      ;;
    *) fail "unknown argument $part; see --help" ;;
  esac
done

if [ "${BACK:-false}" = true ]; then
  back "${SERVICES[@]}"
  exit
fi
if [ "${STAGED:-false}" = true ]; then exit; fi
# Before its first function takes over, nothing may be pushed to a service.
new=()
for name in "${SERVICES[@]}"; do
  if is_deployed "$name"; then connect "$name"; else new+=("$name"); fi
done
take_over "$([ "${UNCHECKED:-false}" = true ] && echo true || echo check)" "${SERVICES[@]}"
for name in ${new[@]+"${new[@]}"}; do connect "$name"; done
