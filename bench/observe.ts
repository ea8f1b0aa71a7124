// What watching costs a request: a read of a job over the bus from the gateway's side, served with its decision, with and without
// numbers, and with and without traces, in turn. The numbers are switched by serving the same handler without a registry;
// the traces by a collector that takes them all.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Bus, connectBus, handler, request, seedFile, serve } from "@aether/bus";
import { createId, examples, getJob, type Job } from "@aether/contracts";
import { createRegistry } from "@aether/telemetry";
import { silentLog, startNats, type TestNats } from "@aether/testkit";
import { type Figure, rate } from "./measure.ts";

const rounds = 12;
const acts = 2_000;
const inFlight = 16;
const principal = { type: "User" as const, id: "0", roles: ["operator" as const] };
const job = examples["jobs.get"]?.reply as Job;

export async function benchObserve(): Promise<Figure[]> {
  await using collector = await startCollector();
  const [plain, counted] = await rateInTurn({}, { counted: true });
  const [untraced, traced] = await rateInTurn({ counted: true }, { counted: true, endpoint: collector.endpoint });
  const figure = (name: string, off: number, on: number): Figure => ({
    ...{ name, value: on, unit: "requests/s", baseline: { name: "without", value: off } },
    ...{ ratio: on / off, aim: "≥ 0.9×", met: on / off >= 0.9 },
    note: `${(1e6 / on - 1e6 / off).toFixed(1)} µs more a request`,
  });
  return [
    figure("requests that are counted and timed", plain, counted),
    figure("requests that are traced", untraced, traced),
  ];
}

interface Watched {
  counted?: boolean;
  endpoint?: string;
}

/** The medians of both, measured in turn so that the machine's drift meets them alike. */
async function rateInTurn(one: Watched, other: Watched): Promise<[number, number]> {
  await using a = await start(one);
  await using b = await start(other);
  const rates: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    rates[0].push(await a.rate());
    rates[1].push(await b.rate());
  }
  const median = (all: number[]) => all.toSorted((x, y) => x - y)[Math.floor(all.length / 2)] ?? Number.NaN;
  return [median(rates[0]), median(rates[1])];
}

async function start({ counted = false, endpoint }: Watched) {
  await using stack = new AsyncDisposableStack();
  const nats = stack.use(await startNats());
  const service = stack.use(await connect(nats, "jobs", endpoint));
  const gateway = stack.use(await connect(nats, "gateway", endpoint));
  const { id, owner, labels } = job;
  stack.use(
    await serve(service, {
      ...{ service: "jobs", version: "0", description: "answers one job" },
      ...(counted && { metrics: createRegistry() }),
      handlers: [
        handler(getJob, {
          load: async () => ({ resource: { id, owner, labels }, value: job }),
          handle: async () => job,
        }),
      ],
      decide: async () => ({
        ...{
          outcome: "allow",
          decision_id: null,
          reason: "",
          policies: [],
          policy_version: "",
          approval_id: null,
          visible: true,
        },
        scope: "own",
      }),
    }),
  );
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const ask = () =>
    request(gateway, getJob, { id }, { envelope: { principal, request_id: createId("req"), traceparent } });
  await rate(acts, inFlight, ask);
  const running = stack.move();
  return { rate: () => rate(acts, inFlight, ask), [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function connect(nats: TestNats, user: string, otlpEndpoint: string | undefined): Promise<Bus> {
  return connectBus({ server: nats.url, user, seedFile: seedFile(nats.keysDir, user), log: silentLog, otlpEndpoint });
}

async function startCollector() {
  const server = createServer((request, response) => {
    request.resume();
    request.once("end", () => response.end("{}"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
