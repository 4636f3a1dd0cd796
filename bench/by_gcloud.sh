#!/usr/bin/env bash
# The first provision and the swap of bench/by_gcloud.py, as a careful operator scripts them.
#
#   by_gcloud.sh provision VERSION   creates the fleet and its load balancer, waits until healthy
#   by_gcloud.sh swap OLD NEW        replaces OLD by NEW in steps of 10, 50 and 100 percent
#
# Idempotent: existing resources are kept. Independent commands run in parallel. Environment: MODEL,
# SIZE, MOST, IMAGE (without its tag), USER_DATA (a file), and gcloud's settings, which say where
# Compute Engine is.
set -euo pipefail

region=us-central1
group="slipway-$MODEL-blue"
here="--region=$region"

# Runs functions in parallel and waits for all; fails if one does.
together() {
    local pids=() failed=0
    for job in "$@"; do "$job" & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
    return "$failed"
}

# ensure COLLECTION NAME SCOPE FLAGS: creates a resource unless it exists.
ensure() {
    local collection=$1 name=$2 scope=$3 output
    shift 3
    # shellcheck disable=SC2086  # collection is two words for some, scope may be empty
    output=$(gcloud compute $collection create "${words[@]}" "$name" $scope "$@" 2>&1) || {
        grep -q 'already exists' <<<"$output" || { echo "$output" >&2; return 1; }
    }
}
words=()

# ---- Resources

template() {
    local metadata="google-logging-enabled=true,google-monitoring-enabled=true"
    ensure instance-templates "$MODEL-$version" "" --machine-type=n1-standard-1 \
        --image-family=cos-stable --image-project=cos-cloud --boot-disk-size=50GB \
        --boot-disk-type=pd-balanced --network=default \
        --labels="model=$MODEL,release=$version" --scopes=cloud-platform --shielded-vtpm \
        --shielded-integrity-monitoring --metadata="$metadata,image=$IMAGE:$version,port=8080" \
        --metadata-from-file="user-data=$USER_DATA"
}

check() {
    local words=(http)
    ensure health-checks "$1" --global --port=8080 --request-path=/health --timeout=5s \
        --healthy-threshold=2 "${@:2}"
}

live_check() { check "slipway-$MODEL-blue-live" --check-interval=15s --unhealthy-threshold=10; }
ready_check() { check "slipway-$MODEL-blue-lb" --check-interval=5s --unhealthy-threshold=3; }

ready_service() {
    ready_check
    ensure backend-services "$group" --global --protocol=HTTP --port-name=http \
        --health-checks="slipway-$MODEL-blue-lb" \
        --load-balancing-scheme=EXTERNAL_MANAGED --timeout=300s --connection-draining-timeout=10
}

group() {
    ensure "instance-groups managed" "$group" "$here" --template="$MODEL-$version" \
        --size="$SIZE" --base-instance-name="$group" \
        --health-check="slipway-$MODEL-blue-live" --initial-delay=150 \
        --target-distribution-shape=even --instance-redistribution-type=proactive \
        --update-policy-type=proactive --update-policy-minimal-action=replace \
        --update-policy-replacement-method=substitute \
        --update-policy-max-surge=3 --update-policy-max-unavailable=0
}

managed() { gcloud compute instance-groups managed "$1" "$group" "$here" "${@:2}"; }

ports() { managed set-named-ports --named-ports=http:8080; }

autoscaling() {
    managed set-autoscaling --min-num-replicas="$SIZE" \
        --max-num-replicas="$MOST" --target-cpu-utilization=0.6 --cool-down-period=60 --mode=on
}

backend() {
    local output
    output=$(gcloud compute backend-services add-backend "$group" --global \
        --instance-group="$group" --instance-group-region="$region" \
        --balancing-mode=UTILIZATION --max-utilization=0.8 2>&1) || {
        grep -qi 'already\|duplicate' <<<"$output" || { echo "$output" >&2; return 1; }
    }
}

fleet() {
    together template live_check ready_service
    group
    together ports autoscaling backend
}

address() { ensure addresses gateway --global --ip-version=IPV4; }

map_and_proxy() {
    ensure backend-services gateway-default --global --protocol=HTTP \
        --load-balancing-scheme=EXTERNAL_MANAGED
    ensure url-maps gateway --global --default-service=gateway-default
    ensure target-http-proxies gateway-http --global --url-map=gateway
}

gateway() {
    together address map_and_proxy
    ensure forwarding-rules gateway-http --global --target-http-proxy=gateway-http \
        --address=gateway --ports=80 \
        --load-balancing-scheme=EXTERNAL_MANAGED --network-tier=PREMIUM
}

route() {
    gcloud compute url-maps describe gateway --global --format='value(pathMatchers[].name)' |
        grep -qw any ||
        gcloud compute url-maps add-path-matcher gateway --global --path-matcher-name=any \
            --default-service=gateway-default \
            --path-rules="/$MODEL=$group,/$MODEL/*=$group" --new-hosts='*'
}

# ---- Waiting

stable() { managed wait-until --stable --timeout=900; }
reached() { managed wait-until --version-target-reached --timeout=900; }

# Waits until all of the load balancer's instances are healthy and there are enough.
healthy() {
    local found good all
    for _ in $(seq 120); do
        found=$(gcloud compute backend-services get-health "$group" --global --format=json)
        good=$(grep -c '"healthState": "HEALTHY"' <<<"$found" || true)
        all=$(grep -c '"healthState"' <<<"$found" || true)
        if ((good == all && good >= SIZE)); then return 0; fi
        sleep 2
    done
    echo "$good of $all instances of $group are healthy" >&2
    return 1
}

# ---- Swap

scale_in() { managed update-autoscaling --mode="$1"; }
hold() { scale_in only-scale-out; }

update() {
    gcloud compute instance-groups managed rolling-action start-update "$group" "$here" \
        --type=proactive --minimal-action=replace --replacement-method=substitute --max-surge=3 \
        --max-unavailable=0 "$@"
}

# A step ends when the group has reached the target, is stable, and all instances are healthy.
step() {
    local percent=$1
    if ((percent == 100)); then
        update --version="template=$MODEL-$version"
    else
        update --version="template=$MODEL-$old" \
            --canary-version="template=$MODEL-$version,target-size=$(((SIZE * percent + 99) / 100))"
    fi
    together reached stable
    healthy
}

case "${1:-}" in
provision)
    version=$2
    together fleet gateway
    together route stable
    healthy
    ;;
swap)
    old=$2 version=$3
    together template hold
    for percent in 10 50 100; do step "$percent"; done
    scale_in on
    ;;
*)
    sed -n '2,10p' "$0" >&2
    exit 2
    ;;
esac
