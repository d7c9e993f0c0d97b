"""Errors reach the tenant as the SDK's exception, with the status and the typed body of the real product."""

import uuid

import pytest
from conftest import LbV1ZonedAPI, client
from scaleway.lb.v1 import AclAction, AclActionType, AclHttpFilter, AclMatch, RouteMatch
from scaleway_core.api import ScalewayException
from test_life import backend, frontend


def refused(call, **arguments):
    """Status and body of a call that must fail."""
    with pytest.raises(ScalewayException) as caught:
        call(**arguments)
    return caught.value.status_code, caught.value.response.json()


def test_what_is_wrong_is_named(api):
    status, body = refused(api.create_lb, name="x", description="", type_="LB-HUGE")
    assert (status, body["type"]) == (400, "invalid_arguments")
    assert [(detail["argument_name"], detail["reason"]) for detail in body["details"]] == [("type", "constraint")]
    assert "LB-S" in body["details"][0]["help_message"]


def test_what_is_not_there_and_what_is_a_strangers_look_the_same(api, stranger):
    lb = api.create_lb(name="mine", description="", type_="LB-S", assign_flexible_ip=False)
    missing = str(uuid.uuid4())
    for call in [stranger.get_lb, lambda lb_id: stranger.delete_lb(lb_id=lb_id, release_ip=True)]:
        (status, theirs), (other_status, nothing) = refused(call, lb_id=lb.id), refused(call, lb_id=missing)
        assert status == other_status == 404
        assert (theirs["type"], theirs["resource"], theirs["resource_id"]) == ("not_found", "lb", lb.id)
        assert str(theirs).replace(lb.id, missing) == str(nothing)
    assert api.get_lb(lb_id=lb.id).name == "mine"


def test_an_unknown_token_is_denied(api):
    status, body = refused(LbV1ZonedAPI(client(secret=str(uuid.uuid4()))).list_lbs)
    assert (status, body["type"], body["method"]) == (401, "denied_authentication", "api_key")


def test_what_is_in_use_stays(api, servers):
    lb = api.create_lb(name="used", description="", type_="LB-S")
    pool = backend(api, lb, servers)
    frontend(api, lb, pool)
    for call, arguments in [(api.delete_backend, {"backend_id": pool.id}), (api.release_ip, {"ip_id": lb.ip[0].id})]:
        status, body = refused(call, **arguments)
        assert (status, body["type"], body["precondition"]) == (412, "precondition_failed", "resource_still_in_use")


def test_a_deleted_load_balancer_takes_nothing_more(api, servers):
    lb = api.create_lb(name="gone", description="", type_="LB-S", assign_flexible_ip=False)
    api.delete_lb(lb_id=lb.id, release_ip=False)
    with pytest.raises(ScalewayException) as caught:
        backend(api, lb, servers)
    body = caught.value.response.json()
    assert (caught.value.status_code, body["type"], body["current_state"]) == (409, "transient_state", "to_delete")


def test_what_needs_a_proxy_or_is_not_built_is_refused_with_the_reason(api, servers):
    lb = api.create_lb(name="plain", description="", type_="LB-S")
    port = frontend(api, lb, pool := backend(api, lb, servers))
    none = AclHttpFilter.ACL_HTTP_FILTER_NONE
    match = AclMatch(
        ip_subnet=["10.0.0.0/8"], ips_edge_services=False, http_filter=none, http_filter_value=[], invert=False
    )
    acl = {"frontend_id": port.id, "action": AclAction(type_=AclActionType.REDIRECT), "index": 0, "description": ""}
    calls = [
        (api.create_acl, {**acl, "match": match}, "action.redirect"),
        (api.create_route, {"frontend_id": port.id, "backend_id": pool.id, "match": RouteMatch(sni="x", match_subdomains=False)}, "route"),
        (api.attach_private_network, {"lb_id": lb.id, "private_network_id": str(uuid.uuid4())}, "private_network"),
    ]
    for call, arguments, resource in calls:
        status, body = refused(call, **arguments)
        assert (status, body["type"]) == (400, "invalid_arguments")
        assert body["details"][0]["argument_name"] == resource and body["help_message"]
    assert api.list_acls_all(frontend_id=port.id) == api.set_acls(acls=[], frontend_id=port.id).acls == []
    assert api.list_certificates_all(lb_id=lb.id) == api.list_routes_all() == api.list_subscriber_all() == []
    assert api.list_lb_private_networks_all(lb_id=lb.id) == []
    assert api.unsubscribe_from_lb(lb_id=lb.id).subscriber is None
    status, body = refused(api.get_acl, acl_id=(missing := str(uuid.uuid4())))
    assert (status, body["resource"], body["resource_id"]) == (404, "acl", missing)
