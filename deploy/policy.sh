# shellcheck shell=bash
# The first policy of a project, which allows little. Sourced by bootstrap.sh, never run.

# Firestore's JSON of a list of names.
names() {
  local each joined=""
  for each in "$@"; do joined+="${joined:+,}{\"stringValue\":\"$each\"}"; done
  printf '{"arrayValue":{"values":[%s]}}' "$joined"
}

number() {
  printf '{"integerValue":"%s"}' "$1"
}

# A few small machines in one region, the project's own images, and Slipway's own account. What is not
# named here is not allowed: addresses, routes, tags, secrets (docs/policy.md).
conservative_policy() {
  printf '{"fields":{'
  printf '"max_instances":%s,"max_project_instances":%s,' "$(number 10)" "$(number 40)"
  printf '"max_accelerators":%s,"max_project_accelerators":%s,' "$(number 0)" "$(number 0)"
  printf '"max_cost_per_hour":%s,"max_project_cost_per_hour":%s,' "$(number 1)" "$(number 4)"
  printf '"regions":%s,' "$(names "$REGION")"
  printf '"machine_types":%s,' "$(names e2-small e2-medium e2-standard-2 n1-standard-1)"
  printf '"images":%s,' "$(names "$REGION-docker.pkg.dev/$PROJECT/")"
  printf '"service_accounts":%s,' "$(names slipway-model)"
  printf '"networks":%s}}' "$(names "global/networks/$NETWORK")"
}

# Creates the policy. If there is one, Firestore answers 409 and it stays as it is.
first_policy() {
  local api="${CLOUDSDK_API_ENDPOINT_OVERRIDES_FIRESTORE:-https://firestore.googleapis.com/}"
  local documents="${api%/}/v1/projects/$PROJECT/databases/$SETTINGS_DATABASE/documents"
  local request=(curl -sS --retry 6 -w '\n%{http_code}' -X POST
    "$documents/settings?documentId=policy" -H @- -H 'Content-Type: application/json'
    -H "X-Goog-User-Project: $PROJECT" -d "$(conservative_policy)")
  local token answer
  printf '%q ' "${request[@]}"
  echo
  if [ "$DRY_RUN" = true ]; then return; fi
  # The token is a header on the standard input, so that no list of processes shows it.
  token="$(value gcloud auth print-access-token)"
  answer="$(printf 'Authorization: Bearer %s' "$token" | "${request[@]}")"
  case "${answer##*$'\n'}" in
    200) echo "Wrote a policy that allows little. A refusal says how to allow more, for example:" &&
      echo "  slipway policy allow --project=$PROJECT exposure=external hosts=models.example.com" ;;
    409) echo "Kept the policy that there is." ;;
    *) fail "the policy could not be written: Firestore answered with HTTP status" \
      "${answer##*$'\n'}: ${answer%$'\n'*}" ;;
  esac
}

# Without external addresses, instances reach Artifact Registry this way.
private_google_access() {
  local subnetwork=("$NETWORK" --region="$REGION" --project="$PROJECT")
  if [ "$DRY_RUN" = true ] || exists gcloud compute networks subnets describe "${subnetwork[@]}"; then
    run gcloud compute networks subnets update "${subnetwork[@]}" --enable-private-ip-google-access
  else
    echo "turn on Private Google Access for the subnetworks of $NETWORK (docs/deploy.md#network)" >&2
  fi
}
