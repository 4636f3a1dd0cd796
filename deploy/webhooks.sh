#!/usr/bin/env bash
# Deploys the service that takes webhooks of MLflow and Hugging Face, with its identity. Optional. It
# is the one service of Slipway that anybody may call: vendors send no Google tokens, so the function
# verifies each request itself (docs/sources.md). Run by a project owner, after bootstrap.sh. Safe to
# run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh
# shellcheck source-path=SCRIPTDIR source=rollout.sh
source ./rollout.sh

usage() {
  cat <<TEXT
Usage: deploy/webhooks.sh --project=ID --secret=NAME [--region=REGION] [--dry-run]
       deploy/webhooks.sh --project=ID --back | --take-over

Deploys on_webhook as the public service slipway-webhooks, which may publish on model-artifacts and
nothing else. A new revision serves once it has checked itself; until then the one before serves on.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --secret=NAME     the secret in Secret Manager with the senders' secrets (docs/sources.md)
  --region=REGION   where the service runs (default: us-central1)
  --back            deploy nothing: return to the revision that served before
  --take-over       deploy nothing: let the newest revision take over, after --back
  --dry-run         print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
NAME=slipway-webhooks
SECRET=""
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --secret=*) SECRET="${argument#*=}" ;;
    --back | --take-over) redirect "$argument" "$NAME" ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done
[ -n "$SECRET" ] || fail "no secret given: pass --secret=NAME"
in_project=(--project="$PROJECT")
member="serviceAccount:$(identity "$NAME")"

service_account "$NAME" "Slipway webhooks: verifies and publishes, reads nothing"
run gcloud pubsub topics add-iam-policy-binding "$ARTIFACTS" --member="$member" \
  --role=roles/pubsub.publisher "${in_project[@]}" --format=none --quiet
run gcloud secrets add-iam-policy-binding "$SECRET" --member="$member" \
  --role=roles/secretmanager.secretAccessor "${in_project[@]}" --format=none --quiet

code="$(code_digest main.py handlers infra rollout requirements.txt)"
stage "$NAME" "$code" gcloud run deploy "$NAME" --function=on_webhook --source=.. \
  --base-image=python313 --automatic-updates "$SELF_CHECK" \
  --region="$REGION" "${in_project[@]}" --service-account="$(identity "$NAME")" \
  --build-service-account="projects/$PROJECT/serviceAccounts/$(identity slipway-deployer)" \
  --allow-unauthenticated --ingress=all --timeout=30 --concurrency=8 --max-instances=2 \
  --cpu=1 --memory=512Mi --set-env-vars="GOOGLE_CLOUD_PROJECT=$PROJECT" \
  --set-secrets="SLIPWAY_WEBHOOK_SECRETS=$SECRET:latest" --quiet
take_over true "$NAME"
