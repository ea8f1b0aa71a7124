// Artifacts over HTTP against the object store of NATS spoken to directly, with native hashing: the same bytes, the same server
// settings, in turn. And the second put of the same bytes: announced against hashing them, unannounced against storing them.
import { spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir, waitFor } from "@aether/testkit";
import { Objm, setSha256Backend } from "@nats-io/obj";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { startAether } from "../tests/_aether.ts";
import type { Figure } from "./measure.ts";

const MIB = 1024 * 1024;
const sizeBytes = 256 * MIB;
const partBytes = 256 * 1024;
const rounds = 3;

export async function benchArtifacts(): Promise<Figure[]> {
  await using aether = await startAether({ worker: false, storeBytes: 8 * 1024 * MIB });
  await using raw = await startRawNats();
  setSha256Backend("native");
  const store = await new Objm(raw.nats).create("raw");
  const bytes = randomFillSync(Buffer.alloc(sizeBytes));
  const rates = { put: [] as number[], get: [] as number[], rawPut: [] as number[], rawGet: [] as number[] };
  const second = { announced: [] as number[], silent: [] as number[] };
  const hash: number[] = [];
  for (let round = 0; round < rounds; round++) {
    bytes.writeUInt32LE(round); // new bytes, or they would be there already
    rates.rawPut.push(await mibPerSecond(() => store.put({ name: `r${round}` }, streamOf(bytes))));
    let id = "";
    rates.put.push(
      await mibPerSecond(async () => {
        ({ id } = await aether.client.artifacts.put(partsOf(bytes), { name: "bench", sizeBytes }));
      }),
    );
    rates.rawGet.push(
      await mibPerSecond(async () => {
        const found = await store.get(`r${round}`);
        for await (const _ of found?.data ?? []);
        await found?.error;
      }),
    );
    rates.get.push(
      await mibPerSecond(async () => {
        const { body } = await aether.client.artifacts.content(id);
        for await (const _ of body);
      }),
    );
    let sha256 = "";
    hash.push(
      await mibPerSecond(async () => {
        sha256 = createHash("sha256").update(bytes).digest("hex");
      }),
    );
    const putAgain = (announced: { sha256?: string }) =>
      mibPerSecond(() => aether.client.artifacts.put(partsOf(bytes), { name: "again", sizeBytes, ...announced }));
    second.announced.push(await putAgain({ sha256 }));
    second.silent.push(await putAgain({}));
    await store.delete(`r${round}`);
  }
  return [
    figure("artifact put, 256 MiB", best(rates.put), "object store put", best(rates.rawPut), 0.7),
    figure("artifact get, 256 MiB", best(rates.get), "object store get", best(rates.rawGet), 0.7),
    figure("second put, its digest announced", best(second.announced), "SHA-256 alone", best(hash), 0.7),
    figure("second put, unannounced", best(second.silent), "object store put", best(rates.rawPut), 0.7),
  ];
}

function figure(name: string, value: number, against: string, baseline: number, least: number): Figure {
  const ratio = value / baseline;
  return {
    ...{ name, value, unit: "MiB/s", baseline: { name: against, value: baseline }, ratio },
    ...{ aim: `≥ ${least}×`, met: ratio >= least },
  };
}

const best = (values: number[]) => Math.max(...values);

async function mibPerSecond(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return sizeBytes / MIB / ((performance.now() - start) / 1000);
}

async function* partsOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  for (let from = 0; from < bytes.length; from += partBytes) yield bytes.subarray(from, from + partBytes);
}

function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return ReadableStream.from(partsOf(bytes)) as ReadableStream<Uint8Array>;
}

/** A server of its own without accounts, with the same durability. */
async function startRawNats(): Promise<{ nats: NatsConnection } & AsyncDisposable> {
  const folder = tempDir();
  const config = { host: "127.0.0.1", port: -1, ports_file_dir: folder.path, max_payload: MIB };
  const jetstream = { store_dir: join(folder.path, "store"), max_file_store: 4096 * MIB, sync_interval: "always" };
  writeFileSync(join(folder.path, "nats.conf"), JSON.stringify({ ...config, jetstream }));
  const program = process.env.AETHER_NATS_SERVER ?? "nats-server";
  const server = spawn(program, ["-c", join(folder.path, "nats.conf")], { stdio: "ignore" });
  const ports = await waitFor("nats-server to listen", () =>
    readdirSync(folder.path).find((name) => name.endsWith(".ports")),
  );
  const { nats: urls } = JSON.parse(readFileSync(join(folder.path, ports), "utf8")) as { nats: string[] };
  const nats = await connect({ servers: urls, waitOnFirstConnect: true, maxReconnectAttempts: -1 });
  return {
    nats,
    async [Symbol.asyncDispose]() {
      await nats.close();
      const ended = once(server, "exit");
      server.kill("SIGKILL");
      await ended;
      folder[Symbol.dispose]();
    },
  };
}
