"""Access rules and limits through the SDK, and what they do to a client."""

from scaleway.lb.v1 import AclAction, AclActionType, AclHttpFilter, AclMatch, AclSpec
from test_life import backend, frontend

EVERYBODY = ["0.0.0.0/0", "::/0"]


def match(subnets, invert=False):
    none = AclHttpFilter.ACL_HTTP_FILTER_NONE
    return AclMatch(
        ip_subnet=subnets, ips_edge_services=False, http_filter=none, http_filter_value=[], invert=invert
    )


def spec(name, index, action, subnets):
    return AclSpec(
        name=name, index=index, action=AclAction(type_=action), match=match(subnets), description="through the SDK"
    )


def test_rules_decide_who_comes_in_and_leave_nothing_behind(api, servers, get, eventually):
    lb = api.create_lb(name="guarded", description="", type_="LB-S")
    vip = lb.ip[0].ip_address
    port = frontend(api, lb, backend(api, lb, servers))
    eventually(lambda: get(vip), lambda body: body is not None)

    deny = AclAction(type_=AclActionType.DENY)
    rule = api.create_acl(
        frontend_id=port.id, name="nobody", action=deny, index=7, match=match(EVERYBODY), description="an attack"
    )
    assert (rule.frontend.id, rule.index, rule.match.ip_subnet) == (port.id, 7, EVERYBODY)
    assert api.get_acl(acl_id=rule.id).match == rule.match
    eventually(lambda: get(vip), lambda body: body is None)

    allow = spec("us", 0, AclActionType.ALLOW, EVERYBODY)
    rules = api.set_acls(frontend_id=port.id, acls=[allow, spec("nobody", 1, AclActionType.DENY, EVERYBODY)]).acls
    assert [(acl.name, acl.index) for acl in rules] == [("us", 0), ("nobody", 1)] and rules[1].id == rule.id
    assert {acl.id for acl in api.list_acls_all(frontend_id=port.id)} == {acl.id for acl in rules}
    eventually(lambda: get(vip), lambda body: body is not None)

    api.update_acl(
        acl_id=rules[0].id, name="us", action=AclAction(type_=AclActionType.ALLOW), index=0, match=match(EVERYBODY, True)
    )
    eventually(lambda: get(vip), lambda body: body is None)
    api.delete_acl(acl_id=rules[1].id)
    eventually(lambda: get(vip), lambda body: body is not None)

    limited = api.update_frontend(
        frontend_id=port.id,
        name="http",
        inbound_port=80,
        backend_id=port.backend.id,
        enable_http3=False,
        enable_access_logs=False,
        connection_rate_limit=3000,
    )
    assert limited.connection_rate_limit == api.get_frontend(frontend_id=port.id).connection_rate_limit == 3000
    api.delete_frontend(frontend_id=port.id)
    eventually(lambda: get(vip), lambda body: body is None)
