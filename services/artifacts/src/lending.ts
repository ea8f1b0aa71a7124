// What memory asks of artifacts: one that somebody wants kept or cited. Policy is asked about him; memory itself may read none.
import { type Bus, handler } from "@aether/bus";
import { lendArtifact, limits, ProblemError } from "@aether/contracts";
import { type HandlerParts, toDownload } from "./handlers.ts";
import { mayRead } from "./reading.ts";

export function lendingHandler({ bus, store, transfers }: HandlerParts & { bus: Bus }) {
  return handler(lendArtifact, {
    async handle({ id, borrower, intent_id: intentId, token, known }, call) {
      const entry = await store.get(id);
      if (!entry || !(await mayRead(bus, borrower, entry.value, { intentId, jobId: null, token })))
        throw new ProblemError("not-found");
      const { sha256, size_bytes, job_id } = entry.value;
      if (sha256 === known || size_bytes > limits.memorySourceBytes)
        return { sha256, size_bytes, job_id, transfer: null };
      transfers.requireRoom(call);
      return { sha256, size_bytes, job_id, transfer: transfers.open(call, toDownload(store, entry.value)) };
    },
  });
}
