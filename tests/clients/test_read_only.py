"""Read-only mode, met by clients that know nothing of it: they are told to wait, and build nothing anew."""

import os
import subprocess

import pytest
from scaleway_core.api import ScalewayException

# Load balancers of the tenant, and how many of them may be deleted in ten minutes without a plan.
LBS = 24
BUDGET = 20


def controller(api, wanted):
    """One round of a cloud controller: what answers that it is gone or not to be seen is made anew, whatever else is
    refused waits for the next round. Ids of what it made, and the statuses it met."""
    made, met = [], set()
    for lb_id, name in wanted.items():
        for call in [
            lambda: api.get_lb(lb_id=lb_id),
            lambda: api.update_lb(lb_id=lb_id, name=name, description="as wanted"),
        ]:
            try:
                call()
            except ScalewayException as refused:
                met.add(refused.status_code)
                if refused.status_code in (403, 404):
                    made.append(api.create_lb(name=name, description="", type_="LB-S").id)
    return made, met


def operator(*arguments):
    """A command of an operator of this edge."""
    ended = subprocess.run([os.environ["SNOWSHED"], *arguments], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def locked(call, **arguments):
    """A call that read-only mode refuses; seconds to wait, and the body."""
    with pytest.raises(ScalewayException) as caught:
        call(**arguments)
    response = caught.value.response
    assert caught.value.status_code == 423, response.text
    body = response.json()
    assert body["type"] == "locked"
    return int(response.headers["Retry-After"]), body


def everything(api):
    return {lb.id for lb in api.list_lbs_all()}


def test_a_controller_builds_nothing_while_the_breaker_or_a_person_has_made_the_api_read_only(api):
    wanted = {}
    for number in range(LBS):
        lb = api.create_lb(name=f"lb-{number}", description="", type_="LB-S", assign_flexible_ip=False)
        wanted[lb.id] = lb.name
    ids = list(wanted)
    for lb_id in ids[:BUDGET]:
        api.delete_lb(lb_id=lb_id, release_ip=False)
    wait, body = locked(api.delete_lb, lb_id=ids[BUDGET], release_ip=False)
    assert 0 < wait <= 3600
    assert "budget of removals used up" in body["message"]
    left = everything(api)
    assert left == set(ids[BUDGET:]), "nothing beyond the budget was deleted"

    # What was deleted is there and cannot be changed; it is not gone, and nobody rebuilds it.
    made, met = controller(api, wanted)
    assert (made, met) == ([], {409})
    assert everything(api) == left

    # A person makes all of the project read-only: the same, and nothing new.
    project = f"project:{os.environ['PROJECT']}"
    operator("freeze", project, "--reason", "an inquiry", "--for", "10m")
    for call, arguments in [
        (api.create_lb, {"name": "new", "description": "", "type_": "LB-S"}),
        (api.update_lb, {"lb_id": ids[-1], "name": "renamed", "description": ""}),
        (api.delete_lb, {"lb_id": ids[-1], "release_ip": False}),
        (api.create_ip, {"is_ipv6": False}),
    ]:
        wait, _ = locked(call, **arguments)
        assert 0 < wait <= 3600
    made, met = controller(api, wanted)
    assert made == []
    assert met <= {409, 423}
    assert everything(api) == left
    assert api.get_lb(lb_id=ids[-1]).name == wanted[ids[-1]], "reading works"
