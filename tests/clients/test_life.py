"""The whole life of a load balancer through the official SDK, with real HTTP through what it makes."""

from scaleway.lb.v1 import (
    ForwardPortAlgorithm,
    HealthCheck,
    HealthCheckHttpConfig,
    HealthCheckHttpsConfig,
    HealthCheckLdapConfig,
    HealthCheckMysqlConfig,
    HealthCheckPgsqlConfig,
    HealthCheckRedisConfig,
    HealthCheckTcpConfig,
    LbStatus,
    Protocol,
    StickySessionsType,
)

HTTP_CHECK = HealthCheckHttpConfig(uri="/", method="GET", host_header="web", code=200)


def health_check(**config):
    return HealthCheck(
        port=80,
        check_max_retries=2,
        check_send_proxy=False,
        check_delay="200ms",
        check_timeout="200ms",
        **(config or {"tcp_config": HealthCheckTcpConfig()}),
    )


def backend(api, lb, servers, name="web", port=80):
    return api.create_backend(
        lb_id=lb.id,
        name=name,
        forward_protocol=Protocol.TCP,
        forward_port=port,
        forward_port_algorithm=ForwardPortAlgorithm.ROUNDROBIN,
        sticky_sessions=StickySessionsType.NONE,
        sticky_sessions_cookie_name="",
        health_check=health_check(http_config=HTTP_CHECK),
        server_ip=servers,
        timeout_server="10s",
    )


def frontend(api, lb, backend, port=80, name="http"):
    return api.create_frontend(
        lb_id=lb.id,
        name=name,
        inbound_port=port,
        backend_id=backend.id,
        enable_http3=False,
        enable_access_logs=False,
        timeout_client="30s",
    )


def test_a_load_balancer_lives_through_the_sdk(api, servers, get, eventually):
    lb = api.create_lb(name="web", description="the shop", type_="LB-S", tags=["shop", "prod"])
    assert lb.type_.upper() == "LB-S" and lb.tags == ["shop", "prod"] and len(lb.ip) == 1
    vip = lb.ip[0].ip_address
    assert api.wait_for_lb(lb_id=lb.id).status == LbStatus.READY

    pool = backend(api, lb, servers)
    assert pool.pool == servers and pool.health_check.http_config.host_header == "web"
    port = frontend(api, lb, pool)
    assert port.backend.id == pool.id and port.lb.id == lb.id
    eventually(lambda: get(vip), lambda body: body is not None)
    assert {get(vip) for _ in range(40)} == {"server1", "server2"}

    states = lambda: [(stat.ip, str(stat.server_state)) for stat in api.list_backend_stats_all(lb_id=lb.id)]
    eventually(states, lambda seen: seen == [(server, "running") for server in servers])
    assert len(api.get_lb_stats(lb_id=lb.id, backend_id=pool.id).backend_servers_stats) == 2
    migrated = api.migrate_lb(lb_id=lb.id, type_="LB-GP-M")
    assert migrated.type_ == "LB-GP-M" and migrated.ip == lb.ip

    change_the_servers(api, pool, servers, vip, get, eventually)
    change_the_rest(api, port, pool, vip, get)

    renamed = api.update_lb(lb_id=lb.id, name="web2", description="", tags=[])
    assert (renamed.name, renamed.description, renamed.tags) == ("web2", "", [])
    assert (renamed.frontend_count, renamed.backend_count) == (1, 1)

    api.delete_frontend(frontend_id=port.id)
    eventually(lambda: get(vip), lambda body: body is None)
    api.delete_backend(backend_id=pool.id)
    api.delete_lb(lb_id=lb.id, release_ip=True)
    assert lb.id not in [other.id for other in api.list_lbs_all()]
    assert api.get_lb(lb_id=lb.id).status == LbStatus.TO_DELETE, "a deleted load balancer is never `not found`"


def change_the_servers(api, pool, servers, vip, get, eventually):
    assert api.set_backend_servers(backend_id=pool.id, server_ip=servers[:1]).pool == servers[:1]
    eventually(lambda: {get(vip) for _ in range(20)}, lambda seen: seen == {"server1"})
    assert sorted(api.add_backend_servers(backend_id=pool.id, server_ip=servers[1:]).pool) == sorted(servers)
    eventually(lambda: {get(vip) for _ in range(20)}, lambda seen: seen == {"server1", "server2"})
    assert api.remove_backend_servers(backend_id=pool.id, server_ip=servers[:1]).pool == servers[1:]
    eventually(lambda: {get(vip) for _ in range(20)}, lambda seen: seen == {"server2"})
    check = api.update_health_check(
        backend_id=pool.id, port=80, check_max_retries=3, check_send_proxy=False, tcp_config=HealthCheckTcpConfig()
    )
    assert check.check_max_retries == 3 and check.tcp_config is not None and check.http_config is None
    assert api.get_backend(backend_id=pool.id).health_check == check


def change_the_rest(api, port, pool, vip, get):
    renamed = api.update_frontend(
        frontend_id=port.id,
        name="http-alt",
        inbound_port=80,
        backend_id=pool.id,
        enable_http3=False,
        enable_access_logs=False,
        timeout_client="1m",
    )
    assert (renamed.name, api.get_frontend(frontend_id=port.id).name) == ("http-alt", "http-alt")
    changed = api.update_backend(
        backend_id=pool.id,
        name="web-renamed",
        forward_protocol=Protocol.TCP,
        forward_port=80,
        forward_port_algorithm=ForwardPortAlgorithm.ROUNDROBIN,
        sticky_sessions=StickySessionsType.TABLE,
        sticky_sessions_cookie_name="",
    )
    assert changed.name == "web-renamed" and changed.sticky_sessions == StickySessionsType.TABLE
    assert changed.pool == api.get_backend(backend_id=pool.id).pool
    assert get(vip) == "server2"


def test_a_flexible_ip_outlives_its_load_balancer(api, servers, get, eventually):
    ip = api.create_ip(is_ipv6=False, reverse="www.example.org", tags=["kept"])
    assert ip.lb_id is None and ip.reverse == "www.example.org" and ip.tags == ["kept"]
    assert [found.id for found in api.list_i_ps(ip_address=ip.ip_address).ips] == [ip.id]
    for name in ["first", "second"]:
        lb = api.create_lb(name=name, description="", type_="LB-S", ip_ids=[ip.id])
        assert [own.id for own in lb.ip] == [ip.id]
        frontend(api, lb, backend(api, lb, servers))
        eventually(lambda: get(ip.ip_address), lambda body: body is not None)
        assert api.get_ip(ip_id=ip.id).lb_id == lb.id
        api.update_ip(ip_id=ip.id, lb_id="")
        api.delete_lb(lb_id=lb.id, release_ip=False)
        eventually(lambda: get(ip.ip_address), lambda body: body is None)
    updated = api.update_ip(ip_id=ip.id, reverse="shop.example.org", tags=[])
    assert (updated.reverse, updated.tags) == ("shop.example.org", [])
    api.release_ip(ip_id=ip.id)
    assert api.list_i_ps(ip_address=ip.ip_address).total_count == 0


def test_the_types_are_listed(api):
    types = api.list_lb_types_all()
    assert "LB-S" in [kind.name.upper() for kind in types] and all(kind.description for kind in types)


def test_every_kind_of_check_is_kept_as_it_was_given(api, servers):
    lb = api.create_lb(name="checks", description="", type_="LB-S", assign_flexible_ip=False)
    pool = backend(api, lb, servers)
    https = HealthCheckHttpsConfig(uri="/up", method="HEAD", host_header="web", sni="web.example", code=204)
    kinds = {
        "tcp_config": HealthCheckTcpConfig(),
        "http_config": HTTP_CHECK,
        "https_config": https,
        "mysql_config": HealthCheckMysqlConfig(user="health"),
        "pgsql_config": HealthCheckPgsqlConfig(user="health"),
        "ldap_config": HealthCheckLdapConfig(),
        "redis_config": HealthCheckRedisConfig(),
    }
    for name, config in kinds.items():
        check = api.update_health_check(
            backend_id=pool.id,
            port=3306,
            check_max_retries=2,
            check_send_proxy=True,
            check_delay="5s",
            transient_check_delay="0.5s",
            **{name: config},
        )
        assert {kind: getattr(check, kind) for kind in kinds} == {kind: config if kind == name else None for kind in kinds}
        assert (check.transient_check_delay, check.check_send_proxy) == ("0.5s", True)
        assert api.get_backend(backend_id=pool.id).health_check == check
