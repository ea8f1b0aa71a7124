// Answers that go on: pages of something long, asked over the bus one after the other and written as they come. What logs and
// events share.
//
// Exactly once, in order: the place of the next page comes from the page before it and moves only when that page has come;
// a page that fails is asked for again from the same place. While one page is being written the next one is on its way, so
// a slow reader holds two pages and no more. What fails before the first page becomes the status of the answer; later, an
// error in the answer itself, or, where that has no room for one, a transfer that is visibly cut off.
import { setTimeout } from "node:timers/promises";
import type { Bus } from "@aether/bus";
import { type Problem, ProblemError } from "@aether/contracts";
import type { ResponseStream } from "@aether/http";
import type { Logger } from "@aether/telemetry";
import { within } from "./ask.ts";

/** How long a service may hold a page back while there is nothing new; short, so that one that died is noticed. */
export const pageWaitMs = 2_000;
/** What a page may take beside that. */
export const pageMarginMs = 5_000;
const retryStepMs = 100;
const retryStepMaxMs = 1_000;

export interface PageContext {
  bus: Bus;
  log: Logger;
  closing: AbortSignal;
  heartbeatMs: number;
  /** How long a follow outlives the services it reads from. */
  retryForMs: number;
}

/** Something long, by places and pages. */
export interface Pages<Place, Page extends object> {
  first: Place;
  /** The page of the first place: it has come before anything is written. */
  page: Page;
  read(place: Place): Promise<Page>;
  /** Where the next page begins; null after the last one. */
  next(place: Place, page: Page): Place | null;
  format(page: Page): string | Uint8Array;
  /** What is written while nothing comes. */
  beat(place: Place): string;
  signal: AbortSignal;
}

/** Writes page after page; answers the last one. */
export async function writePages<Place, Page extends object>(
  context: PageContext,
  stream: ResponseStream,
  pages: Pages<Place, Page>,
): Promise<Page> {
  const { signal } = pages;
  let { page, first: place } = pages;
  let writtenAt = performance.now();
  const write = async (data: string | Uint8Array) => {
    if (data.length === 0) return;
    await stream.write(data);
    writtenAt = performance.now();
  };
  for (;;) {
    const next = pages.next(place, page);
    const coming = next && readAgain(context, pages, next);
    // Its failure is seen when it is awaited, which a failing write may prevent.
    coming?.catch(() => {});
    await write(pages.format(page));
    if (!next || !coming) return page;
    place = next;
    for (;;) {
      const arrived = await within(coming, writtenAt + context.heartbeatMs - performance.now());
      if (arrived) {
        page = arrived;
        break;
      }
      signal.throwIfAborted();
      await write(pages.beat(place));
      writtenAt = performance.now();
    }
  }
}

/** Asks until the services are back; each try from the same place. */
async function readAgain<Place, Page extends object>(
  { retryForMs }: PageContext,
  { read, signal }: Pages<Place, Page>,
  place: Place,
): Promise<Page> {
  const giveUpAt = performance.now() + retryForMs;
  for (let stepMs = retryStepMs; ; stepMs = Math.min(2 * stepMs, retryStepMaxMs)) {
    try {
      return await read(place);
    } catch (error) {
      const passing = error instanceof ProblemError && (error.problem.status === 503 || error.problem.status === 504);
      if (!passing || signal.aborted || performance.now() > giveUpAt) throw error;
    }
    await setTimeout(stepMs, undefined, { signal });
  }
}

/** Ends an answer that broke off: with its problem as `format` writes it, or cut off where that answers null. */
export function endBroken(
  context: PageContext,
  stream: ResponseStream,
  { error, requestId, format }: { error: unknown; requestId: string; format(problem: Problem): string | null },
): void {
  if (stream.gone.aborted) return;
  const unexpected = !(error instanceof ProblemError) && !context.closing.aborted;
  if (unexpected) context.log.error({ err: error, request_id: requestId }, "stream failed");
  const { problem } = error instanceof ProblemError ? error : new ProblemError("internal-error");
  const text = format({ ...problem, instance: `urn:aether:request:${requestId}` });
  if (text === null) stream.abort();
  // A follow that the gateway itself ends has no end of its own: its reader comes back and goes on after what it saw last.
  else if (context.closing.aborted) stream.end();
  else {
    stream.write(text).then(
      () => stream.end(),
      () => stream.abort(),
    );
  }
}
