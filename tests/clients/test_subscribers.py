"""Subscribers through the SDK: a real receiver is told of a load balancer's servers, signed, although it fails at first."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import threading
import urllib.request

import pytest
from scaleway.lb.v1 import HealthCheckTcpConfig, SubscriberEmailConfig, SubscriberWebhookConfig
from scaleway_core.api import ScalewayException
from test_life import backend

FAILURES = 3


def quick_check(port):
    return {
        "port": port,
        "check_delay": "100ms",
        "check_timeout": "100ms",
        "check_max_retries": 1,
        "check_send_proxy": False,
        "tcp_config": HealthCheckTcpConfig(),
    }


@pytest.fixture
def receiver():
    """An HTTP server that answers 503 to the first requests, and then takes them."""
    arrived = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        seen = 0

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            Handler.seen += 1
            self.send_response(503 if Handler.seen <= FAILURES else 204)
            self.end_headers()
            arrived.put((dict(self.headers), body))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", arrived
    server.shutdown()


def test_a_subscriber_lives_and_is_named_by_a_load_balancer(api):
    made = api.create_subscriber(name="ops", webhook_config=SubscriberWebhookConfig(uri="https://example.org/hook"))
    assert (made.name, made.webhook_config.uri, made.email_config) == ("ops", "https://example.org/hook", None)
    assert api.get_subscriber(subscriber_id=made.id) == made
    assert made.id in [one.id for one in api.list_subscriber_all(name="op")]
    changed = api.update_subscriber(
        subscriber_id=made.id, name="night", webhook_config=SubscriberWebhookConfig(uri="https://example.org/night")
    )
    assert (changed.id, changed.webhook_config.uri) == (made.id, "https://example.org/night")
    lb = api.create_lb(name="told", description="", type_="LB-S", assign_flexible_ip=False)
    assert api.subscribe_to_lb(lb_id=lb.id, subscriber_id=made.id).subscriber.id == made.id
    with pytest.raises(ScalewayException) as caught:
        api.delete_subscriber(subscriber_id=made.id)
    assert caught.value.response.json()["precondition"] == "resource_still_in_use"
    assert api.unsubscribe_from_lb(lb_id=lb.id).subscriber is None
    api.delete_subscriber(subscriber_id=made.id)
    assert made.id not in [one.id for one in api.list_subscriber_all()]


def test_what_is_not_allowed_is_refused_with_the_reason(api):
    for config, says in [
        ({"webhook_config": SubscriberWebhookConfig(uri="http://10.0.0.1/")}, "public Internet"),
        ({"email_config": SubscriberEmailConfig(email="ops@example.org")}, "sends no e-mail"),
    ]:
        with pytest.raises(ScalewayException) as caught:
            api.create_subscriber(name="x", **config)
        body = caught.value.response.json()
        assert body["type"] == "invalid_arguments" and says in body["details"][0]["help_message"]


def test_a_receiver_that_fails_at_first_is_told_of_a_server_that_is_down_signed(api, servers, receiver):
    uri, arrived = receiver
    made = api.create_subscriber(name="hook", webhook_config=SubscriberWebhookConfig(uri=uri))
    lb = api.create_lb(name="hooked", description="", type_="LB-S", assign_flexible_ip=False)
    api.subscribe_to_lb(lb_id=lb.id, subscriber_id=made.id)
    pool = backend(api, lb, servers[:1], name="nobody")
    # Nothing listens there.
    api.update_health_check(backend_id=pool.id, **quick_check(port=9))
    seen = [arrived.get(timeout=60) for _ in range(FAILURES + 1)]
    first = {(headers["webhook-id"], body) for headers, body in seen if headers["webhook-id"] == seen[0][0]["webhook-id"]}
    assert len(first) == 1, "a letter is the same at every attempt"
    request = urllib.request.Request(
        f"{os.environ['API_URL']}/snowshed/v1/subscribers/{made.id}/secret",
        headers={"X-Auth-Token": os.environ["SECRET"]},
    )
    secret = json.load(urllib.request.urlopen(request))["secret"]
    for headers, body in seen:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        code = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(code).decode()
    told = {json.loads(body)["type"] for _, body in seen}
    assert told <= {"server.down", "backend.down"} and "server.down" in told
    assert {json.loads(body)["data"].get("backend_id") for _, body in seen} == {pool.id}
