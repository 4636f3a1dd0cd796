# shellcheck shell=bash
# How a new revision of a service takes over, and how the one before comes back. Sourced, never run.
# The tag "next" is at the newest revision, and "previous" at the one to which --back returns.

# Asked by Cloud Run itself, for services to which no message can be pushed: no request reaches a
# revision, and gcloud fails, before an instance of it has answered.
# shellcheck disable=SC2034
SELF_CHECK=--startup-probe=httpGet.path=/self-check,periodSeconds=10,timeoutSeconds=10,failureThreshold=18

tagged() { # lines of revisions, tag
  sed -n "s/^[0-9]*,$2,//p" <<<"$1"
}

# Deploys a revision that gets no requests. Only a service's first one gets all at once.
stage() { # service, digest of its code, the command that deploys it
  local service="$1" code="$2" flags=(--tag="$NEXT") rollout
  shift 2
  # The same code with the same flags, however often it is deployed.
  rollout="$(printf '%s\n' "$code" "${@/#--source=*/}" | cksum | cut -d' ' -f1)"
  if exists gcloud run services describe "$service" --region="$REGION" --project="$PROJECT"; then
    flags+=(--no-traffic)
  fi
  run "$@" --labels="app=slipway,rollout=$rollout" "${flags[@]}"
}

code_digest() { # files and folders of the checkout
  (cd .. && find "$@" -type f ! -name '*.pyc' -exec cksum {} +) | LC_ALL=C sort | cksum
}

# Lets the newest revisions take over, once all of them have answered: not the first of them before
# the last one has been asked, so that a failure leaves no mixture.
take_over() { # the function that asks a revision; services
  local ask="$1" services=("${@:2}") all new current newest=() index
  if [ "$DRY_RUN" = true ]; then return; fi
  for index in "${!services[@]}"; do
    all="$(revisions "${services[index]}")"
    new="$(tagged "$all" "$NEXT")"
    current="$(serving "$all")"
    [ -n "$new" ] || fail "${services[index]}: no revision has the tag $NEXT; deploy it again"
    newest[index]="$new"
    if [ "$new" = "$current" ]; then continue; fi
    if is_shell "$new"; then fail "${services[index]}: $new is no function; deploy it again"; fi
    # Before its first function a service gets no messages, and cannot be asked.
    if ! is_shell "$current"; then "$ask" "${services[index]}" "$new" "$current"; fi
  done
  for index in "${!services[@]}"; do give_all "${services[index]}" "${newest[index]}"; done
}

# Gives a revision all requests, and remembers which one had them: of an earlier rollout, since a
# second try of this one must not become the way back.
give_all() { # service, revision
  local all current previous this earlier tags=()
  all="$(revisions "$1")"
  current="$(serving "$all")"
  if [ "$2" = "$current" ]; then return; fi
  [ "$2" = "$(tagged "$all" "$NEXT")" ] ||
    fail "$1: another deployment has made a newer revision than $2; run this again"
  if ! is_shell "$current"; then
    previous="$(tagged "$all" previous)"
    this="$(rollout_of "$2")"
    earlier="$(rollout_of "$current")"
    if [ -z "$previous" ] || [ "$this" != "$earlier" ]; then
      tags=(--update-tags="previous=$current")
    fi
  fi
  run gcloud run services update-traffic "$1" --region="$REGION" --project="$PROJECT" \
    --to-revisions="$2=100" ${tags[@]+"${tags[@]}"} --quiet
  echo "$1: revision $2 has taken over from $current"
}

rollout_of() { # revision
  value gcloud run revisions describe "$1" --region="$REGION" --project="$PROJECT" \
    --format='value(metadata.labels.rollout)'
}

# Returns to the revisions that served before, and changes nothing if they serve already: two people
# may order it. `take_over` undoes it.
back() { # services
  local all current previous service missing=()
  for service in "$@"; do
    all="$(if [ "$DRY_RUN" = true ]; then echo "0,previous,PREVIOUS"; else revisions "$service"; fi)"
    current="$(serving "$all")"
    previous="$(tagged "$all" previous)"
    if [ -z "$previous" ]; then
      missing+=("$service")
    elif [ "$previous" = "$current" ] && [ "$DRY_RUN" = false ]; then
      echo "$service: revision $current serves already"
    else
      run gcloud run services update-traffic "$service" --region="$REGION" --project="$PROJECT" \
        --to-revisions="$previous=100" --quiet
      echo "$service: revision $previous serves again, in place of $current"
    fi
  done
  [ ${#missing[@]} = 0 ] || fail "no earlier revision is remembered of ${missing[*]}; name one to" \
    "gcloud run services update-traffic SERVICE --region=$REGION --project=$PROJECT --to-revisions=NAME=100"
}

# Does what a script was called for with --back or --take-over alone, and ends it.
redirect() { # the argument, service
  if [ "$1" = --back ]; then back "$2"; else take_over true "$2"; fi
  exit
}
