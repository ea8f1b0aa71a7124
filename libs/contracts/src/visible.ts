// Text of others, so that it shows what it holds: what a terminal or an eye would be misled by is written as `\u{…}`.
// What comes out is shown as it is, also when it goes through here again.

/** Control, format (bidirectional marks, zero widths), private, lone and unassigned ones; every space but the plain one; fillers. */
const unseen = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|[\u115f\u1160\u3164\uffa0\u2800]/gu;
/** Marks that stand on no letter, or on top of others. */
const strayMark = /(?<![\p{L}\p{M}])\p{M}|(?<=\p{M}{2})\p{M}/gu;
const latin = /\p{Script=Latin}/u;
/** Alphabets with letters that look as Latin ones do. */
const lookAlike = /\p{Script=Cyrillic}|\p{Script=Greek}|\p{Script=Armenian}|\p{Script=Cherokee}|\p{Script=Lisu}/gu;
const word = /[\p{L}\p{N}]+/gu;

/** The text with everything that cannot be seen, and foreign letters among Latin ones, as escapes. */
export function visible(text: string): string {
  return text
    .normalize("NFC")
    .replaceAll(unseen, toEscape)
    .replaceAll(strayMark, toEscape)
    .replaceAll(word, (letters) => (latin.test(letters) ? letters.replaceAll(lookAlike, toEscape) : letters));
}

function toEscape(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`;
}
