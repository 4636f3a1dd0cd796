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
Usage: deploy/monitoring.sh --project=ID [--notify=CHANNEL,...] [--docs=URL] [--dry-run]

Creates the log-based metrics, alert policies and dashboard in deploy/monitoring. Each policy's incidents
show its runbook (docs/runbooks). Needs the component alpha of gcloud.

  --project=ID          the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --notify=CHANNEL,...  whom the policies notify, beside those whom they notify already: names of
                        notification channels (gcloud beta monitoring channels list)
  --docs=URL            where the folder docs of this version is published, such as
                        https://github.com/OWNER/REPOSITORY/blob/main/docs: runbooks link to its
                        pages; a run without it takes the links away
  --dry-run             print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
NOTIFY="" DOCS=""
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --notify= | --docs=) fail "${argument%=} must not be empty" ;;
    --notify=*) NOTIFY="${argument#*=}" ;;
    --docs=*) DOCS="${argument#*=}" ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done
CHANNEL='(projects/[^/,]+/notificationChannels/)?[A-Za-z0-9_-]+'
[[ $NOTIFY =~ ^($CHANNEL(,$CHANNEL)*)?$ ]] ||
  fail "--notify=$NOTIFY: not names of notification channels, with commas between them;" \
    "gcloud beta monitoring channels list --project=$PROJECT shows them"
[[ $DOCS =~ ^(https://[A-Za-z0-9._~:/%@+-]+)?$ ]] ||
  fail "--docs=$DOCS: not the address of a folder, https://… without a query"
in_project=(--project="$PROJECT")
quietly=("${in_project[@]}" --format=none --quiet)

# Google's names of channels are full ones.
if [ -n "$NOTIFY" ]; then
  NOTIFY="$(tr , '\n' <<<"$NOTIFY" | sed "/\//!s|^|projects/$PROJECT/notificationChannels/|" | paste -sd, -)"
fi

# What Cloud Monitoring says of a metric that was created some minutes ago.
NEW_METRIC='Cannot find metric that matches'
METRIC_FILES=(monitoring/metrics/*.json)
ALERT_FILES=(monitoring/alerts/*.json)

# What a command prints; nothing with --dry-run, as if nothing existed.
found() {
  if [ "$DRY_RUN" = false ]; then value "$@"; fi
}

log_metric() { # name
  local metric=("$1" --config-from-file="monitoring/metrics/$1.json" "${quietly[@]}")
  if grep -qx "$1" <<<"$METRICS"; then
    run gcloud logging metrics update "${metric[@]}"
  else
    create gcloud logging metrics create "${metric[@]}"
  fi
}

# The rest of the first line for an alert, or a title.
first() { # alert or title, lines
  sed -n "/^$1|/{s///p;q;}" <<<"$2"
}

# Google names policies and dashboards itself, so that a repeated request, or two owners at once, create
# two. Each attempt first looks whether there is one, and deletes its own if another one is first.
create_once() { # policies or dashboards, its alert or title, flags of the creation
  local kind="$1" which="$2" existing name
  shift 2
  existing="$("$kind")" || return
  if [ -n "$(first "$which" "$existing")" ]; then return 0; fi
  name="$(gcloud alpha monitoring "$kind" create "$@" --format='value(name)')" || return
  existing="$("$kind")" || return
  existing="$(first "$which" "$existing")"
  if [ -n "$existing" ] && [ "${existing%%|*}" != "$name" ]; then
    gcloud alpha monitoring "$kind" delete "$name" "${quietly[@]}"
  fi
}

# The file of a runbook, which is its policy's documentation. Where docs are published, the names of
# pages in it become links.
runbook() { # name
  local file="../docs/runbooks/$1.md"
  if [ -n "$DOCS" ]; then
    sed "s|\`docs/\([a-z/-]*\.md\)\`|[docs/\1](${DOCS%/}/\1)|g" "$file" >"$LINKED/$1.md"
    file="$LINKED/$1.md"
  fi
  echo "$file"
}

# Channels that are in either list, each once.
union() {
  tr , '\n' <<<"$1,$2" | awk 'NF && !seen[$0]++' | paste -sd, -
}

alert_policy() { # name
  local file policy existing="" name enabled channels
  file="$(runbook "$1")"
  policy=(--policy-from-file="monitoring/alerts/$1.json" --documentation-from-file="$file"
    --documentation-format=text/markdown)
  existing="$(first "$1" "$POLICIES")"
  if [ -z "$existing" ]; then
    policy+=(${NOTIFY:+--notification-channels="$NOTIFY"} "${in_project[@]}" --quiet)
    printf '%q ' gcloud alpha monitoring policies create "${policy[@]}"
    echo
    if [ "$DRY_RUN" = true ]; then return; fi
    try "$NEW_METRIC" create_once policies "$1" "${policy[@]}" || LATER+=("$1")
    return
  fi
  IFS='|' read -r name enabled channels <<<"$existing"
  channels="$(union "$channels" "$NOTIFY")"
  policy+=(${channels:+--set-notification-channels="$channels"} "${quietly[@]}")
  if [ "$enabled" = False ]; then policy+=(--no-enabled); fi
  run gcloud alpha monitoring policies update "$name" "${policy[@]}"
}

dashboard() {
  local dashboard=(--config-from-file=monitoring/dashboard.json "${in_project[@]}" --quiet)
  printf '%q ' gcloud alpha monitoring dashboards create "${dashboard[@]}"
  echo
  if [ "$DRY_RUN" = false ]; then try "" create_once dashboards Slipway "${dashboard[@]}"; fi
}

require_component alpha
run gcloud services enable logging.googleapis.com monitoring.googleapis.com "${in_project[@]}"
if [ -n "$DOCS" ]; then
  LINKED="$(mktemp -d)"
  trap 'rm -r "$LINKED"' EXIT
fi
METRICS="$(found gcloud logging metrics list "${in_project[@]}" --format='value(name)')"
for each in "${METRIC_FILES[@]}"; do log_metric "$(basename "$each" .json)"; done
POLICIES="$(found policies)"
LATER=()
for each in "${ALERT_FILES[@]}"; do alert_policy "$(basename "$each" .json)"; done
dashboard
if [ ${#LATER[@]} != 0 ]; then
  echo "no alerts yet for ${LATER[*]}: their metrics are new; run this again in ten minutes" >&2
fi
