// `GET /v0/audit/export`: pages of audit records in, one record a line out, as policy stored it. It ends with what was stored
// when it was asked for. There is no room in it for an error: an answer that fails in the middle is visibly cut off.
import { AuditExportQuery, exportAudit, invalidRequest, parseQuery, type Request } from "@aether/contracts";
import { type Exchange, openStream } from "@aether/http";
import { ask, untilGone } from "./ask.ts";
import { type CallEnvelope, toTimeMs } from "./call.ts";
import { endBroken, type PageContext, pageMarginMs, writePages } from "./pages.ts";

/** Answers a request for an export; throws ProblemError while nothing has been sent. */
export async function answerExport(
  context: PageContext,
  exchange: Exchange,
  { search, envelope }: { search: URLSearchParams; envelope: CallEnvelope },
): Promise<void> {
  const first = toRead(search);
  const signal = untilGone(exchange.response, context.closing);
  const read = (place: Request<typeof exportAudit>) =>
    ask(context.bus, exportAudit, place, { envelope, timeoutMs: pageMarginMs, signal });
  const page = await read(first);
  const stream = openStream(exchange.response, { contentType: "application/x-ndjson" });
  try {
    await writePages(context, stream, {
      ...{ first, page, read, signal },
      next: (place, { reply: { after, until } }) => (after < until ? { ...place, after, until_seq: until } : null),
      format: ({ bytes }) => bytes,
      beat: () => "",
    });
    stream.end();
  } catch (error) {
    endBroken(context, stream, { error, requestId: exchange.requestId, format: () => null });
  }
}

/** Times are made absolute once: every page is asked with the same. */
function toRead(search: URLSearchParams): Request<typeof exportAudit> {
  const parsed = AuditExportQuery.safeParse(parseQuery(AuditExportQuery, search));
  if (!parsed.success) throw invalidRequest(parsed.error);
  const { since, until, ...rest } = parsed.data;
  const exactly = (moment: string) => new Date(toTimeMs(moment)).toISOString();
  return {
    ...rest,
    ...(since !== undefined && { since: exactly(since) }),
    ...(until !== undefined && { until: exactly(until) }),
  };
}
