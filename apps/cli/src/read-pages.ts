// Lists longer than one page: page after page, until there are enough or no more.
import { limits } from "@aether/contracts";
import { UsageError } from "./failure.ts";

interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** The first items of a list, and where it goes on. */
export async function readPages<T>(
  limit: number,
  read: (place: { limit: number; cursor?: string }) => Promise<Page<T>>,
): Promise<Page<T>> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const place = { limit: Math.min(limit - items.length, limits.pageMax), ...(cursor !== null && { cursor }) };
    const page: Page<T> = await read(place);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null && items.length < limit);
  return { items, next_cursor: cursor };
}

/** A count given on the command line. */
export function toLimit(text: string | undefined): number {
  if (text === undefined) return limits.pageDefault;
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1)
    throw new UsageError(`--limit must be a number from 1, not '${text}'`);
  return Number(text);
}
