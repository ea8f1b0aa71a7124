// The secrets of an attempt, taken right before its sandbox is made: they go from the bus into pipes of the sandbox, and what
// this process holds of them is overwritten.
import { setTimeout as delay } from "node:timers/promises";
import { type Bus, request } from "@aether/bus";
import { type Claim, createId, ProblemError, takeSecret } from "@aether/contracts";
import type { SecretFile } from "@aether/sandbox";
import { InputMissing } from "./inputs.ts";

type Secret = Claim["spec"]["secrets"][number];

/** The secrets of one attempt; disposing overwrites them. */
export interface Secrets extends Disposable {
  readonly files: readonly SecretFile[];
}

/** Asks for one secret. */
export type TakeSecret = (claim: Claim, id: string) => Promise<Uint8Array>;

/** A service that died is back by then; what is longer away is told, and tried again as another attempt. */
const patienceMs = 10_000;
const retryMs = 200;

export function createTakeSecret(bus: Bus): TakeSecret {
  return async ({ job_id, attempt, secret }, id) => {
    const endsAt = performance.now() + patienceMs;
    for (;;) {
      try {
        const envelope = { request_id: createId("req") };
        return (await request(bus, takeSecret, { job_id, attempt, secret, id }, { envelope })).bytes;
      } catch (error) {
        const isAway = error instanceof ProblemError && error.problem.status >= 500;
        if (!isAway || performance.now() > endsAt) throw error;
        await delay(retryMs);
      }
    }
  };
}

/** Takes every secret that the job was promised; throws InputMissing where one cannot be had. */
export async function takeSecrets(claim: Claim, take: TakeSecret): Promise<Secrets> {
  const taken = await Promise.allSettled(claim.spec.secrets.map((secret) => takeOne(claim, secret, take)));
  const files = taken.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const secrets = {
    files,
    [Symbol.dispose]() {
      for (const { bytes } of files) bytes.fill(0);
    },
  };
  const failed = taken.find((one) => one.status === "rejected");
  if (!failed) return secrets;
  secrets[Symbol.dispose]();
  throw failed.reason;
}

async function takeOne(claim: Claim, { secret: id, path = "" }: Secret, take: TakeSecret): Promise<SecretFile> {
  try {
    return { path, bytes: await take(claim, id) };
  } catch (error) {
    if (!(error instanceof ProblemError) || error.slug !== "not-found") throw error;
    throw new InputMissing(`secret ${id} for ${path}: ${error.message}`, { cause: error });
  }
}
