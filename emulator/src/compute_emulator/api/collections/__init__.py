"""The collections of the API, one module each. `HANDLERS` holds the handler of every method."""

from __future__ import annotations

from compute_emulator.api.call import Handler
from compute_emulator.api.collections import (
    autoscalers,
    backend_services,
    catalogue,
    disk_types,
    empty,
    firewalls,
    global_addresses,
    global_forwarding_rules,
    health_checks,
    http_health_checks,
    images,
    instance_group_managers,
    instance_groups,
    instance_templates,
    instances,
    managed_instances,
    networks,
    operations,
    per_instance_configs,
    permissions,
    resize_requests,
    ssl_certificates,
    standby_instances,
    target_http_proxies,
    target_https_proxies,
    url_maps,
)

HANDLERS: dict[str, Handler] = {}
for _collection in (
    autoscalers,
    backend_services,
    catalogue,
    disk_types,
    empty,
    firewalls,
    global_addresses,
    global_forwarding_rules,
    health_checks,
    http_health_checks,
    images,
    instance_group_managers,
    instance_groups,
    instance_templates,
    instances,
    managed_instances,
    networks,
    operations,
    per_instance_configs,
    permissions,
    resize_requests,
    ssl_certificates,
    standby_instances,
    target_http_proxies,
    target_https_proxies,
    url_maps,
):
    for _method_id, _handler in _collection.HANDLERS.items():
        if _method_id in HANDLERS:
            raise ValueError(f"{_method_id} already has a handler")
        HANDLERS[_method_id] = _handler
