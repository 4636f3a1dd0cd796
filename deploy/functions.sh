#!/usr/bin/env bash
# Deploys the functions and points their subscriptions at them. cloudbuild.yaml runs it, one service
# per step; it does the same when run by hand. Run bootstrap.sh once before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh

usage() {
  cat <<TEXT
Usage: deploy/functions.sh [intake] [approver] [alert-intake] [artifact-intake]
                           [notifier] [reconciler] --project=ID [--region=REGION] [--dry-run]

Deploys on_release (intake), on_approval (approver), on_alert (alert-intake), on_artifact
(artifact-intake), on_status (notifier) and on_wakeup (reconciler) as Cloud Run functions, all by
default, and makes Pub/Sub push to them with a signed token.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION   where the functions run (default: us-central1)
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
  run gcloud run deploy "$1" --function="$2" --source=.. --base-image=python313 \
    --region="$REGION" --project="$PROJECT" --service-account="$(identity "$1")" \
    --build-service-account="projects/$PROJECT/serviceAccounts/$(identity slipway-deployer)" \
    --no-allow-unauthenticated --ingress=internal --timeout="$TIMEOUT_SECONDS" --concurrency="$3" \
    --max-instances="$4" --cpu=1 --memory=512Mi --cpu-boost \
    --set-env-vars="${DELIMITER}GOOGLE_CLOUD_PROJECT=$PROJECT${5:-}" --labels=app=slipway --quiet \
    "${@:6}"
}

# The URL's path carries the topic; the token's audience is the service.
push() { # subscription, topic, service
  local url="https://$3.example"
  if [ "$DRY_RUN" = false ]; then
    url="$(gcloud run services describe "$3" --region="$REGION" --project="$PROJECT" \
      --format='value(status.url)')"
  fi
  run gcloud pubsub subscriptions modify-push-config "$1" --project="$PROJECT" \
    --push-endpoint="$url/projects/$PROJECT/topics/$2" \
    --push-auth-service-account="$(identity slipway-invoker)" --push-auth-token-audience="$url"
}

if [ ${#REST[@]} = 0 ]; then REST=(intake approver alert-intake artifact-intake notifier reconciler); fi
for part in "${REST[@]}"; do
  case "$part" in
    intake)
      deploy "$INTAKE" on_release 8 5 "$METRICS$GATES"
      push "$INTAKE_SUBSCRIPTION" "$RELEASES" "$INTAKE"
      ;;
    approver)
      deploy "$APPROVER" on_approval 8 2
      push "$APPROVER_SUBSCRIPTION" "$APPROVALS" "$APPROVER"
      ;;
    alert-intake)
      deploy "$ALERT_INTAKE" on_alert 8 2
      push "$ALERT_SUBSCRIPTION" "$ALERTS" "$ALERT_INTAKE"
      ;;
    artifact-intake)
      deploy "$ARTIFACT_INTAKE" on_artifact 8 2
      push "$IMAGE_SUBSCRIPTION" "$IMAGES" "$ARTIFACT_INTAKE"
      push "$BUILD_SUBSCRIPTION" "$BUILDS" "$ARTIFACT_INTAKE"
      push "$ARTIFACT_SUBSCRIPTION" "$ARTIFACTS" "$ARTIFACT_INTAKE"
      ;;
    notifier)
      secrets=()
      if [ -n "${SLIPWAY_NOTIFICATION_SECRETS:-}" ]; then
        secrets=(--set-secrets="SLIPWAY_NOTIFICATION_SECRETS=$SLIPWAY_NOTIFICATION_SECRETS:latest")
      fi
      deploy "$NOTIFIER" on_status 8 2 "" ${secrets[@]+"${secrets[@]}"}
      push "$NOTIFIER_SUBSCRIPTION" "$STATUS" "$NOTIFIER"
      ;;
    reconciler)
      queue="${COMMA}SLIPWAY_QUEUE=projects/$PROJECT/locations/$REGION/queues/$QUEUE"
      waker="${COMMA}SLIPWAY_QUEUE_ACCOUNT=$(identity "$WAKER")"
      deploy "$RECONCILER" on_wakeup 4 10 "$queue$waker$METRICS$GATES" \
        ${SECRET[@]+"${SECRET[@]}"}
      push "$RECONCILER_SUBSCRIPTION" "$WAKEUPS" "$RECONCILER"
      ;;
    *) fail "unknown argument $part; see --help" ;;
  esac
done
