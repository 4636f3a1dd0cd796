#!/usr/bin/env bash
# Removes from a project what bootstrap.sh, functions.sh, webhooks.sh, dashboard.sh and monitoring.sh
# made. Without --yes it only prints the commands. The models' fleets, their documents and images are left, and named
# at the end. Safe to run again; it may fail or be killed at any call.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh

usage() {
  cat <<TEXT
Usage: deploy/uninstall.sh --project=ID [--region=REGION] [--database=NAME] [--yes]

Deletes Slipway's services, subscriptions, topics, task queue, tick, identities and their roles, alert
policies, log-based metrics and dashboard of Cloud Monitoring. Prints what it would do, and what it
leaves; with --yes it does so. Messages that wait, dead letters among them, are lost. Retire the models first to remove their
instances, too (slipway retire MODEL): while one is left, its identity and the firewall rule of the
health checks are, too.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION   where the functions run (default: us-central1)
  --database=NAME   the Firestore database of the documents (default: slipway)
  --yes             do it
TEXT
}

parse_common "$@"
YES=false
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --yes) YES=true ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done
if [ "$YES" = false ]; then DRY_RUN=true; fi

SERVICES=("$INTAKE" "$APPROVER" "$ALERT_INTAKE" "$ARTIFACT_INTAKE" "$NOTIFIER" "$RECONCILER"
  slipway-webhooks slipway-dashboard)
IDENTITIES=("${SERVICES[@]}" "$WAKER" slipway-invoker slipway-deployer slipway-publisher)
SUBSCRIPTIONS=("$INTAKE_SUBSCRIPTION" "$APPROVER_SUBSCRIPTION" "$ALERT_SUBSCRIPTION"
  "$IMAGE_SUBSCRIPTION" "$BUILD_SUBSCRIPTION" "$ARTIFACT_SUBSCRIPTION" "$NOTIFIER_SUBSCRIPTION"
  "$RECONCILER_SUBSCRIPTION" "$DEAD_SUBSCRIPTION")
TOPICS=("$RELEASES" "$APPROVALS" "$ALERTS" "$ARTIFACTS" "$WAKEUPS" "$STATUS" "$DEAD" "$CHECKS")
in_project=(--project="$PROJECT")
GONE="$ABSENT|could not be found|binding with the specified .* not found"

# Deletes a resource, or a binding, if it is still there.
delete() {
  printf '%q ' "$@"
  echo
  if [ "$DRY_RUN" = false ]; then QUIET=true try "$GONE" "$@" || true; fi
}

# Takes a role on the project from an identity, under whatever condition.
without_role() { # identity, role
  delete gcloud projects remove-iam-policy-binding "$PROJECT" --role="$2" \
    --member="serviceAccount:$(identity "$1")" --all --format=none --quiet
}

may_not_act_as() { # email of the account to act as
  delete gcloud iam service-accounts remove-iam-policy-binding "$1" \
    --member="serviceAccount:$(identity "$RECONCILER")" --role=roles/iam.serviceAccountUser \
    "${in_project[@]}" --format=none --quiet
}

# Whether instances of a model may still run. Without --yes nothing is asked.
has_fleets() {
  local found
  if [ "$DRY_RUN" = true ]; then return 1; fi
  found="$(value gcloud compute instance-groups managed list "${in_project[@]}" \
    --filter='name~^slipway-' --format='value(name)')" || exit
  [ -n "$found" ]
}

roles() {
  local who number
  for who in "$INTAKE" "$APPROVER" "$ALERT_INTAKE" "$NOTIFIER" "$RECONCILER"; do
    without_role "$who" roles/datastore.user
  done
  for who in "$INTAKE" "$APPROVER" "$ALERT_INTAKE" "$ARTIFACT_INTAKE" "$NOTIFIER" "$RECONCILER" \
    slipway-dashboard; do
    without_role "$who" roles/datastore.viewer
  done
  without_role "$INTAKE" roles/artifactregistry.reader
  without_role "$RECONCILER" "projects/$PROJECT/roles/$RECONCILER_ROLE"
  without_role "$RECONCILER" roles/monitoring.viewer
  for who in roles/run.sourceDeveloper roles/run.builder roles/logging.logWriter roles/logging.viewer; do
    without_role slipway-deployer "$who"
  done
  number="$(project_number)"
  may_not_act_as "$number-compute@developer.gserviceaccount.com"
  if [ "$DRY_RUN" = true ] || exists gcloud iam roles describe "$RECONCILER_ROLE" "${in_project[@]}"; then
    delete gcloud iam roles delete "$RECONCILER_ROLE" "${in_project[@]}" --format=none --quiet
  fi
}

# Alert policies and dashboard: Google named them, so they are looked for.
watchers() {
  local found alert title name
  if [ "$DRY_RUN" = true ]; then
    echo "(gcloud alpha monitoring policies delete, each with a label slipway as in monitoring/alerts)"
    echo "(gcloud alpha monitoring dashboards delete, each with the title Slipway)"
    return
  fi
  found="$(value policies)"
  while IFS='|' read -r alert name _; do
    if [ -n "$alert" ] && [ -f "monitoring/alerts/$alert.json" ]; then
      delete gcloud alpha monitoring policies delete "$name" "${in_project[@]}" --quiet
    fi
  done <<<"$found"
  found="$(value dashboards)"
  while IFS='|' read -r title name; do
    if [ "$title" = Slipway ]; then
      delete gcloud alpha monitoring dashboards delete "$name" "${in_project[@]}" --quiet
    fi
  done <<<"$found"
}

# What instances need while they serve.
for_instances() {
  local role
  delete gcloud compute firewall-rules delete slipway-health-checks "${in_project[@]}" --quiet
  for role in roles/artifactregistry.reader roles/logging.logWriter roles/monitoring.metricWriter; do
    without_role slipway-model "$role"
  done
  delete gcloud iam service-accounts delete "$(identity slipway-model)" "${in_project[@]}" --quiet
}

ELSEWHERE=""
if [ "$DRY_RUN" = false ] && ! exists gcloud run services describe "$RECONCILER" --region="$REGION" \
  "${in_project[@]}"; then
  ELSEWHERE="
  services, queue and tick in another region, if Slipway ran there: none were in $REGION. Run this again
    with --region"
fi

# Alerts go first, since the rest would set them off; then what starts work, then what does it.
ALERTS_LEFT=""
if has_component alpha; then watchers; else
  ALERTS_LEFT="
  the alert policies and the dashboard \"Slipway\" of monitoring.sh: this gcloud has no component alpha.
    Delete them in the console, or run gcloud components install alpha and this again"
fi
for file in monitoring/metrics/*.json; do
  delete gcloud logging metrics delete "$(basename "$file" .json)" "${in_project[@]}" --quiet
done
delete gcloud scheduler jobs delete slipway-tick --location="$REGION" "${in_project[@]}" --quiet
for name in "${SUBSCRIPTIONS[@]}"; do
  delete gcloud pubsub subscriptions delete "$name" "${in_project[@]}"
done
for name in "${SERVICES[@]:0:6}"; do
  delete gcloud pubsub subscriptions delete "$name-check" "${in_project[@]}"
done
for name in "${SERVICES[@]}"; do
  delete gcloud run services delete "$name" --region="$REGION" "${in_project[@]}" --quiet
done
delete gcloud tasks queues delete "$QUEUE" --location="$REGION" "${in_project[@]}" --quiet
for name in "${TOPICS[@]}"; do
  delete gcloud pubsub topics delete "$name" "${in_project[@]}"
done
roles
fleets="while instances of models run, their identity and the firewall rule slipway-health-checks"
if has_fleets; then KEPT=true; else
  for_instances
  KEPT=false
fi
for name in "${IDENTITIES[@]}"; do
  delete gcloud iam service-accounts delete "$(identity "$name")" "${in_project[@]}" --quiet
done

cat <<TEXT

$([ "$DRY_RUN" = true ] && echo "Nothing was done: add --yes to run these commands. Then these are left" ||
  echo "Slipway is removed. Left are") ($([ "$KEPT" = true ] && echo "$fleets, too" || echo "$fleets stay, too")):

  the models' fleets, and the load balancers, slipway-gateway among them: they go on serving without
  Slipway
    gcloud compute instance-groups managed list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute instance-templates list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute backend-services list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute health-checks list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute url-maps list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute target-http-proxies list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute target-https-proxies list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute forwarding-rules list --filter='name~^slipway-' --project=$PROJECT
    gcloud compute addresses list --filter='name~^slipway-' --project=$PROJECT
  the documents and the settings, which are protected against deletion
    gcloud firestore databases update --database='$DATABASE' --no-delete-protection --project=$PROJECT
    gcloud firestore databases delete --database='$DATABASE' --project=$PROJECT
    gcloud firestore databases update --database='$SETTINGS_DATABASE' --no-delete-protection --project=$PROJECT
    gcloud firestore databases delete --database='$SETTINGS_DATABASE' --project=$PROJECT
  the images of the functions and the uploaded sources, in a repository and buckets that other
  services may share
    gcloud artifacts docker images list $REGION-docker.pkg.dev/$PROJECT/$IMAGE_REPOSITORY
    gcloud storage buckets list --filter='name=(run-sources-$PROJECT-$REGION ${PROJECT}_cloudbuild)' --project=$PROJECT
  Private Google Access, which bootstrap.sh turned on for a subnetwork
    gcloud compute networks subnets list --filter='privateIpGoogleAccess=true' --project=$PROJECT
  the topics $IMAGES and $BUILDS, on which Google publishes for others, too
    gcloud pubsub topics delete $IMAGES $BUILDS --project=$PROJECT
  the machine slipway-prometheus, its identity and firewall rules, if prometheus.sh made them
    gcloud compute instances list --filter='name=slipway-prometheus' --project=$PROJECT
    gcloud compute firewall-rules delete slipway-prometheus-scrapes --project=$PROJECT
    gcloud compute firewall-rules delete slipway-prometheus-answers --project=$PROJECT
    gcloud iam service-accounts delete slipway-prometheus@$PROJECT.iam.gserviceaccount.com --project=$PROJECT
  secrets, logs, notification channels, and the APIs that bootstrap.sh enabled$ALERTS_LEFT$ELSEWHERE

A task queue's name cannot be used again for three days: install Slipway again after that.
TEXT
