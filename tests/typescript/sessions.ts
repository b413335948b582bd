// What becomes of a client whose connection fails: at the server that AVOCET_ADDRESS names, and at one made here.
import assert from "node:assert/strict";
import { constants, createServer, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer as createProxy, type Server, type Socket } from "node:net";
import test from "node:test";
import { correctionsClient } from "@avocet/client/node";
import { CorrectionsError } from "@avocet/client";

const address = process.env["AVOCET_ADDRESS"]!;
const token = process.env["AVOCET_TEST_SECRET"]!;
const large = { source: "ts", taskType: "sum", prompt: "😀".repeat(3_700_000), correction: "2" };
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function at(server: Server | ReturnType<typeof createServer>, use: (place: string) => Promise<void>) {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.close();
  }
}

for (const request of [{}, { shardCount: 2 }]) {
  const what = "shardCount" in request ? "a shard of a snapshot" : "a snapshot";
  test(`an export of ${what} goes on after its connection was cut`, { timeout: 20_000 }, async () => {
    const name = `cut-${Object.keys(request).length}`;
    const direct = correctionsClient(address, { token });
    await direct.createSnapshot({ name });
    const asked = { ...request, snapshot: name, batchSize: 2 };
    const whole: string[] = [];
    for await (const { id } of direct.export(asked)) {
      whole.push(id);
    }
    let cuts = 0;
    const proxy = createProxy((socket: Socket) => {
      const [host, port] = address.split(":") as [string, string];
      const server = connect(Number(port), host);
      let bytes = 0;
      server.on("data", (data) => {
        socket.write(data);
        bytes += data.length;
        if (cuts === 0 && bytes > 3_000) {
          cuts += 1;
          setTimeout(() => socket.resetAndDestroy(), 5);
        }
      });
      socket.pipe(server);
      socket.on("error", () => undefined).on("close", () => server.destroy());
      server.on("error", () => undefined).on("close", () => socket.destroy());
    });
    await at(proxy, async (place) => {
      const ids: string[] = [];
      for await (const { id } of correctionsClient(place).export(asked)) {
        ids.push(id);
        await pause(3);
      }
      assert.deepEqual([ids, cuts], [whole, 1]);
    });
  });
}

for (const again of [false, true]) {
  const what = again ? "the name is another snapshot's" : "the snapshot was deleted";
  test(`an export of a snapshot goes on from within its first batch although ${what}`, async () => {
    const client = correctionsClient(address, { token });
    const name = `gone-${again}`;
    await client.createSnapshot({ name });
    const asked = { snapshot: name, batchSize: 3 };
    const whole: string[] = [];
    for await (const { id } of client.export(asked)) {
      whole.push(id);
    }
    const begun = client.export(asked);
    const ids: string[] = [];
    for await (const { id } of begun) {
      ids.push(id);
      break;
    }
    await client.deleteSnapshot({ name });
    if (again) {
      await client.ingest({ source: "ts", taskType: "sum", prompt: "1 + 1?", correction: "2" });
      await client.createSnapshot({ name });
    }
    for await (const { id } of client.export(asked, { state: begun.state() })) {
      ids.push(id);
    }
    assert.ok(whole.length > 3);
    assert.deepEqual(ids, whole);
  });
}

test("a client lives on after calls that were given up while they were being sent", { timeout: 50_000 }, async () => {
  const client = correctionsClient(address, { token });
  for (let n = 0; n < 3; n += 1) {
    const ending = new AbortController();
    setTimeout(() => ending.abort(), 30 + 20 * n);
    await client.ingest(large, { signal: ending.signal }).catch((error) => assert.equal(error.name, "Canceled"));
    await client.stats({}, { timeoutMs: 10_000 });
  }
  await client.ingest(large, { timeoutMs: 40 }).catch((error) => assert.equal(error.name, "DeadlineExceeded"));
  await client.stats({}, { timeoutMs: 10_000 });
});

test("a large call keeps no other call of the client from the service", { timeout: 50_000 }, async () => {
  const client = correctionsClient(address, { token });
  await client.stats({});
  const sending = client.ingest(large);
  for (let n = 0; n < 20; n += 1) {
    await client.stats({}, { timeoutMs: 10_000 });
    await pause(5);
  }
  assert.notEqual((await sending).id, "");
});

test("a client lives on after a request that was too large", { timeout: 20_000 }, async () => {
  const client = correctionsClient(address, { token });
  const start = performance.now();
  await assert.rejects(client.ingest({ ...large, response: "x".repeat(3_000_000) }), (error) => {
    return error instanceof CorrectionsError && error.name === "RequestTooLarge";
  });
  assert(performance.now() - start < 3_000);
  await client.stats({}, { timeoutMs: 10_000 });
});

test("an address that no call can reach is refused at once", () => {
  for (const wrong of ["", "127.0.0.1:99999", "dns:///127.0.0.1:50051", "ftp://127.0.0.1"]) {
    assert.throws(() => correctionsClient(wrong), TypeError, wrong);
  }
});

/** Answer a call with an empty message. */
function answer(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(Buffer.alloc(5));
}

const ENDS: [string, (stream: ServerHttp2Stream, socket: Socket) => void][] = [
  ["told to calm down", ({ session }) => session!.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM)],
  ["used for too many calls", (stream) => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM)],
  ["asked to end", ({ session }) => session!.goaway(constants.NGHTTP2_NO_ERROR, 0)],
  ["ended for an error", ({ session }) => session!.destroy(undefined, constants.NGHTTP2_INTERNAL_ERROR)],
  ["cut", (_stream, socket) => socket.destroy()],
];
for (const [what, end] of ENDS) {
  test(`a connection that was ${what} is replaced, and its call repeated`, { timeout: 20_000 }, async () => {
    const sessions = new Set<unknown>();
    const sockets: Socket[] = [];
    const server = createServer();
    server.on("connection", (socket: Socket) => sockets.push(socket));
    server.on("stream", (stream: ServerHttp2Stream) => {
      stream.on("error", () => undefined);
      sessions.add(stream.session);
      if (sessions.size === 1) {
        end(stream, sockets[0]!);
      }
      if (sessions.size > 1 || what === "asked to end") {
        answer(stream);
      }
    });
    await at(server, async (place) => {
      const client = correctionsClient(place);
      await client.stats({}, { timeoutMs: 8_000 });
      await client.stats({}, { timeoutMs: 8_000 });
      assert.equal(sessions.size, 2);
      sockets.forEach((socket) => socket.destroy());
    });
  });
}
