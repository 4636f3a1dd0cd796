#!/usr/bin/env bash
# Deploys the dashboard as a service behind Identity-Aware Proxy, with an identity that can only read
# Slipway's documents. Optional. Run by a project owner, after bootstrap.sh. Safe to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh
# shellcheck source-path=SCRIPTDIR source=rollout.sh
source ./rollout.sh

usage() {
  cat <<TEXT
Usage: deploy/dashboard.sh --project=ID --viewer=MEMBER [--region=REGION] [--database=NAME]
                           [--dry-run]
       deploy/dashboard.sh --project=ID --back | --take-over

Deploys the pages of slipway dashboard as the service slipway-dashboard (docs/dashboard.md).
A new revision serves once it has checked itself; until then the one before serves on.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --viewer=MEMBER   who may see all models, such as group:on-call@example.com
  --region=REGION   where the service runs (default: us-central1)
  --database=NAME   the Firestore database, as at bootstrap (default: slipway)
  --back            deploy nothing: return to the revision that served before
  --take-over       deploy nothing: let the newest revision take over, after --back
  --dry-run         print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
NAME=slipway-dashboard
VIEWER=""
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --viewer=*) VIEWER="${argument#*=}" ;;
    --back | --take-over) redirect "$argument" "$NAME" ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done
case "$VIEWER" in
  user:* | group:* | serviceAccount:*) ;;
  *) fail "--viewer must be user:, group: or serviceAccount: and an address, got '$VIEWER'" ;;
esac
in_project=(--project="$PROJECT")

require_component beta
service_account "$NAME" "Slipway dashboard: reads documents"
reader=("$PROJECT" --member="serviceAccount:$(identity "$NAME")" --role=roles/datastore.viewer
  --format=none --quiet)
for each in "documents:$DATABASE" "settings:$SETTINGS_DATABASE"; do
  database="resource.name==\"projects/$PROJECT/databases/${each#*:}\""
  run gcloud projects add-iam-policy-binding "${reader[@]}" \
    --condition="expression=$database,title=slipway-${each%%:*}"
done
# Earlier versions let it read every database of the project.
revoke gcloud projects remove-iam-policy-binding "${reader[@]}" --condition=None
run gcloud services enable iap.googleapis.com "${in_project[@]}"

# What the functions are built from, and the pages. .gcloudignore leaves the console out.
source="$(mktemp -d)"
trap 'rm -rf "$source"' EXIT
cp -R ../console ../handlers ../infra ../rollout ../requirements.txt "$source"
echo "web: gunicorn --bind :\$PORT --threads 8 'console.dashboard.service:make_app()'" \
  >"$source/Procfile"

# The proxy signs for this audience what it lets through. Its service agent alone may call the
# service.
number="$(project_number)"
audience="/projects/$number/locations/$REGION/services/$NAME"
variables="GOOGLE_CLOUD_PROJECT=$PROJECT,SLIPWAY_DATABASE=$DATABASE"
agent="service-$number@gcp-sa-iap.iam.gserviceaccount.com"

code="$(code_digest console handlers infra rollout requirements.txt)"
stage "$NAME" "$code" gcloud beta run deploy "$NAME" --source="$source" "$SELF_CHECK" \
  --region="$REGION" "${in_project[@]}" \
  --service-account="$(identity "$NAME")" \
  --build-service-account="projects/$PROJECT/serviceAccounts/$(identity slipway-deployer)" \
  --iap --no-allow-unauthenticated --timeout=30 --concurrency=8 --max-instances=2 \
  --cpu=1 --memory=512Mi --quiet \
  --set-env-vars="$variables,SLIPWAY_IAP_AUDIENCE=$audience"
run gcloud run services add-iam-policy-binding "$NAME" --region="$REGION" "${in_project[@]}" \
  --member="serviceAccount:$agent" --role=roles/run.invoker --format=none --quiet
run gcloud beta iap web add-iam-policy-binding --resource-type=cloud-run --service="$NAME" \
  --region="$REGION" "${in_project[@]}" --member="$VIEWER" \
  --role=roles/iap.httpsResourceAccessor --format=none --quiet
take_over true "$NAME"
