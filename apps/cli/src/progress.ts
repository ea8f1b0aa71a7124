// What is being waited for, on the last line of a terminal; silent where stderr is no terminal.
import type { Output } from "./terminal.ts";

const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const frameMs = 80;

export interface Progress extends Disposable {
  /** Shows what is waited for now, in place of what was shown before. */
  say(text: string): void;
  /** Takes the line away, before something else is written. */
  clear(): void;
}

/** Makes a progress line that shows nothing yet. */
export function createProgress(err: Output): Progress {
  if (!err.isTerminal) return { say() {}, clear() {}, [Symbol.dispose]() {} };
  let timer: NodeJS.Timeout | undefined;
  let text = "";
  let frame = 0;
  const draw = () => {
    const shown = text.slice(0, Math.max(0, err.columns - 4));
    err.write(`\r\x1b[2K${err.paint("cyan", frames[frame++ % frames.length] ?? "")} ${shown}`);
  };
  const clear = () => {
    if (timer === undefined) return;
    clearInterval(timer);
    timer = undefined;
    err.write("\r\x1b[2K");
  };
  return {
    say(next) {
      text = next;
      timer ??= setInterval(draw, frameMs).unref();
      draw();
    },
    clear,
    [Symbol.dispose]: clear,
  };
}
