// Ctrl-C, SIGTERM and a closed terminal as a value to wait for.

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupt extends Disposable {
  readonly pressed: Promise<"interrupted">;
}

/** Listens from now on; disposing it gives the signals back. */
export function interrupted(): Interrupt {
  const { promise, resolve } = Promise.withResolvers<"interrupted">();
  const press = () => resolve("interrupted");
  for (const signal of signals) process.on(signal, press);
  return {
    pressed: promise,
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, press);
    },
  };
}
