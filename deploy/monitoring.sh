#!/usr/bin/env bash
# Creates log-based metrics, alert policies and a dashboard. Optional. Run by a project owner, after
# bootstrap.sh. Safe to run again.
#
# What people set in the console stays: whom a policy notifies and whether it is enabled, and the whole
# dashboard once it exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh

usage() {
  cat <<TEXT
Usage: deploy/monitoring.sh --project=ID [--notify=CHANNEL,...] [--dry-run]

Creates the log-based metrics, alert policies and dashboard in deploy/monitoring. Each policy's incidents
show its runbook (docs/runbooks).

  --project=ID          the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --notify=CHANNEL,...  whom the policies notify, beside those whom they notify already: names of
                        notification channels (gcloud beta monitoring channels list)
  --dry-run             print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
NOTIFY=""
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --notify=*) NOTIFY="${argument#*=}" ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done
in_project=(--project="$PROJECT")
quietly=("${in_project[@]}" --format=none --quiet)

# What Cloud Monitoring says of a metric that was created some minutes ago.
NEW_METRIC='Cannot find metric that matches'
ALERT_FILES=(monitoring/alerts/*.json)
METRIC_FILES=(monitoring/metrics/*.json)

log_metric() { # name
  local metric=("$1" --config-from-file="monitoring/metrics/$1.json" "${quietly[@]}")
  if exists gcloud logging metrics describe "$1" "${in_project[@]}"; then
    run gcloud logging metrics update "${metric[@]}"
  else
    create gcloud logging metrics create "${metric[@]}"
  fi
}

# A line for each policy of this alert, or each dashboard of this title, the oldest name first. A policy's
# line also says whether it is enabled, and its channels.
policies() { # alert
  gcloud alpha monitoring policies list "${in_project[@]}" --sort-by=name \
    --format='value[separator="|"](userLabels.slipway,name,enabled,notificationChannels.join(","))' |
    sed -n "s/^$1|//p"
}

dashboards() { # title
  gcloud alpha monitoring dashboards list "${in_project[@]}" --sort-by=name \
    --format='value[separator="|"](displayName,name)' | sed -n "s/^$1|//p"
}

# Google names policies and dashboards itself, so that a repeated request, or two owners at once, create
# two. Each attempt first looks whether there is one, and afterwards deletes all but the first.
create_once() { # policies or dashboards, its alert or title, flags of the creation
  local kind="$1" which="$2" found each
  shift 2
  found="$("$kind" "$which")" || return
  if [ -n "$found" ]; then return 0; fi
  gcloud alpha monitoring "$kind" create "$@" || return
  found="$("$kind" "$which")" || return
  while read -r each; do
    [ -z "$each" ] || gcloud alpha monitoring "$kind" delete "${each%%|*}" "${quietly[@]}" || true
  done < <(sed 1d <<<"$found")
}

# The runbook is the policy's documentation, which an incident shows.
alert_policy() { # name
  local policy=(--policy-from-file="monitoring/alerts/$1.json"
    --documentation-from-file="../docs/runbooks/$1.md" --documentation-format=text/markdown
    "${quietly[@]}")
  local found="" name enabled channels
  if [ "$DRY_RUN" = false ]; then found="$(value policies "$1" | head -n 1)"; fi
  if [ -z "$found" ]; then
    policy+=(${NOTIFY:+--notification-channels="$NOTIFY"})
    printf '%q ' gcloud alpha monitoring policies create "${policy[@]}"
    echo
    if [ "$DRY_RUN" = true ]; then return; fi
    try "$NEW_METRIC" create_once policies "$1" "${policy[@]}" || LATER+=("$1")
    return
  fi
  IFS='|' read -r name enabled channels <<<"$found"
  if [ -n "$NOTIFY" ]; then channels="${channels:+$channels,}$NOTIFY"; fi
  policy+=(${channels:+--set-notification-channels="$channels"})
  if [ "$enabled" = False ]; then policy+=(--no-enabled); fi
  run gcloud alpha monitoring policies update "$name" "${policy[@]}"
}

dashboard() {
  local dashboard=(--config-from-file=monitoring/dashboard.json "${quietly[@]}")
  printf '%q ' gcloud alpha monitoring dashboards create "${dashboard[@]}"
  echo
  if [ "$DRY_RUN" = false ]; then try "" create_once dashboards Slipway "${dashboard[@]}"; fi
}

run gcloud services enable logging.googleapis.com monitoring.googleapis.com "${in_project[@]}"
LATER=()
for each in "${METRIC_FILES[@]}"; do log_metric "$(basename "$each" .json)"; done
for each in "${ALERT_FILES[@]}"; do alert_policy "$(basename "$each" .json)"; done
dashboard
if [ ${#LATER[@]} != 0 ]; then
  echo "no alerts yet for ${LATER[*]}: their metrics are new; run this again in ten minutes" >&2
fi
