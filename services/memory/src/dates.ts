// Times as words: the words that an entry's date is found by, and the range of time that a question names ("last week",
// "in May", "on 3 May 2026"). All of it in UTC, counted back from now.

const dayMs = 86_400_000;
const months = "january february march april may june july august september october november december".split(" ");
const days = "sunday monday tuesday wednesday thursday friday saturday".split(" ");
const monthPattern = `(${months.map((month) => `${month}|${month.slice(0, 3)}`).join("|")}|sept)\\.?`;

export interface DateRange {
  /** First moment of it, milliseconds. */
  fromMs: number;
  /** First moment behind it. */
  toMs: number;
}

/** `2026-05-03 3 may 2026 sunday`: what the date column of an entry holds. */
export function dateText(time: string): string {
  const date = new Date(time);
  const day = [date.getUTCDate(), months[date.getUTCMonth()], date.getUTCFullYear(), days[date.getUTCDay()]];
  return `${date.toISOString().slice(0, 10)} ${day.join(" ")}`;
}

/** The range of time that a question names; null where it names none. */
export function dateRange(question: string, now: Date): DateRange | null {
  const text = question.toLowerCase();
  for (const [pattern, toRange] of patterns) {
    const found = pattern.exec(text);
    const range = found && toRange(found, now);
    if (range && range.fromMs < range.toMs && range.toMs < 8.64e15) return range;
  }
  return null;
}

type ToRange = (found: RegExpExecArray, now: Date) => DateRange | null;

const patterns: readonly [RegExp, ToRange][] = [
  [/\b(\d{4})-(\d\d)-(\d\d)\b/, ([, year, month, day]) => ofDay(Number(year), Number(month) - 1, Number(day))],
  [
    new RegExp(`\\b(\\d{1,2})(?:st|nd|rd|th)?(?: of)? ${monthPattern},?(?: (\\d{4}))?\\b`),
    ([, day, month, year], now) => ofDay(yearOf(year, monthOf(month), now), monthOf(month), Number(day)),
  ],
  [
    new RegExp(`\\b${monthPattern} (\\d{1,2})(?:st|nd|rd|th)?\\b,?(?: (\\d{4}))?`),
    ([, month, day, year], now) => ofDay(yearOf(year, monthOf(month), now), monthOf(month), Number(day)),
  ],
  [
    new RegExp(
      `\\b(?:(?:(?:in|during|since|last) )?${monthPattern} (?:of )?(\\d{4})|(?:in|during|since|last) ${monthPattern})(?![\\w])`,
    ),
    ([, month, year, alone], now) => {
      const index = monthOf(month ?? alone);
      const of = yearOf(year, index, now);
      return range(Date.UTC(of, index), Date.UTC(of, index + 1));
    },
  ],
  [/\btoday\b/, (_, now) => daysFrom(now, 0, 1)],
  [/\byesterday\b/, (_, now) => daysFrom(now, -1, 0)],
  [/\blast night\b/, (_, now) => daysFrom(now, -1, 1)],
  [/\bthis week\b/, (_, now) => daysFrom(now, -weekday(now), 7 - weekday(now))],
  [/\blast week\b/, (_, now) => daysFrom(now, -weekday(now) - 7, -weekday(now))],
  [/\b(this|last) month\b/, ([, which], now) => ofMonths(now, which === "last" ? -1 : 0)],
  [/\b(this|last) year\b/, ([, which], now) => ofYear(now.getUTCFullYear() - (which === "last" ? 1 : 0))],
  [
    /\b(\d{1,3}) (day|week|month|year)s? ago\b/,
    ([, count, unit], now) => {
      const back = Number(count);
      if (unit === "day") return daysFrom(now, -back, -back + 1);
      if (unit === "week") return daysFrom(now, -weekday(now) - 7 * back, -weekday(now) - 7 * back + 7);
      return unit === "month" ? ofMonths(now, -back) : ofYear(now.getUTCFullYear() - back);
    },
  ],
  [
    new RegExp(`\\b(?:on|last) (${days.join("|")})\\b`),
    ([, day], now) => {
      const back = (now.getUTCDay() - days.indexOf(day ?? "") + 7) % 7 || 7;
      return daysFrom(now, -back, -back + 1);
    },
  ],
  [/\b(?:in|during|of|since) ((?:19|20)\d\d)\b/, ([, year]) => ofYear(Number(year))],
];

const range = (fromMs: number, toMs: number): DateRange => ({ fromMs, toMs });
const weekday = (now: Date) => (now.getUTCDay() + 6) % 7;
const ofYear = (year: number) => range(Date.UTC(year, 0), Date.UTC(year + 1, 0));
const monthOf = (name = "") => months.findIndex((month) => month.startsWith(name.slice(0, 3)));

function ofDay(year: number, month: number, day: number): DateRange | null {
  const fromMs = Date.UTC(year, month, day);
  return new Date(fromMs).getUTCDate() === day ? range(fromMs, fromMs + dayMs) : null;
}

function ofMonths(now: Date, offset: number): DateRange {
  const [year, month] = [now.getUTCFullYear(), now.getUTCMonth() + offset];
  return range(Date.UTC(year, month), Date.UTC(year, month + 1));
}

function daysFrom(now: Date, from: number, to: number): DateRange {
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  return range(today + from * dayMs, today + to * dayMs);
}

/** The year that is said, else the last one in which that month had begun. */
function yearOf(year: string | undefined, month: number, now: Date): number {
  return year ? Number(year) : now.getUTCFullYear() - (month > now.getUTCMonth() ? 1 : 0);
}
