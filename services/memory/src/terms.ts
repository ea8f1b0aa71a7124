// A question as what FTS5 looks for: its words, each quoted, joined by OR. Only letters and digits are ever taken over, so
// nothing that somebody asks is read as query syntax. Stop words are left out: they find everything and say nothing.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const termsMax = 32;
// Read with the code, before a service gives up the right to read it.
const stopWords: ReadonlySet<string> = new Set(
  readFileSync(join(import.meta.dirname, "stop-words.txt"), "utf8")
    .split("\n")
    .filter(Boolean),
);

/** The words of a question that say something; all of them where none does. */
export function toTerms(question: string, stops: ReadonlySet<string> = stopWords): string[] {
  const words =
    question
      .normalize("NFKC")
      .toLowerCase()
      .replaceAll(/['’]s\b/g, "")
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const unique = [...new Set(words)];
  const telling = unique.filter((word) => !stops.has(word) && (word.length > 1 || /[\p{N}\p{Lo}]/u.test(word)));
  return (telling.length > 0 ? telling : unique).slice(0, termsMax);
}

/** The terms as an FTS5 query; null where there are none. */
export function toMatch(terms: readonly string[]): string | null {
  return terms.length === 0 ? null : terms.map((term) => `"${term.replaceAll('"', '""')}"`).join(" OR ");
}

/** The one author whom a question names, by full name or by one part of it; null where it is nobody or several. */
export function namedAuthor(question: string, authors: readonly string[]): string | null {
  const words = new Set(toTerms(question, new Set()));
  const named = authors.filter((author) =>
    toTerms(author, stopWords).some((part) => part.length > 2 && words.has(part)),
  );
  return named.length === 1 ? (named[0] ?? null) : null;
}
