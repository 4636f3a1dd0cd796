#!/usr/bin/env bash
# Creates what Slipway needs in a Google Cloud project: topics and subscriptions, a Cloud Tasks queue,
# Firestore, service accounts and their roles, a first policy, the minute tick, and the six Cloud Run
# services as empty shells. A project owner runs it once. It is idempotent: existing resources are
# kept or set to the same values. The functions are deployed afterwards (cloudbuild.yaml, or functions.sh).
#
# The subscriptions start as pull subscriptions, which keep messages for a week. Once a function is
# deployed, a run of this script by an owner makes its subscriptions push: so a release published
# before the first deployment waits and is not lost, and the deployer needs no right to say where
# Pub/Sub sends its tokens.
#
# It may fail or be killed at any call: run it again. What is deployed is never replaced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh
# shellcheck source-path=SCRIPTDIR source=policy.sh
source ./policy.sh

usage() {
  cat <<TEXT
Usage: deploy/bootstrap.sh --project=ID [--region=REGION] [--database=NAME]
                           [--firestore-location=LOCATION] [--network=NAME]
                           [--change-database] [--default-account] [--dry-run]

Creates topics, subscriptions, a task queue, Firestore, service accounts with their roles, the minute
tick and six empty Cloud Run services in a project. Safe to run again. Run it again after the first
deployment: then it connects the subscriptions to the functions.

  --project=ID             the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION          where the functions run (default: us-central1)
  --database=NAME          the Firestore database (default: slipway)
  --firestore-location=L   where the documents are (default: the region); cannot be changed later
  --change-database        the documents will be moved to this database (docs/deploy.md#database)
  --network=NAME           the instances' network, opened to Google's health checks
                           (default: default)
  --default-account        let Slipway start instances as the project's default Compute Engine account
                           too: for releases of a Slipway that used it. By default it may start them
                           as slipway-model only.
  --dry-run                print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
FIRESTORE_LOCATION="$REGION"
NETWORK=default
DEFAULT_ACCOUNT=false
PROJECT_NUMBER=0
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --firestore-location=*) FIRESTORE_LOCATION="${argument#*=}" ;;
    --network=*) NETWORK="${argument#*=}" ;;
    --change-database) CHANGE_DATABASE=true ;;
    --default-account) DEFAULT_ACCOUNT=true ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done

SERVICES=("$INTAKE" "$APPROVER" "$ALERT_INTAKE" "$ARTIFACT_INTAKE" "$NOTIFIER" "$RECONCILER")
PUSH_SUBSCRIPTIONS=("$INTAKE_SUBSCRIPTION" "$APPROVER_SUBSCRIPTION" "$ALERT_SUBSCRIPTION"
  "$IMAGE_SUBSCRIPTION" "$BUILD_SUBSCRIPTION" "$ARTIFACT_SUBSCRIPTION" "$NOTIFIER_SUBSCRIPTION"
  "$RECONCILER_SUBSCRIPTION")
in_project=(--project="$PROJECT")
quietly=("${in_project[@]}" --format=none --quiet)
in_database=(--database="$DATABASE" "${in_project[@]}")

apis() {
  require_component beta
  run gcloud services enable "${in_project[@]}" \
    artifactregistry.googleapis.com cloudbuild.googleapis.com cloudresourcemanager.googleapis.com \
    cloudscheduler.googleapis.com cloudtasks.googleapis.com compute.googleapis.com \
    firestore.googleapis.com iam.googleapis.com monitoring.googleapis.com pubsub.googleapis.com \
    run.googleapis.com secretmanager.googleapis.com
}

# -- service accounts and roles

project_role() { # identity, role, [condition]
  run gcloud projects add-iam-policy-binding "$PROJECT" --role="$2" \
    --member="serviceAccount:$(identity "$1")" --condition="${3:-None}" "${quietly[@]:1}"
}

may_act_as() { # service account, email of the account to act as
  run gcloud iam service-accounts add-iam-policy-binding "$2" \
    --member="serviceAccount:$(identity "$1")" --role=roles/iam.serviceAccountUser "${quietly[@]}"
}

may_publish() { # member, topic
  run gcloud pubsub topics add-iam-policy-binding "$2" --member="serviceAccount:$1" \
    --role=roles/pubsub.publisher "${quietly[@]}"
}

identities() {
  service_account "$INTAKE" "Slipway intake: records releases, has no Compute permission"
  service_account "$APPROVER" "Slipway approver: records approvals, has no Compute permission"
  service_account "$ALERT_INTAKE" "Slipway alert intake: records alerts, has no Compute permission"
  service_account "$ARTIFACT_INTAKE" "Slipway artifact intake: publishes releases, writes nothing"
  service_account "$NOTIFIER" "Slipway notifier: sends status events on, publishes nothing"
  service_account "$RECONCILER" "Slipway reconciler: makes Compute Engine match the release"
  service_account "$WAKER" "Slipway waker: scheduled wake-ups are published as this account"
  service_account slipway-invoker "Slipway push: Pub/Sub calls the functions with this identity"
  service_account slipway-deployer "Slipway deployer: the identity of Cloud Build"
  service_account slipway-publisher "Slipway publisher: may only publish releases"
  service_account slipway-model "Slipway model: the identity of the instances"
}

# Exactly the permissions that the reconciler's calls require (tests/test_roles.py).
reconciler_role() {
  local role=("$RECONCILER_ROLE" --file=roles/reconciler.yaml "${quietly[@]}") deleted
  if ! exists gcloud iam roles describe "$RECONCILER_ROLE" "${in_project[@]}"; then
    create gcloud iam roles create "${role[@]}"
    return
  fi
  # A deleted role keeps its name for weeks.
  deleted="$(value gcloud iam roles describe "$RECONCILER_ROLE" "${in_project[@]}" \
    --format='value(deleted)')"
  if [ "$deleted" = True ]; then run gcloud iam roles undelete "$RECONCILER_ROLE" "${quietly[@]}"; fi
  run gcloud iam roles update "${role[@]}"
}

# The condition that a resource of a type that IAM knows by name has one of Slipway's names. Other
# types have another resource.type, or none, and pass: so do lists, which concern the project.
# Source: IAM documentation, resource attributes; at most 12 logical operators.
named_slipway() {
  local each condition="" types=(BackendService:backendServices
    GlobalForwardingRule:forwardingRules Instance:instances InstanceTemplate:instanceTemplates
    TargetHttpProxy:targetHttpProxies TargetHttpsProxy:targetHttpsProxies)
  for each in "${types[@]}"; do
    condition="$condition${condition:+ && }(resource.type != \"compute.googleapis.com/${each%:*}\""
    condition="$condition || resource.name.extract(\"/${each#*:}/{name}\").startsWith(\"slipway-\"))"
  done
  echo "expression=$condition,title=slipway-names"
}

roles() {
  local database="projects/$PROJECT/databases/$DATABASE"
  local this_database="expression=resource.name==\"$database\",title=slipway-documents"
  local settings="projects/$PROJECT/databases/$SETTINGS_DATABASE"
  settings="expression=resource.name==\"$settings\",title=slipway-settings"
  local who

  # What decides what a function may do is not the function's to write (ADR 0046).
  for who in "${SERVICES[@]}"; do
    project_role "$who" roles/datastore.viewer "$settings"
  done

  # Only the reconciler uses Compute Engine. The notifier publishes nothing, and the artifact intake
  # writes no document.
  for who in "$INTAKE" "$APPROVER" "$ALERT_INTAKE" "$RECONCILER"; do
    project_role "$who" roles/datastore.user "$this_database"
    may_publish "$(identity "$who")" "$WAKEUPS"
    may_publish "$(identity "$who")" "$STATUS"
    may_publish "$(identity "$who")" "$DEAD"
  done
  project_role "$NOTIFIER" roles/datastore.user "$this_database"
  project_role "$ARTIFACT_INTAKE" roles/datastore.viewer "$this_database"
  may_publish "$(identity "$ARTIFACT_INTAKE")" "$RELEASES"
  project_role "$INTAKE" roles/artifactregistry.reader # the digest of a tag
  reconciler_role
  project_role "$RECONCILER" "projects/$PROJECT/roles/$RECONCILER_ROLE" "$(named_slipway)"
  project_role "$RECONCILER" roles/monitoring.viewer # requests, with SLIPWAY_METRICS
  may_act_as "$RECONCILER" "$(identity slipway-model)"
  if [ "$DEFAULT_ACCOUNT" = true ]; then
    may_act_as "$RECONCILER" "$PROJECT_NUMBER-compute@developer.gserviceaccount.com"
  fi

  # The reconciler creates tasks, and they publish wake-ups as an account that can do nothing else.
  run gcloud tasks queues add-iam-policy-binding "$QUEUE" --location="$REGION" \
    --member="serviceAccount:$(identity "$RECONCILER")" --role=roles/cloudtasks.enqueuer \
    "${quietly[@]}"
  may_act_as "$RECONCILER" "$(identity "$WAKER")"
  may_publish "$(identity "$WAKER")" "$WAKEUPS"

  # Nobody may publish on the topic for approvals until you say who approves (docs/deploy.md).
  may_publish "$(identity slipway-publisher)" "$RELEASES"

  project_role slipway-model roles/artifactregistry.reader
  project_role slipway-model roles/logging.logWriter
  project_role slipway-model roles/monitoring.metricWriter

  # The deployer builds and deploys, and may publish a release. It sets no IAM policy, and only reads
  # where the subscriptions push: this script decides who may call the functions.
  project_role slipway-deployer roles/run.sourceDeveloper
  project_role slipway-deployer roles/run.builder
  project_role slipway-deployer roles/logging.logWriter
  for who in "${SERVICES[@]}" slipway-deployer; do
    may_act_as slipway-deployer "$(identity "$who")"
  done
  may_publish "$(identity slipway-deployer)" "$RELEASES"
  # It asks new revisions whether they can take over, and reads their answer in the log.
  may_publish "$(identity slipway-deployer)" "$CHECKS"
  project_role slipway-deployer roles/logging.viewer
  for who in "${PUSH_SUBSCRIPTIONS[@]}" "${SERVICES[@]/%/-check}"; do
    run gcloud pubsub subscriptions add-iam-policy-binding "$who" \
      --member="serviceAccount:$(identity slipway-deployer)" --role=roles/pubsub.viewer \
      "${quietly[@]}"
  done
  earlier_rights
}

# Earlier versions let the deployer send tokens that call the functions anywhere, and the reconciler
# change resources of any name.
earlier_rights() {
  local deployer who
  deployer="serviceAccount:$(identity slipway-deployer)"
  for who in "${PUSH_SUBSCRIPTIONS[@]}"; do
    revoke gcloud pubsub subscriptions remove-iam-policy-binding "$who" --member="$deployer" \
      --role=roles/pubsub.editor "${quietly[@]}"
  done
  revoke gcloud projects remove-iam-policy-binding "$PROJECT" \
    --member="serviceAccount:$(identity "$RECONCILER")" \
    --role="projects/$PROJECT/roles/$RECONCILER_ROLE" --condition=None "${quietly[@]:1}"
  revoke gcloud iam service-accounts remove-iam-policy-binding "$(identity slipway-invoker)" \
    --member="$deployer" --role=roles/iam.serviceAccountUser "${quietly[@]}"
}

# Pub/Sub's service agent signs the push tokens and forwards dead letters.
pubsub_agent() {
  local agent="service-$PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com"
  run gcloud beta services identity create --service=pubsub.googleapis.com "${quietly[@]}"
  run gcloud iam service-accounts add-iam-policy-binding "$(identity slipway-invoker)" \
    --member="serviceAccount:$agent" --role=roles/iam.serviceAccountTokenCreator "${quietly[@]}"
  may_publish "$agent" "$DEAD"
  local kept
  for kept in "$INTAKE_SUBSCRIPTION" "$APPROVER_SUBSCRIPTION" "$ALERT_SUBSCRIPTION" \
    "$IMAGE_SUBSCRIPTION" "$BUILD_SUBSCRIPTION" "$ARTIFACT_SUBSCRIPTION"; do
    run gcloud pubsub subscriptions add-iam-policy-binding "$kept" \
      --member="serviceAccount:$agent" --role=roles/pubsub.subscriber "${quietly[@]}"
  done
}

# Cloud Monitoring's service agent alone publishes alerts. Google creates it with a project's first
# notification channel of type Pub/Sub, and nobody can be granted a role before: create the channel
# (docs/deploy.md), then run this script again.
monitoring_agent() {
  local agent="service-$PROJECT_NUMBER@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
  if [ "$DRY_RUN" = true ]; then
    may_publish "$agent" "$ALERTS"
  elif ! QUIET=true try "$agent does not exist" gcloud pubsub topics add-iam-policy-binding \
    "$ALERTS" --member="serviceAccount:$agent" --role=roles/pubsub.publisher "${quietly[@]}"; then
    echo "no alerts yet: create a notification channel for the topic $ALERTS, then run this again" >&2
  fi
}

# -- Pub/Sub

topic() {
  exists gcloud pubsub topics describe "$1" "${in_project[@]}" ||
    create gcloud pubsub topics create "$1" "${in_project[@]}"
}

# A filter cannot be changed later, so it is set only at creation.
subscription() { # name, topic, flags that an update may set again; FILTER for a new one
  local name="$1" from="$2"
  shift 2
  if exists gcloud pubsub subscriptions describe "$name" "${in_project[@]}"; then
    run gcloud pubsub subscriptions update "$name" "$@" "${in_project[@]}"
  else
    create gcloud pubsub subscriptions create "$name" --topic="$from" \
      ${FILTER:+--message-filter="$FILTER"} "$@" "${in_project[@]}"
  fi
}

messages() {
  local name
  for name in "$RELEASES" "$APPROVALS" "$ALERTS" "$IMAGES" "$BUILDS" "$ARTIFACTS" "$WAKEUPS" "$STATUS" \
    "$DEAD" "$CHECKS"; do
    topic "$name"
  done

  # 100 attempts, 10 s to 10 min apart, take about 16 hours: an outage of Firestore or Slipway
  # dead-letters no release, approval or alert.
  local intent=(--ack-deadline="$ACK_DEADLINE_SECONDS" --expiration-period=never
    --message-retention-duration=7d --min-retry-delay=10s --max-retry-delay=600s
    --dead-letter-topic="projects/$PROJECT/topics/$DEAD" --max-delivery-attempts=100)
  subscription "$INTAKE_SUBSCRIPTION" "$RELEASES" "${intent[@]}"
  subscription "$APPROVER_SUBSCRIPTION" "$APPROVALS" "${intent[@]}"
  subscription "$ALERT_SUBSCRIPTION" "$ALERTS" "${intent[@]}"
  subscription "$IMAGE_SUBSCRIPTION" "$IMAGES" "${intent[@]}"
  FILTER='attributes.status = "SUCCESS"' subscription "$BUILD_SUBSCRIPTION" "$BUILDS" "${intent[@]}"
  subscription "$ARTIFACT_SUBSCRIPTION" "$ARTIFACTS" "${intent[@]}"
  # The notifier gives an event up after 12 hours by itself, so nothing becomes a dead letter.
  subscription "$NOTIFIER_SUBSCRIPTION" "$STATUS" \
    --ack-deadline="$ACK_DEADLINE_SECONDS" --expiration-period=never \
    --message-retention-duration=1d --min-retry-delay=10s --max-retry-delay=600s
  # A wake-up is a hint that the tick repeats, so it expires instead of becoming a dead letter.
  subscription "$RECONCILER_SUBSCRIPTION" "$WAKEUPS" \
    --ack-deadline="$ACK_DEADLINE_SECONDS" --expiration-period=never \
    --message-retention-duration=1h --min-retry-delay=10s --max-retry-delay=60s
  # What new revisions are asked. Nobody waits longer for an answer.
  for name in "${SERVICES[@]}"; do
    FILTER="attributes.service = \"$name\"" subscription "$name-check" "$CHECKS" \
      --ack-deadline=60 --expiration-period=never --message-retention-duration=10m \
      --min-retry-delay=5s --max-retry-delay=10s
  done
  # A topic without a subscription keeps nothing.
  subscription "$DEAD_SUBSCRIPTION" "$DEAD" \
    --ack-deadline=60 --expiration-period=never --message-retention-duration=7d
}

# Every minute the tick wakes each model whose requeue_at has passed, so that lost messages do not
# stop progress.
tick() {
  local job=(slipway-tick --location="$REGION" "${in_project[@]}")
  local content=(--schedule="* * * * *" --time-zone=Etc/UTC
    --topic="projects/$PROJECT/topics/$WAKEUPS" --message-body='{"tick":true}')
  if exists gcloud scheduler jobs describe "${job[@]}"; then
    run gcloud scheduler jobs update pubsub "${job[@]}" "${content[@]}"
  else
    create gcloud scheduler jobs create pubsub "${job[@]}" "${content[@]}"
  fi
}

# Wakes each model at its time. A task that fails is tried a few times; after that the tick finds the
# model. The rates are far below the quota of Pub/Sub.
queue() {
  local queue=("$QUEUE" --location="$REGION" "${in_project[@]}")
  local rates=(--max-attempts=5 --min-backoff=1s --max-backoff=10s
    --max-dispatches-per-second=200 --max-concurrent-dispatches=100)
  if exists gcloud tasks queues describe "${queue[@]}"; then
    run gcloud tasks queues update "${queue[@]}" "${rates[@]}"
  else
    create gcloud tasks queues create "${queue[@]}" "${rates[@]}"
  fi
}

# -- Firestore, network, services

documents() {
  database "$DATABASE"
  # The policy and the other settings. Who may write them is up to you: no identity made here may.
  database "$SETTINGS_DATABASE"
  # Slipway queries models by name and by requeue_at; Firestore indexes both by default. Large
  # fields that no query uses are exempt, because each indexed field makes writes slower.
  local exempt="" expiring="" field collection
  if [ "$DRY_RUN" = false ]; then
    exempt="$(value gcloud firestore indexes fields list "${in_database[@]}" --format='value(name)')"
    expiring="$(value gcloud firestore fields ttls list "${in_database[@]}" --format='value(name)')"
    exempt="$exempt"$'\n' expiring="$expiring"$'\n'
  fi
  for field in models/candidate models/conditions models/desired models/outputs models/previous \
    models/recent_events models/rollout models/stable models/verified releases/spec outbox/data; do
    collection="${field%/*}" field="${field#*/}"
    [[ $exempt == *"/collectionGroups/$collection/fields/$field"$'\n'* ]] ||
      run gcloud firestore indexes fields update "$field" --collection-group="$collection" \
        --database="$DATABASE" --disable-indexes --async "${quietly[@]}"
  done
  for collection in notifications notification_threads ignored; do
    [[ $expiring == *"/collectionGroups/$collection/fields/expires_at"$'\n'* ]] ||
      run gcloud firestore fields ttls update expires_at --collection-group="$collection" \
        --database="$DATABASE" --enable-ttl --async "${quietly[@]}"
  done
}

# Neither the mode nor the place of a database can be changed.
database() { # name
  local database=(--database="$1" "${in_project[@]}") mode location recovery
  if ! exists gcloud firestore databases describe "${database[@]}"; then
    create gcloud firestore databases create "${database[@]}" --location="$FIRESTORE_LOCATION" \
      --type=firestore-native --delete-protection --enable-pitr
    return
  fi
  IFS=$'\t' read -r mode location recovery < <(value gcloud firestore databases describe \
    "${database[@]}" --format='value(type,locationId,pointInTimeRecoveryEnablement)') ||
    fail "the database $1 could not be read"
  [ "$mode" = FIRESTORE_NATIVE ] ||
    fail "the database $1 is in Datastore mode ($mode), in which Slipway cannot store" \
      "documents: name another one with --database"
  [ "$location" = "$FIRESTORE_LOCATION" ] ||
    fail "the database $1 is in $location, not in $FIRESTORE_LOCATION:" \
      "pass --firestore-location=$location, or name another one with --database"
  [ "$recovery" = POINT_IN_TIME_RECOVERY_ENABLED ] ||
    run gcloud firestore databases update "${database[@]}" --enable-pitr
}

# The repository of the functions' images. Deployments run in parallel, and each would create it.
images() {
  local repository=("$IMAGE_REPOSITORY" --location="$REGION" "${in_project[@]}")
  exists gcloud artifacts repositories describe "${repository[@]}" ||
    create gcloud artifacts repositories create "${repository[@]}" --repository-format=docker \
      --description="Images of Slipway's functions"
}

# Google's health checks and load balancers reach the instances from these two ranges; without the
# rule no instance becomes healthy. Source: Cloud Load Balancing, health check concepts.
health_checks() {
  exists gcloud compute firewall-rules describe slipway-health-checks "${in_project[@]}" ||
    create gcloud compute firewall-rules create slipway-health-checks "${in_project[@]}" \
      --network="$NETWORK" --direction=INGRESS --allow=tcp \
      --source-ranges=130.211.0.0/22,35.191.0.0/16
}

# An empty service with its identity, so that this script can grant the right to call it and the
# deployer needs no such permission. Its image acknowledges every message, so it is deployed only if
# Google says that there is no such service, and no subscription pushes to it.
service() {
  exists gcloud run services describe "$1" --region="$REGION" "${in_project[@]}" ||
    run gcloud run deploy "$1" --region="$REGION" \
      --image="$SHELL_IMAGE" \
      --service-account="$(identity "$1")" --no-allow-unauthenticated --ingress=internal \
      --max-instances=1 --quiet "${in_project[@]}"
  run gcloud run services add-iam-policy-binding "$1" --region="$REGION" \
    --member="serviceAccount:$(identity slipway-invoker)" --role=roles/run.invoker "${quietly[@]}"
}

PROJECT_NUMBER="$(project_number)"
apis
same_database "$INTAKE"
documents
images
messages
identities
for name in "${SERVICES[@]}"; do service "$name"; done
queue
roles
pubsub_agent
monitoring_agent
tick
health_checks
private_google_access
first_policy
missing=()
for name in "${SERVICES[@]}"; do
  if is_deployed "$name"; then connect "$name"; else missing+=("$name"); fi
done
echo
if [ ${#missing[@]} = 0 ]; then
  echo "Ready: all functions are deployed and connected."
else
  options="--project=$PROJECT --region=$REGION"
  echo "Not deployed yet: ${missing[*]}. Pin the images of the build once"
  echo "  .venv/bin/python -m deploy.pin_images"
  echo "deploy the functions with"
  echo "  gcloud builds submit $options --ignore-file=.buildignore \\"
  echo "    --substitutions=_REGION=$REGION,_DATABASE=$DATABASE"
  echo "and then run this script again, which connects the subscriptions to them; or do both with"
  echo "  deploy/functions.sh $options --database=$DATABASE"
fi
