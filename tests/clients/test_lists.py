"""Lists: every page of more objects than fit on two, in order, filtered, and never another tenant's."""

import pytest
from scaleway.lb.v1 import ListIpsRequestIpType, ListLbsRequestOrderBy
from test_life import backend, frontend

MANY = 250


@pytest.fixture(scope="module")
def many():
    from conftest import LbV1ZonedAPI, client

    api = LbV1ZonedAPI(client())
    tags = lambda number: ["even"] if number % 2 == 0 else ["odd", "third"]
    return [
        api.create_lb(
            name=f"lb-{number:03}", description="", type_="LB-S", assign_flexible_ip=False, tags=tags(number)
        ).id
        for number in range(MANY)
    ]


def test_every_page_of_250_load_balancers_is_listed_once(api, many):
    assert [lb.id for lb in api.list_lbs_all(order_by=ListLbsRequestOrderBy.CREATED_AT_ASC)] == many
    assert [lb.id for lb in api.list_lbs_all(page_size=100)] == many
    page = api.list_lbs(page_size=7, page=3, order_by=ListLbsRequestOrderBy.NAME_DESC)
    assert [lb.name for lb in page.lbs] == [f"lb-{number:03}" for number in range(235, 228, -1)]
    assert page.total_count == MANY


def test_lists_are_filtered(api, many):
    assert api.list_lbs(name="lb-24").total_count == 10
    assert api.list_lbs(tags=["even"]).total_count == MANY // 2
    assert api.list_lbs(tags=["even", "third"]).total_count == MANY, "one of the tags is enough, as the SDK says"
    assert [lb.id for lb in api.list_lbs_all(lb_ids=many[3:5])] == many[3:5]


def test_an_owner_filter_never_widens_what_is_seen(api, stranger, many):
    assert stranger.list_lbs().total_count == 0
    own = api.client.default_project_id
    assert stranger.list_lbs(project_id=own).total_count == 0
    assert stranger.list_lbs(lb_ids=many[:3]).total_count == 0
    assert stranger.list_i_ps(project_id=own).total_count == 0


def test_ips_frontends_and_backends_are_listed_over_pages(api, many, servers):
    ips = [api.create_ip(is_ipv6=True, tags=["six"]).id for _ in range(45)]
    v4 = api.create_ip(is_ipv6=False, tags=["four"]).id
    assert sorted(ip.id for ip in api.list_i_ps_all(ip_type=ListIpsRequestIpType.IPV6)) == sorted(ips)
    assert [ip.id for ip in api.list_i_ps_all(ip_type=ListIpsRequestIpType.IPV4)] == [v4]
    assert len(api.list_i_ps_all()) == 46 and len(api.list_i_ps_all(tags=["four"])) == 1
    lb = api.get_lb(lb_id=many[0])
    pools = [backend(api, lb, servers, name=f"b-{number:02}", port=1000 + number) for number in range(45)]
    ports = [frontend(api, lb, pool, port=pool.forward_port, name=pool.name) for pool in pools]
    assert [pool.id for pool in api.list_backends_all(lb_id=lb.id)] == [pool.id for pool in pools]
    assert [port.id for port in api.list_frontends_all(lb_id=lb.id)] == [port.id for port in ports]
    assert api.list_frontends(lb_id=lb.id, name="b-1").total_count == 10
