// Log lines of 100 bytes from a job to a follower over HTTP, against the same lines through a bare pipe.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { startAether } from "../tests/_aether.ts";
import type { Figure } from "./measure.ts";

const lines = 600_000; // 60 MB: under the log's limit
const line = "x".repeat(99);
const command = ["sh", "-c", `yes ${line} | head -n ${lines}`];

export async function benchLogs(): Promise<Figure[]> {
  await using aether = await startAether();
  const { id } = await aether.client.jobs.submit({ command, resources: { cpus: 1, memory: "64MiB" } });
  const start = performance.now();
  const seen = await countLines(aether.socket, `/v0/jobs/${id}/logs?follow=1`);
  const aetherRate = lines / ((performance.now() - start) / 1000);
  const pipeRate = await barePipe();
  return [
    {
      name: "log lines of 100 bytes, job to follower",
      value: aetherRate,
      unit: "lines/s",
      baseline: { name: "a bare pipe", value: pipeRate },
      ratio: aetherRate / pipeRate,
      aim: "≥ 200,000/s",
      met: aetherRate >= 200_000,
      note: `${seen.toLocaleString("en")} frames received`,
    },
  ];
}

async function countLines(socketPath: string, path: string): Promise<number> {
  const request = httpRequest({ socketPath, path, headers: { host: "aether" } }).end();
  const [response] = (await once(request, "response")) as [import("node:http").IncomingMessage];
  let count = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) count++;
  }
  return count;
}

async function barePipe(): Promise<number> {
  const start = performance.now();
  const child = spawn(command[0] ?? "sh", command.slice(1), { stdio: ["ignore", "pipe", "ignore"] });
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) void chunk.length;
  return lines / ((performance.now() - start) / 1000);
}
