"""What every conversation with the agent begins with: a client as a tenant configures it, and a look through a VIP.

The environment says where everything is; `tests/tests/sdk/` sets it.
"""

import os
import subprocess
import time

import pytest
from scaleway import Client
from scaleway.lb.v1 import LbV1ZonedAPI

# Time a change may take to reach the kernel, seconds.
PATIENCE_S = 15


@pytest.fixture
def api():
    """The SDK as the documentation tells tenants to set it up: nothing but the URL is Snowshed's."""
    return LbV1ZonedAPI(client())


@pytest.fixture
def stranger():
    """The same for another tenant."""
    return LbV1ZonedAPI(client(secret="STRANGER_SECRET", project="STRANGER_PROJECT"))


def client(secret="SECRET", project="PROJECT", **settings):
    return Client(
        access_key="SCW00000000000000000",
        secret_key=os.environ.get(secret, secret),
        api_url=os.environ["API_URL"],
        default_organization_id=os.environ["ORGANIZATION"],
        default_project_id=os.environ.get(project, project),
        default_zone="fr-par-1",
        **settings,
    )


@pytest.fixture
def servers():
    """Addresses of the servers of the playground; each answers HTTP on port 80 with its name."""
    return os.environ["SERVERS"].split(",")


@pytest.fixture
def get():
    """One HTTP request from the client's namespace: the body, or None when nothing answered within a second."""

    def get(address):
        host = f"[{address}]" if ":" in address else address
        command = ["nsenter", f"--net=/run/netns/{os.environ['CLIENT_NETNS']}"]
        command += ["curl", "-sSf", "--noproxy", "*", "--max-time", "1", f"http://{host}/"]
        ended = subprocess.run(command, capture_output=True, text=True)
        return ended.stdout if ended.returncode == 0 else None

    return get


@pytest.fixture
def eventually():
    """Looks until a condition holds, and fails with what was seen last."""

    def eventually(look, holds):
        deadline = time.monotonic() + PATIENCE_S
        while not holds(seen := look()):
            assert time.monotonic() < deadline, f"after {PATIENCE_S} s still {seen!r}"
            time.sleep(0.1)
        return seen

    return eventually
