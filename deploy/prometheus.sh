#!/usr/bin/env bash
# Creates a machine with a Prometheus that reads the metrics of all models' instances, its identity,
# and the firewall rules that it needs. Optional: only gates that judge by an instance's own metrics
# need it. Safe to run again: that also puts a changed configuration into effect.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=common.sh
source ./common.sh

usage() {
  cat <<TEXT
Usage: deploy/prometheus.sh --project=ID [--region=REGION] [--zones=ZONE,...] [--network=NAME]
                            [--subnet=NAME] [--external-ip] [--dry-run]

Creates the machine slipway-prometheus, which finds the instances of all models in these zones and
reads /metrics on the port on which they serve.

  --project=ID      the Google Cloud project (default: \$GOOGLE_CLOUD_PROJECT)
  --region=REGION   where the models and the functions run (default: us-central1)
  --zones=ZONE,...  where the models' instances may be (default: all zones of the region); the
                    machine is created in the first one
  --network=NAME    the instances' network (default: default)
  --subnet=NAME     the machine's subnet in the region (default: the name of the network)
  --external-ip     give a new machine an external address. By default it has none, and pulls its
                    image through Cloud NAT (docs/deploy.md#network)
  --dry-run         print every command and run none; needs neither gcloud nor a login
TEXT
}

parse_common "$@"
NAME=slipway-prometheus
ZONES="" NETWORK=default SUBNET="" ADDRESS=(--no-address)
for argument in ${REST[@]+"${REST[@]}"}; do
  case "$argument" in
    --zones=*) ZONES="${argument#*=}" ;;
    --network=*) NETWORK="${argument#*=}" ;;
    --subnet=*) SUBNET="${argument#*=}" ;;
    --external-ip) ADDRESS=() ;;
    *) fail "unknown argument $argument; see --help" ;;
  esac
done
in_project=(--project="$PROJECT")
if [ -z "$ZONES" ] && [ "$DRY_RUN" = false ]; then
  ZONES="$(value gcloud compute zones list --filter="region:$REGION" --format='value(name)' \
    "${in_project[@]}" | sort | paste -sd, -)"
fi
ZONES="${ZONES:-$REGION-a,$REGION-b,$REGION-c}"
zone="${ZONES%%,*}"

# The configuration with the project, and one line for each zone: Prometheus lists no others, and a
# regional group chooses its zones itself.
configuration="$(mktemp)"
trap 'rm -f "$configuration"' EXIT
while IFS= read -r line; do
  case "$line" in
    *"zone: ZONE"*)
      line="${line/PROJECT/"$PROJECT"}"
      for each in ${ZONES//,/ }; do echo "${line/ZONE/"$each"}"; done
      ;;
    *) echo "$line" ;;
  esac
done <prometheus/prometheus.yml >"$configuration"

service_account "$NAME" "Slipway Prometheus: finds instances, changes nothing"
for role in roles/compute.viewer roles/logging.logWriter; do
  run gcloud projects add-iam-policy-binding "$PROJECT" --role="$role" \
    --member="serviceAccount:$(identity "$NAME")" --condition=None --format=none --quiet
done

firewall_rule() { # name, flags
  local rule="$1"
  shift
  exists gcloud compute firewall-rules describe "$rule" "${in_project[@]}" ||
    create gcloud compute firewall-rules create "$rule" "${in_project[@]}" --network="$NETWORK" \
      --direction=INGRESS "$@"
}

# It may reach the instances on any port, since each model chooses its own; and only internal
# addresses, which the reconciler has with Direct VPC egress, may ask it.
firewall_rule "$NAME-scrapes" --allow=tcp --source-service-accounts="$(identity "$NAME")"
firewall_rule "$NAME-answers" --allow=tcp:9090 --target-service-accounts="$(identity "$NAME")" \
  --source-ranges=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16

metadata=(--metadata=google-logging-enabled=true
  --metadata-from-file="user-data=prometheus/cloud-config.yaml,prometheus-config=$configuration")
machine=("$NAME" --zone="$zone" "${in_project[@]}")
if exists gcloud compute instances describe "${machine[@]}"; then
  run gcloud compute instances add-metadata "${machine[@]}" "${metadata[@]}"
  run gcloud compute instances reset "${machine[@]}"
else
  create gcloud compute instances create "${machine[@]}" --machine-type=e2-small \
    --image-family=cos-stable --image-project=cos-cloud --boot-disk-size=20GB \
    --network="$NETWORK" --subnet="${SUBNET:-$NETWORK}" ${ADDRESS[@]+"${ADDRESS[@]}"} \
    --service-account="$(identity "$NAME")" --scopes=cloud-platform --labels=app=slipway \
    "${metadata[@]}"
fi
echo
echo "The reconciler reaches it with these settings:"
echo "  gcloud run services update $RECONCILER --project=$PROJECT --region=$REGION \\"
echo "    --network=$NETWORK --subnet=${SUBNET:-$NETWORK} --vpc-egress=private-ranges-only"
echo "  PROMETHEUS_URL=http://$NAME.$zone.c.$PROJECT.internal:9090 deploy/functions.sh \\"
echo "    --project=$PROJECT --region=$REGION"
echo "It has no metrics of the load balancer: for the gates http_errors and latency, set"
echo "SLIPWAY_METRICS=cloud-monitoring beside PROMETHEUS_URL."
