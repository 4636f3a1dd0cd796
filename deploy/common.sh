# shellcheck shell=bash
# Names and helpers that the scripts share. Sourced, never run.
# shellcheck disable=SC2034  # the names are used by the scripts

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
# What a new revision of a function is asked before it takes over. Each service has a subscription
# SERVICE-check, which pushes to the address of the revision with this tag.
CHECKS=slipway-checks
NEXT=next

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

# The Firestore database of the settings, which no function may write.
SETTINGS_DATABASE=slipway-settings

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

# The image of a service before its first deployment, and the repository in which
# `gcloud run deploy --source` stores images.
SHELL_IMAGE=us-docker.pkg.dev/cloudrun/container/hello
IMAGE_REPOSITORY=cloud-run-source-deploy

PROJECT="${GOOGLE_CLOUD_PROJECT:-}"
REGION=us-central1
DATABASE=slipway
DRY_RUN=false

# What gcloud says when a resource does not exist, when it exists already, and when a failure passes
# by itself: too many requests, an outage, a change at the same time, and a service account or an API
# that is too new.
ABSENT='NOT_FOUND: |Cannot find service \[|The resource .* was not found'
PRESENT='ALREADY_EXISTS: |already exists'
NEW_ACCOUNT='[Ss]ervice account [^ ]+ does not exist|Unknown service account|actAs.* denied on service account'
NEW_API='SERVICE_DISABLED|has not been used in project'
BUSY='RESOURCE_EXHAUSTED|UNAVAILABLE|ABORTED|DEADLINE_EXCEEDED|INTERNAL: |HTTPError (429|5..)'
BUSY="$BUSY|[Rr]ate [Ll]imit|rateLimitExceeded|Quota exceeded|concurrent policy changes"
BUSY="$BUSY|currently unavailable|[Pp]lease try again|[Cc]onnection (reset|refused|aborted)|timed out"

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# Runs a command. Returns 1 if it failed with words that match the pattern. Repeats it for about a
# minute if the failure passes by itself; any other failure ends the script with gcloud's own words.
try() { # pattern, or "" for none; command
  local pattern="$1" delay code errors
  shift
  for delay in 1 2 4 8 16 32 0; do
    code=0
    { errors="$("$@" 2>&1 >&3 3>&- | show)"; } 3>&1 4>&2 || code=$?
    if [ "$code" = 0 ]; then return 0; fi
    if [ -n "$pattern" ] && [[ $errors =~ $pattern ]]; then return 1; fi
    if [ "$delay" = 0 ] || ! [[ $errors =~ $BUSY|$NEW_ACCOUNT|$NEW_API ]]; then break; fi
    echo "$(basename "$0"): trying again in $delay s" >&2
    sleep "$delay"
  done
  if [ "${QUIET:-false}" = true ]; then echo "$errors" >&2; fi
  exit "$code"
}

# Copies lines to descriptor 4 as they come, unless QUIET.
show() {
  local line
  while IFS= read -r line || [ -n "$line" ]; do
    echo "$line"
    if [ "${QUIET:-false}" = false ]; then echo "$line" >&4; fi
  done
}

# Prints a command and runs it; with --dry-run only prints it.
run() {
  printf '%q ' "$@"
  echo
  if [ "$DRY_RUN" = false ]; then try "" "$@"; fi
}

# The same for a command that creates a resource. That it exists by now is no failure: somebody else
# created it at the same time, or the answer to an earlier attempt was lost.
create() {
  printf '%q ' "$@"
  echo
  if [ "$DRY_RUN" = false ]; then try "$PRESENT" "$@" || true; fi
}

# Whether a resource exists: only Google's NOT_FOUND means that it does not. With --dry-run nothing
# exists, so that every command is printed.
exists() {
  [ "$DRY_RUN" = false ] && QUIET=true try "$ABSENT" "$@" >/dev/null
}

# Takes a right away that an earlier version granted, if it is still there.
revoke() {
  printf '%q ' "$@"
  echo
  if [ "$DRY_RUN" = false ]; then
    QUIET=true try 'binding with the specified .* not found' "$@" || true
  fi
}

# What a command prints.
value() {
  QUIET=true try "" "$@"
}

# Whether gcloud has a component. Without it gcloud would offer to install it in a question that nobody
# sees, or with --quiet install it. Callers use it as a condition: hence `|| exit`.
has_component() { # name
  local version
  if [ "$DRY_RUN" = true ]; then return; fi
  version="$(value gcloud version --format="value($1)")" || exit
  [ -n "$version" ]
}

require_component() { # name
  has_component "$1" ||
    fail "gcloud has no component $1: run gcloud components install $1, or install it with the package" \
      "manager that installed gcloud"
}

# A line for each policy, the oldest first: its alert, its name, whether it is enabled, its channels.
policies() {
  local fields=userLabels.slipway,name,enabled
  gcloud alpha monitoring policies list --project="$PROJECT" \
    --format="value[separator=\"|\"](creationRecord.mutateTime,$fields,notificationChannels.join(\",\"))" |
    LC_ALL=C sort | sed 's/^[^|]*|//'
}

# A line for each dashboard: its title and its name.
dashboards() {
  gcloud alpha monitoring dashboards list --project="$PROJECT" \
    --format='value[separator="|"](displayName,name)' | LC_ALL=C sort
}

# Parses --project, --region, --database and --dry-run; leaves other arguments in REST, in order.
parse_common() {
  REST=()
  while [ $# -gt 0 ]; do
    case "$1" in
      --project=*) PROJECT="${1#*=}" ;;
      --region=*) REGION="${1#*=}" ;;
      --database=*) DATABASE="${1#*=}" ;;
      --project | --region | --database)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case "$1" in
          --project) PROJECT="$2" ;;
          --region) REGION="$2" ;;
          *) DATABASE="$2" ;;
        esac
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
  [ -n "$REGION" ] || fail "--region must not be empty"
  [ -n "$DATABASE" ] || fail "--database must not be empty"
  [[ $PROJECT =~ ^[a-z][a-z0-9-]*$ ]] ||
    fail "--project=$PROJECT: not the ID of a project (neither its number nor its name; IDs of a domain," \
      "example.com:id, are not supported)"
  [[ $REGION =~ ^[a-z]+-[a-z]+[0-9]+$ ]] || fail "--region=$REGION: not a region, such as us-central1"
  [[ $DATABASE =~ ^(\(default\)|[a-z][a-z0-9-]*)$ ]] ||
    fail "--database=$DATABASE: not the name of a database: small letters, digits and dashes, or (default)"
  [ "$DATABASE" != "$SETTINGS_DATABASE" ] ||
    fail "--database=$DATABASE: is the database of the settings, and functions may write that of" \
      "the documents; choose another"
}

identity() {
  echo "$1@$PROJECT.iam.gserviceaccount.com"
}

service_account() { # name, display name
  exists gcloud iam service-accounts describe "$(identity "$1")" --project="$PROJECT" ||
    create gcloud iam service-accounts create "$1" --display-name="$2" --project="$PROJECT"
}

project_number() {
  if [ "$DRY_RUN" = true ]; then
    echo 0
  else
    value gcloud projects describe "$PROJECT" --format='value(projectNumber)'
  fi
}

# Whether a function answers the service's requests. SHELL_IMAGE acknowledges messages and loses them.
# Callers use it as a condition, in which bash ignores `set -e`: hence `|| exit`.
is_deployed() { # service
  local revisions revision
  exists gcloud run services describe "$1" --region="$REGION" --project="$PROJECT" || return 1
  revisions="$(value gcloud run services describe "$1" --region="$REGION" --project="$PROJECT" \
    --format='value(status.traffic[].revisionName)')" || exit
  [ -n "$revisions" ] || return 1
  for revision in ${revisions//;/ }; do
    if is_shell "$revision"; then return 1; fi
  done
}

is_shell() { # revision
  local image
  image="$(value gcloud run revisions describe "$1" --region="$REGION" --project="$PROJECT" \
    --format='value(spec.containers[0].image)')" || exit
  [[ $image == "$SHELL_IMAGE"* ]]
}

# The revisions of a service: the share of its requests, the tag, and the name, one a line.
revisions() { # service
  value gcloud run services describe "$1" --region="$REGION" --project="$PROJECT" \
    --flatten='status.traffic[]' \
    --format='value[separator=","](status.traffic.percent,status.traffic.tag,status.traffic.revisionName)'
}

# The revision with the most requests.
serving() { # lines of revisions
  sort -t, -k1,1nr <<<"$1" | sed -n '1s/.*,//p'
}

# Refuses to continue with another database than that of the deployed function: the models and their
# releases would be missing there. Functions that name none use "(default)".
same_database() { # service
  local all current revision
  if [ "${CHANGE_DATABASE:-false}" = true ] || ! is_deployed "$1"; then return 0; fi
  all="$(revisions "$1")"
  revision="$(serving "$all")"
  current="$(value gcloud run revisions describe "$revision" --region="$REGION" --project="$PROJECT" \
    --flatten='spec.containers[0].env[]' \
    --format='value[separator="="](spec.containers.env.name,spec.containers.env.value)' |
    sed -n 's/^SLIPWAY_DATABASE=//p')"
  current="${current:-(default)}"
  [ "$current" = "$DATABASE" ] ||
    fail "$1 keeps its documents in the database $current, not in $DATABASE:" \
      "pass --database='$current', or move them first (docs/deploy.md#database)"
}

# Makes Pub/Sub push a subscription's messages to a service with a signed token. The URL's path
# carries the topic; the token's audience is the service.
push() { # subscription, topic, service, [tag]
  local url="https://$3.example" endpoint current=""
  if [ "$DRY_RUN" = false ]; then
    url="$(value gcloud run services describe "$3" --region="$REGION" --project="$PROJECT" \
      --format='value(status.url)')"
    current="$(value gcloud pubsub subscriptions describe "$1" --project="$PROJECT" \
      --format='value(pushConfig.pushEndpoint)')"
  fi
  [ -n "$url" ] || fail "the service $3 has no URL yet; run this again"
  endpoint="https://${4:+$4---}${url#https://}/projects/$PROJECT/topics/$2"
  if [ "$current" = "$endpoint" ]; then return 0; fi
  if [ "${CHECK_ONLY:-false}" = true ]; then
    echo "$1 does not push to $3 yet: an owner of the project must run deploy/bootstrap.sh" >&2
    return 0
  fi
  run gcloud pubsub subscriptions modify-push-config "$1" --project="$PROJECT" \
    --push-endpoint="$endpoint" --push-auth-service-account="$(identity slipway-invoker)" \
    --push-auth-token-audience="$url"
}

# Connects the subscriptions of a deployed service. Only an owner may: who may point a subscription
# elsewhere receives tokens with which the functions can be called.
connect() { # service
  push "$1-check" "$CHECKS" "$1" "$NEXT"
  case "$1" in
    "$INTAKE") push "$INTAKE_SUBSCRIPTION" "$RELEASES" "$1" ;;
    "$APPROVER") push "$APPROVER_SUBSCRIPTION" "$APPROVALS" "$1" ;;
    "$ALERT_INTAKE") push "$ALERT_SUBSCRIPTION" "$ALERTS" "$1" ;;
    "$ARTIFACT_INTAKE")
      push "$IMAGE_SUBSCRIPTION" "$IMAGES" "$1"
      push "$BUILD_SUBSCRIPTION" "$BUILDS" "$1"
      push "$ARTIFACT_SUBSCRIPTION" "$ARTIFACTS" "$1"
      ;;
    "$NOTIFIER") push "$NOTIFIER_SUBSCRIPTION" "$STATUS" "$1" ;;
    "$RECONCILER") push "$RECONCILER_SUBSCRIPTION" "$WAKEUPS" "$1" ;;
    *) fail "$1 has no subscription" ;;
  esac
}
