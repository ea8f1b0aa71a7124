// How everything here is measured: the same act many times, p50 and p99, beside the raw primitive in the same run. Timings
// of a shared machine are noisy; ratios of one run hold.

export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** What it is compared with, in the same run and unit. */
  baseline?: { name: string; value: number };
  /** value against baseline, or the value itself where there is none. */
  ratio: number;
  aim: string;
  met: boolean;
  note?: string;
}

export interface Timing {
  p50: number;
  p99: number;
  mean: number;
}

/** Times an act, one after the other; milliseconds. The first tenth warms up and is not counted. */
export async function time(times: number, act: () => Promise<unknown>): Promise<Timing> {
  for (let n = 0; n < times / 10; n++) await act();
  const took: number[] = [];
  for (let n = 0; n < times; n++) {
    const start = performance.now();
    await act();
    took.push(performance.now() - start);
  }
  return summary(took);
}

/** Times two acts in turn, so that the machine's drift meets both; milliseconds. */
export async function timeBoth(
  times: number,
  one: () => Promise<unknown>,
  other: () => Promise<unknown>,
): Promise<[Timing, Timing]> {
  for (let n = 0; n < times / 10; n++) {
    await one();
    await other();
  }
  const took: [number[], number[]] = [[], []];
  for (let n = 0; n < times; n++) {
    for (const [index, act] of [one, other].entries()) {
      const start = performance.now();
      await act();
      took[index as 0 | 1].push(performance.now() - start);
    }
  }
  return [summary(took[0]), summary(took[1])];
}

/** Acts per second with so many in flight. */
export async function rate(acts: number, inFlight: number, act: (n: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (next < acts) await act(next++);
    }),
  );
  return acts / ((performance.now() - start) / 1000);
}

function summary(took: number[]): Timing {
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), mean: took.reduce((sum, ms) => sum + ms, 0) / took.length };
}
