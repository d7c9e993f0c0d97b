// The main path through the official JavaScript SDK, and its typed errors. Run by `node --test`.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, Errors } from "@scaleway/sdk-client";
import { Lbv1 } from "@scaleway/sdk-lb";

const { API_URL, SECRET, PROJECT, ORGANIZATION, SERVERS, CLIENT_NETNS } = process.env;
const PATIENCE_MS = 15_000;

const api = (secretKey = SECRET) =>
  new Lbv1.ZonedAPI(
    createClient({
      accessKey: "SCW00000000000000000",
      secretKey,
      apiURL: API_URL,
      defaultProjectId: PROJECT,
      defaultOrganizationId: ORGANIZATION,
      defaultZone: "fr-par-1",
    }),
  );

/** The body of one HTTP request from the client's namespace; null when nothing answered. */
const get = (address) => {
  const curl = ["curl", "-sSf", "--noproxy", "*", "--max-time", "1", `http://${address}/`];
  try {
    return execFileSync("nsenter", [`--net=/run/netns/${CLIENT_NETNS}`, ...curl], { stdio: "pipe" }).toString();
  } catch {
    return null;
  }
};

const eventually = async (look, holds) => {
  const deadline = Date.now() + PATIENCE_MS;
  for (let seen = look(); !holds(seen); seen = look()) {
    assert.ok(Date.now() < deadline, `still ${JSON.stringify(seen)}`);
    await sleep(100);
  }
};

const healthCheck = { port: 80, checkMaxRetries: 2, checkSendProxy: false, checkDelay: "200", checkTimeout: "200", tcpConfig: {} };

test("a load balancer lives through the SDK", async () => {
  const lbs = api();
  const servers = SERVERS.split(",");
  const lb = await lbs.createLb({ name: "js", description: "", type: "LB-S", tags: ["js"] });
  assert.equal((await lbs.waitForLb({ lbId: lb.id })).status, "ready");
  assert.ok((await lbs.getLb({ lbId: lb.id })).createdAt instanceof Date);
  const backend = await lbs.createBackend({
    lbId: lb.id,
    name: "web",
    forwardProtocol: "tcp",
    forwardPort: 80,
    forwardPortAlgorithm: "roundrobin",
    stickySessions: "none",
    stickySessionsCookieName: "",
    healthCheck,
    serverIp: servers,
  });
  const frontend = await lbs.createFrontend({
    lbId: lb.id,
    name: "http",
    inboundPort: 80,
    backendId: backend.id,
    enableHttp3: false,
    enableAccessLogs: false,
  });
  const vip = lb.ip[0].ipAddress;
  await eventually(() => new Set(Array.from({ length: 20 }, () => get(vip))).size, (size) => size === 2);
  await lbs.setBackendServers({ backendId: backend.id, serverIp: [servers[1]] });
  await eventually(() => get(vip), (body) => body === "server2");
  assert.deepEqual((await lbs.listFrontends({ lbId: lb.id }).all()).map(({ id }) => id), [frontend.id]);
  const renamed = await lbs.updateLb({ lbId: lb.id, name: "js2", description: "d" });
  assert.deepEqual([renamed.name, renamed.backendCount], ["js2", 1]);
  await lbs.deleteFrontend({ frontendId: frontend.id });
  await lbs.deleteBackend({ backendId: backend.id });
  await lbs.deleteLb({ lbId: lb.id, releaseIp: true });
  assert.equal((await lbs.listLbs({ name: "js" })).totalCount, 0);
});

test("errors are the SDK's types", async () => {
  const missing = randomUUID();
  await assert.rejects(api().getLb({ lbId: missing }), (error) => {
    assert.ok(error instanceof Errors.ResourceNotFoundError);
    assert.deepEqual([error.resource, error.resourceId], ["lb", missing]);
    return true;
  });
  await assert.rejects(api().createLb({ name: "x", description: "", type: "LB-HUGE" }), (error) => {
    assert.ok(error instanceof Errors.InvalidArgumentsError);
    assert.equal(error.details[0].argumentName, "type");
    return true;
  });
  await assert.rejects(api(randomUUID()).listLbs(), Errors.DeniedAuthenticationError);
  const lb = await api().createLb({ name: "used", description: "", type: "LB-S" });
  await assert.rejects(api().releaseIp({ ipId: lb.ip[0].id }), Errors.PreconditionFailedError);
});
