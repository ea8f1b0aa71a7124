// Ctrl-C and SIGTERM as a value to wait for.

export interface Interrupt extends Disposable {
  readonly pressed: Promise<"interrupted">;
}

/** Listens from now on; disposing it gives the signals back. */
export function interrupted(): Interrupt {
  const { promise, resolve } = Promise.withResolvers<"interrupted">();
  const press = () => resolve("interrupted");
  process.on("SIGINT", press);
  process.on("SIGTERM", press);
  return {
    pressed: promise,
    [Symbol.dispose]() {
      process.off("SIGINT", press);
      process.off("SIGTERM", press);
    },
  };
}
