"""Instances as the API shows them: get, list, aggregatedList. Their life is run by the groups; here they are only read."""

from __future__ import annotations

from local.compute.call import Call, handles
from local.compute.errors import JsonObject


@handles("compute.instances.get")
def get(call: Call) -> JsonObject:
    return call.resource()


@handles("compute.instances.list")
def list_(call: Call) -> JsonObject:
    return call.page(call.cloud.all_in(call.scope, call.collection))


@handles("compute.instances.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    cloud = call.cloud
    return call.aggregate({scope: cloud.all_in(scope, call.collection) for scope in cloud.scopes_with(call.collection)})
