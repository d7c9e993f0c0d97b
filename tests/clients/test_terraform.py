"""What Terraform's provider and the Kubernetes cloud controller write with every object: taken, read back the same, and
never without a word where it has no effect.

The bodies are those of the provider (internal/services/lb of scaleway/terraform-provider-scaleway, its defaults and its
recorded requests) and of the controller (scaleway/loadbalancers_annotations.go of scaleway-cloud-controller-manager).
"""

import json
import os
import urllib.request

from scaleway.lb.v1 import (
    ForwardPortAlgorithm,
    HealthCheck,
    HealthCheckTcpConfig,
    OnMarkedDownAction,
    Protocol,
    ProxyProtocol,
    StickySessionsType,
)

# By the Python SDK's names: the provider's defaults, the controller's.
WRITERS = {
    "terraform": {
        "timeout_server": 300_000, "timeout_connect": 5_000, "timeout_tunnel": 900_000, "timeout_queue": "0s",
        "max_retries": 3, "max_connections": None, "redispatch_attempt_count": None,
    },
    "controller": {
        "timeout_server": 10_000, "timeout_connect": 600_000, "timeout_tunnel": 600_000, "timeout_queue": None,
        "max_retries": 3, "max_connections": None, "redispatch_attempt_count": 0,
    },
}
WITHOUT_EFFECT = ["timeout_server", "timeout_connect", "timeout_tunnel", "max_retries"]


def request(method, path, body=None):
    """One request as the provider's Go client sends it."""
    url = f"{os.environ['API_URL']}/lb/v1/zones/fr-par-1{path}"
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-Auth-Token": os.environ["SECRET"], "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
        return json.load(answer)


def test_backends_are_taken_as_both_write_them(api, servers):
    lb = api.create_lb(name="web", description="", type_="lb-s", assign_flexible_ip=False)
    for writer, proxied in WRITERS.items():
        settings = {
            "name": writer,
            "forward_protocol": Protocol.TCP,
            "forward_port": 80,
            "forward_port_algorithm": ForwardPortAlgorithm.ROUNDROBIN,
            "sticky_sessions": StickySessionsType.NONE,
            "sticky_sessions_cookie_name": "",
            "send_proxy_v2": False,
            "proxy_protocol": ProxyProtocol.PROXY_PROTOCOL_NONE,
            "on_marked_down_action": OnMarkedDownAction.ON_MARKED_DOWN_ACTION_NONE,
            "ssl_bridging": False,
            "ignore_ssl_server_verify": False,
            **proxied,
        }
        check = HealthCheck(
            port=80,
            check_max_retries=2,
            check_send_proxy=False,
            check_delay=60_000,
            check_timeout=30_000,
            transient_check_delay="0.5s",
            tcp_config=HealthCheckTcpConfig(),
        )
        made = api.create_backend(lb_id=lb.id, health_check=check, server_ip=servers, **settings)
        for seen in [made, api.get_backend(backend_id=made.id), api.update_backend(backend_id=made.id, **settings)]:
            assert {field: getattr(seen, field) for field in WITHOUT_EFFECT} == {
                field: proxied[field] for field in WITHOUT_EFFECT
            }
            assert (seen.send_proxy_v2, seen.proxy_protocol) == (False, ProxyProtocol.PROXY_PROTOCOL_NONE)
            assert (seen.health_check.check_delay, seen.health_check.transient_check_delay) == (60_000, "0.5s")
        warnings = request("GET", f"/backends/{made.id}")["warnings"]
        assert [warning["argument_name"] for warning in warnings] == WITHOUT_EFFECT


def test_a_plan_of_terraform_is_carried_out_and_planned_again_without_a_difference(servers, get, eventually):
    project = os.environ["PROJECT"]
    ip = request("POST", "/ips", {"project_id": project, "is_ipv6": False, "tags": []})
    lb = request("POST", "/lbs", {
        "project_id": project, "name": "test-lb", "description": "", "ip_id": ip["id"], "ip_ids": [], "tags": None,
        "type": "lb-s", "ssl_compatibility_level": "ssl_compatibility_level_intermediate",
    })
    assert request("GET", f"/lbs/{lb['id']}/private-networks?order_by=created_at_asc") == {
        "private_network": [], "total_count": 0,
    }
    settings = {
        "name": "tf-lb-bkd", "forward_protocol": "tcp", "forward_port": 80, "forward_port_algorithm": "roundrobin",
        "sticky_sessions": "none", "sticky_sessions_cookie_name": "", "send_proxy_v2": False, "timeout_server": 300_000,
        "timeout_connect": 5_000, "timeout_tunnel": 900_000, "on_marked_down_action": "on_marked_down_action_none",
        "proxy_protocol": "proxy_protocol_none", "failover_host": None, "ssl_bridging": False,
        "ignore_ssl_server_verify": False, "redispatch_attempt_count": None, "max_retries": 3, "max_connections": None,
        "timeout_queue": "0.000000000s",
    }
    check = {
        "port": 80, "check_max_retries": 2, "check_timeout": 30_000, "check_delay": 60_000, "tcp_config": {},
        "mysql_config": None, "pgsql_config": None, "ldap_config": None, "redis_config": None, "http_config": None,
        "https_config": None, "check_send_proxy": False, "transient_check_delay": "0.500000000s",
    }
    backend = request("POST", f"/lbs/{lb['id']}/backends", {**settings, "server_ip": servers, "health_check": check})
    # What the provider's update sends of the same configuration changes nothing.
    for method, path, body in [
        ("PUT", "", {**settings, "redispatch_attempt_count": 0, "max_connections": 0}),
        ("PUT", "/healthcheck", check),
        ("PUT", "/servers", {"server_ip": servers}),
    ]:
        request(method, f"/backends/{backend['id']}{path}", body)
    assert request("GET", f"/backends/{backend['id']}")["etag"] == backend["etag"]
    frontend = {
        "name": "tf-test", "inbound_port": 80, "backend_id": backend["id"], "certificate_ids": [], "enable_http3": False,
        "connection_rate_limit": 0, "enable_access_logs": False, "timeout_client": 30_000,
    }
    made = request("POST", f"/lbs/{lb['id']}/frontends", frontend)
    assert request("PUT", f"/frontends/{made['id']}", frontend)["etag"] == made["etag"]
    assert made["timeout_client"] == 30_000
    acl = {
        "name": "test-acl", "action": {"type": "allow", "redirect": None}, "index": 1, "description": "",
        "match": {
            "ip_subnet": ["0.0.0.0/0"], "ips_edge_services": False, "http_filter": "acl_http_filter_none",
            "http_filter_value": [], "http_filter_option": None, "invert": False,
        },
    }
    acl = request("POST", f"/frontends/{made['id']}/acls", acl)
    assert request("GET", f"/frontends/{made['id']}/acls?order_by=created_at_asc&page=1")["total_count"] == 1
    eventually(lambda: get(ip["ip_address"]), lambda body: body is not None)
