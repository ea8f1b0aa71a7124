// A response that goes on: text or bytes as they come, never more in memory than the other side has room for.
import type { ServerResponse } from "node:http";

export interface ResponseStream {
  /** Sends; resolves when there is room for more. Rejects once the other side is gone. */
  write(data: string | Uint8Array): Promise<void>;
  /** Ends it as complete. */
  end(trailers?: Record<string, string>): void;
  /** Breaks it off, so that the other side sees that it is not complete. */
  abort(): void;
  /** Aborted when the other side has gone away. */
  readonly gone: AbortSignal;
}

/** Begins a streamed answer; its head goes out at once. Trailers that `end` will send are named here. */
export function openStream(
  response: ServerResponse,
  options: { contentType: string; trailers?: readonly string[]; status?: number },
): ResponseStream {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  // A write to a connection that is gone surfaces as a rejected `write`; nothing else is to be done about it.
  response.on("error", () => gone.abort());
  response.setHeader("Content-Type", options.contentType);
  if (!response.hasHeader("Cache-Control")) response.setHeader("Cache-Control", "no-store");
  if (options.trailers?.length) response.setHeader("Trailer", options.trailers.join(", "));
  response.writeHead(options.status ?? 200);
  response.flushHeaders();
  return {
    gone: gone.signal,
    async write(data) {
      gone.signal.throwIfAborted();
      if (data.length === 0 || response.write(data)) return;
      await drained(response, gone.signal);
    },
    end(trailers) {
      if (trailers) response.addTrailers(trailers);
      response.end();
    },
    abort() {
      response.destroy();
    },
  };
}

function drained(response: ServerResponse, gone: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = () => {
      gone.removeEventListener("abort", onGone);
      resolve();
    };
    const onGone = () => {
      response.off("drain", onDrain);
      reject(gone.reason);
    };
    response.once("drain", onDrain);
    gone.addEventListener("abort", onGone, { once: true });
  });
}
