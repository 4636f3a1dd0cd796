#!/usr/bin/env bash
# Makes what Slipway needs in a Google Cloud project, once: topics and subscriptions, Firestore, identities and their
# roles, the minute tick, and the two Cloud Run services as empty shells. Run by an owner of the project; run it again at
# any time: what exists is left alone or set to the same again. Functions come afterwards (cloudbuild.yaml, or functions.sh).
#
# The subscriptions begin as pull subscriptions, which keep messages for a week, and functions.sh turns them to push once
# there is something to push to: a release published before the first deployment waits and is not lost.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh

usage() {
  cat <<TEXT
Usage: deploy/bootstrap.sh --project=ID [--region=REGION] [--firestore-location=LOCATION] [--network=NAME]
                           [--only-model-account] [--dry-run]

Makes topics, subscriptions, Firestore, service accounts with their roles, the minute tick and two empty Cloud Run
services in a project. Safe to run again.

  --project=ID             the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION          where the functions run (default: us-central1)
  --firestore-location=L   where the documents are (default: the region); cannot be changed later
  --network=NAME           network of the models' instances, to let Google's health checks in (default: default)
  --only-model-account     let Slipway start instances as slipway-model alone; every release must then name it as its
                           machine.service_account. Otherwise also as the project's default Compute Engine account,
                           which is what a release gets that names none.
  --dry-run                print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
FIRESTORE_LOCATION="$REGION"
NETWORK=default
ONLY_MODEL_ACCOUNT=false
PROJECT_NUMBER=0
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --firestore-location=*) FIRESTORE_LOCATION="${argument#*=}" ;;
    --network=*) NETWORK="${argument#*=}" ;;
    --only-model-account) ONLY_MODEL_ACCOUNT=true ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done

in_project=(--project="$PROJECT")
quietly=("${in_project[@]}" --format=none --quiet)

apis() {
  run gcloud services enable "${in_project[@]}" \
    artifactregistry.googleapis.com cloudbuild.googleapis.com cloudscheduler.googleapis.com compute.googleapis.com \
    firestore.googleapis.com iam.googleapis.com monitoring.googleapis.com pubsub.googleapis.com run.googleapis.com
}

# -- identities -------------------------------------------------------------------------------------------------------

service_account() { # name, what it is for
  exists gcloud iam service-accounts describe "$(identity "$1")" "${in_project[@]}" ||
    run gcloud iam service-accounts create "$1" --display-name="$2" "${in_project[@]}"
}

project_role() { # identity, role, [condition]
  run gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$(identity "$1")" --role="$2" \
    --condition="${3:-None}" "${quietly[@]:1}"
}

may_act_as() { # who, as whom (an address)
  run gcloud iam service-accounts add-iam-policy-binding "$2" --member="serviceAccount:$(identity "$1")" \
    --role=roles/iam.serviceAccountUser "${quietly[@]}"
}

may_publish() { # member, topic
  run gcloud pubsub topics add-iam-policy-binding "$2" --member="serviceAccount:$1" --role=roles/pubsub.publisher "${quietly[@]}"
}

identities() {
  service_account "$INTAKE" "Slipway intake: records releases, holds no Compute permission"
  service_account "$TURN" "Slipway turn: makes Compute Engine match the release"
  service_account slipway-invoker "Slipway push: what Pub/Sub calls the functions as"
  service_account slipway-deployer "Slipway deployer: what Cloud Build runs as"
  service_account slipway-publisher "Slipway publisher: may publish releases and nothing else"
  service_account slipway-model "Slipway model: what the models' instances run as"
}

# Exactly what the turn's calls ask for, and no more (tests/test_roles.py).
turn_role() {
  local verb=create
  if exists gcloud iam roles describe "$TURN_ROLE" "${in_project[@]}"; then verb=update; fi
  run gcloud iam roles "$verb" "$TURN_ROLE" --file=roles/turn.yaml "${quietly[@]}"
}

roles() {
  local this_database="expression=resource.name==\"projects/$PROJECT/databases/(default)\",title=slipway-documents"
  local who

  # The two functions share the documents and the topics; Compute Engine is the turn's alone.
  for who in "$INTAKE" "$TURN"; do
    project_role "$who" roles/datastore.user "$this_database"
    may_publish "$(identity "$who")" "$WAKEUPS"
    may_publish "$(identity "$who")" "$STATUS"
    may_publish "$(identity "$who")" "$DEAD"
  done
  turn_role
  project_role "$TURN" "projects/$PROJECT/roles/$TURN_ROLE"
  may_act_as "$TURN" "$(identity slipway-model)"
  if [ "$ONLY_MODEL_ACCOUNT" = false ]; then
    may_act_as "$TURN" "$PROJECT_NUMBER-compute@developer.gserviceaccount.com"
  fi

  may_publish "$(identity slipway-publisher)" "$RELEASES"

  project_role slipway-model roles/artifactregistry.reader
  project_role slipway-model roles/logging.logWriter
  project_role slipway-model roles/monitoring.metricWriter

  # The deployer builds and deploys, points the two subscriptions at what it deployed, and may publish a release. It sets
  # no IAM policy: who may call the functions is settled here.
  project_role slipway-deployer roles/run.sourceDeveloper
  project_role slipway-deployer roles/run.builder
  project_role slipway-deployer roles/logging.logWriter
  for who in "$INTAKE" "$TURN" slipway-invoker slipway-deployer; do
    may_act_as slipway-deployer "$(identity "$who")"
  done
  may_publish "$(identity slipway-deployer)" "$RELEASES"
  for who in "$INTAKE_SUBSCRIPTION" "$TURN_SUBSCRIPTION"; do
    run gcloud pubsub subscriptions add-iam-policy-binding "$who" --member="serviceAccount:$(identity slipway-deployer)" \
      --role=roles/pubsub.editor "${quietly[@]}"
  done
}

# Pub/Sub's own identity signs the push tokens and moves dead letters.
pubsub_agent() {
  local agent="service-$PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com"
  run gcloud beta services identity create --service=pubsub.googleapis.com "${quietly[@]}"
  run gcloud iam service-accounts add-iam-policy-binding "$(identity slipway-invoker)" --member="serviceAccount:$agent" \
    --role=roles/iam.serviceAccountTokenCreator "${quietly[@]}"
  may_publish "$agent" "$DEAD"
  run gcloud pubsub subscriptions add-iam-policy-binding "$INTAKE_SUBSCRIPTION" --member="serviceAccount:$agent" \
    --role=roles/pubsub.subscriber "${quietly[@]}"
}

# -- Pub/Sub ----------------------------------------------------------------------------------------------------------

topic() {
  exists gcloud pubsub topics describe "$1" "${in_project[@]}" || run gcloud pubsub topics create "$1" "${in_project[@]}"
}

subscription() { # name, topic, flags that may be set again at any time
  local name="$1" from="$2"
  shift 2
  if exists gcloud pubsub subscriptions describe "$name" "${in_project[@]}"; then
    run gcloud pubsub subscriptions update "$name" "$@" "${in_project[@]}"
  else
    run gcloud pubsub subscriptions create "$name" --topic="$from" "$@" "${in_project[@]}"
  fi
}

messages() {
  local name
  for name in "$RELEASES" "$WAKEUPS" "$STATUS" "$DEAD"; do topic "$name"; done

  # 100 attempts, 10 s to 10 min apart, are about 16 hours: an outage of Firestore or of ours dead-letters no release.
  subscription "$INTAKE_SUBSCRIPTION" "$RELEASES" --ack-deadline="$ACK_DEADLINE_SECONDS" --expiration-period=never \
    --message-retention-duration=7d --min-retry-delay=10s --max-retry-delay=600s \
    --dead-letter-topic="projects/$PROJECT/topics/$DEAD" --max-delivery-attempts=100
  # A wake-up is a hint and the tick repeats it, so it goes stale and is dropped instead of piling up as a dead letter.
  subscription "$TURN_SUBSCRIPTION" "$WAKEUPS" --ack-deadline="$ACK_DEADLINE_SECONDS" --expiration-period=never \
    --message-retention-duration=1h --min-retry-delay=10s --max-retry-delay=60s
  # A topic without a subscription keeps nothing.
  subscription "$DEAD_SUBSCRIPTION" "$DEAD" --ack-deadline=60 --expiration-period=never --message-retention-duration=7d
}

# Once a minute every model whose wake-up time has passed gets its turn: what guarantees progress when messages are lost.
tick() {
  local verb=create
  if exists gcloud scheduler jobs describe slipway-tick --location="$REGION" "${in_project[@]}"; then verb=update; fi
  run gcloud scheduler jobs "$verb" pubsub slipway-tick --location="$REGION" --schedule="* * * * *" --time-zone=Etc/UTC \
    --topic="projects/$PROJECT/topics/$WAKEUPS" --message-body='{"tick":true}' "${in_project[@]}"
}

# -- Firestore, network, services -------------------------------------------------------------------------------------

documents() {
  exists gcloud firestore databases describe --database="(default)" "${in_project[@]}" ||
    run gcloud firestore databases create --database="(default)" --location="$FIRESTORE_LOCATION" --type=firestore-native \
      --delete-protection "${in_project[@]}"
  # Models are asked for by name and by wake_at, both indexed without our doing. What is large and never asked for is taken
  # out of the index, where it would cost time at every write.
  local field
  for field in candidate conditions desired outputs previous rollout seen stable; do unindexed models "$field"; done
  unindexed releases spec
  unindexed outbox data
}

unindexed() { # collection group, field
  run gcloud firestore indexes fields update "$2" --collection-group="$1" --database="(default)" --disable-indexes --async \
    "${quietly[@]}"
}

# Health checks and the load balancer reach the instances from these two ranges of Google's; without the rule no instance
# ever counts as healthy. Source: Cloud Load Balancing, health check concepts.
health_checks() {
  exists gcloud compute firewall-rules describe slipway-health-checks "${in_project[@]}" ||
    run gcloud compute firewall-rules create slipway-health-checks --network="$NETWORK" --direction=INGRESS --allow=tcp \
      --source-ranges=130.211.0.0/22,35.191.0.0/16 "${in_project[@]}"
}

# An empty shell with its identity, so that the right to call it is given here and the deployer need not hold it.
service() {
  exists gcloud run services describe "$1" --region="$REGION" "${in_project[@]}" ||
    run gcloud run deploy "$1" --image=us-docker.pkg.dev/cloudrun/container/hello --region="$REGION" \
      --service-account="$(identity "$1")" --no-allow-unauthenticated --ingress=internal --max-instances=1 --quiet "${in_project[@]}"
  run gcloud run services add-iam-policy-binding "$1" --region="$REGION" \
    --member="serviceAccount:$(identity slipway-invoker)" --role=roles/run.invoker "${quietly[@]}"
}

if [ "$DRY_RUN" = false ]; then PROJECT_NUMBER="$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')"; fi
apis
documents
messages
identities
service "$INTAKE"
service "$TURN"
roles
pubsub_agent
tick
health_checks
echo
echo "Ready. Deploy the functions with:"
echo "  gcloud builds submit --project=$PROJECT --region=$REGION --ignore-file=.gitignore --substitutions=_REGION=$REGION"
